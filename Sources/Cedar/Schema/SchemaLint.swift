import JSON

/// Finds what is legal in a schema and would deceive the person who approves it.
struct SchemaLint {
    private(set) var findings = SchemaFindings()

    mutating func run(_ syntax: SchemaSyntax) {
        if case .text(let text) = syntax.source {
            // Comments count: they are where a reviewer reads what is not there.
            for range in TextHazards.bidirectionalControls(in: text) {
                findings.report(.bidirectionalControl, SourceSpan(range))
            }
            for range in TextHazards.bareCarriageReturns(in: text) {
                findings.report(.bareCarriageReturn, SourceSpan(range))
            }
        }
        for namespace in syntax.namespaces {
            annotations(namespace.annotations, namespace.span)
            for type in namespace.commonTypes {
                annotations(type.annotations, type.name.span)
                self.type(type.type)
            }
            for type in namespace.entityTypes {
                annotations(type.annotations, type.name.span)
                switch type.kind {
                case .enumerated(let ids):
                    for id in ids { name(id, type.name.span) }
                case .standard(_, let shape, let tags):
                    if let shape { self.type(shape) }
                    if let tags { self.type(tags) }
                }
            }
            for action in namespace.actions {
                annotations(action.annotations, action.name.span)
                name(action.name.text, action.name.span)
                for parent in action.memberOf { name(parent.id, parent.span) }
                if let context = action.scope?.context { type(context) }
            }
        }
    }

    /// Identifiers are ASCII; what is written as a string need not be.
    private mutating func name(_ name: Text, _ span: SourceSpan) {
        if TextHazards.hasBidirectionalControl(name) {
            findings.report(.bidirectionalControl, span, name: name)
        }
        if TextHazards.mixesScripts(name) { findings.report(.mixedScripts, span, name: name) }
    }

    private mutating func annotations(
        _ annotations: [SchemaSyntax.Annotation],
        _ span: SourceSpan
    ) {
        for annotation in annotations {
            guard let value = annotation.value, TextHazards.hasBidirectionalControl(value) else {
                continue
            }
            findings.report(.bidirectionalControl, span, name: annotation.key)
        }
    }

    private mutating func type(_ type: SchemaSyntax.TypeSyntax) {
        switch type {
        case .set(let element, _): self.type(element)
        case .record(let attributes, _):
            var names: Set<Text> = []
            for attribute in attributes {
                if !names.insert(attribute.name.text).inserted {
                    findings.report(
                        .repeatedAttribute,
                        attribute.name.span,
                        name: attribute.name.text
                    )
                }
                name(attribute.name.text, attribute.name.span)
                annotations(attribute.annotations, attribute.name.span)
                self.type(attribute.type)
            }
        case .bool, .long, .string, .extensionType, .common, .entity, .entityOrCommon: break
        }
    }
}

extension SchemaSyntax {
    /// Refuses what ``SourceRules/publishing`` refuses.
    func check(_ rules: SourceRules) throws(SchemaFailure) {
        guard rules == .publishing else { return }
        var lint = SchemaLint()
        lint.run(self)
        guard lint.findings.isEmpty else { throw lint.findings.failure(in: source) }
    }
}
