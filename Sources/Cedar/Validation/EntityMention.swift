import JSON

/// A place in a policy where an entity is named.
public struct EntityMention: Hashable, Sendable {
    /// The policy or template.
    public let policy: PolicyID
    /// The entity.
    public let uid: EntityUID
    /// Whether it stands in the scope; else it stands in a condition.
    public let isInScope: Bool
    /// Where, in bytes of the text; empty if the policy came as JSON.
    public let span: SourceSpan
}

extension PolicySet {
    /// Whether some policy uses the context otherwise than to read an attribute of it by name: as a value, or to ask
    /// whether it has something.
    ///
    /// Where none does, a member that is left out makes every policy fail that wants it.
    public var looksAtWholeContext: Bool {
        func isContext(_ id: ExpressionID) -> Bool {
            if case .variable(.context) = syntax[id] { true } else { false }
        }
        for source in sources {
            var pending = source.syntax.conditions.map(\.body)
            if pending.contains(where: isContext) { return true }
            while let id = pending.popLast() {
                if case .attribute(let holder, _) = syntax[id], isContext(holder) { continue }
                var looks = false
                syntax.forEachChild(of: id) { child in
                    looks = looks || isContext(child)
                    pending.append(child)
                }
                if looks { return true }
            }
        }
        return false
    }

    /// Every entity literal of the set, in the order of its policies, and within one in the order of the text.
    public var entityMentions: [EntityMention] {
        sources.flatMap { source in
            let scope = source.syntax.scopeSpans
            return PolicyOutline(source.syntax, syntax).entities.map { index, site in
                let span: SourceSpan =
                    switch site {
                    case .node(let id): syntax.spans.isEmpty ? .none : syntax.spans[Int(id.index)]
                    case .principal: scope.first ?? source.syntax.span
                    case .action: scope.count > 1 ? scope[1] : source.syntax.span
                    case .resource: scope.last ?? source.syntax.span
                    }
                var isInScope = true
                if case .node = site { isInScope = false }
                return EntityMention(
                    policy: source.id,
                    uid: EntityUID(
                        type: syntax.symbols.text(syntax[index].type),
                        id: syntax.symbols.text(syntax[index].id)
                    ),
                    isInScope: isInScope,
                    span: span
                )
            }.sorted { $0.span.start < $1.span.start }
        }
    }
}
