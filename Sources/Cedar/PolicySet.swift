public import JSON

/// The id of a policy within its set.
public struct PolicyID: Hashable, Sendable, ExpressibleByStringLiteral {
    /// The id, compared byte for byte.
    public let text: Text

    /// Wraps an id.
    public init(_ text: Text) {
        self.text = text
    }

    /// Wraps a literal.
    public init(stringLiteral value: String) {
        text = Text(stringLiteral: value)
    }
}

extension PolicyID: CustomStringConvertible {
    /// The id itself.
    public var description: String { text.string }
}

/// Why a template could not be linked.
public enum TemplateLinkError: Error, Hashable, Sendable {
    /// No template has this id.
    case unknownTemplate
    /// The id is taken.
    case duplicateID
    /// The values are not exactly those of the template's slots.
    case slotMismatch
}

extension TemplateLinkError: CustomStringConvertible {
    /// The kind of the error.
    public var description: String {
        switch self {
        case .unknownTemplate: "no template has this id"
        case .duplicateID: "a policy with this id exists"
        case .slotMismatch: "the values do not fit the slots of the template"
        }
    }
}

/// Policies and templates as they were written, with their annotations and positions.
public struct PolicySet: Sendable {
    var syntax: Syntax
    let sources: [Source]
    /// The links as rows over ``syntax``, whose symbols and entities behind those of the sources are theirs.
    private(set) var linkTable = LinkTable()
    /// What was parsed, to find lines and columns in; empty if the policies came as JSON.
    let text: [UInt8]
    private let sourceNumbers: [PolicyID: Int]
    private let sourceSymbolCount: Int
    let sourceEntityCount: Int

    init(syntax: Syntax, sources: [Source], text: [UInt8] = []) {
        self.syntax = syntax
        self.sources = sources
        self.text = text
        sourceNumbers = Dictionary(
            sources.enumerated().map { ($0.element.id, $0.offset) },
            uniquingKeysWith: { first, _ in first }
        )
        sourceSymbolCount = syntax.symbols.count
        sourceEntityCount = syntax.entities.count
    }

    struct Source: Sendable {
        let id: PolicyID
        let syntax: PolicySyntax
    }

    /// A template with its slots filled: a row, not a copy.
    struct Link: Sendable {
        let template: Int
        let id: PolicyID
        let principal: EntityIndex?
        let resource: EntityIndex?
    }

    /// Reads policies in Cedar syntax.
    ///
    /// The ids are `policy0`, `policy1`, … in the order of the text; `@id` is an annotation like
    /// any other. A policy may be 64 KB long and nest 64 levels deep, a set may have 10,000
    /// policies. A failure lists everything that is wrong.
    ///
    /// - Parameter rules: ``SourceRules/publishing`` also refuses what a reviewer cannot see or would misread:
    ///   bidirectional controls, bare carriage returns, mixed scripts, two policies with one `@id`.
    public static func parse(
        _ text: String,
        rules: SourceRules = .language
    ) throws(PolicyParseFailure) -> PolicySet {
        var parser = Parser(Array(text.utf8))
        try parser.run(rules)
        let sources = parser.policies.enumerated().map { index, syntax in
            Source(id: PolicyID(Text("policy\(index)")), syntax: syntax)
        }
        return PolicySet(syntax: parser.syntax, sources: sources, text: parser.text)
    }

    /// The policies and templates in the order of the text.
    public var policies: [Policy] { sources.indices.map { Policy(owner: self, index: $0) } }

    /// The policy or template with this id.
    public func policy(_ id: PolicyID) -> Policy? {
        if let index = sourceNumbers[id] { return Policy(owner: self, index: index) }
        return linkRow(id).map {
            Policy(owner: self, index: Int(linkTable.rows[$0].template))
        }
    }

    /// The links in the order in which they were made.
    var links: some Sequence<Link> {
        linkTable.rows.lazy.filter { $0.template != LinkTable.none }.map { row in
            Link(
                template: Int(row.template),
                id: PolicyID(syntax.symbols.text(row.id)),
                principal: row.principal == 0 ? nil : EntityIndex(index: row.principal - 1),
                resource: row.resource == 0 ? nil : EntityIndex(index: row.resource - 1)
            )
        }
    }

    /// The number of links.
    public var linkCount: Int { linkTable.count }

    private func linkRow(_ id: PolicyID) -> Int? {
        syntax.symbols.find(id.text).flatMap { linkTable.row(withID: $0) }
    }

    /// Fills the slots of a template under a new id.
    ///
    /// A value must be given for exactly the slots that the template has. The link inherits effect,
    /// annotations and conditions. Takes constant time, unless the set is shared with a copy.
    public mutating func link(
        template: PolicyID,
        as id: PolicyID,
        principal: EntityUID? = nil,
        resource: EntityUID? = nil
    ) throws(TemplateLinkError) {
        guard let index = sourceNumbers[template], sources[index].syntax.isTemplate else {
            throw .unknownTemplate
        }
        guard sourceNumbers[id] == nil, linkRow(id) == nil else { throw .duplicateID }
        let policy = sources[index].syntax
        guard policy.principal.hasSlot == (principal != nil),
            policy.resource.hasSlot == (resource != nil)
        else { throw .slotMismatch }
        let symbol = syntax.symbols.intern(id.text.string)
        linkTable.add(
            template: index,
            id: symbol,
            principal: principal.map { add($0) },
            resource: resource.map { add($0) }
        )
    }

    /// Takes a link away; false if there is none with this id.
    @discardableResult
    public mutating func unlink(_ id: PolicyID) -> Bool {
        guard let row = linkRow(id) else { return false }
        linkTable.remove(row)
        if linkTable.removedCount > max(Self.removedLinksMax, linkTable.count) { compact() }
        return true
    }

    /// How many removed links may keep their memory, however few are left.
    private static let removedLinksMax = 4096

    /// Writes the links anew, without what only removed ones needed.
    private mutating func compact() {
        let old = self
        linkTable = LinkTable()
        syntax.truncate(symbolCount: sourceSymbolCount, entityCount: sourceEntityCount)
        for link in old.links {
            func copied(_ entity: EntityIndex?) -> EntityIndex? {
                entity.map { add(old.uid($0)) }
            }
            linkTable.add(
                template: link.template,
                id: syntax.symbols.intern(link.id.text.string),
                principal: copied(link.principal),
                resource: copied(link.resource)
            )
        }
    }

    private func uid(_ entity: EntityIndex) -> EntityUID {
        let name = syntax[entity]
        return EntityUID(type: syntax.symbols.text(name.type), id: syntax.symbols.text(name.id))
    }

    private mutating func add(_ uid: EntityUID) -> EntityIndex {
        let type = syntax.symbols.intern(uid.type.string)
        return syntax.add(EntityName(type: type, id: syntax.symbols.intern(uid.id.string)))
    }

    /// All policies and templates as Cedar text in one fixed layout.
    public func formatted() -> String {
        Printer.text(sources.lazy.map(\.syntax), of: syntax)
    }
}

/// One policy or template of a set.
public struct Policy: Sendable {
    let owner: PolicySet
    let index: Int

    private var syntax: PolicySyntax { owner.sources[index].syntax }

    /// The id within the set.
    public var id: PolicyID { owner.sources[index].id }
    /// What it does when it applies.
    public var effect: Effect { syntax.effect }
    /// Whether it has slots and so applies through links only.
    public var isTemplate: Bool { syntax.isTemplate }
    /// Where it stands in the text.
    public var span: SourceSpan { syntax.span }
    /// Whether anything stands behind its scope.
    public var hasConditions: Bool { !syntax.conditions.isEmpty }

    /// The value of an annotation; empty for one without a value, nothing if there is none.
    public func annotation(_ key: Text) -> Text? {
        annotations.first { $0.key == key }?.value
    }

    /// The annotations in the order of the text.
    public var annotations: [(key: Text, value: Text)] {
        syntax.annotations.map {
            (
                owner.syntax.symbols.text($0.key),
                $0.value.map { owner.syntax.symbols.text($0) } ?? ""
            )
        }
    }

    /// The policy as Cedar text in one fixed layout.
    public func formatted() -> String { Printer.text([syntax], of: owner.syntax) }
}
