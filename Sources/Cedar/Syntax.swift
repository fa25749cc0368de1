import JSON

/// The syntax of a policy set: one flat arena of expressions, and the policies over it.
///
/// Nodes refer to each other by index, so that walking them counts no references; every node has
/// the span of its text. Compiler, printer, JSON writer and (later) the validator all read this and
/// nothing else.
struct Syntax: Sendable {
    var symbols = SymbolTable()
    var expressions: [Expression] = []
    var spans: [SourceSpan] = []
    /// How deeply expressions nest below each node; bounds every recursion over the tree.
    var heights: [UInt8] = []
    /// Operands of sets and calls; key and value in turn for records; symbols of attribute paths.
    var lists: [UInt32] = []
    private(set) var entities: [EntityName] = []
    private var entityIndices = HashSlots()

    static let depthMax = 64

    mutating func add(_ entity: EntityName) -> EntityIndex {
        if let known = find(entity) { return known }
        let index = entities.count
        entities.append(entity)
        file(index)
        return EntityIndex(index: UInt32(index))
    }

    func find(_ entity: EntityName) -> EntityIndex? {
        entityIndices.find(hash(of: entity)) { entities[$0] == entity }
            .map { EntityIndex(index: UInt32($0)) }
    }

    /// The entity with the name that `memory` holds in cells.
    @inline(__always) func find(_ cells: Heap.EntityCells, in memory: Memory) -> EntityIndex? {
        let found = entityIndices.find(cells.hash) { number in
            let name = entities[number]
            return symbols.equals(name.type, memory.string(cells.type))
                && symbols.equals(name.id, memory.string(cells.id))
        }
        return found.map { EntityIndex(index: UInt32($0)) }
    }

    /// The same as that of the entity in a heap.
    func hash(of entity: EntityName) -> UInt32 {
        ByteHash.combine(symbols.hash(entity.type), symbols.hash(entity.id))
    }

    /// Forgets all symbols and entities from these numbers on; nothing else may refer to them.
    mutating func truncate(symbolCount: Int, entityCount: Int) {
        symbols.truncate(to: symbolCount)
        entities.removeSubrange(entityCount...)
        entityIndices = HashSlots()
        for index in entities.indices { file(index) }
    }

    private mutating func file(_ index: Int) {
        entityIndices.insert(index, hash(of: entities[index]))
    }

    subscript(_ id: ExpressionID) -> Expression { expressions[Int(id.index)] }
    subscript(_ entity: EntityIndex) -> EntityName { entities[Int(entity.index)] }
    subscript(_ range: ListRange) -> ArraySlice<UInt32> {
        lists[Int(range.start)..<Int(range.start) + Int(range.count)]
    }

    func span(_ id: ExpressionID) -> SourceSpan { spans[Int(id.index)] }

    mutating func add(_ list: [UInt32]) -> ListRange {
        let range = ListRange(start: UInt32(lists.count), count: UInt32(list.count))
        lists.append(contentsOf: list)
        return range
    }

    mutating func add(list: [ExpressionID]) -> ListRange { add(list.map(\.index)) }

    /// Adds a node, or nothing if it would nest deeper than ``depthMax``.
    mutating func add(_ expression: Expression, _ span: SourceSpan) -> ExpressionID? {
        let height = height(of: expression)
        guard height <= Self.depthMax else { return nil }
        expressions.append(expression)
        spans.append(span)
        heights.append(UInt8(height))
        return ExpressionID(index: UInt32(expressions.count - 1))
    }

    private func height(_ id: ExpressionID) -> Int { Int(heights[Int(id.index)]) }

    private func height(of expression: Expression) -> Int {
        switch expression {
        case .boolean, .long, .string, .entity, .variable: 1
        case .not(let a), .negate(let a), .isEmpty(let a), .attribute(let a, _), .has(let a, _),
            .like(let a, _), .isType(let a, _):
            height(a) + 1
        case .isTypeIn(let a, _, let b): max(height(a), height(b)) + 1
        case .binary(let operation, let a, let b):
            // A long chain of one operator is one level: its left spine is walked in a loop.
            max(height(a) + (continues(operation, a) ? 0 : 1), height(b) + 1)
        case .conditional(let a, let b, let c): max(height(a), height(b), height(c)) + 1
        case .set(let list), .call(_, let list):
            self[list].reduce(0) { max($0, Int(heights[Int($1)])) } + 1
        case .record(let list):
            stride(from: list.start + 1, to: list.start + list.count, by: 2)
                .reduce(0) { max($0, Int(heights[Int(lists[Int($1)])])) } + 1
        }
    }

    /// Whether `left` is the beginning of a chain that `operation` continues.
    func continues(_ operation: BinaryOperator, _ left: ExpressionID) -> Bool {
        guard operation.isChained, case .binary(let inner, _, _) = self[left] else { return false }
        return inner.precedence == operation.precedence
    }

    /// A left-leaning chain of operators of one precedence, first operand first.
    func chain(
        _ id: ExpressionID
    ) -> (first: ExpressionID, rest: [(BinaryOperator, ExpressionID, node: ExpressionID)]) {
        var rest: [(BinaryOperator, ExpressionID, node: ExpressionID)] = []
        var at = id
        while case .binary(let operation, let left, let right) = self[at] {
            rest.append((operation, right, at))
            let continues = continues(operation, left)
            at = left
            if !continues { break }
        }
        rest.reverse()
        return (at, rest)
    }
}

/// The index of an expression in its arena.
struct ExpressionID: Hashable, Sendable {
    let index: UInt32
}

/// The index of an entity name in its arena.
struct EntityIndex: Hashable, Sendable {
    let index: UInt32
}

/// A run in `Syntax.lists`.
struct ListRange: Hashable, Sendable {
    let start: UInt32
    let count: UInt32
}

/// An entity uid as two symbols; the type is the whole path, `A::B`.
struct EntityName: Hashable, Sendable {
    let type: Symbol
    let id: Symbol
}

/// One node of an expression.
enum Expression: Sendable {
    case boolean(Bool)
    case long(Int64)
    case string(Symbol)
    case entity(EntityIndex)
    case variable(Variable)
    case not(ExpressionID)
    case negate(ExpressionID)
    case isEmpty(ExpressionID)
    case binary(BinaryOperator, ExpressionID, ExpressionID)
    case attribute(ExpressionID, Symbol)
    /// `x has a.b.c`; the list holds symbols.
    case has(ExpressionID, ListRange)
    /// The symbol holds the pattern's bytes with ``Escapes/wildcard`` for `*`.
    case like(ExpressionID, Symbol)
    case isType(ExpressionID, Symbol)
    case isTypeIn(ExpressionID, Symbol, ExpressionID)
    case conditional(ExpressionID, ExpressionID, ExpressionID)
    case set(ListRange)
    /// The list holds key symbols and values in turn.
    case record(ListRange)
    /// The receiver of a method comes first.
    case call(ExtensionFunction, ListRange)
}

/// The four variables of a request.
enum Variable: UInt8, CaseIterable, Sendable {
    case principal, action, resource, context

    var name: StaticString {
        switch self {
        case .principal: "principal"
        case .action: "action"
        case .resource: "resource"
        case .context: "context"
        }
    }
}

/// Operators and built-in methods of two operands.
enum BinaryOperator: UInt8, CaseIterable, Sendable {
    case or, and
    case equal, notEqual, less, lessOrEqual, greater, greaterOrEqual, `in`
    case add, subtract, multiply
    case contains, containsAll, containsAny, hasTag, getTag

    /// Binds the tighter the larger; methods bind tightest.
    var precedence: Int {
        switch self {
        case .or: 1
        case .and: 2
        case .equal, .notEqual, .less, .lessOrEqual, .greater, .greaterOrEqual, .in: 3
        case .add, .subtract: 4
        case .multiply: 5
        case .contains, .containsAll, .containsAny, .hasTag, .getTag: 7
        }
    }

    var isChained: Bool { self == .or || self == .and || precedence == 4 || precedence == 5 }
    var isMethod: Bool { precedence == 7 }

    /// The operator in text, which is also its key in JSON.
    var name: StaticString {
        switch self {
        case .or: "||"
        case .and: "&&"
        case .equal: "=="
        case .notEqual: "!="
        case .less: "<"
        case .lessOrEqual: "<="
        case .greater: ">"
        case .greaterOrEqual: ">="
        case .in: "in"
        case .add: "+"
        case .subtract: "-"
        case .multiply: "*"
        case .contains: "contains"
        case .containsAll: "containsAll"
        case .containsAny: "containsAny"
        case .hasTag: "hasTag"
        case .getTag: "getTag"
        }
    }
}

/// The functions and methods of the extension types.
///
/// Their arity is a matter of evaluation, not of syntax.
enum ExtensionFunction: UInt8, CaseIterable, Sendable {
    case ip, decimal, datetime, duration
    case isIpv4, isIpv6, isLoopback, isMulticast, isInRange
    case lessThan, lessThanOrEqual, greaterThan, greaterThanOrEqual
    case offset, durationSince, toDate, toTime
    case toMilliseconds, toSeconds, toMinutes, toHours, toDays

    /// Constructors are called as functions, everything else as a method.
    var isConstructor: Bool { rawValue <= ExtensionFunction.duration.rawValue }

    var argumentCount: Int {
        switch self {
        case .isInRange, .lessThan, .lessThanOrEqual, .greaterThan, .greaterThanOrEqual, .offset,
            .durationSince:
            2
        default: 1
        }
    }

    var name: String { "\(self)" }

    static let byName: [String: ExtensionFunction] = Dictionary(
        uniqueKeysWithValues: allCases.map { ($0.name, $0) }
    )
}

/// What a policy does when it applies.
public enum Effect: UInt8, Hashable, Sendable {
    /// Allows, unless a forbid applies.
    case permit
    /// Denies, whatever else applies.
    case forbid
}

/// The two places of a template that a link fills.
enum Slot: UInt8, Sendable {
    case principal, resource

    var name: StaticString { self == .principal ? "?principal" : "?resource" }
}

/// What one variable of the scope must be.
enum ScopeConstraint: Sendable {
    enum Operand: Hashable, Sendable {
        case entity(EntityIndex)
        case slot(Slot)
    }

    case any
    case equal(Operand)
    case `in`(Operand)
    case isType(Symbol)
    case isTypeIn(Symbol, Operand)
    /// Only for actions.
    case inSet([EntityIndex])

    var operand: Operand? {
        switch self {
        case .equal(let operand), .in(let operand), .isTypeIn(_, let operand): operand
        case .any, .isType, .inSet: nil
        }
    }

    var hasSlot: Bool {
        if case .slot = operand { true } else { false }
    }
}

/// One policy or template.
struct PolicySyntax: Sendable {
    struct Condition: Sendable {
        let isWhen: Bool
        let body: ExpressionID
    }

    struct Annotation: Sendable {
        let key: Symbol
        /// Nothing for `@key` without parentheses, which reads as the empty string.
        let value: Symbol?
    }

    var annotations: [Annotation] = []
    var effect: Effect
    var principal: ScopeConstraint = .any
    var action: ScopeConstraint = .any
    var resource: ScopeConstraint = .any
    var conditions: [Condition] = []
    var span: SourceSpan
    /// Where principal, action and resource stand in the scope; empty without text.
    var scopeSpans: [SourceSpan] = []

    var isTemplate: Bool { principal.hasSlot || resource.hasSlot }
}

/// Words that are no names.
enum ReservedWords {
    static func contains(_ word: ArraySlice<UInt8>) -> Bool {
        words.contains { $0.elementsEqual(word) }
    }

    /// Whether the bytes are an identifier that may stand for an attribute, a type or a namespace.
    static func isName(_ word: ArraySlice<UInt8>) -> Bool {
        guard let first = word.first, isIdentifierStart(first) else { return false }
        return word.allSatisfy { isIdentifierStart($0) || isDigit($0) } && !contains(word)
    }

    /// Whether the bytes are a path of names, `A::B::C`, without blanks.
    static func isPath(_ path: ArraySlice<UInt8>) -> Bool {
        var at = path.startIndex
        while true {
            let end = path[at...].firstIndex(of: UInt8(ascii: ":")) ?? path.endIndex
            guard isName(path[at..<end]) else { return false }
            guard end < path.endIndex else { return true }
            guard path[end...].starts(with: [UInt8(ascii: ":"), UInt8(ascii: ":")]) else {
                return false
            }
            at = end + 2
        }
    }

    private static let words: [[UInt8]] = [
        "true", "false", "if", "then", "else", "in", "is", "like", "has", "__cedar",
    ].map { Array($0.utf8) }
}
