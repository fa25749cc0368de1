import Cedar
public import JSON

// Layers as documents name them: on REST, in imports and files, in the database and on the link.

extension PolicyLayer {
    /// The longest name, in characters (Unicode scalars).
    public static let nameLengthMax = 128
    /// The most entities that a layer owns by name.
    public static let ownedMax = 256
    /// The longest entity uid, in characters (Unicode scalars).
    public static let uidLengthMax = 256

    /// Why there is no such layer.
    public struct ReadingError: Error, Hashable, Sendable, CustomStringConvertible {
        /// What kind of mistake it is.
        public enum Kind: Hashable, Sendable {
            /// Something that must be there is not.
            case missing
            /// Something is not of its form.
            case form
            /// Something is named twice.
            case duplicate
        }

        /// What kind of mistake it is.
        public let kind: Kind
        /// Where in the layer (RFC 6901).
        public let pointer: String
        /// What is wrong there.
        public let reason: String

        /// Place and reason.
        public var description: String { "\(pointer): \(reason)" }
    }

    /// What a layer owns, each as Cedar text: `MCP::Server::"k8s"`; `nil` for everything.
    public var ownedTexts: [Text]? {
        owned?.map { Text("\($0.type)::\"\($0.id)\"") }
    }

    /// The layer that these parts name.
    ///
    /// - Parameter owned: entity uids as Cedar text, each once. A team says what it owns; without, a layer writes about
    ///   everything.
    /// - Throws: ``ReadingError`` with the first thing that is wrong; what is not known is refused, not ignored.
    public init(rank: Text, name: Text, owned texts: [Text]?) throws(ReadingError) {
        guard let rank = Rank(rawValue: rank.string) else {
            let ranks = Rank.allCases.map(\.rawValue).joined(separator: ", ")
            throw ReadingError(kind: .form, pointer: "/rank", reason: "must be one of \(ranks)")
        }
        guard (1...Self.nameLengthMax).contains(name.string.unicodeScalars.count),
            name.string.unicodeScalars.allSatisfy(Self.isPlain)
        else {
            throw ReadingError(
                kind: .form,
                pointer: "/name",
                reason: "must be 1 to \(Self.nameLengthMax) characters that can be seen"
            )
        }
        guard let texts else {
            guard rank != .team else {
                throw ReadingError(
                    kind: .missing,
                    pointer: "/owned",
                    reason: "a team says what it owns"
                )
            }
            self.init(rank: rank, name: name, owned: nil)
            return
        }
        guard texts.count <= Self.ownedMax else {
            throw ReadingError(
                kind: .form,
                pointer: "/owned",
                reason: "must be at most \(Self.ownedMax) entities"
            )
        }
        var owned: [EntityUID] = []
        var seen: Set<EntityUID> = []
        for (index, text) in texts.enumerated() {
            guard text.string.unicodeScalars.count <= Self.uidLengthMax,
                let uid = MCPEntities.uid(cedarText: text)
            else {
                throw ReadingError(
                    kind: .form,
                    pointer: "/owned/\(index)",
                    reason: "must be Type::\"id\""
                )
            }
            guard seen.insert(uid).inserted else {
                throw ReadingError(
                    kind: .duplicate,
                    pointer: "/owned/\(index)",
                    reason: "is named twice"
                )
            }
            owned.append(uid)
        }
        self.init(rank: rank, name: name, owned: owned)
    }

    /// Reads `{"rank": "team", "name": "web", "owned": ["MCP::Server::\"web\""]}`.
    ///
    /// - Parameter others: members that stand beside those of the layer, and are read by somebody else.
    /// - Throws: ``ReadingError`` with the first thing that is wrong; what is not known is refused, not ignored.
    public init(_ value: JSONValue, beside others: Set<Text> = []) throws(ReadingError) {
        guard value.kind == .object else {
            throw ReadingError(kind: .form, pointer: "", reason: "must be an object")
        }
        let known: Set<Text> = ["rank", "name", "owned"]
        for (key, _) in value.members
        where !known.contains(key.text) && !others.contains(key.text) {
            throw ReadingError(kind: .form, pointer: "/\(key.text)", reason: "no such member")
        }
        func text(_ name: StaticString) throws(ReadingError) -> Text {
            guard let text = value[name]?.string else {
                throw ReadingError(
                    kind: value[name] == nil ? .missing : .form,
                    pointer: "/\(name)",
                    reason: value[name] == nil ? "is missing" : "must be a string"
                )
            }
            return text
        }
        var owned: [Text]?
        if let list = value["owned"] {
            let texts = list.elements.compactMap(\.string)
            guard list.kind == .array, texts.count == list.count else {
                throw ReadingError(
                    kind: .form,
                    pointer: "/owned",
                    reason: "must be a list of strings"
                )
            }
            owned = texts
        }
        try self.init(rank: try text("rank"), name: try text("name"), owned: owned)
    }

    /// No control, no change of direction, nothing that breaks a line.
    private static func isPlain(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator: false
        default: true
        }
    }
}

extension PolicyLayer: CustomStringConvertible {
    /// In words, for people: `team web (MCP::Server::"web")`.
    public var description: String {
        guard self != .namespace else { return rank.rawValue }
        let owned = ownedTexts.map { texts in
            " (\(texts.isEmpty ? "nothing" : texts.map(\.string).joined(separator: ", ")))"
        }
        return "\(rank.rawValue) \(name)\(owned ?? "")"
    }
}

extension PolicyLayer: JSONWritable {
    /// Writes the members in the order of their names.
    public func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("name", name)
            if let ownedTexts {
                writer.array("owned") { writer in ownedTexts.forEach { writer.value($0) } }
            }
            writer.member("rank", rank.rawValue)
        }
    }
}
