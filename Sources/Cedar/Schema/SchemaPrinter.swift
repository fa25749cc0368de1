import JSON

/// Writes a ``SchemaSyntax`` as Cedar text in one fixed layout.
///
/// Parsing what was printed and printing it again gives the same text, and what every name means is
/// kept: where something is declared with the name of a built-in type, that one is written as
/// `__cedar::Long`; where JSON means a declaration that is not the nearest, the whole name is
/// written; a common type that is the shape of an entity type is replaced by its attributes.
struct SchemaPrinter {
    private let syntax: SchemaSyntax
    private let names: SchemaNames
    private(set) var findings = SchemaFindings()
    private var out = ""
    private var indentation = 0
    /// The namespace being written, where names are read.
    private var namespace: Text = ""
    /// The namespace that what is being written comes from; another one within a replaced shape.
    private var origin: Text = ""

    init(_ syntax: SchemaSyntax) {
        self.syntax = syntax
        names = SchemaNames(syntax)
    }

    mutating func text() -> String {
        for namespace in syntax.namespaces {
            self.namespace = namespace.name
            origin = namespace.name
            if namespace.name.isEmpty {
                declarations(namespace)
                continue
            }
            separate()
            annotations(namespace.annotations)
            out += "namespace \(namespace.name.string) {\n"
            indentation += 1
            declarations(namespace)
            indentation -= 1
            out += "}\n"
        }
        return out
    }

    // MARK: Layout

    private var margin: String { String(repeating: "  ", count: indentation) }

    /// An empty line between declarations, none before the first.
    private mutating func separate() {
        if !out.isEmpty, !out.utf8.suffix(2).elementsEqual("{\n".utf8) { out += "\n" }
    }

    private func text(_ annotations: [SchemaSyntax.Annotation]) -> String {
        annotations.reduce(into: "") { text, annotation in
            let value = annotation.value.map { "(\(CedarText.quoted($0)))" } ?? ""
            text += "\(margin)@\(annotation.key.string)\(value)\n"
        }
    }

    private mutating func annotations(_ annotations: [SchemaSyntax.Annotation]) {
        out += text(annotations)
    }

    // MARK: Declarations

    private mutating func declarations(_ namespace: SchemaSyntax.Namespace) {
        for type in namespace.commonTypes {
            separate()
            annotations(type.annotations)
            out += "\(margin)type \(type.name.text.string) = \(self.type(type.type));\n"
        }
        for type in namespace.entityTypes {
            separate()
            annotations(type.annotations)
            out += "\(margin)entity \(type.name.text.string)"
            entityType(type)
            out += ";\n"
        }
        for action in namespace.actions {
            separate()
            annotations(action.annotations)
            out += "\(margin)action \(name(action.name.text))"
            self.action(action)
            out += ";\n"
        }
    }

    private mutating func entityType(_ type: SchemaSyntax.EntityType) {
        switch type.kind {
        case .enumerated(let ids):
            out += " enum [\(ids.map(CedarText.quoted).joined(separator: ", "))]"
        case .standard(let memberOf, let shape, let tags):
            if !memberOf.isEmpty { out += " in \(list(memberOf))" }
            if let shape {
                let record = self.shape(shape)
                if record != "{}" { out += " = \(record)" }
            }
            if let tags { out += " tags \(self.type(tags))" }
        }
    }

    private mutating func action(_ action: SchemaSyntax.Action) {
        if !action.memberOf.isEmpty {
            let parents = action.memberOf.map { parent in
                parent.type.map { "\($0.string)::\(CedarText.quoted(parent.id))" }
                    ?? name(parent.id)
            }
            out += " in [\(parents.joined(separator: ", "))]"
        }
        // Principals without resources, which only JSON can give, are no request.
        guard let scope = action.scope, !scope.principals.isEmpty, !scope.resources.isEmpty else {
            return
        }
        out += " appliesTo {\n"
        indentation += 1
        out += "\(margin)principal: \(list(scope.principals)),\n"
        out += "\(margin)resource: \(list(scope.resources)),\n"
        if let context = scope.context { out += "\(margin)context: \(type(context)),\n" }
        indentation -= 1
        out += "\(margin)}"
    }

    private mutating func list(_ types: [SchemaSyntax.Name]) -> String {
        "[\(types.map { reference($0, .entity, readAs: .entity) }.joined(separator: ", "))]"
    }

    /// A name as a word where it is one, else as a string.
    private func name(_ name: Text) -> String {
        ReservedWords.isName(Array(name.utf8)[...]) ? name.string : CedarText.quoted(name)
    }

    // MARK: Types

    /// The shape of an entity type, for which Cedar syntax wants the record itself.
    private mutating func shape(_ shape: SchemaSyntax.TypeSyntax) -> String {
        var type = shape
        let own = origin
        defer { origin = own }
        // A cycle does not resolve, so it is not followed for longer than a type may be deep.
        for _ in 0..<SchemaLimits.depthMax {
            switch type {
            case .common(let name), .entityOrCommon(let name):
                guard case .common(let place) = names.meaning(of: name.text, in: origin, .common)
                else { break }
                let namespace = syntax.namespaces[place.namespace]
                type = namespace.commonTypes[place.index].type
                origin = namespace.name
                continue
            default: break
            }
            break
        }
        guard case .record(let attributes, _) = type else {
            findings.report(.notARecord, shape.span)
            return "{}"
        }
        return record(attributes)
    }

    private mutating func type(_ type: SchemaSyntax.TypeSyntax) -> String {
        switch type {
        case .bool: return builtIn("Bool")
        case .long: return builtIn("Long")
        case .string: return builtIn("String")
        case .extensionType(let name): return builtIn(name.text)
        case .set(let element, _): return "Set<\(self.type(element))>"
        case .record(let attributes, _): return record(attributes)
        case .common(let name): return reference(name, .common)
        case .entity(let name): return reference(name, .entity)
        case .entityOrCommon(let name): return reference(name, [.common, .entity])
        }
    }

    /// A built-in type by the name that means it here.
    private func builtIn(_ name: Text) -> String {
        let meaning = names.meaning(of: name, in: namespace, [.common, .entity])
        if case .builtIn? = meaning { return name.string }
        return SchemaSyntax.BuiltIn.prefix + name.string
    }

    /// The name that means here what `name` means where it was written.
    private mutating func reference(
        _ name: SchemaSyntax.Name,
        _ kinds: SchemaNames.Kinds,
        readAs: SchemaNames.Kinds = [.common, .entity]
    ) -> String {
        // What means nothing is no matter of printing.
        guard let meaning = names.meaning(of: name.text, in: origin, kinds) else {
            return name.text.string
        }
        var candidates = [name.text]
        switch meaning {
        case .builtIn:
            if !name.text.utf8.starts(with: SchemaSyntax.BuiltIn.prefix.utf8) {
                candidates.append(Text(SchemaSyntax.BuiltIn.prefix + name.text.string))
            }
        case .entity(let whole): candidates.append(whole)
        case .common(let place):
            let namespace = syntax.namespaces[place.namespace]
            let declared = namespace.commonTypes[place.index].name.text
            candidates.append(SchemaSyntax.qualified(declared, in: namespace.name))
        }
        for candidate in candidates
        where names.meaning(of: candidate, in: namespace, readAs) == meaning {
            return candidate.string
        }
        findings.report(.notExpressible, name.span, name: name.text)
        return name.text.string
    }

    private mutating func record(_ attributes: [SchemaSyntax.TypeSyntax.Attribute]) -> String {
        guard !attributes.isEmpty else { return "{}" }
        var text = "{\n"
        indentation += 1
        for attribute in attributes {
            text += self.text(attribute.annotations)
            let mark = attribute.isRequired ? "" : "?"
            text += "\(margin)\(name(attribute.name.text))\(mark): \(type(attribute.type)),\n"
        }
        indentation -= 1
        return text + "\(margin)}"
    }
}

extension SchemaSyntax {
    /// The schema as Cedar text in one fixed layout.
    ///
    /// Throws for JSON that Cedar syntax cannot say: a name that means an entity type although a
    /// common type has the same whole name, or a shape that is no record.
    public func formatted() throws(SchemaFailure) -> String {
        var printer = SchemaPrinter(self)
        let text = printer.text()
        guard printer.findings.isEmpty else { throw printer.findings.failure(in: source) }
        return text
    }
}
