public import JSON

/// A name of one kind that cannot be mistaken for a name of another kind.
///
/// Identifiers are compared and hashed byte for byte (``JSON/Text``): two spellings that Unicode calls
/// canonically equivalent are two identifiers, as they are for every peer and every database here.
public struct Identifier<Kind>: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The bytes of the name.
    public let text: Text

    /// Wraps a name that has been read and bounded already.
    public init(_ text: Text) {
        self.text = text
    }

    /// Wraps a name written as a Swift string, in configuration and tests for the most part.
    public init(_ string: String) {
        text = Text(string)
    }

    /// Orders by UTF-8 bytes.
    public static func < (left: Self, right: Self) -> Bool {
        left.text < right.text
    }

    /// The name itself.
    public var description: String {
        text.string
    }
}

extension Identifier: ExpressibleByStringLiteral, ExpressibleByUnicodeScalarLiteral,
    ExpressibleByExtendedGraphemeClusterLiteral
{
    /// A literal name.
    public init(stringLiteral value: String) {
        self.init(value)
    }
}

/// The kinds of ``Identifier``; never instantiated.
public enum IdentifierKind {
    /// A namespace: the unit of tenancy and of scale.
    public enum Namespace {}
    /// An upstream MCP server within a namespace.
    public enum Server {}
    /// A tool of a server, by its bare name.
    public enum Tool {}
    /// A durable subject: `sub_…`.
    public enum Subject {}
    /// A certified proxy, or a control replica, as a writer of records.
    public enum Instance {}
}

/// Names one namespace.
public typealias NamespaceName = Identifier<IdentifierKind.Namespace>
/// Names one upstream MCP server within its namespace.
public typealias ServerName = Identifier<IdentifierKind.Server>
/// Names one tool of one server.
public typealias ToolName = Identifier<IdentifierKind.Tool>
/// Names one subject for good; never an e-mail address.
public typealias SubjectID = Identifier<IdentifierKind.Subject>
/// Names one writer of records.
public typealias InstanceID = Identifier<IdentifierKind.Instance>

extension Identifier where Kind == IdentifierKind.Namespace {
    /// Whether the name can stand in a URL path, a certificate and a database key without any encoding:
    /// 1 to 63 of `a-z 0-9 -`, starting and ending with a letter or digit (RFC 1123 label).
    public var isWellFormed: Bool {
        isLabel(text)
    }
}

extension Identifier where Kind == IdentifierKind.Server {
    /// Whether the name is an RFC 1123 label, as for namespaces: it becomes part of the MCP URL.
    public var isWellFormed: Bool {
        isLabel(text)
    }
}

private func isLabel(_ text: Text) -> Bool {
    let bytes = Array(text.string.utf8)
    guard (1...63).contains(bytes.count), bytes.first != 0x2D, bytes.last != 0x2D else {
        return false
    }
    return bytes.allSatisfy { byte in
        (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte) || byte == 0x2D
    }
}
