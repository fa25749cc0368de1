import JSON

/// Writes ``Syntax`` as policy text in one fixed layout.
///
/// Parsing what was printed and printing it again gives the same text; that is what lets text be
/// the stored form and JSON the exchanged one.
struct Printer {
    private let syntax: Syntax
    private var out: [UInt8] = []

    static func text(_ policies: some Sequence<PolicySyntax>, of syntax: Syntax) -> String {
        var printer = Printer(syntax: syntax)
        for policy in policies {
            if !printer.out.isEmpty { printer.write("\n") }
            printer.policy(policy)
        }
        return String(decoding: printer.out, as: UTF8.self)
    }

    /// One expression.
    static func text(_ expression: ExpressionID, of syntax: Syntax) -> String {
        var printer = Printer(syntax: syntax)
        printer.expression(expression, above: 0)
        return String(decoding: printer.out, as: UTF8.self)
    }

    private init(syntax: Syntax) {
        self.syntax = syntax
    }

    private mutating func write(_ text: String) { out.append(contentsOf: text.utf8) }
    private mutating func write(_ symbol: Symbol) { out.append(contentsOf: syntax.symbols[symbol]) }

    // MARK: Policies

    private mutating func policy(_ policy: PolicySyntax) {
        for annotation in policy.annotations {
            write("@")
            write(annotation.key)
            if let value = annotation.value {
                write("(")
                string(value)
                write(")")
            }
            write("\n")
        }
        write(policy.effect == .permit ? "permit (principal" : "forbid (principal")
        constraint(policy.principal)
        write(", action")
        constraint(policy.action)
        write(", resource")
        constraint(policy.resource)
        write(")")
        for condition in policy.conditions {
            write(condition.isWhen ? "\nwhen { " : "\nunless { ")
            expression(condition.body, above: 0)
            write(" }")
        }
        write(";\n")
    }

    private mutating func constraint(_ constraint: ScopeConstraint) {
        switch constraint {
        case .any: break
        case .equal(let operand):
            write(" == ")
            self.operand(operand)
        case .in(let operand):
            write(" in ")
            self.operand(operand)
        case .isType(let type):
            write(" is ")
            write(type)
        case .isTypeIn(let type, let operand):
            write(" is ")
            write(type)
            write(" in ")
            self.operand(operand)
        case .inSet(let actions):
            write(" in [")
            for (index, action) in actions.enumerated() {
                if index > 0 { write(", ") }
                entity(action)
            }
            write("]")
        }
    }

    private mutating func operand(_ operand: ScopeConstraint.Operand) {
        switch operand {
        case .entity(let index): entity(index)
        case .slot(let slot): write(slot.name.description)
        }
    }

    private mutating func entity(_ index: EntityIndex) {
        let name = syntax[index]
        write(name.type)
        write("::")
        string(name.id)
    }

    // MARK: Expressions

    private static let unaryLevel = 6
    private static let memberLevel = 7

    private func level(_ expression: Expression) -> Int {
        switch expression {
        case .conditional: 0
        case .binary(let operation, _, _): operation.precedence
        case .has, .like, .isType, .isTypeIn: 3
        case .not, .negate: Self.unaryLevel
        // A negative number is a unary expression to the grammar.
        case .long(let value): value < 0 ? Self.unaryLevel : Self.memberLevel
        default: Self.memberLevel
        }
    }

    /// Writes an expression, in parentheses if it binds no tighter than `outer`.
    private mutating func expression(_ id: ExpressionID, above outer: Int) {
        let expression = syntax[id]
        let needsParentheses = level(expression) < outer
        if needsParentheses { write("(") }
        body(expression, id)
        if needsParentheses { write(")") }
    }

    private mutating func body(_ expression: Expression, _ id: ExpressionID) {
        switch expression {
        case .boolean(let value): write(value ? "true" : "false")
        case .long(let value): write(String(value))
        case .string(let symbol): string(symbol)
        case .entity(let index): entity(index)
        case .variable(let variable): write(variable.name.description)
        case .not(let operand): unary("!", operand)
        case .negate(let operand): unary("-", operand)
        case .isEmpty(let receiver):
            self.expression(receiver, above: Self.memberLevel)
            write(".isEmpty()")
        case .binary(let operation, let left, let right) where operation.isMethod:
            self.expression(left, above: Self.memberLevel)
            write(".\(operation.name)(")
            self.expression(right, above: 0)
            write(")")
        case .binary: binary(id)
        case .attribute(let receiver, let name):
            self.expression(receiver, above: Self.memberLevel)
            attribute(name)
        case .has(let left, let path):
            self.expression(left, above: 4)
            write(" has ")
            attributePath(path)
        case .like(let left, let pattern):
            self.expression(left, above: 4)
            write(" like ")
            string(pattern, asPattern: true)
        case .isType(let left, let type):
            self.expression(left, above: 4)
            write(" is ")
            write(type)
        case .isTypeIn(let left, let type, let right):
            self.expression(left, above: 4)
            write(" is ")
            write(type)
            write(" in ")
            self.expression(right, above: 4)
        case .conditional(let condition, let then, let otherwise):
            write("if ")
            self.expression(condition, above: 0)
            write(" then ")
            self.expression(then, above: 0)
            write(" else ")
            self.expression(otherwise, above: 0)
        case .set(let list):
            write("[")
            self.list(syntax[list])
            write("]")
        case .record(let list): record(list)
        case .call(let function, let list): call(function, syntax[list])
        }
    }

    /// At most four operators may stand in a row, and a minus before a literal would become part of
    /// it.
    private mutating func unary(_ sign: String, _ operand: ExpressionID) {
        write(sign)
        switch syntax[operand] {
        case .not(let inner) where sign == "!" && !isUnary(inner): expression(operand, above: 6)
        case .negate(let inner) where sign == "-" && !isUnary(inner) && !isLong(inner):
            expression(operand, above: 6)
        case .long, .not, .negate:
            write("(")
            expression(operand, above: 0)
            write(")")
        default: expression(operand, above: Self.memberLevel)
        }
    }

    private func isUnary(_ id: ExpressionID) -> Bool {
        switch syntax[id] {
        case .not, .negate: true
        default: false
        }
    }

    private func isLong(_ id: ExpressionID) -> Bool {
        if case .long = syntax[id] { true } else { false }
    }

    private mutating func binary(_ id: ExpressionID) {
        let (first, rest) = syntax.chain(id)
        guard let level = rest.first?.0.precedence else { return }
        // Relations do not chain, so both sides bind tighter; the others lean to the left.
        expression(first, above: level == 3 ? 4 : level)
        for (operation, right, _) in rest {
            write(" \(operation.name) ")
            expression(right, above: level + 1)
        }
    }

    private mutating func list(_ list: ArraySlice<UInt32>) {
        for (index, element) in list.enumerated() {
            if index > 0 { write(", ") }
            expression(ExpressionID(index: element), above: 0)
        }
    }

    private mutating func record(_ list: ListRange) {
        let members = syntax[list]
        write("{")
        for index in stride(from: members.startIndex, to: members.endIndex, by: 2) {
            if index > members.startIndex { write(", ") }
            name(Symbol(index: members[index]))
            write(": ")
            expression(ExpressionID(index: members[index + 1]), above: 0)
        }
        write("}")
    }

    private mutating func call(_ function: ExtensionFunction, _ arguments: ArraySlice<UInt32>) {
        guard !function.isConstructor, let receiver = arguments.first else {
            write("\(function.name)(")
            list(arguments)
            return write(")")
        }
        expression(ExpressionID(index: receiver), above: Self.memberLevel)
        write(".\(function.name)(")
        list(arguments.dropFirst())
        write(")")
    }

    private mutating func attribute(_ name: Symbol) {
        if ReservedWords.isName(syntax.symbols[name]) {
            write(".")
            write(name)
        } else {
            write("[")
            string(name)
            write("]")
        }
    }

    private mutating func attributePath(_ path: ListRange) {
        for (index, name) in syntax[path].enumerated() {
            if index > 0 { write(".") }
            self.name(Symbol(index: name))
        }
    }

    private mutating func name(_ name: Symbol) {
        if ReservedWords.isName(syntax.symbols[name]) { write(name) } else { string(name) }
    }

    private mutating func string(_ symbol: Symbol, asPattern: Bool = false) {
        let bytes = syntax.symbols[symbol]
        out.append(UInt8(ascii: "\""))
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                out.append(UInt8(ascii: "\\"))
                out.append(byte)
            case UInt8(ascii: "\n"): write("\\n")
            case UInt8(ascii: "\r"): write("\\r")
            case UInt8(ascii: "\t"): write("\\t")
            case 0: write("\\0")
            case 1..<0x20, 0x7F: write("\\u{\(String(byte, radix: 16))}")
            case UInt8(ascii: "*") where asPattern: write("\\*")
            case Escapes.wildcard: out.append(UInt8(ascii: "*"))
            default: out.append(byte)
            }
        }
        out.append(UInt8(ascii: "\""))
    }
}
