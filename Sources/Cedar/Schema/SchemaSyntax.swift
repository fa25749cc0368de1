import JSON

/// A schema as it was written, in either syntax: namespaces, common types, annotations and places.
///
/// Names are unresolved here; ``resolved()`` looks them up and gives the ``Schema`` that everything
/// else works on. Both syntaxes say the same, with two exceptions: only JSON can say that a name
/// means an entity type where a common type has the same name, and only JSON can give principals
/// to an action without resources. Source: Cedar 4.5; policy.md §2.10.
public struct SchemaSyntax: Sendable {
    var namespaces: [Namespace] = []
    var source: Source

    /// What positions refer to.
    enum Source: Sendable {
        case text([UInt8])
        case json(JSONDocument)

        var bytes: [UInt8] {
            switch self {
            case .text(let bytes): bytes
            case .json(let document): document.bytes
            }
        }

        func pointer(to span: SourceSpan) -> Text? {
            guard case .json(let document) = self else { return nil }
            return document.pointer(to: Int(span.start))
        }
    }

    /// Declarations under one name; the empty name for those outside of any namespace.
    struct Namespace: Sendable {
        var name: Text = ""
        var span: SourceSpan = .none
        var annotations: [Annotation] = []
        var commonTypes: [CommonType] = []
        var entityTypes: [EntityType] = []
        var actions: [Action] = []

        var declarationCount: Int { commonTypes.count + entityTypes.count + actions.count }
    }

    struct Annotation: Hashable, Sendable {
        let key: Text
        /// Nothing for `@key` without parentheses, which reads as the empty string.
        let value: Text?
    }

    /// A name and where it stands.
    struct Name: Sendable {
        let text: Text
        let span: SourceSpan
    }

    struct CommonType: Sendable {
        var name: Name
        var annotations: [Annotation] = []
        var type: TypeSyntax
    }

    struct EntityType: Sendable {
        enum Kind: Sendable {
            case standard(memberOf: [Name], shape: TypeSyntax?, tags: TypeSyntax?)
            case enumerated([Text])
        }

        var name: Name
        var annotations: [Annotation] = []
        var kind: Kind
    }

    struct Action: Sendable {
        struct Parent: Sendable {
            /// The type as written; nothing where only an id is given.
            let type: Text?
            let id: Text
            let span: SourceSpan
        }

        struct Scope: Sendable {
            var principals: [Name]
            var resources: [Name]
            var context: TypeSyntax?
        }

        var name: Name
        var annotations: [Annotation] = []
        var memberOf: [Parent] = []
        /// Nothing for an action that applies to nothing, such as a group.
        var scope: Scope?
    }

    /// A type as written.
    indirect enum TypeSyntax: Sendable {
        case bool(SourceSpan)
        case long(SourceSpan)
        case string(SourceSpan)
        case extensionType(Name)
        case set(TypeSyntax, SourceSpan)
        case record([Attribute], SourceSpan)
        /// The name of a common type, and of nothing else.
        case common(Name)
        /// The name of an entity type, and of nothing else.
        case entity(Name)
        /// The name of either; all that Cedar syntax knows.
        case entityOrCommon(Name)

        struct Attribute: Sendable {
            var name: Name
            var annotations: [Annotation] = []
            var isRequired: Bool
            var type: TypeSyntax
        }

        var span: SourceSpan {
            switch self {
            case .bool(let span), .long(let span), .string(let span), .set(_, let span),
                .record(_, let span):
                span
            case .extensionType(let name), .common(let name), .entity(let name),
                .entityOrCommon(let name):
                name.span
            }
        }
    }

    /// The types that the language brings.
    ///
    /// `__cedar::Long` always means the type; `Long` means it where nothing else has that name.
    enum BuiltIn {
        static let prefix = "__cedar::"

        static func type(_ name: Text) -> SchemaType? {
            switch name {
            case "Bool": .bool
            case "Long": .long
            case "String": .string
            default: extensionType(name)
            }
        }

        static func extensionType(_ name: Text) -> SchemaType? {
            switch name {
            case "decimal": .decimal
            case "ipaddr": .ipaddr
            case "datetime": .datetime
            case "duration": .duration
            default: nil
            }
        }

        static let names: [Text] = [
            "Bool", "Long", "String", "decimal", "ipaddr", "datetime", "duration",
        ]

        /// The names that a common type must not have, since they mean something in JSON.
        static let reservedForCommonTypes: Set<Text> = [
            "Bool", "Boolean", "Entity", "Extension", "Long", "Record", "Set", "String",
        ]
    }

    /// Whether a name has a part that only the language may use.
    static func isReserved(_ path: Text) -> Bool {
        var part: [UInt8] = []
        for byte in path.utf8 {
            if byte == UInt8(ascii: ":") {
                if part.elementsEqual("__cedar".utf8) { return true }
                part = []
            } else {
                part.append(byte)
            }
        }
        return part.elementsEqual("__cedar".utf8)
    }

    /// `name` within `namespace`.
    static func qualified(_ name: Text, in namespace: Text) -> Text {
        namespace.isEmpty ? name : Text("\(namespace.string)::\(name.string)")
    }
}

extension JSONDocument {
    /// The RFC 6901 pointer to the innermost value that contains a byte.
    ///
    /// The name of a member counts as the member.
    func pointer(to offset: Int) -> Text {
        var path = ""
        var value = root
        descent: while true {
            switch value.kind {
            case .object:
                for (key, member) in value.members
                where offset >= key.sourceRange.lowerBound
                    && offset < member.sourceRange.upperBound
                {
                    path += "/" + key.text.string.escapedForPointer
                    value = member
                    continue descent
                }
                return Text(path)
            case .array:
                for (index, element) in value.elements.enumerated()
                where element.sourceRange.contains(offset) {
                    path += "/\(index)"
                    value = element
                    continue descent
                }
                return Text(path)
            default: return Text(path)
            }
        }
    }
}

extension String {
    /// The text as one step of an RFC 6901 pointer.
    var escapedForPointer: String {
        var escaped = ""
        for scalar in unicodeScalars {
            switch scalar {
            case "~": escaped += "~0"
            case "/": escaped += "~1"
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }
}
