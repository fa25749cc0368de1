public import GatewayModel
public import JSON

/// What changed between two lists of a server's tools, classed by what it means for policies (policy.md §4).
public struct ToolListDiff: Hashable, Sendable {
    /// One change.
    public enum Change: Hashable, Sendable {
        /// A tool is new; no policy names it yet.
        case toolAdded
        /// A tool is gone; policies that name it are dead.
        case toolRemoved
        /// An argument is new that calls may leave out.
        case optionalArgumentAdded(Text)
        /// An argument is new that calls must have.
        case requiredArgumentAdded(Text)
        /// An argument is gone; policies that read it are invalid.
        case argumentRemoved(Text)
        /// An argument has another type; policies that read it may be invalid.
        case typeChanged(Text)
        /// An argument became optional or required.
        case requirementChanged(Text, isRequired: Bool)
        /// Other arguments than before are left out of the mapping.
        case omissionsChanged
        /// The tool was classed anew; it is in other groups of actions.
        case effectChanged(ToolEffect)
        /// Only what models and people read changed.
        case descriptionChanged
        /// Something changed that policies do not see: annotations, the output's schema, texts of arguments.
        case otherChanged
    }

    /// The changes of each tool that changed.
    public let changes: [ToolName: [Change]]

    /// Whether nothing changed.
    public var isEmpty: Bool { changes.isEmpty }

    /// Compares what policies see of the tools of one server, before and after.
    public init(from old: [SchemaGenerator.Tool], to new: [SchemaGenerator.Tool]) {
        func byName(_ tools: [SchemaGenerator.Tool]) -> [ToolName: SchemaGenerator.Tool] {
            Dictionary(tools.map { ($0.name, $0) }) { first, _ in first }
        }
        let (before, after) = (byName(old), byName(new))
        var changes: [ToolName: [Change]] = [:]
        for (name, tool) in after {
            guard let known = before[name] else {
                changes[name] = [.toolAdded]
                continue
            }
            var its = Self.changes(from: known.input, to: tool.input)
            if known.effect != tool.effect { its.append(.effectChanged(tool.effect)) }
            if !its.isEmpty { changes[name] = its }
        }
        for name in before.keys where after[name] == nil { changes[name] = [.toolRemoved] }
        self.changes = changes
    }

    /// Compares the definitions of two `tools/list` answers.
    public init(from old: [JSONValue], to new: [JSONValue]) {
        let (before, after) = (Self.byName(old), Self.byName(new))
        var changes: [ToolName: [Change]] = [:]
        for (name, definition) in after {
            guard let known = before[name] else {
                changes[name] = [.toolAdded]
                continue
            }
            let its = Self.changes(from: known, to: definition)
            if !its.isEmpty { changes[name] = its }
        }
        for name in before.keys where after[name] == nil { changes[name] = [.toolRemoved] }
        self.changes = changes
    }

    private static func byName(_ tools: [JSONValue]) -> [ToolName: JSONValue] {
        Dictionary(
            tools.compactMap { tool in tool["name"]?.string.map { (ToolName($0), tool) } },
            uniquingKeysWith: { first, _ in first }
        )
    }

    private static func changes(from old: JSONValue, to new: JSONValue) -> [Change] {
        guard old.canonicalBytes() != new.canonicalBytes() else { return [] }
        var changes = changes(
            from: ToolInputSchema(old["inputSchema"]),
            to: ToolInputSchema(new["inputSchema"])
        )
        if old["description"]?.string != new["description"]?.string
            || old["title"]?.string != new["title"]?.string
        {
            changes.append(.descriptionChanged)
        }
        return changes.isEmpty ? [.otherChanged] : changes
    }

    private static func changes(
        from before: ToolInputSchema,
        to after: ToolInputSchema
    ) -> [Change] {
        guard before != after else { return [] }
        var changes: [Change] = []
        for name in after.fields.attributes.keys.sorted() {
            guard let field = after.fields.attributes[name] else { continue }
            guard let known = before.fields.attributes[name] else {
                changes.append(
                    field.isRequired ? .requiredArgumentAdded(name) : .optionalArgumentAdded(name)
                )
                continue
            }
            if known.type != field.type {
                changes.append(.typeChanged(name))
            }
            if known.isRequired != field.isRequired {
                changes.append(.requirementChanged(name, isRequired: field.isRequired))
            }
        }
        for name in before.fields.attributes.keys.sorted()
        where after.fields.attributes[name] == nil {
            changes.append(.argumentRemoved(name))
        }
        if Set(before.omissions) != Set(after.omissions) { changes.append(.omissionsChanged) }
        return changes
    }
}
