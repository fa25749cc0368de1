import JSON

// What is known of the attributes of entities and records.

extension PartialWalk {
    mutating func attribute(
        _ holder: ExpressionID,
        _ name: Symbol,
        _ id: ExpressionID
    ) throws(TooDeep) -> Operand {
        let left = try evaluate(holder)
        switch left {
        case .failure: return .failure
        case .value(let cell) where cell.kind == .record:
            guard let member = memory.member(cell, key(name)) else { return .failure }
            return .value(member)
        case .value(let cell) where cell.kind == .entity:
            switch find(uid(cell)) {
            case .absent: return .failure
            case .unknown: break
            case .known(let entity):
                guard let attributes = entity.attributes else { break }
                guard let member = attributes[text(name)] else { return .failure }
                let expression = try writer.add(
                    .attribute(embed(left, holder), writer.symbol(name))
                )
                // The entity exists. Whether the attribute does the checker knows: it lets nothing pass that reads an
                // optional one without a test.
                return operand(member, expression, mayFail: !isTyped)
            }
        case .value: return .failure
        case .partial(let members, let expression):
            guard let member = members[text(name)] else { return .failure }
            let id = try writer.add(.attribute(expression, writer.symbol(name)))
            return operand(member, id, mayFail: !isTyped)
        case .residual: break
        }
        let expression = try writer.add(.attribute(embed(left, holder), writer.symbol(name)))
        // An optional attribute has been tested for, and so has its entity.
        let isSafe =
            isTyped && (isRecord(holder) || !isRequired(name, of: holder) || isPresent(holder))
        return .residual(expression, mayFail: !isSafe || mayFail(left))
    }

    /// Whether an entity that is not known is known to have data.
    private func isPresent(_ holder: ExpressionID) -> Bool {
        switch syntax[holder] {
        case .variable(.principal): return request.principal.exists
        case .variable(.resource): return request.resource.exists
        default:
            guard let type = type(holder), case .entity(let types) = typing.table[type] else {
                return false
            }
            return !entities.complete.isEmpty
                && types.allSatisfy { entities.complete.contains(typing.table.text($0)) }
        }
    }

    /// What is known of a value on the way of an extended `has`.
    private enum Holder {
        case cell(Cell)
        case partial([Text: PartialValue])
        case unknown
    }

    mutating func has(
        _ holder: ExpressionID,
        _ path: ListRange,
        _ id: ExpressionID
    ) throws(TooDeep) -> Operand {
        let left = try evaluate(holder)
        var at: Holder
        switch left {
        case .failure: return .failure
        case .value(let cell): at = .cell(cell)
        case .partial(let members, _): at = .partial(members)
        case .residual: at = .unknown
        }
        for symbol in syntax[path] {
            let name = Symbol(index: symbol)
            var members: [Text: PartialValue]?
            switch at {
            case .unknown: break
            case .partial(let known): members = known
            case .cell(let cell):
                switch cell.kind {
                case .record:
                    guard let member = memory.member(cell, key(name)) else {
                        return .value(Cell(false))
                    }
                    at = .cell(member)
                    continue
                case .entity:
                    switch find(uid(cell)) {
                    case .absent: return .value(Cell(false))
                    case .unknown: break
                    case .known(let entity): members = entity.attributes
                    }
                default: return .failure
                }
            }
            guard let members else {
                at = .unknown
                break
            }
            guard let member = members[text(name)] else { return .value(Cell(false)) }
            switch member {
            case .known(let value): at = .cell(heap.add(value))
            case .record(let inner): at = .partial(inner)
            case .unknown: at = .unknown
            }
            if case .unknown = at {
                // A required attribute of something that is there is there.
                if path.count == 1, isRequired(name, of: holder) {
                    return .value(Cell(true))
                }
                break
            }
        }
        if case .unknown = at {
            let expression = Expression.has(try embed(left, holder), writer.names(path))
            return .residual(
                try writer.add(expression),
                mayFail: !isTyped || mayFail(left)
            )
        }
        return .value(Cell(true))
    }

    func find(_ uid: EntityUID) -> PartialEntities.Knowledge<PartialEntity> {
        // An action has neither attributes nor tags.
        guard !isAction(uid) else {
            return .known(PartialEntity(uid: uid, attributes: [:], parents: nil, tags: [:]))
        }
        return entities.find(uid)
    }
}
