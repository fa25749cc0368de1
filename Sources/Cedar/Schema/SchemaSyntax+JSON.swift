public import JSON

// The JSON form of schemas, both ways. Everything that is no part of it is refused: a misspelled
// `required` must not make an attribute mandatory in silence.

/// Reads the JSON form and goes on after every mistake, so that one run reports everything.
struct SchemaDecoder {
    private(set) var findings = SchemaFindings()
    private var declarationCount = 0
    private var depth = 0

    mutating func schema(_ document: JSONDocument) -> SchemaSyntax {
        var syntax = SchemaSyntax(source: .json(document))
        for (name, value) in members(of: document.root) ?? [] {
            syntax.namespaces.append(namespace(name, value))
        }
        return syntax
    }

    // MARK: Members

    private typealias Members = [(key: JSONString, value: JSONValue)]

    private mutating func report(
        _ code: SchemaDiagnostic.Code,
        _ value: JSONValue,
        name: Text? = nil
    ) {
        findings.report(code, SourceSpan(value.sourceRange), name: name)
    }

    private mutating func report(
        _ code: SchemaDiagnostic.Code,
        key: JSONString,
        name: Text? = nil
    ) {
        findings.report(code, SourceSpan(key.sourceRange), name: name ?? key.text)
    }

    /// The members of an object; anything else is reported.
    private mutating func members(of value: JSONValue) -> Members? {
        guard value.kind == .object else {
            report(.invalidKind, value)
            return nil
        }
        return findings.isFull ? [] : Array(value.members)
    }

    /// The elements of an array; anything else is reported.
    private mutating func elements(of value: JSONValue) -> [JSONValue] {
        guard value.kind == .array else {
            report(.invalidKind, value)
            return []
        }
        return findings.isFull ? [] : Array(value.elements)
    }

    private mutating func string(_ value: JSONValue) -> Text? {
        if let string = value.string { return string }
        report(.invalidKind, value)
        return nil
    }

    /// Reports members that `known` does not name, and says whether the value is an object.
    private mutating func checkMembers(_ value: JSONValue, _ known: [StaticString]) -> Bool {
        guard let members = members(of: value) else { return false }
        for (key, _) in members where !known.contains(where: { key.equals($0) }) {
            report(.unknownMember, key: key)
        }
        return true
    }

    private mutating func required(_ key: StaticString, of object: JSONValue) -> JSONValue? {
        if let value = object[key] { return value }
        report(.missingMember, object, name: Text(stringLiteral: key))
        return nil
    }

    /// An optional member for which `null` means absence.
    private func nullable(_ key: StaticString, of object: JSONValue) -> JSONValue? {
        guard let value = object[key], !value.isNull else { return nil }
        return value
    }

    // MARK: Names

    /// The name of a declaration.
    private mutating func declaredName(_ key: JSONString) -> SchemaSyntax.Name {
        let name = key.text
        if name == "__cedar" {
            report(.reservedName, key: key)
        } else {
            checkPath(name, SourceSpan(key.sourceRange), partsMax: 1)
        }
        declarationCount += 1
        if declarationCount == SchemaLimits.declarationsMax + 1 {
            report(.tooManyDeclarations, key: key)
        }
        return SchemaSyntax.Name(text: name, span: SourceSpan(key.sourceRange))
    }

    private mutating func path(_ value: JSONValue) -> SchemaSyntax.Name? {
        guard let text = string(value) else { return nil }
        let span = SourceSpan(value.sourceRange)
        checkPath(text, span)
        return SchemaSyntax.Name(text: text, span: span)
    }

    /// Reports a path that is no path of names; `__cedar` may be one of them.
    private mutating func checkPath(_ path: Text, _ span: SourceSpan, partsMax: Int = .max) {
        let bytes = Array(path.utf8)
        var parts = 1
        var at = bytes.startIndex
        while true {
            let end = bytes[at...].firstIndex(of: UInt8(ascii: ":")) ?? bytes.endIndex
            let part = bytes[at..<end]
            let isWord =
                part.first.map(isIdentifierStart) ?? false
                && part.allSatisfy { isIdentifierStart($0) || isDigit($0) }
            guard isWord else { return findings.report(.invalidName, span, name: path) }
            if ReservedWords.contains(part), !part.elementsEqual("__cedar".utf8) {
                return findings.report(.reservedIdentifier, span, name: path)
            }
            guard end < bytes.endIndex else { return }
            parts += 1
            guard parts <= partsMax, bytes[end...].starts(with: "::".utf8) else {
                return findings.report(.invalidName, span, name: path)
            }
            at = end + 2
        }
    }

    private mutating func paths(_ value: JSONValue?) -> [SchemaSyntax.Name] {
        var paths: [SchemaSyntax.Name] = []
        for element in value.map({ elements(of: $0) }) ?? [] {
            if let path = path(element) { paths.append(path) }
        }
        return paths
    }

    private mutating func annotations(of object: JSONValue) -> [SchemaSyntax.Annotation] {
        guard let value = object["annotations"], let members = members(of: value) else { return [] }
        var annotations: [SchemaSyntax.Annotation] = []
        for (key, value) in members {
            let bytes = key.utf8Bytes
            let isWord =
                bytes.first.map(isIdentifierStart) ?? false
                && bytes.allSatisfy { isIdentifierStart($0) || isDigit($0) }
            if !isWord { report(.invalidName, key: key) }
            let text = value.isNull ? nil : string(value)
            annotations.append(SchemaSyntax.Annotation(key: key.text, value: text))
        }
        return annotations
    }

    // MARK: Declarations

    private mutating func namespace(
        _ key: JSONString,
        _ value: JSONValue
    ) -> SchemaSyntax.Namespace {
        let span = SourceSpan(key.sourceRange)
        var namespace = SchemaSyntax.Namespace(name: key.text, span: span)
        if !namespace.name.isEmpty {
            checkPath(namespace.name, span)
            if SchemaSyntax.isReserved(namespace.name) { report(.reservedName, key: key) }
        }
        guard
            checkMembers(value, ["commonTypes", "entityTypes", "actions", "annotations"])
        else { return namespace }
        namespace.annotations = annotations(of: value)
        if namespace.name.isEmpty, !namespace.annotations.isEmpty {
            report(.misplacedAnnotation, value["annotations"] ?? value)
        }
        for (name, type) in value["commonTypes"].flatMap({ members(of: $0) }) ?? [] {
            if let type = commonType(name, type) { namespace.commonTypes.append(type) }
        }
        for (name, type) in required("entityTypes", of: value).flatMap({ members(of: $0) }) ?? [] {
            if let type = entityType(name, type) { namespace.entityTypes.append(type) }
        }
        for (name, action) in required("actions", of: value).flatMap({ members(of: $0) }) ?? [] {
            namespace.actions.append(self.action(name, action))
        }
        return namespace
    }

    private mutating func commonType(
        _ key: JSONString,
        _ value: JSONValue
    ) -> SchemaSyntax.CommonType? {
        let name = declaredName(key)
        if SchemaSyntax.BuiltIn.reservedForCommonTypes.contains(name.text) {
            report(.reservedName, key: key)
        }
        guard let type = type(value, besides: ["annotations"]) else { return nil }
        let annotations = annotations(of: value)
        return SchemaSyntax.CommonType(name: name, annotations: annotations, type: type)
    }

    private mutating func entityType(
        _ key: JSONString,
        _ value: JSONValue
    ) -> SchemaSyntax.EntityType? {
        let name = declaredName(key)
        let known: [StaticString] =
            value["enum"] == nil
            ? ["memberOfTypes", "shape", "tags", "annotations"] : ["enum", "annotations"]
        guard checkMembers(value, known) else { return nil }
        let annotations = annotations(of: value)
        if let list = value["enum"] {
            var ids: [Text] = []
            let elements = elements(of: list)
            if list.kind == .array, list.count == 0 { report(.emptyList, list) }
            for element in elements { if let id = string(element) { ids.append(id) } }
            return SchemaSyntax.EntityType(
                name: name,
                annotations: annotations,
                kind: .enumerated(ids)
            )
        }
        return SchemaSyntax.EntityType(
            name: name,
            annotations: annotations,
            kind: .standard(
                memberOf: paths(value["memberOfTypes"]),
                shape: value["shape"].flatMap { type($0) },
                tags: value["tags"].flatMap { type($0) }
            )
        )
    }

    private mutating func action(_ key: JSONString, _ value: JSONValue) -> SchemaSyntax.Action {
        // The id of an action is any string.
        declarationCount += 1
        if declarationCount == SchemaLimits.declarationsMax + 1 {
            report(.tooManyDeclarations, key: key)
        }
        var action = SchemaSyntax.Action(
            name: SchemaSyntax.Name(text: key.text, span: SourceSpan(key.sourceRange))
        )
        guard checkMembers(value, ["attributes", "appliesTo", "memberOf", "annotations"]) else {
            return action
        }
        if let attributes = nullable("attributes", of: value) {
            report(.unsupportedFeature, attributes)
        }
        action.annotations = annotations(of: value)
        for parent in nullable("memberOf", of: value).map({ elements(of: $0) }) ?? [] {
            guard checkMembers(parent, ["id", "type"]),
                let id = required("id", of: parent).flatMap({ string($0) })
            else { continue }
            action.memberOf.append(
                SchemaSyntax.Action.Parent(
                    type: nullable("type", of: parent).flatMap { path($0) }?.text,
                    id: id,
                    span: SourceSpan(parent.sourceRange)
                )
            )
        }
        guard let scope = nullable("appliesTo", of: value),
            checkMembers(scope, ["principalTypes", "resourceTypes", "context"])
        else { return action }
        action.scope = SchemaSyntax.Action.Scope(
            principals: paths(required("principalTypes", of: scope)),
            resources: paths(required("resourceTypes", of: scope)),
            context: scope["context"].flatMap { type($0) }
        )
        return action
    }

    // MARK: Types

    /// A type; `besides` are members that the place of the type brings.
    private mutating func type(
        _ value: JSONValue,
        besides: [StaticString] = []
    ) -> SchemaSyntax.TypeSyntax? {
        guard members(of: value) != nil,
            let nameValue = required("type", of: value),
            let name = string(nameValue)
        else { return nil }
        depth += 1
        defer { depth -= 1 }
        guard depth <= SchemaLimits.depthMax else {
            report(.tooDeep, value)
            return nil
        }
        let span = SourceSpan(value.sourceRange)
        let known: [StaticString] =
            switch name {
            case "Set": ["type", "element"]
            case "Record": ["type", "attributes", "additionalAttributes"]
            case "Entity", "EntityOrCommon", "Extension": ["type", "name"]
            default: ["type"]
            }
        _ = checkMembers(value, known + besides)
        switch name {
        case "Long": return .long(span)
        case "String": return .string(span)
        case "Boolean": return .bool(span)
        case "Set":
            return required("element", of: value).flatMap { type($0) }.map { .set($0, span) }
        case "Record": return record(value, span)
        case "Entity": return required("name", of: value).flatMap { path($0) }.map { .entity($0) }
        case "EntityOrCommon":
            return required("name", of: value).flatMap { path($0) }.map { .entityOrCommon($0) }
        case "Extension":
            guard let value = required("name", of: value), let name = string(value) else {
                return nil
            }
            checkPath(name, SourceSpan(value.sourceRange), partsMax: 1)
            let span = SourceSpan(value.sourceRange)
            return .extensionType(SchemaSyntax.Name(text: name, span: span))
        default: return path(nameValue).map { .common($0) }
        }
    }

    private mutating func record(
        _ value: JSONValue,
        _ span: SourceSpan
    ) -> SchemaSyntax.TypeSyntax? {
        if let additional = value["additionalAttributes"] {
            switch additional.boolean {
            case false: break
            case true: report(.unsupportedFeature, additional)
            case nil: report(.invalidKind, additional)
            }
        }
        guard let list = required("attributes", of: value), let members = members(of: list) else {
            return nil
        }
        var attributes: [SchemaSyntax.TypeSyntax.Attribute] = []
        for (key, value) in members {
            guard let type = type(value, besides: ["required", "annotations"]) else { continue }
            var isRequired = true
            if let required = value["required"] {
                isRequired = required.boolean ?? true
                if required.kind != .boolean { report(.invalidKind, required) }
            }
            attributes.append(
                SchemaSyntax.TypeSyntax.Attribute(
                    name: SchemaSyntax.Name(text: key.text, span: SourceSpan(key.sourceRange)),
                    annotations: annotations(of: value),
                    isRequired: isRequired,
                    type: type
                )
            )
        }
        return .record(attributes, span)
    }
}

extension SourceSpan {
    init(_ range: Range<Int>) {
        self.init(range.lowerBound, range.upperBound)
    }
}

extension SchemaSyntax: JSONWritable {
    /// Writes the JSON form.
    public func write(to writer: inout JSONWriter) {
        writer.object { writer in
            for namespace in namespaces {
                writer.key(namespace.name)
                self.namespace(namespace, &writer)
            }
        }
    }

    private func namespace(_ namespace: Namespace, _ writer: inout JSONWriter) {
        writer.object { writer in
            annotations(namespace.annotations, &writer)
            if !namespace.commonTypes.isEmpty {
                writer.key("commonTypes")
                writer.object { writer in
                    for type in namespace.commonTypes {
                        writer.key(type.name.text)
                        writer.object { writer in
                            self.type(type.type, &writer)
                            annotations(type.annotations, &writer)
                        }
                    }
                }
            }
            writer.key("entityTypes")
            writer.object { writer in
                for type in namespace.entityTypes {
                    writer.key(type.name.text)
                    entityType(type, &writer)
                }
            }
            writer.key("actions")
            writer.object { writer in
                for action in namespace.actions {
                    writer.key(action.name.text)
                    self.action(action, &writer)
                }
            }
        }
    }

    private func annotations(_ annotations: [Annotation], _ writer: inout JSONWriter) {
        guard !annotations.isEmpty else { return }
        writer.key("annotations")
        writer.object { writer in
            for annotation in annotations {
                writer.key(annotation.key)
                if let value = annotation.value { writer.value(value) } else { writer.null() }
            }
        }
    }

    private func entityType(_ type: EntityType, _ writer: inout JSONWriter) {
        writer.object { writer in
            switch type.kind {
            case .enumerated(let ids):
                writer.key("enum")
                writer.array { writer in
                    for id in ids { writer.value(id) }
                }
            case .standard(let memberOf, let shape, let tags):
                if !memberOf.isEmpty { names("memberOfTypes", memberOf, &writer) }
                if let shape { member("shape", shape, &writer) }
                if let tags { member("tags", tags, &writer) }
            }
            annotations(type.annotations, &writer)
        }
    }

    private func action(_ action: Action, _ writer: inout JSONWriter) {
        writer.object { writer in
            if !action.memberOf.isEmpty {
                writer.key("memberOf")
                writer.array { writer in
                    for parent in action.memberOf {
                        writer.object { writer in
                            writer.member("id", parent.id)
                            writer.member("type", ifPresent: parent.type)
                        }
                    }
                }
            }
            if let scope = action.scope {
                writer.key("appliesTo")
                writer.object { writer in
                    names("principalTypes", scope.principals, &writer)
                    names("resourceTypes", scope.resources, &writer)
                    if let context = scope.context { member("context", context, &writer) }
                }
            }
            annotations(action.annotations, &writer)
        }
    }

    private func names(_ key: StaticString, _ names: [Name], _ writer: inout JSONWriter) {
        writer.key(key)
        writer.array { writer in
            for name in names { writer.value(name.text) }
        }
    }

    private func member(_ key: StaticString, _ type: TypeSyntax, _ writer: inout JSONWriter) {
        writer.key(key)
        writer.object { writer in self.type(type, &writer) }
    }

    /// The members that make a type, within an object that may have more.
    private func type(_ type: TypeSyntax, _ writer: inout JSONWriter) {
        switch type {
        case .bool: writer.member("type", "Boolean")
        case .long: writer.member("type", "Long")
        case .string: writer.member("type", "String")
        case .extensionType(let name):
            writer.member("type", "Extension")
            writer.member("name", name.text)
        case .set(let element, _):
            writer.member("type", "Set")
            member("element", element, &writer)
        case .record(let attributes, _):
            writer.member("type", "Record")
            writer.key("attributes")
            writer.object { writer in
                for attribute in Self.effective(attributes) {
                    writer.key(attribute.name.text)
                    writer.object { writer in
                        self.type(attribute.type, &writer)
                        if !attribute.isRequired { writer.member("required", false) }
                        annotations(attribute.annotations, &writer)
                    }
                }
            }
        case .common(let name): writer.member("type", name.text)
        case .entity(let name):
            writer.member("type", "Entity")
            writer.member("name", name.text)
        case .entityOrCommon(let name):
            writer.member("type", "EntityOrCommon")
            writer.member("name", name.text)
        }
    }

    /// The attributes that count where one is repeated: the last of each name.
    static func effective(_ attributes: [TypeSyntax.Attribute]) -> [TypeSyntax.Attribute] {
        var last: [Text: Int] = [:]
        for (index, attribute) in attributes.enumerated() { last[attribute.name.text] = index }
        guard last.count < attributes.count else { return attributes }
        return attributes.enumerated().filter { last[$0.element.name.text] == $0.offset }
            .map(\.element)
    }
}
