import JSON

// What is legal in a policy and would deceive the person who approves it.

extension Parser {
    /// Reports what ``SourceRules/publishing`` refuses, in the whole text: comments count too, they are where a
    /// reviewer reads what is not there.
    mutating func lint() {
        for range in TextHazards.bidirectionalControls(in: text) {
            report(.bidirectionalControl, SourceSpan(range.lowerBound, range.upperBound))
        }
        for range in TextHazards.bareCarriageReturns(in: text) {
            report(.bareCarriageReturn, SourceSpan(range.lowerBound, range.upperBound))
        }
        for token in tokens where token.kind == .string {
            // Identifiers are ASCII; what is written as a string need not be.
            let content = bytes(token.span).dropFirst().dropLast()
            guard let decoded = Escapes.decode(content, asPattern: false),
                let name = Text(validating: decoded)
            else { continue }
            if TextHazards.mixesScripts(name) {
                report(
                    .mixedScripts,
                    token.span,
                    "\(quoted(token.span)) mixes scripts that look alike"
                )
            }
            if TextHazards.hasBidirectionalControl(name), !content.contains(where: { $0 >= 0x80 }) {
                report(.bidirectionalControl, token.span, hint: "it is written as an escape here")
            }
        }
        lintNames()
    }

    /// `@id` is the name of a policy for people, records and other policies' tests: one for each.
    private mutating func lintNames() {
        var lines = LineCounter()
        var firsts: [Symbol: Int] = [:]
        for policy in policies {
            guard
                let name = policy.annotations.first(where: {
                    syntax.symbols[$0.key].elementsEqual("id".utf8)
                })?.value
            else { continue }
            let (line, _) = lines.position(of: Int(policy.span.start), in: text)
            guard let first = firsts[name] else {
                firsts[name] = line
                continue
            }
            report(
                .duplicatePolicyID,
                SourceSpan(Int(policy.span.start), Int(policy.span.start)),
                "another policy has the @id \(CedarText.quoted(syntax.symbols.text(name)))",
                hint: "it begins in line \(first)"
            )
        }
    }
}
