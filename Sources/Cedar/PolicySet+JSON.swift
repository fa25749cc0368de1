public import JSON

// The JSON form of policies (called EST elsewhere), both ways. Text plus digest is what is stored;
// this is for exchange. Expressions are objects with one member, named after the operator.

extension PolicySet: JSONWritable {
    /// Writes `staticPolicies`, `templates` and `templateLinks`.
    public func write(to writer: inout JSONWriter) {
        let encoder = PolicyEncoder(syntax: syntax)
        writer.object { writer in
            for (key, isTemplate) in [("staticPolicies", false), ("templates", true)]
                as [(Text, Bool)]
            {
                writer.key(key)
                writer.object { writer in
                    for source in sources where source.syntax.isTemplate == isTemplate {
                        writer.key(source.id.text)
                        encoder.policy(source.syntax, &writer)
                    }
                }
            }
            writer.key("templateLinks")
            writer.array { writer in
                for link in links {
                    writer.object { writer in
                        writer.member("templateId", sources[link.template].id.text)
                        writer.member("newId", link.id.text)
                        writer.key("values")
                        writer.object { writer in
                            if let principal = link.principal {
                                writer.key("?principal")
                                encoder.entity(principal, &writer)
                            }
                            if let resource = link.resource {
                                writer.key("?resource")
                                encoder.entity(resource, &writer)
                            }
                        }
                    }
                }
            }
        }
    }

    /// Reads a policy set in JSON form.
    ///
    /// Policies keep the ids of the document. The limits of ``parse(_:)`` for number and depth
    /// apply; positions are those of the JSON, and the first finding ends the reading.
    public init(json document: JSONDocument) throws(PolicyParseFailure) {
        var decoder = PolicyDecoder()
        do throws(PolicyDecoder.Refusal) {
            try decoder.set(document.root)
        } catch {
            let range = error.value.sourceRange
            let finding = Finding(
                error.code,
                SourceSpan(range.lowerBound, range.upperBound),
                error.message
            )
            throw PolicyParseFailure(
                diagnostics: Finding.diagnostics([finding], in: document.bytes)
            )
        }
        self = decoder.result
    }
}

/// Writes policies as JSON.
private struct PolicyEncoder {
    let syntax: Syntax

    private func text(_ symbol: Symbol) -> Text { syntax.symbols.text(symbol) }

    func policy(_ policy: PolicySyntax, _ writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("effect", policy.effect == .permit ? "permit" : "forbid")
            writer.key("principal")
            constraint(policy.principal, &writer)
            writer.key("action")
            constraint(policy.action, &writer)
            writer.key("resource")
            constraint(policy.resource, &writer)
            writer.key("conditions")
            writer.array { writer in
                for condition in policy.conditions {
                    writer.object { writer in
                        writer.member("kind", condition.isWhen ? "when" : "unless")
                        writer.key("body")
                        expression(condition.body, &writer)
                    }
                }
            }
            guard !policy.annotations.isEmpty else { return }
            writer.key("annotations")
            writer.object { writer in
                for annotation in policy.annotations {
                    writer.key(text(annotation.key))
                    if let value = annotation.value {
                        writer.value(text(value))
                    } else {
                        writer.null()
                    }
                }
            }
        }
    }

    private func constraint(_ constraint: ScopeConstraint, _ writer: inout JSONWriter) {
        writer.object { writer in
            switch constraint {
            case .any: writer.member("op", "All")
            case .equal(let operand):
                writer.member("op", "==")
                self.operand(operand, &writer)
            case .in(let operand):
                writer.member("op", "in")
                self.operand(operand, &writer)
            case .isType(let type):
                writer.member("op", "is")
                writer.member("entity_type", text(type))
            case .isTypeIn(let type, let operand):
                writer.member("op", "is")
                writer.member("entity_type", text(type))
                writer.key("in")
                writer.object { writer in self.operand(operand, &writer) }
            case .inSet(let actions):
                writer.member("op", "in")
                writer.key("entities")
                writer.array { writer in
                    for action in actions { entity(action, &writer) }
                }
            }
        }
    }

    private func operand(_ operand: ScopeConstraint.Operand, _ writer: inout JSONWriter) {
        switch operand {
        case .entity(let index):
            writer.key("entity")
            entity(index, &writer)
        case .slot(let slot): writer.member("slot", slot.name.description)
        }
    }

    func entity(_ index: EntityIndex, _ writer: inout JSONWriter) {
        let name = syntax[index]
        writer.object { writer in
            writer.member("type", text(name.type))
            writer.member("id", text(name.id))
        }
    }

    private func expression(_ id: ExpressionID, _ writer: inout JSONWriter) {
        // A chain leans to the left: its objects are opened from the last operator inwards.
        if case .binary = syntax[id] { return chain(id, &writer) }
        writer.object { writer in
            switch syntax[id] {
            case .boolean(let value): writer.member("Value", value)
            case .long(let value): writer.member("Value", value)
            case .string(let symbol): writer.member("Value", text(symbol))
            case .entity(let index):
                writer.key("Value")
                writer.object { writer in
                    writer.key("__entity")
                    entity(index, &writer)
                }
            case .variable(let variable): writer.member("Var", variable.name.description)
            case .not(let operand): argument("!", operand, &writer)
            case .negate(let operand): argument("neg", operand, &writer)
            case .isEmpty(let operand): argument("isEmpty", operand, &writer)
            case .binary: break
            case .attribute(let operand, let name):
                writer.key(".")
                writer.object { writer in
                    left(operand, &writer)
                    writer.member("attr", text(name))
                }
            case .has(let operand, let path): has(operand, path, &writer)
            case .like(let operand, let pattern):
                writer.key("like")
                writer.object { writer in
                    left(operand, &writer)
                    writer.key("pattern")
                    self.pattern(pattern, &writer)
                }
            case .isType(let operand, let type): isType(operand, type, nil, &writer)
            case .isTypeIn(let operand, let type, let container):
                isType(operand, type, container, &writer)
            case .conditional(let condition, let then, let otherwise):
                writer.key("if-then-else")
                writer.object { writer in
                    member("if", condition, &writer)
                    member("then", then, &writer)
                    member("else", otherwise, &writer)
                }
            case .set(let list):
                writer.key("Set")
                self.list(list, &writer)
            case .record(let list): record(list, &writer)
            case .call(let function, let list):
                writer.key(Text(function.name))
                self.list(list, &writer)
            }
        }
    }

    private func chain(_ id: ExpressionID, _ writer: inout JSONWriter) {
        let (first, rest) = syntax.chain(id)
        for (operation, _, _) in rest.reversed() {
            writer.beginObject()
            writer.key(operation.name)
            writer.beginObject()
            writer.key("left")
        }
        expression(first, &writer)
        for (_, right, _) in rest {
            member("right", right, &writer)
            writer.endObject()
            writer.endObject()
        }
    }

    private func member(_ key: StaticString, _ id: ExpressionID, _ writer: inout JSONWriter) {
        writer.key(key)
        expression(id, &writer)
    }

    private func left(_ id: ExpressionID, _ writer: inout JSONWriter) {
        member("left", id, &writer)
    }

    private func argument(_ key: StaticString, _ id: ExpressionID, _ writer: inout JSONWriter) {
        writer.key(key)
        writer.object { writer in member("arg", id, &writer) }
    }

    private func has(_ operand: ExpressionID, _ path: ListRange, _ writer: inout JSONWriter) {
        let names = syntax[path].map { text(Symbol(index: $0)) }
        writer.key("has")
        writer.object { writer in
            left(operand, &writer)
            writer.key("attr")
            if names.count == 1 { return writer.value(names[0]) }
            writer.array { writer in
                for name in names { writer.value(name) }
            }
        }
    }

    private func isType(
        _ operand: ExpressionID,
        _ type: Symbol,
        _ container: ExpressionID?,
        _ writer: inout JSONWriter
    ) {
        writer.key("is")
        writer.object { writer in
            left(operand, &writer)
            writer.member("entity_type", text(type))
            if let container { member("in", container, &writer) }
        }
    }

    private func pattern(_ pattern: Symbol, _ writer: inout JSONWriter) {
        let bytes = syntax.symbols[pattern]
        writer.array { writer in
            var at = bytes.startIndex
            while at < bytes.endIndex {
                if bytes[at] == Escapes.wildcard {
                    writer.value("Wildcard")
                    at += 1
                } else {
                    let end = bytes[at...].firstIndex(of: Escapes.wildcard) ?? bytes.endIndex
                    let literal = Text(String(decoding: bytes[at..<end], as: UTF8.self))
                    writer.object { writer in writer.member("Literal", literal) }
                    at = end
                }
            }
        }
    }

    private func list(_ list: ListRange, _ writer: inout JSONWriter) {
        writer.array { writer in
            for element in syntax[list] { expression(ExpressionID(index: element), &writer) }
        }
    }

    private func record(_ list: ListRange, _ writer: inout JSONWriter) {
        let members = syntax[list]
        writer.key("Record")
        writer.object { writer in
            for index in stride(from: members.startIndex, to: members.endIndex, by: 2) {
                writer.key(text(Symbol(index: members[index])))
                expression(ExpressionID(index: members[index + 1]), &writer)
            }
        }
    }
}

/// Reads policies from JSON into ``Syntax``.
private struct PolicyDecoder {
    struct Refusal: Error {
        let code: PolicyDiagnostic.Code
        let value: JSONValue
        /// More than the code says, if anything.
        var message: String?
    }

    private var syntax = Syntax()
    private var sources: [PolicySet.Source] = []
    /// What was read.
    private(set) var result = PolicySet(syntax: Syntax(), sources: [])
    private var depth = 0

    /// Members that may be in an object; everything else is refused, so that nothing is silently
    /// ignored.
    private func check(_ json: JSONValue, _ keys: StaticString...) throws(Refusal) {
        guard json.kind == .object else { throw Refusal(code: .invalidJSON, value: json) }
        for (key, value) in json.members where !keys.contains(where: { key.equals($0) }) {
            throw Refusal(
                code: .invalidJSON,
                value: value,
                message: "there is no member `\(key.text)` here"
            )
        }
    }

    private func require(
        _ key: StaticString,
        of parent: JSONValue
    ) throws(Refusal) -> JSONValue {
        guard let value = parent[key] else {
            throw Refusal(code: .invalidJSON, value: parent, message: "`\(key)` is missing")
        }
        return value
    }

    private func string(_ key: StaticString, of parent: JSONValue) throws(Refusal) -> Text {
        let value = try require(key, of: parent)
        guard let text = value.string else {
            throw Refusal(code: .invalidJSON, value: value, message: "`\(key)` must be a string")
        }
        return text
    }

    // MARK: Sets and policies

    mutating func set(_ json: JSONValue) throws(Refusal) {
        try check(json, "staticPolicies", "templates", "templateLinks")
        for (key, isTemplate) in [("staticPolicies", false), ("templates", true)] as [(Text, Bool)]
        {
            guard let policies = json.member(named: key) else { continue }
            guard policies.kind == .object else {
                throw Refusal(code: .invalidJSON, value: policies)
            }
            for (id, value) in policies.members {
                let policy = try policy(value)
                let name = PolicyID(id.text)
                guard policy.isTemplate == isTemplate else {
                    throw Refusal(code: .invalidSlot, value: value)
                }
                guard !sources.contains(where: { $0.id == name }) else {
                    throw Refusal(code: .duplicatePolicyID, value: value)
                }
                sources.append(PolicySet.Source(id: name, syntax: policy))
                guard sources.count <= Parser.policiesMax else {
                    throw Refusal(code: .tooManyPolicies, value: value)
                }
            }
        }
        result = PolicySet(syntax: syntax, sources: sources)
        guard let list = json["templateLinks"] else { return }
        guard list.kind == .array else { throw Refusal(code: .invalidJSON, value: list) }
        for link in list.elements { try add(link, to: &result) }
    }

    private func add(_ link: JSONValue, to set: inout PolicySet) throws(Refusal) {
        try check(link, "templateId", "newId", "values")
        let values = try require("values", of: link)
        try check(values, "?principal", "?resource")
        func uid(_ json: JSONValue?) throws(Refusal) -> EntityUID? {
            guard let json else { return nil }
            do throws(ValueReadingError) {
                return try EntityUID(cedarJSON: json)
            } catch { throw Refusal(code: .invalidJSON, value: json) }
        }
        let (principal, resource) = (try uid(values["?principal"]), try uid(values["?resource"]))
        let (template, id) = (try string("templateId", of: link), try string("newId", of: link))
        do throws(TemplateLinkError) {
            try set.link(
                template: PolicyID(template),
                as: PolicyID(id),
                principal: principal,
                resource: resource
            )
        } catch {
            let code: PolicyDiagnostic.Code =
                error == .duplicateID ? .duplicatePolicyID : .invalidSlot
            throw Refusal(code: code, value: link, message: error.description)
        }
    }

    private mutating func policy(_ json: JSONValue) throws(Refusal) -> PolicySyntax {
        try check(
            json,
            "effect",
            "principal",
            "action",
            "resource",
            "conditions",
            "annotations"
        )
        let effect = try string("effect", of: json)
        guard effect == "permit" || effect == "forbid" else {
            throw Refusal(code: .invalidEffect, value: json)
        }
        let range = json.sourceRange
        var policy = PolicySyntax(
            effect: effect == "permit" ? .permit : .forbid,
            span: SourceSpan(range.lowerBound, range.upperBound)
        )
        policy.principal = try constraint(require("principal", of: json), .principal)
        policy.action = try actionConstraint(require("action", of: json))
        policy.resource = try constraint(require("resource", of: json), .resource)
        let conditions = try require("conditions", of: json)
        guard conditions.kind == .array else {
            throw Refusal(code: .invalidJSON, value: conditions)
        }
        for condition in conditions.elements {
            try check(condition, "kind", "body")
            let kind = try string("kind", of: condition)
            guard kind == "when" || kind == "unless" else {
                throw Refusal(code: .invalidCondition, value: condition)
            }
            let body = try expression(require("body", of: condition))
            policy.conditions.append(PolicySyntax.Condition(isWhen: kind == "when", body: body))
        }
        for (key, value) in json["annotations"]?.members.map(\.self) ?? [] {
            let bytes = key.utf8Bytes
            guard let first = bytes.first, isIdentifierStart(first),
                bytes.allSatisfy({ isIdentifierStart($0) || isDigit($0) }),
                value.isNull || value.kind == .string
            else { throw Refusal(code: .invalidJSON, value: value) }
            policy.annotations.append(
                PolicySyntax.Annotation(
                    key: syntax.symbols.intern(bytes),
                    value: value.jsonString.map { syntax.symbols.intern($0.utf8Bytes) }
                )
            )
        }
        return policy
    }

    // MARK: Scope

    private mutating func constraint(
        _ json: JSONValue,
        _ slot: Slot
    ) throws(Refusal) -> ScopeConstraint {
        try check(json, "op", "entity", "slot", "entity_type", "in")
        switch try string("op", of: json) {
        case "All": return .any
        case "==": return .equal(try operand(json, slot))
        case "in": return .in(try operand(json, slot))
        case "is":
            let type = try type(json)
            guard let container = json["in"] else { return .isType(type) }
            return .isTypeIn(type, try operand(container, slot))
        default: throw Refusal(code: .invalidScopeConstraint, value: json)
        }
    }

    private mutating func actionConstraint(_ json: JSONValue) throws(Refusal) -> ScopeConstraint {
        try check(json, "op", "entity", "entities")
        switch try string("op", of: json) {
        case "All": return .any
        case "==": return .equal(.entity(try action(require("entity", of: json))))
        case "in":
            if let one = json["entity"] { return .in(.entity(try action(one))) }
            var actions: [EntityIndex] = []
            for element in try require("entities", of: json).elements {
                actions.append(try action(element))
            }
            return .inSet(actions)
        default: throw Refusal(code: .invalidScopeConstraint, value: json)
        }
    }

    private mutating func operand(
        _ json: JSONValue,
        _ slot: Slot
    ) throws(Refusal) -> ScopeConstraint.Operand {
        if let name = json["slot"] {
            guard name.string == Text(slot.name.description), json["entity"] == nil else {
                throw Refusal(code: .invalidSlot, value: name)
            }
            return .slot(slot)
        }
        return .entity(try entity(require("entity", of: json)))
    }

    private mutating func action(_ json: JSONValue) throws(Refusal) -> EntityIndex {
        let index = try entity(json)
        guard syntax.isActionType(syntax[index].type) else {
            throw Refusal(code: .invalidActionType, value: json)
        }
        return index
    }

    private mutating func entity(_ json: JSONValue) throws(Refusal) -> EntityIndex {
        let uid: EntityUID
        do throws(ValueReadingError) {
            uid = try EntityUID(cedarJSON: json)
        } catch { throw Refusal(code: .invalidJSON, value: json) }
        let type = syntax.symbols.intern(uid.type.string)
        return syntax.add(EntityName(type: type, id: syntax.symbols.intern(uid.id.string)))
    }

    private mutating func type(_ json: JSONValue) throws(Refusal) -> Symbol {
        let name = try string("entity_type", of: json)
        guard ReservedWords.isPath(Array(name.utf8)[...]) else {
            throw Refusal(code: .invalidTypeName, value: json)
        }
        return syntax.symbols.intern(name.string)
    }

    // MARK: Expressions

    private mutating func add(
        _ expression: Expression,
        _ json: JSONValue
    ) throws(Refusal) -> ExpressionID {
        let range = json.sourceRange
        let span = SourceSpan(range.lowerBound, range.upperBound)
        guard let id = syntax.add(expression, span) else {
            throw Refusal(code: .tooDeep, value: json)
        }
        return id
    }

    private mutating func expression(_ json: JSONValue) throws(Refusal) -> ExpressionID {
        guard json.kind == .object, json.count == 1,
            let (key, body) = json.members.first(where: { _ in true })
        else { throw Refusal(code: .invalidJSON, value: json) }
        depth += 1
        defer { depth -= 1 }
        // Chains nest in JSON though they do not in text, so this bound is wider than that of the
        // syntax.
        guard depth <= 4 * Syntax.depthMax else { throw Refusal(code: .tooDeep, value: json) }
        let name = key.text
        switch name {
        case "Value": return try value(body)
        case "Var":
            for variable in Variable.allCases where body.stringEquals(variable.name) {
                return try add(.variable(variable), json)
            }
            throw Refusal(code: .unknownVariable, value: body)
        case "Slot": throw Refusal(code: .invalidSlot, value: json)
        case "!": return try add(.not(argument(body)), json)
        case "neg": return try add(.negate(argument(body)), json)
        case "isEmpty": return try add(.isEmpty(argument(body)), json)
        case ".":
            try check(body, "left", "attr")
            let left = try member("left", of: body)
            let attribute = syntax.symbols.intern(try string("attr", of: body).string)
            return try add(.attribute(left, attribute), json)
        case "has": return try has(body, json)
        case "like": return try like(body, json)
        case "is":
            try check(body, "left", "entity_type", "in")
            let left = try member("left", of: body)
            let type = try type(body)
            guard body["in"] != nil else { return try add(.isType(left, type), json) }
            return try add(.isTypeIn(left, type, member("in", of: body)), json)
        case "if-then-else":
            try check(body, "if", "then", "else")
            let condition = try member("if", of: body)
            let then = try member("then", of: body)
            return try add(.conditional(condition, then, member("else", of: body)), json)
        case "Set": return try add(.set(list(body)), json)
        case "Record": return try record(body, json)
        default: break
        }
        if let operation = BinaryOperator.byName[name.string] {
            try check(body, "left", "right")
            let left = try member("left", of: body)
            return try add(.binary(operation, left, member("right", of: body)), json)
        }
        guard let function = ExtensionFunction.byName[name.string] else {
            throw Refusal(code: .unknownFunction, value: json)
        }
        return try add(.call(function, list(body)), json)
    }

    private mutating func member(
        _ key: StaticString,
        of parent: JSONValue
    ) throws(Refusal) -> ExpressionID {
        try expression(require(key, of: parent))
    }

    private mutating func argument(_ body: JSONValue) throws(Refusal) -> ExpressionID {
        try check(body, "arg")
        return try member("arg", of: body)
    }

    private mutating func list(_ json: JSONValue) throws(Refusal) -> ListRange {
        // The instruction format counts arguments and members in 16 bits.
        guard json.kind == .array, json.count < 1 << 16 else {
            throw Refusal(code: .invalidJSON, value: json)
        }
        var list: [ExpressionID] = []
        for element in json.elements { list.append(try expression(element)) }
        return syntax.add(list: list)
    }

    private mutating func record(
        _ body: JSONValue,
        _ json: JSONValue
    ) throws(Refusal) -> ExpressionID {
        guard body.kind == .object, body.count < 1 << 16 else {
            throw Refusal(code: .invalidJSON, value: body)
        }
        var members: [UInt32] = []
        for (key, value) in body.members {
            members.append(syntax.symbols.intern(key.utf8Bytes).index)
            members.append(try expression(value).index)
        }
        return try add(.record(syntax.add(members)), json)
    }

    private mutating func has(
        _ body: JSONValue,
        _ json: JSONValue
    ) throws(Refusal) -> ExpressionID {
        try check(body, "left", "attr")
        let left = try member("left", of: body)
        let attribute = try require("attr", of: body)
        var path: [UInt32] = []
        if let name = attribute.jsonString {
            path.append(syntax.symbols.intern(name.utf8Bytes).index)
        } else {
            for element in attribute.elements {
                guard let name = element.jsonString else {
                    throw Refusal(code: .invalidAttributePath, value: element)
                }
                path.append(syntax.symbols.intern(name.utf8Bytes).index)
            }
        }
        // Text has no path with a name that is no identifier; what cannot be printed is not read.
        let isPrintable =
            path.count == 1
            || path.allSatisfy { ReservedWords.isName(syntax.symbols[Symbol(index: $0)]) }
        guard (1..<1 << 16).contains(path.count), isPrintable else {
            throw Refusal(code: .invalidAttributePath, value: attribute)
        }
        return try add(.has(left, syntax.add(path)), json)
    }

    private mutating func like(
        _ body: JSONValue,
        _ json: JSONValue
    ) throws(Refusal) -> ExpressionID {
        try check(body, "left", "pattern")
        let left = try member("left", of: body)
        let elements = try require("pattern", of: body)
        guard elements.kind == .array else { throw Refusal(code: .invalidPattern, value: elements) }
        var pattern: [UInt8] = []
        for element in elements.elements {
            if element.stringEquals("Wildcard") {
                pattern.append(Escapes.wildcard)
            } else {
                try check(element, "Literal")
                pattern += Array(try string("Literal", of: element).utf8)
            }
        }
        return try add(.like(left, syntax.symbols.intern(pattern)), json)
    }

    /// A value becomes the expression that makes it.
    private mutating func value(_ json: JSONValue) throws(Refusal) -> ExpressionID {
        depth += 1
        defer { depth -= 1 }
        guard depth <= 4 * Syntax.depthMax else { throw Refusal(code: .tooDeep, value: json) }
        switch json.kind {
        case .null: throw Refusal(code: .invalidJSON, value: json)
        case .boolean: return try add(.boolean(json.boolean ?? false), json)
        case .number:
            guard let lexeme = json.numberLexeme, let value = Int64(lexeme.string) else {
                throw Refusal(code: .integerTooLarge, value: json)
            }
            return try add(.long(value), json)
        case .string:
            return try add(
                .string(syntax.symbols.intern(json.jsonString?.utf8Bytes ?? [])),
                json
            )
        case .array:
            var elements: [ExpressionID] = []
            for element in json.elements { elements.append(try value(element)) }
            return try add(.set(syntax.add(list: elements)), json)
        case .object:
            if let reference = json["__entity"] {
                return try add(.entity(entity(reference)), json)
            }
            if let call = json["__extn"] { return try extensionValue(call, json) }
            guard json["__expr"] == nil, json.count < 1 << 16 else {
                throw Refusal(code: .invalidJSON, value: json)
            }
            var members: [UInt32] = []
            for (key, element) in json.members {
                members.append(syntax.symbols.intern(key.utf8Bytes).index)
                members.append(try value(element).index)
            }
            return try add(.record(syntax.add(members)), json)
        }
    }

    private mutating func extensionValue(
        _ call: JSONValue,
        _ json: JSONValue
    ) throws(Refusal) -> ExpressionID {
        guard let name = call["fn"]?.string, let function = ExtensionFunction.byName[name.string]
        else { throw Refusal(code: .unknownFunction, value: json) }
        var arguments: [ExpressionID] = []
        if let argument = call["arg"] {
            arguments.append(try value(argument))
        } else {
            for argument in try require("args", of: call).elements {
                arguments.append(try value(argument))
            }
        }
        return try add(.call(function, syntax.add(list: arguments)), json)
    }
}

extension BinaryOperator {
    fileprivate static let byName: [String: BinaryOperator] = Dictionary(
        uniqueKeysWithValues: allCases.map { ($0.name.description, $0) }
    )
}
