public import JSON

/// One thing the REST interface does.
///
/// Routes, checks and the OpenAPI document are made of this table, so they cannot disagree.
public struct Operation: Sendable {
    /// Its name, the `operationId` of the document.
    public let id: OperationID
    /// The HTTP method.
    public let method: Method
    /// The path, parameters included.
    public let path: [Segment]
    /// What it does, in a sentence.
    public let summary: StaticString
    /// Who may.
    public let access: Access
    /// Query parameters.
    public var query: [QueryParameter] = []
    /// What the body must be.
    public var body: Schema?
    /// The status of success.
    public let status: Int
    /// The body of success.
    public var answer: Schema?
    /// Whether `If-Match` is required.
    public var isConditional = false
    /// Whether the answer has an `ETag`.
    public var hasETag = false
    /// What can be refused beside what every operation can refuse.
    public var refusals: [ProblemType] = []

    /// The methods in use.
    public enum Method: String, Sendable {
        /// Reads.
        case get = "GET"
        /// Makes.
        case post = "POST"
        /// Changes the members that are named.
        case patch = "PATCH"
        /// Makes sure that it is there.
        case put = "PUT"
        /// Removes, or revokes.
        case delete = "DELETE"
    }

    /// A piece of a path.
    public enum Segment: Sendable {
        /// These characters.
        case literal(StaticString)
        /// A value of this form.
        case parameter(StaticString, TextForm)
    }

    /// Who may do it.
    public enum Access: Hashable, Sendable {
        /// Everybody, without a token.
        case open
        /// Auditors and administrators.
        case reading(Scope)
        /// Administrators.
        case writing(Scope)

        /// What a token must reach.
        public enum Scope: Hashable, Sendable {
            /// The whole installation.
            case installation
            /// The namespace in the path.
            case namespace
            /// What it sees depends on the token.
            case own
        }
    }

    /// A parameter of the query.
    public struct QueryParameter: Sendable {
        /// Its name.
        public let name: StaticString
        /// Its form.
        public let form: TextForm
        /// What it does.
        public let summary: StaticString
    }

    /// Whether what was made has a path of its own, which the answer names.
    public var hasLocation: Bool {
        status == 202
            || status == 201 && id != .createActivation && id != .createReview
                && id != .createDevelopmentToken
    }

    /// The path as the document writes it.
    public var template: String {
        path.map { segment in
            switch segment {
            case .literal(let text): "/\(text)"
            case .parameter(let name, _): "/{\(name)}"
            }
        }.joined()
    }
}

/// Finds operations by method and path.
public struct RouteTable: Sendable {
    private let operations: [Operation]

    /// Every operation of this build.
    public init() {
        operations = OperationID.allCases.map(\.operation)
    }

    /// What a request asks for.
    public enum Match: Sendable {
        /// An operation, with the parameters of its path, decoded.
        case found(Operation, [Text])
        /// The path is known, the method is not; these are.
        case otherMethods([String])
        /// Nothing.
        case nothing
    }

    /// Matches a request's method and path, as they came.
    ///
    /// - Parameter path: without the query; percent-encoded.
    public func match(_ method: String, _ path: String) -> Match {
        guard let pieces = Self.pieces(path) else { return .nothing }
        var others: [String] = []
        for operation in operations {
            guard let parameters = operation.parameters(in: pieces) else { continue }
            if operation.method.rawValue == method { return .found(operation, parameters) }
            others.append(operation.method.rawValue)
        }
        return others.isEmpty ? .nothing : .otherMethods(others)
    }

    /// Split before decoding, so that an encoded slash stays part of a name.
    private static func pieces(_ path: String) -> [Text]? {
        guard path.utf8.first == UInt8(ascii: "/") else { return nil }
        var pieces: [Text] = []
        for piece in path.utf8.dropFirst()
            .split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        {
            guard let text = PercentCoding.decode(piece) else { return nil }
            pieces.append(text)
        }
        return pieces
    }
}

extension Operation {
    /// The parameters, when the path is this operation's.
    fileprivate func parameters(in pieces: [Text]) -> [Text]? {
        guard pieces.count == path.count else { return nil }
        var parameters: [Text] = []
        for (piece, segment) in zip(pieces, path) {
            switch segment {
            case .literal(let text):
                guard piece == Text(text.description) else { return nil }
            case .parameter(_, let form):
                guard form.refusal(of: piece) == nil else { return nil }
                parameters.append(piece)
            }
        }
        return parameters
    }
}

/// Percent-encoding in paths and queries (RFC 3986 §2.1).
public enum PercentCoding {
    /// The text, or nothing when an escape is not one, or the bytes are not UTF-8, or one is zero.
    public static func decode(_ encoded: some Collection<UInt8>) -> Text? {
        var bytes: [UInt8] = []
        var rest = Array(encoded)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let high = rest.popFirst()?.hexValue, let low = rest.popFirst()?.hexValue else {
                return nil
            }
            bytes.append(high << 4 | low)
        }
        guard !bytes.contains(0) else { return nil }
        return Text(validating: bytes)
    }

    /// A name as one segment of a path.
    public static func encode(_ text: Text) -> String {
        var encoded = ""
        for byte in text.utf8 {
            if byte.isLetterOrDigit || [0x2D, 0x2E, 0x5F, 0x7E].contains(byte) {
                encoded.unicodeScalars.append(UnicodeScalar(byte))
            } else {
                let digits = String(byte, radix: 16, uppercase: true)
                encoded += "%" + (digits.utf8.count == 1 ? "0" : "") + digits
            }
        }
        return encoded
    }
}

extension UInt8 {
    fileprivate var hexValue: UInt8? {
        switch self {
        case 0x30...0x39: self - 0x30
        case 0x41...0x46: self - 0x41 + 10
        case 0x61...0x66: self - 0x61 + 10
        default: nil
        }
    }
}
