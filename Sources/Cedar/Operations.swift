/// The operators and functions that need nothing but their operands.
///
/// Evaluation and partial evaluation both use these, so that they cannot disagree on a value.
extension Memory {
    @inline(__always) func integer(_ cell: Cell) throws(EvaluationFailure) -> Int64 {
        guard cell.kind == .long else { throw .type }
        return cell.integer
    }

    /// Applies an operator that looks at no entity and evaluates both of its operands.
    @inline(__always)
    func apply(
        _ operation: BinaryOperator,
        _ left: Cell,
        _ right: Cell
    ) throws(EvaluationFailure) -> Cell {
        switch operation {
        case .equal: return Cell(equal(left, right))
        case .notEqual: return Cell(!equal(left, right))
        case .less, .lessOrEqual, .greater, .greaterOrEqual:
            guard left.kind == right.kind,
                left.kind == .long || left.kind == .datetime || left.kind == .duration
            else { throw .type }
            let (a, b) = (left.integer, right.integer)
            switch operation {
            case .less: return Cell(a < b)
            case .lessOrEqual: return Cell(a <= b)
            case .greater: return Cell(a > b)
            default: return Cell(a >= b)
            }
        case .add: return try checked(integer(left).addingReportingOverflow(integer(right)))
        case .subtract:
            return try checked(integer(left).subtractingReportingOverflow(integer(right)))
        case .multiply:
            return try checked(integer(left).multipliedReportingOverflow(by: integer(right)))
        case .contains:
            guard left.kind == .set else { throw .type }
            return Cell(contains(left, right))
        case .containsAll, .containsAny:
            guard left.kind == .set, right.kind == .set else { throw .type }
            let wanted = operation == .containsAny
            for index in 0..<right.count
            where contains(left, cell(right.region, right.start + index)) == wanted {
                return Cell(wanted)
            }
            return Cell(!wanted)
        case .and, .or, .in, .hasTag, .getTag:
            preconditionFailure("these are lazy or look at entities")
        }
    }

    private func checked(
        _ result: (partialValue: Int64, overflow: Bool)
    ) throws(EvaluationFailure) -> Cell {
        if result.overflow { throw .overflow }
        return Cell(.long, result.partialValue)
    }

    private func require(_ cell: Cell, _ kind: Cell.Kind) throws(EvaluationFailure) {
        guard cell.kind == kind else { throw .type }
    }

    /// Calls an extension function with its one or two arguments; of one, both are that one.
    func call(
        _ function: ExtensionFunction,
        _ first: Cell,
        _ second: Cell
    ) throws(EvaluationFailure) -> Cell {
        switch function {
        case .ip, .decimal, .datetime, .duration:
            try require(first, .string)
            guard let cell = scratch.construct(function, string(first)) else {
                throw .extensionValue
            }
            return cell
        case .isIpv4, .isIpv6, .isLoopback, .isMulticast:
            try require(first, .ip)
            let address = address(first)
            switch function {
            case .isIpv4: return Cell(!address.isIPv6)
            case .isIpv6: return Cell(address.isIPv6)
            case .isLoopback: return Cell(address.isLoopback)
            default: return Cell(address.isMulticast)
            }
        case .isInRange:
            try require(first, .ip)
            try require(second, .ip)
            return Cell(address(first).isInRange(address(second)))
        case .lessThan, .lessThanOrEqual, .greaterThan, .greaterThanOrEqual:
            try require(first, .decimal)
            try require(second, .decimal)
            let (a, b) = (first.integer, second.integer)
            switch function {
            case .lessThan: return Cell(a < b)
            case .lessThanOrEqual: return Cell(a <= b)
            case .greaterThan: return Cell(a > b)
            default: return Cell(a >= b)
            }
        case .offset:
            try require(first, .datetime)
            try require(second, .duration)
            let (value, overflow) = first.integer.addingReportingOverflow(second.integer)
            if overflow { throw .extensionValue }
            return Cell(.datetime, value)
        case .durationSince:
            try require(first, .datetime)
            try require(second, .datetime)
            let (value, overflow) = first.integer.subtractingReportingOverflow(second.integer)
            if overflow { throw .extensionValue }
            return Cell(.duration, value)
        case .toDate:
            try require(first, .datetime)
            let instant = CedarDatetime(milliseconds: first.integer)
            guard let value = instant.startOfDay else { throw .extensionValue }
            return Cell(.datetime, value)
        case .toTime:
            try require(first, .datetime)
            return Cell(.duration, CedarDatetime(milliseconds: first.integer).timeOfDay)
        case .toMilliseconds, .toSeconds, .toMinutes, .toHours, .toDays:
            try require(first, .duration)
            return Cell(.long, first.integer / function.unit)
        }
    }
}

extension ExtensionFunction {
    /// The milliseconds of the unit that a conversion counts in.
    fileprivate var unit: Int64 {
        switch self {
        case .toSeconds: 1000
        case .toMinutes: 60_000
        case .toHours: 3_600_000
        case .toDays: 86_400_000
        default: 1
        }
    }
}
