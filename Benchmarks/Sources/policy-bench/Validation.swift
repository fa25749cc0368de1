import Cedar
import JSON

// Validation of 1,000 policies over 500 tools: everything, then what one changed policy and one changed tool cost.

private func schemaText(tools: Int, changed: Bool) -> String {
    var text = """
        namespace MCP {
        entity Group in [Group];
        entity User in [Group] = { status: String, contractEnd?: datetime };
        entity ServiceAccount in [Group] = { status: String };
        entity Environment;
        entity Server in [Environment];
        entity Tool in [Server] = { risk: Long };
        type System = { now: datetime, localHour: Long, weekday: Long, source: ipaddr };
        type Facts = { stepUp: Bool, approvals: { sre: Long, security: Long }, rate: { destructive: Long } };
        action "any";
        action "read", "write", "tools/call" in ["any"];

        """
    for tool in 0..<tools {
        let type = changed && tool == 7 ? "String" : "Long"
        text += """
            action "server/tool\(tool)" in ["tools/call", "\(tool % 3 == 0 ? "write" : "read")"]
            appliesTo { principal: [User, ServiceAccount], resource: [Tool], context: {
              input: { name: String, only\(tool): \(type)\(tool % 2 == 0 ? ", namespace?: String" : "") },
              system: System, facts: Facts } };

            """
    }
    return text + "}"
}

private func policyText(_ number: Int, tools: Int, bound: Int? = nil) -> String {
    let (tool, bound) = (number % tools, bound ?? number)
    return switch number % 5 {
    case 0:
        """
        permit(principal in MCP::Group::"g\(number)", action == MCP::Action::"server/tool\(tool)", resource)
        when { context.input.only\(tool) > \(bound) && context.input.name like "a*" };

        """
    case 1:
        """
        forbid(principal, action in MCP::Action::"tools/call", resource)
        unless { context.facts.approvals.sre >= \(bound) || principal in MCP::Group::"g\(number)" };

        """
    case 2:
        """
        forbid(principal, action in MCP::Action::"write", resource in MCP::Environment::"prod")
        when { context.input has namespace && context.input.namespace == "n\(bound)" };

        """
    case 3:
        """
        forbid(principal is MCP::User, action, resource)
        when { principal.status != "s\(bound)" || (principal has contractEnd && context.system.now >= principal.contractEnd) };

        """
    default:
        """
        permit(principal, action, resource)
        when { action in MCP::Action::"read" && context.facts.stepUp && resource.risk < \(bound) };

        """
    }
}

func measureValidation() throws {
    let (count, tools) = (1_000, 500)
    let text = (0..<count).map { policyText($0, tools: tools) }.joined()
    let schema = try Schema(parsing: schemaText(tools: tools, changed: false))
    let changedSchema = try Schema(parsing: schemaText(tools: tools, changed: true))
    let policies = try PolicySet.parse(text)
    // Each kind of policy, another bound; the text of the rest moves as it would.
    let changedPolicies = try (0..<5).map { kind in
        try PolicySet.parse(
            (0..<count).map { number in
                policyText(number, tools: tools, bound: number == 500 + kind ? 77 : nil)
            }.joined()
        )
    }
    func median(_ body: () throws -> Double) rethrows -> Double {
        try (0..<7).map { _ in try body() }.sorted()[3]
    }
    var checks = 0
    let full = median {
        var memo = ValidationMemo()
        let start = now()
        let report = Validator(schema).validate(policies, reusing: &memo)
        precondition(report.isValid, "the policies of the benchmark are valid")
        checks = report.checks
        return now() - start
    }
    // Each from its own memo: what one run remembered the next does not find, and nothing is copied on the clock.
    func warm() -> ValidationMemo {
        var memo = ValidationMemo()
        _ = Validator(schema).validate(policies, reusing: &memo)
        return memo
    }
    let onePolicy =
        changedPolicies.map { changed in
            median {
                var memo = warm()
                let start = now()
                _ = Validator(schema).validate(changed, reusing: &memo)
                return now() - start
            }
        }.max() ?? 0
    let oneTool = median {
        var memo = warm()
        let start = now()
        _ = Validator(changedSchema).validate(policies, reusing: &memo)
        return now() - start
    }
    print("")
    row(["validation of \(count) policies over \(tools) tools", "value", "goal"])
    row(["---", "---", "---"])
    row(["all of it, \(checks) checks", "\(fixed(full / 1e3, 1)) ms", "1 s"])
    row([
        "again, one policy changed (the slowest kind of five)", "\(fixed(onePolicy / 1e3, 1)) ms",
        "50 ms",
    ])
    row([
        "again, one argument of one tool changed its type", "\(fixed(oneTool / 1e3, 1)) ms",
        "50 ms",
    ])
}
