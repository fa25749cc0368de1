import JSON

// Operators, literals and functions: all operands are evaluated, so that one that fails fails the whole.

extension PartialWalk {
    // MARK: Operators

    mutating func binary(
        _ operation: BinaryOperator,
        _ left: ExpressionID,
        _ right: ExpressionID,
        _ id: ExpressionID
    ) throws(TooDeep) -> Operand {
        if operation == .and || operation == .or { return try chain(id) }
        if operation.isChained {
            let (first, rest) = syntax.chain(id)
            var (result, original) = (try evaluate(first), first)
            for (operation, right, node) in rest {
                let next = try evaluate(right)
                result = try strict(operation, result, next, original, right)
                original = node
            }
            return result
        }
        let (a, b) = (try evaluate(left), try evaluate(right))
        switch operation {
        case .in: return try membership(a, b, left, right)
        case .hasTag, .getTag: return try tag(operation, a, b, left, right)
        default: return try strict(operation, a, b, left, right)
        }
    }

    mutating func strict(
        _ operation: BinaryOperator,
        _ a: Operand,
        _ b: Operand,
        _ left: ExpressionID,
        _ right: ExpressionID
    ) throws(TooDeep) -> Operand {
        if case .value(let x) = a, case .value(let y) = b {
            return value { () throws(EvaluationFailure) in try memory.apply(operation, x, y) }
        }
        if case .failure = a { return .failure }
        if case .failure = b { return .failure }
        let isExact = operation != .add && operation != .subtract && operation != .multiply
        let id = try writer.add(.binary(operation, embed(a, left), embed(b, right)))
        let isTotal = operation == .equal || operation == .notEqual || isTyped
        return .residual(id, mayFail: !isTotal || !isExact || mayFail(a) || mayFail(b))
    }

    mutating func membership(
        _ a: Operand,
        _ b: Operand,
        _ left: ExpressionID,
        _ right: ExpressionID
    ) throws(TooDeep) -> Operand {
        if case .failure = a { return .failure }
        if case .failure = b { return .failure }
        if case .value(let entity) = a, case .value(let container) = b {
            guard entity.kind == .entity,
                container.kind == .entity || container.kind == .set
            else { return .failure }
            var containers = [container]
            if container.kind == .set {
                containers = (0..<container.count).map {
                    memory.cell(container.region, container.start + $0)
                }
                guard containers.allSatisfy({ $0.kind == .entity }) else { return .failure }
            }
            let own = uid(entity)
            let answers = containers.map { isIn(own, uid($0)) }
            if answers.contains(true) { return .value(Cell(true)) }
            if !answers.contains(nil) { return .value(Cell(false)) }
        }
        let id = try writer.add(.binary(.in, embed(a, left), embed(b, right)))
        return .residual(id, mayFail: !isTyped || mayFail(a) || mayFail(b))
    }

    mutating func tag(
        _ operation: BinaryOperator,
        _ a: Operand,
        _ b: Operand,
        _ left: ExpressionID,
        _ right: ExpressionID
    ) throws(TooDeep) -> Operand {
        if case .failure = a { return .failure }
        if case .failure = b { return .failure }
        if case .value(let entity) = a, case .value(let key) = b {
            guard entity.kind == .entity, key.kind == .string else { return .failure }
            let isTest = operation == .hasTag
            switch find(uid(entity)) {
            case .absent: return isTest ? .value(Cell(false)) : .failure
            case .unknown: break
            case .known(let entity):
                guard let tags = entity.tags else { break }
                guard let tag = tags[Text(bytes(key))] else {
                    return isTest ? .value(Cell(false)) : .failure
                }
                if case .unknown = tag { break }
                if isTest { return .value(Cell(true)) }
                let id = try writer.add(.binary(.getTag, embed(a, left), embed(b, right)))
                return operand(tag, id, mayFail: !isTyped)
            }
        }
        let id = try writer.add(.binary(operation, embed(a, left), embed(b, right)))
        // The checker lets no tag be read without a test.
        return .residual(id, mayFail: !isTyped || mayFail(a) || mayFail(b))
    }

    // MARK: Literals and calls

    mutating func set(
        _ list: ListRange,
        _ id: ExpressionID
    ) throws(TooDeep) -> Operand {
        let elements = syntax[list].map { ExpressionID(index: $0) }
        let operands = try evaluate(elements)
        if operands.contains(where: \.isFailure) { return .failure }
        let cells = operands.compactMap(\.cell)
        if cells.count == elements.count { return .value(memory.add(set: cells, to: heap)) }
        var ids: [UInt32] = []
        for (operand, element) in zip(operands, elements) {
            ids.append(try embed(operand, element).index)
        }
        let expression = try writer.add(.set(writer.add(ids)))
        return .residual(expression, mayFail: operands.contains { mayFail($0) })
    }

    mutating func record(
        _ list: ListRange,
        _ id: ExpressionID
    ) throws(TooDeep) -> Operand {
        let members = Array(syntax[list])
        let keys = stride(from: 0, to: members.count, by: 2).map { Symbol(index: members[$0]) }
        let values = stride(from: 1, to: members.count, by: 2).map {
            ExpressionID(index: members[$0])
        }
        let operands = try evaluate(values)
        if operands.contains(where: \.isFailure) { return .failure }
        let cells = operands.compactMap(\.cell)
        if cells.count == values.count {
            let pairs = zip(keys, cells).map { (key: key($0), value: $1) }
            return .value(memory.add(record: pairs, to: heap))
        }
        var copies: [UInt32] = []
        for (key, (operand, value)) in zip(keys, zip(operands, values)) {
            copies += [writer.symbol(key).index, try embed(operand, value).index]
        }
        let expression = try writer.add(.record(writer.add(copies)))
        return .residual(expression, mayFail: operands.contains { mayFail($0) })
    }

    mutating func call(
        _ function: ExtensionFunction,
        _ list: ListRange,
        _ id: ExpressionID
    ) throws(TooDeep) -> Operand {
        let arguments = syntax[list].map { ExpressionID(index: $0) }
        let operands = try evaluate(arguments)
        if operands.contains(where: \.isFailure) { return .failure }
        guard arguments.count == function.argumentCount else { return .failure }
        let cells = operands.compactMap(\.cell)
        if cells.count == arguments.count, let first = cells.first, let last = cells.last {
            return value { () throws(EvaluationFailure) in
                try memory.call(function, first, last)
            }
        }
        var ids: [UInt32] = []
        for (operand, argument) in zip(operands, arguments) {
            ids.append(try embed(operand, argument).index)
        }
        let expression = try writer.add(.call(function, writer.add(ids)))
        let isTotal: Bool
        switch function {
        case .ip, .decimal, .datetime, .duration, .offset, .durationSince, .toDate: isTotal = false
        default: isTotal = isTyped
        }
        return .residual(expression, mayFail: !isTotal || operands.contains { mayFail($0) })
    }

    mutating func evaluate(_ ids: [ExpressionID]) throws(TooDeep) -> [Operand] {
        var operands: [Operand] = []
        for id in ids { operands.append(try evaluate(id)) }
        return operands
    }
}

extension PartialWalk.Operand {
    fileprivate var cell: Cell? {
        if case .value(let cell) = self { cell } else { nil }
    }

    fileprivate var isFailure: Bool {
        if case .failure = self { true } else { false }
    }
}
