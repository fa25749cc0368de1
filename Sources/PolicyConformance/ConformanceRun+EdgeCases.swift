import Cedar
import JSON

// One document of expressions with their outcomes, and of policy texts that are policies or not.

extension ConformanceRun {
    mutating func edgeCases(_ record: JSONValue) {
        do {
            let entities = try EntitySnapshot(
                entities: Entity.list(cedarJSON: record["entities"] ?? record)
            )
            let request = try Self.request(record["request"] ?? record)
            for row in record["expressions"]?.elements.map(\.self) ?? [] {
                let expression = row["expr"]?.string?.string ?? ""
                let ours = outcome(of: expression, request, entities)
                report.check(
                    .edgeExpression,
                    row["outcome"]?.string == ours,
                    in: expression,
                    "expected \(row["outcome"]?.string?.string ?? "?"), is \(ours)"
                )
            }
        } catch {
            report.check(.edgeExpression, false, in: "edge cases", "\(error)")
        }
        for row in record["parsing"]?.elements.map(\.self) ?? [] {
            let text = row["policies"]?.string?.string ?? ""
            let isAccepted = (try? PolicySet.parse(text)) != nil
            report.check(
                .parserInput,
                row["accepts"]?.boolean == isAccepted,
                in: text,
                isAccepted ? "is accepted" : "is refused"
            )
        }
    }

    private func outcome(
        of expression: String,
        _ request: Request,
        _ entities: EntitySnapshot
    ) -> Text {
        let text = "permit(principal, action, resource) when { \(expression) };"
        guard let policies = try? PolicySet.parse(text) else { return "parse-error" }
        let answer = CompiledPolicySet(policies).decide(request, entities: entities)
        guard answer.errors.isEmpty else { return "error" }
        return answer.decision == .allow ? "true" : "false"
    }
}
