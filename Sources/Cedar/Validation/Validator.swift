import JSON

/// Checks policies against a schema: what validates cannot fail in a request that conforms, except
/// by integer overflow and by entities that are not there.
///
/// Immutable and shared between threads.
public struct Validator: Sendable {
    /// How much is asked of a policy.
    public enum Mode: UInt8, Hashable, Sendable {
        /// What Cedar asks of policies that are put in force.
        case strict
        /// What is still sound, without the rules that keep policies analysable.
        ///
        /// It admits sets and branches of different types, empty sets, and extension values made
        /// from strings of a request.
        case permissive
    }

    private let schema: Schema
    private let mode: Mode
    private let levelMax: Int?

    /// Validates against a schema.
    ///
    /// - Parameters:
    ///   - mode: How much is asked. Default strict.
    ///   - levelMax: How long a chain of entities a policy may follow from the request; nothing for
    ///     any length. At level 1 the data of principal, action, resource and of the entities in
    ///     the context decides. Source: Cedar RFC 76.
    public init(_ schema: Schema, mode: Mode = .strict, levelMax: Int? = nil) {
        self.schema = schema
        self.mode = mode
        self.levelMax = levelMax
    }

    /// Checks all policies, templates and links of a set.
    public func validate(_ policies: PolicySet) -> ValidationReport {
        var memo = ValidationMemo()
        return validate(policies, reusing: &memo)
    }

    /// Checks all policies, templates and links of a set, except where the verdict is remembered.
    ///
    /// The report is the same as without a memo.
    public func validate(
        _ policies: PolicySet,
        reusing memo: inout ValidationMemo
    ) -> ValidationReport {
        memo.begin()
        var run = ValidationRun(policies, schema, mode, levelMax, memo)
        for index in policies.sources.indices { run.check(source: index) }
        for link in policies.links { run.check(link) }
        run.checkText()
        memo = run.finish()
        memo.end()
        return run.report()
    }
}

/// One validation under way.
private struct ValidationRun {
    /// What decides whether a link can apply; there may be a million links and few of these.
    private struct LinkKind: Hashable {
        let template: Int
        let principalType: Symbol?
        let resourceType: Symbol?
    }

    private struct Note: Hashable {
        let code: ValidationFinding.Code
        let policy: PolicyID?
        let span: SourceSpan
        let message: String
        let hint: String?
        var entity: EntityUID?
    }

    let policies: PolicySet
    let schema: SchemaIndex
    let mode: Validator.Mode
    let levelMax: Int?
    var memo: ValidationMemo
    var checker: TypeChecker
    private var grouping: RequestGrouping
    private var linkKinds: [LinkKind: Bool] = [:]
    private var notes: [(note: Note, actions: Set<Int>)] = []
    private var noteIndices: [Note: Int] = [:]
    private var checks = 0
    private var remembered = 0

    init(
        _ policies: PolicySet,
        _ schema: Schema,
        _ mode: Validator.Mode,
        _ levelMax: Int?,
        _ memo: ValidationMemo
    ) {
        self.policies = policies
        self.mode = mode
        self.levelMax = levelMax
        self.memo = memo
        var table = memo.table
        let index = SchemaIndex(schema, &table)
        self.schema = index
        checker = TypeChecker(policies.syntax, index, table, isStrict: mode == .strict)
        grouping = RequestGrouping(
            policies.syntax,
            index,
            checker.table,
            checker.names,
            memo.closures
        )
    }

    /// The memo with what this run has found out.
    func finish() -> ValidationMemo {
        var memo = memo
        memo.table = checker.table
        memo.closures = grouping.closures
        return memo
    }

    // MARK: One policy

    mutating func check(source index: Int) {
        let source = policies.sources[index]
        let policy = source.syntax
        let syntax = policies.syntax
        let outline = PolicyOutline(policy, syntax)
        let place = Place(policy: source.id, syntax: policy, spans: syntax.spans)
        checkNames(outline, place)
        checkActionTypes(policy, place)

        let groups = grouping.groups(policy, outline)
        let principals = Dictionary(
            uniqueKeysWithValues: types(groups, \.principalTypes)
                .map { ($0, scope(policy.principal, $0)) }
        )
        let resources = Dictionary(
            uniqueKeysWithValues: types(groups, \.resourceTypes)
                .map { ($0, scope(policy.resource, $0)) }
        )
        // A name that the schema does not know may mean anything, so the body is still checked,
        // but no request is known to be in the scope.
        let isApplicable =
            isKnown(policy.action)
            && groups.contains { group in
                group.principalTypes.contains { principals[$0] == .possible }
                    && group.resourceTypes.contains { resources[$0] == .possible }
            }
        if !isApplicable {
            add(
                .noApplicableAction,
                place,
                policy.scopeSpans.isEmpty
                    ? policy.span
                    : SourceSpan(from: policy.scopeSpans[0], through: policy.scopeSpans[2]),
                "no action in the scope applies to such a principal and such a resource"
            )
        }

        let fingerprint = outline.fingerprint(policy, syntax, checker.names)
        var entry = memo.entries[fingerprint] ?? ValidationMemo.Entry()
        entry.lastUse = memo.generation
        let common = [UInt32(mode.rawValue)] + grouping.literalKey(outline)
        let scopeLevel =
            [policy.principal, policy.action, policy.resource]
                .contains { $0.isMembership } ? 1 : 0
        var isImpossible = true
        var level = LevelCheck.Result()
        for group in groups {
            for principal in group.principalTypes where principals[principal] != .impossible {
                for resource in group.resourceTypes where resources[resource] != .impossible {
                    let key =
                        [grouping.number(of: principal), grouping.number(of: resource)]
                        + common + group.key
                    let environment = TypeChecker.Environment(
                        principal: principal,
                        action: group.action,
                        resource: resource,
                        context: group.context
                    )
                    let verdict = verdict(policy, outline, environment, key, &entry)
                    if !verdict.isFalse || verdict.failed { isImpossible = false }
                    for finding in verdict.findings {
                        add(finding, outline, place, group.actions)
                    }
                    level.merge(verdict.level, relativeTo: outline)
                }
            }
        }
        memo.entries[fingerprint] = entry
        if isImpossible, isApplicable {
            add(
                .impossiblePolicy,
                place,
                policy.span,
                "the policy never applies: its conditions are false in every request of the schema"
            )
        }
        checkLevel(level, scopeLevel, place)
    }

    private mutating func verdict(
        _ policy: PolicySyntax,
        _ outline: PolicyOutline,
        _ environment: TypeChecker.Environment,
        _ key: [UInt32],
        _ entry: inout ValidationMemo.Entry
    ) -> ValidationMemo.Verdict {
        if let known = entry.verdicts[key] {
            remembered += 1
            return known
        }
        checks += 1
        let answer = checker.check(policy.conditions, in: environment)
        let base = outline.nodes.first ?? 0
        var verdict = ValidationMemo.Verdict(
            isFalse: answer.type == .no,
            failed: answer.failed,
            findings: checker.findings.map { $0.moved(by: base) },
            level: LevelCheck.Result()
        )
        if !answer.failed {
            verdict.level = LevelCheck.measure(
                policy.conditions,
                checker,
                action: environment.action
            ).moved(by: base)
        }
        entry.verdicts[key] = verdict
        return verdict
    }

    private mutating func checkLevel(_ level: LevelCheck.Result, _ scopeLevel: Int, _ place: Place)
    {
        guard let levelMax else { return }
        let used = max(level.level, scopeLevel)
        if used > levelMax {
            add(
                .levelExceeded,
                place,
                level.level >= scopeLevel ? place.span(level.node) : place.syntax.span,
                "the policy follows entities over \(used) step(s), "
                    + "and \(levelMax) is the most allowed"
            )
        }
        if let node = level.unreachable {
            add(
                .levelExceeded,
                place,
                place.span(node),
                "data of an entity that is not in the request is read"
            )
        }
    }

    // MARK: Names

    private mutating func checkNames(_ outline: PolicyOutline, _ place: Place) {
        let syntax = policies.syntax
        for (index, site) in outline.entities {
            check(syntax[index], isAction: syntax.isActionType(syntax[index].type), site, place)
        }
        for (type, site) in outline.types {
            let name = name(type)
            guard schema.entityTypes[name] == nil, !schema.actionTypes.contains(name) else {
                continue
            }
            addUnknownType(type, place, place.span(site))
        }
    }

    private mutating func check(
        _ entity: EntityName,
        isAction: Bool,
        _ site: PolicyOutline.Site,
        _ place: Place
    ) {
        let key = checker.names[entity]
        if isAction {
            guard schema.actionIndices[key] == nil else { return }
            addUnknownAction(entity, place, place.span(site))
        } else if let declaration = schema.entityTypes[key.type] {
            guard let ids = declaration.ids, !ids.contains(key.id) else { return }
            let names = ids.map { checker.table.text($0) }
            add(
                .invalidEnumID,
                place,
                place.span(site),
                "`\(text(entity.type))` has no `\(text(entity.id))`",
                hint: Suggestion.hint(for: text(entity.id), among: names)
                    ?? "it has \(names.sorted().prefix(8).map { "`\($0)`" }.joined(separator: ", "))",
                entity: EntityUID(type: text(entity.type), id: text(entity.id))
            )
        } else {
            addUnknownType(entity.type, place, place.span(site))
        }
    }

    private mutating func addUnknownType(_ type: Symbol, _ place: Place, _ span: SourceSpan) {
        let known = schema.entityTypes.keys.map { checker.table.text($0) }
        add(
            .unknownEntityType,
            place,
            span,
            "the schema has no entity type `\(text(type))`",
            hint: Suggestion.hint(for: text(type), among: known)
                ?? Suggestion.hint(forUnqualified: text(type), among: known)
        )
    }

    private mutating func addUnknownAction(
        _ entity: EntityName,
        _ place: Place,
        _ span: SourceSpan
    ) {
        func written(_ type: Text, _ id: Text) -> Text { Text("\(type)::\(CedarText.quoted(id))") }
        let wanted = written(text(entity.type), text(entity.id))
        let known = schema.actionUIDs.map { written($0.type, $0.id) }
        let sameID = schema.actionUIDs.first { $0.id == text(entity.id) }
        add(
            .unknownAction,
            place,
            span,
            "the schema has no action `\(wanted)`",
            hint: Suggestion.hint(for: wanted, among: known)
                ?? sameID.map { "did you mean `\(written($0.type, $0.id))`?" },
            entity: EntityUID(type: text(entity.type), id: text(entity.id))
        )
    }

    /// The actions of one `in […]` are of one type, and there are some.
    private mutating func checkActionTypes(_ policy: PolicySyntax, _ place: Place) {
        guard mode == .strict, case .inSet(let actions) = policy.action else { return }
        if actions.isEmpty {
            add(.emptySet, place, place.span(.action), "an empty set has no element type")
        }
        var types: [Symbol] = []
        for action in actions where !types.contains(policies.syntax[action].type) {
            types.append(policies.syntax[action].type)
        }
        guard types.count > 1 else { return }
        let words = types.map { text($0).string }.joined(separator: " and ")
        let message = "the types \(words) have nothing in common"
        add(.incompatibleTypes, place, place.span(.action), message)
    }

    mutating func check(_ link: PolicySet.Link) {
        let template = policies.sources[link.template].syntax
        let place = Place(policy: link.id, syntax: template, spans: [])
        let syntax = policies.syntax
        for case let (value?, site) in [
            (link.principal, PolicyOutline.Site.principal), (link.resource, .resource),
        ] {
            let name = syntax[value]
            check(name, isAction: syntax.isActionType(name.type), site, place)
        }
        let kind = LinkKind(
            template: link.template,
            principalType: link.principal.map { syntax[$0].type },
            resourceType: link.resource.map { syntax[$0].type }
        )
        let isApplicable = linkKinds[kind] ?? self.isApplicable(link, template)
        linkKinds[kind] = isApplicable
        guard !isApplicable else { return }
        add(
            .noApplicableAction,
            place,
            .none,
            "no action in the scope applies to such a principal and such a resource"
        )
    }

    private func isApplicable(_ link: PolicySet.Link, _ template: PolicySyntax) -> Bool {
        guard isKnown(template.action) else { return false }
        let principal = template.principal.filled(with: link.principal)
        let resource = template.resource.filled(with: link.resource)
        return grouping.applicableActions(template.action).contains { index in
            let action = schema.actions[index]
            return action.principalTypes.contains { scope(principal, $0) == .possible }
                && action.resourceTypes.contains { scope(resource, $0) == .possible }
        }
    }

    // MARK: Scope

    private enum Applicability {
        case possible, impossible
        /// The scope names a type that the schema does not have.
        case unknown
    }

    private func scope(_ constraint: ScopeConstraint, _ type: NameID) -> Applicability {
        switch constraint {
        case .any, .inSet: return .possible
        case .equal(.slot), .in(.slot): return .possible
        case .equal(.entity(let index)):
            let wanted = name(policies.syntax[index].type)
            guard isKnown(wanted) else { return .unknown }
            return wanted == type ? .possible : .impossible
        case .in(.entity(let index)):
            let container = name(policies.syntax[index].type)
            guard isKnown(container) else { return .unknown }
            return schema.canBeIn(type, container) ? .possible : .impossible
        case .isType(let symbol): return name(symbol) == type ? .possible : .impossible
        case .isTypeIn(let symbol, let operand):
            return name(symbol) == type ? scope(.in(operand), type) : .impossible
        }
    }

    /// Whether every action of a list is declared; one that is not spoils the list.
    private func isKnown(_ constraint: ScopeConstraint) -> Bool {
        guard case .inSet(let actions) = constraint else { return true }
        return actions.allSatisfy { schema.actionIndices[key($0)] != nil }
    }

    private func isKnown(_ type: NameID) -> Bool {
        schema.entityTypes[type] != nil || schema.actionTypes.contains(type)
    }

    private func types(
        _ groups: [RequestGrouping.Group],
        _ list: KeyPath<RequestGrouping.Group, [NameID]>
    ) -> Set<NameID> {
        groups.reduce(into: []) { $0.formUnion($1[keyPath: list]) }
    }

    // MARK: Names of the table

    private func name(_ symbol: Symbol) -> NameID { checker.names[symbol] }

    private func key(_ index: EntityIndex) -> SchemaIndex.EntityKey {
        checker.names[policies.syntax[index]]
    }

    private func text(_ symbol: Symbol) -> Text { policies.syntax.symbols.text(symbol) }

    // MARK: Findings

    mutating func checkText() {
        for warning in TextWarnings.find(in: policies) {
            let note = Note(
                code: warning.code,
                policy: warning.policy,
                span: warning.span,
                message: warning.message,
                hint: warning.hint
            )
            guard noteIndices[note] == nil else { continue }
            noteIndices[note] = notes.count
            notes.append((note, []))
        }
    }

    /// A policy, and where its parts stand.
    private struct Place {
        let policy: PolicyID
        let syntax: PolicySyntax
        let spans: [SourceSpan]

        func span(_ node: ExpressionID?) -> SourceSpan {
            node.map { spans[Int($0.index)] } ?? syntax.span
        }

        func span(_ site: PolicyOutline.Site) -> SourceSpan {
            // A link has no text.
            guard !spans.isEmpty || !syntax.isTemplate else { return .none }
            let scope = syntax.scopeSpans
            switch site {
            case .node(let id): return span(id)
            case .principal: return scope.first ?? syntax.span
            case .action: return scope.isEmpty ? syntax.span : scope[1]
            case .resource: return scope.last ?? syntax.span
            }
        }
    }

    private mutating func add(
        _ finding: TypeChecker.Finding,
        _ outline: PolicyOutline,
        _ place: Place,
        _ actions: [Int]
    ) {
        let node = ExpressionID(index: finding.node.index + (outline.nodes.first ?? 0))
        add(
            finding.code,
            place,
            place.span(node),
            finding.message,
            hint: finding.hint,
            actions: actions
        )
    }

    private mutating func add(
        _ code: ValidationFinding.Code,
        _ place: Place,
        _ span: SourceSpan,
        _ message: String,
        hint: String? = nil,
        actions: [Int] = [],
        entity: EntityUID? = nil
    ) {
        let note = Note(
            code: code,
            policy: place.policy,
            span: span,
            message: message,
            hint: hint,
            entity: entity
        )
        if let known = noteIndices[note] {
            notes[known].actions.formUnion(actions)
        } else {
            noteIndices[note] = notes.count
            notes.append((note, Set(actions)))
        }
    }

    func report() -> ValidationReport {
        var lines = LineCounter()
        var findings: [ValidationFinding] = []
        let ordered = notes.enumerated().sorted { a, b in
            let (x, y) = (a.element.note.span, b.element.note.span)
            // Links have no span and stay behind what does.
            let (noneX, noneY) = (x.end == 0, y.end == 0)
            if noneX != noneY { return noneY }
            return (x.start, a.offset) < (y.start, b.offset)
        }
        for (_, (note, actions)) in ordered {
            var position = (line: 0, column: 0)
            if note.span.end > 0, !policies.text.isEmpty {
                position = lines.position(of: Int(note.span.start), in: policies.text)
            }
            findings.append(
                ValidationFinding(
                    code: note.code,
                    policy: note.policy,
                    span: note.span,
                    line: position.line,
                    column: position.column,
                    message: note.message,
                    hint: note.hint,
                    actions: actions.sorted().map { schema.actionUIDs[$0] },
                    entity: note.entity
                )
            )
        }
        return ValidationReport(findings: findings, checks: checks, remembered: remembered)
    }
}

extension ScopeConstraint {
    fileprivate var isMembership: Bool {
        switch self {
        case .in, .inSet, .isTypeIn: true
        case .any, .equal, .isType: false
        }
    }
}

extension TypeChecker.Finding {
    fileprivate func moved(by base: UInt32) -> Self {
        Self(
            code: code,
            node: ExpressionID(index: node.index - base),
            message: message,
            hint: hint
        )
    }
}

extension LevelCheck.Result {
    fileprivate func moved(by base: UInt32) -> Self {
        func move(_ id: ExpressionID?) -> ExpressionID? {
            id.map { ExpressionID(index: $0.index - base) }
        }
        return Self(level: level, node: move(node), unreachable: move(unreachable))
    }

    fileprivate mutating func merge(_ other: Self, relativeTo outline: PolicyOutline) {
        let base = outline.nodes.first ?? 0
        func move(_ id: ExpressionID?) -> ExpressionID? {
            id.map { ExpressionID(index: $0.index + base) }
        }
        if other.level > level {
            level = other.level
            node = move(other.node)
        }
        unreachable = unreachable ?? move(other.unreachable)
    }
}
