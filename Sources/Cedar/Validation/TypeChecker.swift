import JSON

/// Types the conditions of one policy in one request environment, as Cedar's validator does.
///
/// Besides its type each expression has *capabilities*: which optional attributes and tags are
/// known to be there once it is true. What is known to be true or false prunes what can no longer
/// be reached, so that `resource is Photo && resource.camera == …` is no mistake for other types.
/// After a mistake checking goes on with the type that was meant, so that one run finds everything.
/// Source: Cedar 4.5, "Policy validation"; policy.md §2.11.
struct TypeChecker {
    /// One kind of request: an action, and the types of what it is asked for.
    struct Environment {
        let principal: NameID
        let action: SchemaIndex.EntityKey
        let resource: NameID
        let context: TypeID
    }

    /// Something known to be there: an attribute or a tag of what an expression evaluates to.
    struct Capability: Hashable {
        let holder: ExpressionClasses.ID
        let isTag: Bool
        /// The symbol of an attribute, or the class of a tag's expression.
        let key: UInt32
    }

    typealias Capabilities = Set<Capability>

    /// What an expression was found to be; no type if nothing can be said after a mistake.
    struct Answer {
        var type: TypeID?
        var capabilities: Capabilities = []
        var failed = false

        static func failure(_ type: TypeID? = nil) -> Answer { Answer(type: type, failed: true) }
    }

    struct Finding: Hashable {
        let code: ValidationFinding.Code
        let node: ExpressionID
        let message: String
        var hint: String?
    }

    let syntax: Syntax
    let schema: SchemaIndex
    let isStrict: Bool
    let names: NameMap
    var table: TypeTable
    var classes = ExpressionClasses()
    private(set) var findings: [Finding] = []
    /// The type of every node that was reached; pruned ones have none.
    private(set) var types: [UInt32: TypeID] = [:]
    private var environment: Environment

    init(_ syntax: Syntax, _ schema: SchemaIndex, _ table: TypeTable, isStrict: Bool) {
        self.syntax = syntax
        self.schema = schema
        var table = table
        names = NameMap(syntax.symbols, &table)
        self.table = table
        self.isStrict = isStrict
        let none = NameID(index: 0)
        environment = Environment(
            principal: none,
            action: SchemaIndex.EntityKey(type: none, id: none),
            resource: none,
            context: .never
        )
    }

    /// Types the conditions of a policy: their conjunction, `unless` negated.
    mutating func check(
        _ conditions: [PolicySyntax.Condition],
        in environment: Environment
    ) -> Answer {
        self.environment = environment
        findings.removeAll(keepingCapacity: true)
        types.removeAll(keepingCapacity: true)
        var result = Answer(type: .yes)
        for condition in conditions {
            guard result.type != .no else { break }
            var next = expect(condition.body, .bool, result.capabilities)
            if !condition.isWhen { next = negation(next) }
            result = conjunction(result, next)
        }
        return result
    }

    // MARK: Expressions

    mutating func check(_ id: ExpressionID, _ prior: Capabilities) -> Answer {
        let answer = answer(id, prior)
        types[id.index] = answer.type
        return answer
    }

    private mutating func answer(_ id: ExpressionID, _ prior: Capabilities) -> Answer {
        switch syntax[id] {
        case .boolean(let value): return Answer(type: value ? .yes : .no)
        case .long: return Answer(type: .long)
        case .string: return Answer(type: .string)
        case .entity(let index): return literal(index)
        case .variable(let variable): return Answer(type: type(of: variable))
        case .not(let operand): return negation(expect(operand, .bool, prior))
        case .negate(let operand):
            return Answer(type: .long, failed: expect(operand, .long, prior).failed)
        case .isEmpty(let operand):
            return Answer(type: .bool, failed: expect(operand, .set, prior).failed)
        case .binary(let operation, let left, let right):
            return binary(operation, left, right, id, prior)
        case .attribute(let holder, let name): return attribute(holder, name, id, prior)
        case .has(let holder, let path): return has(holder, path, id, prior)
        case .like(let operand, _):
            return Answer(type: .bool, failed: expect(operand, .string, prior).failed)
        case .isType(let operand, let type):
            let operand = expect(operand, .entity, prior)
            return Answer(type: isType(operand, type), failed: operand.failed)
        case .isTypeIn(let operand, let type, let container):
            return isTypeIn(operand, type, container, prior)
        case .conditional(let condition, let then, let otherwise):
            return conditional(condition, then, otherwise, id, prior)
        case .set(let elements): return set(elements, id, prior)
        case .record(let members): return record(members, prior)
        case .call(let function, let arguments): return call(function, arguments, id, prior)
        }
    }

    private mutating func type(of variable: Variable) -> TypeID {
        switch variable {
        case .principal: table.entity(environment.principal)
        case .action: table.entity(environment.action.type)
        case .resource: table.entity(environment.resource)
        case .context: environment.context
        }
    }

    /// Unknown types and actions are reported once for the whole policy; here they have no type.
    private mutating func literal(_ index: EntityIndex) -> Answer {
        let type = names[syntax[index].type]
        let isKnown =
            syntax.isActionType(syntax[index].type)
            ? schema.actionIndices[key(index)] != nil : schema.entityTypes[type] != nil
        return isKnown ? Answer(type: table.entity(type)) : .failure()
    }

    private func negation(_ operand: Answer) -> Answer {
        let type: TypeID =
            switch operand.type {
            case .some(.yes): .no
            case .some(.no): .yes
            default: .bool
            }
        return Answer(type: type, failed: operand.failed)
    }

    private mutating func set(
        _ elements: ListRange,
        _ id: ExpressionID,
        _ prior: Capabilities
    ) -> Answer {
        var answers: [Answer] = []
        for element in syntax[elements] {
            answers.append(check(ExpressionID(index: element), prior))
        }
        let failed = answers.contains(where: \.failed)
        if answers.isEmpty, isStrict {
            report(
                .emptySet,
                id,
                "an empty set has no element type",
                hint: "use `isEmpty()` to ask whether a set is empty"
            )
            return .failure()
        }
        guard let element = join(answers.map(\.type), at: id) else { return .failure() }
        return Answer(type: table.add(.set(element)), failed: failed)
    }

    private mutating func record(_ members: ListRange, _ prior: Capabilities) -> Answer {
        let members = syntax[members]
        var fields: [TypeTable.Field] = []
        var (failed, isKnown) = (false, true)
        for index in stride(from: members.startIndex, to: members.endIndex, by: 2) {
            let answer = check(ExpressionID(index: members[index + 1]), prior)
            failed = failed || answer.failed
            guard let type = answer.type else {
                isKnown = false
                continue
            }
            let name = names[Symbol(index: members[index])]
            fields.append(TypeTable.Field(name: name, type: type, isRequired: true))
        }
        return isKnown ? Answer(type: table.record(fields), failed: failed) : .failure()
    }

    private mutating func conditional(
        _ condition: ExpressionID,
        _ then: ExpressionID,
        _ otherwise: ExpressionID,
        _ id: ExpressionID,
        _ prior: Capabilities
    ) -> Answer {
        let guardAnswer = expect(condition, .bool, prior)
        switch guardAnswer.type {
        case .some(.yes):
            var result = check(then, prior.union(guardAnswer.capabilities))
            result.capabilities.formUnion(guardAnswer.capabilities)
            return failing(result, if: guardAnswer.failed)
        case .some(.no): return failing(check(otherwise, prior), if: guardAnswer.failed)
        default:
            let yes = check(then, prior.union(guardAnswer.capabilities))
            let no = check(otherwise, prior)
            guard let type = join([yes.type, no.type], at: id) else { return .failure() }
            let capabilities = yes.capabilities.union(guardAnswer.capabilities)
                .intersection(no.capabilities)
            return failing(
                Answer(type: type, capabilities: capabilities),
                if: guardAnswer.failed || yes.failed || no.failed
            )
        }
    }

    /// The common type, or a finding and nothing; nothing without a finding if one is unknown.
    mutating func join(_ types: [TypeID?], at id: ExpressionID) -> TypeID? {
        var result = TypeID.never
        for case let type in types {
            guard let type else { return nil }
            guard let joined = table.join(result, type, strict: isStrict) else {
                reportIncompatible(types.compactMap(\.self), id)
                return nil
            }
            result = joined
        }
        return result
    }

    // MARK: Operators

    private mutating func binary(
        _ operation: BinaryOperator,
        _ left: ExpressionID,
        _ right: ExpressionID,
        _ id: ExpressionID,
        _ prior: Capabilities
    ) -> Answer {
        switch operation {
        case .and, .or: return chain(id, prior)
        case .add, .subtract, .multiply: return arithmetic(id, prior)
        case .equal: return equality(left, right, id, prior)
        case .notEqual: return negation(equality(left, right, id, prior))
        case .less, .lessOrEqual, .greater, .greaterOrEqual:
            return comparison(left, right, prior)
        case .in:
            let left = (left, expect(left, .entity, prior))
            let right = (right, expect(right, .entityOrSetOfEntities, prior))
            return membership(left, right)
        case .contains:
            let left = expect(left, .set, prior)
            let right = check(right, prior)
            if case .set(let element)? = left.type.map({ table[$0] }), let type = right.type {
                return compatible(element, type, id, failed: left.failed || right.failed)
            }
            return Answer(type: .bool, failed: left.failed || right.failed)
        case .containsAll, .containsAny:
            let left = expect(left, .set, prior)
            let right = expect(right, .set, prior)
            if let a = left.type, let b = right.type {
                return compatible(a, b, id, failed: left.failed || right.failed)
            }
            return Answer(type: .bool, failed: left.failed || right.failed)
        case .hasTag, .getTag: return tag(operation, left, right, id, prior)
        }
    }

    /// `&&` and `||`, whose left spine is walked in a loop.
    private mutating func chain(_ id: ExpressionID, _ prior: Capabilities) -> Answer {
        let (first, rest) = syntax.chain(id)
        var result = expect(first, .bool, prior)
        for (operation, right, node) in rest {
            if operation == .and {
                if result.type == .no {
                    result.capabilities = []
                } else {
                    let next = expect(right, .bool, prior.union(result.capabilities))
                    result = conjunction(result, next)
                }
            } else if result.type == .yes {
                result.capabilities = []
            } else {
                result = disjunction(result, expect(right, .bool, prior))
            }
            types[node.index] = result.type
        }
        return result
    }

    func conjunction(_ left: Answer, _ right: Answer) -> Answer {
        var result = Answer(type: .bool, failed: left.failed || right.failed)
        if left.type == nil || right.type == nil {
            // Something of no known type says nothing about the whole.
        } else if left.type == .no || right.type == .no {
            result.type = .no
        } else {
            result.type = left.type == .yes ? right.type : right.type == .yes ? left.type : .bool
            result.capabilities = left.capabilities.union(right.capabilities)
        }
        if result.failed { result.capabilities = [] }
        return result
    }

    private func disjunction(_ left: Answer, _ right: Answer) -> Answer {
        var result = Answer(type: .bool, failed: left.failed || right.failed)
        if left.type == nil || right.type == nil {
            // Something of no known type says nothing about the whole.
        } else if right.type == .yes {
            result.type = .yes
        } else if left.type == .no {
            result.type = right.type
            result.capabilities = right.capabilities
        } else if right.type == .no {
            result.type = left.type
            result.capabilities = left.capabilities
        } else {
            result.capabilities = left.capabilities.intersection(right.capabilities)
        }
        if result.failed { result.capabilities = [] }
        return result
    }

    private mutating func arithmetic(_ id: ExpressionID, _ prior: Capabilities) -> Answer {
        let (first, rest) = syntax.chain(id)
        var failed = expect(first, .long, prior).failed
        for (_, right, node) in rest {
            failed = expect(right, .long, prior).failed || failed
            types[node.index] = .long
        }
        return Answer(type: .long, failed: failed)
    }

    private mutating func equality(
        _ left: ExpressionID,
        _ right: ExpressionID,
        _ id: ExpressionID,
        _ prior: Capabilities
    ) -> Answer {
        let (a, b) = (check(left, prior), check(right, prior))
        let failed = a.failed || b.failed
        guard let typeA = a.type, let typeB = b.type else { return .failure(.bool) }
        if let valueA = constant(left), let valueB = constant(right) {
            return Answer(type: valueA == valueB ? .yes : .no, failed: failed)
        }
        if case .entity(let namesA) = table[typeA], case .entity(let namesB) = table[typeB],
            Set(namesA).isDisjoint(with: namesB)
        {
            return Answer(type: .no, failed: failed)
        }
        return compatible(typeA, typeB, id, failed: failed)
    }

    private mutating func compatible(
        _ a: TypeID,
        _ b: TypeID,
        _ id: ExpressionID,
        failed: Bool
    ) -> Answer {
        guard isStrict, table.join(a, b, strict: true) == nil else {
            return Answer(type: .bool, failed: failed)
        }
        reportIncompatible([a, b], id)
        return .failure(.bool)
    }

    /// Both sides are Long, or both datetime, or both duration.
    private mutating func comparison(
        _ left: ExpressionID,
        _ right: ExpressionID,
        _ prior: Capabilities
    ) -> Answer {
        let (a, b) = (check(left, prior), check(right, prior))
        var failed = a.failed || b.failed
        let ordered: [TypeID] = [.long, .datetime, .duration]
        if let kind = ordered.first(where: { $0 == a.type || $0 == b.type }) {
            for (operand, answer) in [(left, a), (right, b)] {
                guard let type = answer.type, type != kind, type != .never else { continue }
                reportUnexpected(operand, type, table.describe(kind))
                failed = true
            }
        } else {
            for (operand, answer) in [(left, a), (right, b)] {
                guard let type = answer.type, type != .never else { continue }
                reportUnexpected(operand, type, "Long, datetime or duration")
                failed = true
            }
        }
        return Answer(type: .bool, failed: failed)
    }

    private typealias Operand = (id: ExpressionID, answer: Answer)

    private mutating func membership(_ left: Operand, _ right: Operand) -> Answer {
        let failed = left.answer.failed || right.answer.failed
        if let action = constantEntity(left.id), schema.actionIndices[action] != nil,
            let groups = constantEntities(right.id)
        {
            let isIn = groups.contains { schema.isIn(action, $0) }
            return Answer(type: isIn ? .yes : .no, failed: failed)
        }
        guard let types = entityTypes(left.answer.type),
            let containers = entityTypes(right.answer.type)
        else { return Answer(type: .bool, failed: failed) }
        let isPossible = types.contains { type in
            containers.contains { schema.canBeIn(type, $0) }
        }
        return Answer(type: isPossible ? .bool : .no, failed: failed)
    }

    private func isType(_ operand: Answer, _ type: Symbol) -> TypeID {
        guard case .entity(let possible)? = operand.type.map({ table[$0] }) else { return .bool }
        // A name that the schema does not know is none of the types.
        guard possible.contains(names[type]) else { return .no }
        return possible.count == 1 ? .yes : .bool
    }

    private mutating func isTypeIn(
        _ operand: ExpressionID,
        _ type: Symbol,
        _ container: ExpressionID,
        _ prior: Capabilities
    ) -> Answer {
        let left = expect(operand, .entity, prior)
        let isOfType = Answer(type: isType(left, type), failed: left.failed)
        guard isOfType.type != .no else { return isOfType }
        let right = expect(container, .entityOrSetOfEntities, prior)
        return conjunction(isOfType, membership((operand, left), (container, right)))
    }

    // MARK: Expectations

    enum Expectation {
        case bool, long, string, entity, entityOrRecord, set, entityOrSetOfEntities
        case type(TypeID)
    }

    mutating func expect(
        _ id: ExpressionID,
        _ expectation: Expectation,
        _ prior: Capabilities
    ) -> Answer {
        let answer = check(id, prior)
        guard let type = answer.type, !satisfies(type, expectation) else { return answer }
        reportUnexpected(id, type, describe(expectation))
        return .failure(recovery(expectation))
    }

    private func satisfies(_ type: TypeID, _ expectation: Expectation) -> Bool {
        if type == .never { return true }
        switch (expectation, table[type]) {
        case (.bool, _): return type.isBool
        case (.long, _): return type == .long
        case (.string, _): return type == .string
        case (.type(let expected), _): return type == expected
        case (.entity, .entity), (.entityOrRecord, .entity), (.entityOrRecord, .record),
            (.set, .set), (.entityOrSetOfEntities, .entity):
            return true
        case (.entityOrSetOfEntities, .set(let element)):
            if case .entity = table[element] { return true }
            return element == .never
        default: return false
        }
    }

    /// The type to go on with after a mistake, if the expectation is but one.
    private func recovery(_ expectation: Expectation) -> TypeID? {
        switch expectation {
        case .bool: .bool
        case .long: .long
        case .string: .string
        case .type(let type): type
        case .entity, .entityOrRecord, .set, .entityOrSetOfEntities: nil
        }
    }

    private func describe(_ expectation: Expectation) -> String {
        switch expectation {
        case .bool: "Bool"
        case .long: "Long"
        case .string: "String"
        case .entity: "an entity"
        case .entityOrRecord: "an entity or a record"
        case .set: "a set"
        case .entityOrSetOfEntities: "an entity or a set of entities"
        case .type(let type): table.describe(type)
        }
    }

    // MARK: Constants

    private enum Constant: Hashable {
        case bool(Bool)
        case long(Int64)
        case string(Symbol)
        case entity(SchemaIndex.EntityKey)
    }

    private mutating func constant(_ id: ExpressionID) -> Constant? {
        switch syntax[id] {
        case .boolean(let value): .bool(value)
        case .long(let value): .long(value)
        case .string(let symbol): .string(symbol)
        default: constantEntity(id).map { .entity($0) }
        }
    }

    /// The action is known in every environment, so its variable is as good as a literal.
    private mutating func constantEntity(_ id: ExpressionID) -> SchemaIndex.EntityKey? {
        switch syntax[id] {
        case .entity(let index): key(index)
        case .variable(.action): environment.action
        default: nil
        }
    }

    private mutating func constantEntities(_ id: ExpressionID) -> [SchemaIndex.EntityKey]? {
        guard case .set(let elements) = syntax[id] else { return constantEntity(id).map { [$0] } }
        var keys: [SchemaIndex.EntityKey] = []
        for element in syntax[elements] {
            guard let key = constantEntity(ExpressionID(index: element)) else { return nil }
            keys.append(key)
        }
        return keys
    }

    func entityTypes(_ type: TypeID?) -> [NameID]? {
        guard let type else { return nil }
        switch table[type] {
        case .entity(let names): return names
        case .set(let element): return entityTypes(element)
        case .never: return []
        default: return nil
        }
    }

    // MARK: Names and findings

    private func key(_ index: EntityIndex) -> SchemaIndex.EntityKey { names[syntax[index]] }

    func quoted(_ symbol: Symbol) -> String { syntax.symbols.text(symbol).string }

    private func failing(_ answer: Answer, if failed: Bool) -> Answer {
        var answer = answer
        answer.failed = answer.failed || failed
        if answer.failed { answer.capabilities = [] }
        return answer
    }

    mutating func reportUnexpected(
        _ id: ExpressionID,
        _ type: TypeID,
        _ expected: String
    ) {
        report(.unexpectedType, id, "expected \(expected), found \(table.describe(type))")
    }

    mutating func reportIncompatible(_ types: [TypeID], _ id: ExpressionID) {
        var distinct: [TypeID] = []
        for type in types where !distinct.contains(type) { distinct.append(type) }
        let words = distinct.map { table.describe($0) }
        let message = "the types \(words.joined(separator: " and ")) have nothing in common"
        report(.incompatibleTypes, id, message)
    }

    mutating func report(
        _ code: ValidationFinding.Code,
        _ id: ExpressionID,
        _ message: String,
        hint: String? = nil
    ) {
        findings.append(Finding(code: code, node: id, message: message, hint: hint))
    }
}
