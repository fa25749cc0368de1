// The extension types: what their functions take and give.

extension TypeChecker {
    mutating func call(
        _ function: ExtensionFunction,
        _ arguments: ListRange,
        _ id: ExpressionID,
        _ prior: Capabilities
    ) -> Answer {
        let arguments = syntax[arguments].map { ExpressionID(index: $0) }
        let result = function.resultType
        var failed = false
        if arguments.count != function.argumentCount {
            report(
                .wrongArgumentCount,
                id,
                "`\(function.name)` takes \(function.argumentCount) argument(s), "
                    + "not \(arguments.count)"
            )
            failed = true
        }
        if function.isConstructor, isStrict, !arguments.allSatisfy({ isLiteral($0) }) {
            report(
                .nonLiteralConstructor,
                id,
                "`\(function.name)` takes a string literal only",
                hint: "give the attribute the type \(table.describe(result)) instead of String"
            )
            failed = true
        }
        guard !failed else {
            // What else is wrong is wrong inside the arguments.
            for argument in arguments { _ = check(argument, prior) }
            return .failure(result)
        }
        for (argument, expected) in zip(arguments, function.argumentTypes) {
            failed = expect(argument, .type(expected), prior).failed || failed
        }
        if function.isConstructor, let argument = arguments.first,
            case .string(let symbol) = syntax[argument],
            Heap(.policies).construct(function, syntax.symbols[symbol]) == nil
        {
            report(
                .invalidExtensionLiteral,
                argument,
                "`\(quoted(symbol))` is no value of \(table.describe(result))"
            )
            failed = true
        }
        return Answer(type: result, failed: failed)
    }

    private func isLiteral(_ id: ExpressionID) -> Bool {
        switch syntax[id] {
        case .boolean, .long, .string, .entity: true
        default: false
        }
    }
}

extension ExtensionFunction {
    fileprivate var argumentTypes: [TypeID] {
        switch self {
        case .ip, .decimal, .datetime, .duration: [.string]
        case .isIpv4, .isIpv6, .isLoopback, .isMulticast: [.ipaddr]
        case .isInRange: [.ipaddr, .ipaddr]
        case .lessThan, .lessThanOrEqual, .greaterThan, .greaterThanOrEqual: [.decimal, .decimal]
        case .offset: [.datetime, .duration]
        case .durationSince: [.datetime, .datetime]
        case .toDate, .toTime: [.datetime]
        case .toMilliseconds, .toSeconds, .toMinutes, .toHours, .toDays: [.duration]
        }
    }

    fileprivate var resultType: TypeID {
        switch self {
        case .ip: .ipaddr
        case .decimal: .decimal
        case .datetime, .offset, .toDate: .datetime
        case .duration, .durationSince, .toTime: .duration
        case .toMilliseconds, .toSeconds, .toMinutes, .toHours, .toDays: .long
        default: .bool
        }
    }
}
