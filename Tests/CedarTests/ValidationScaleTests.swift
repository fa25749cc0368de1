import Cedar
import JSON
import Testing

/// Many policies over many tools: what is checked, and what is remembered.
@Suite struct ValidationScaleTests {
    /// One action per tool with typed arguments of its own, as generated from `tools/list`.
    private func schema(tools: Int, extra: String = "", argument: String = "Long") throws -> Schema
    {
        var text = """
            namespace MCP {
            entity Tenant;
            entity Group in [Group, Tenant];
            entity User in [Group, Tenant] = { status: String, contractEnd?: datetime, manager?: User } tags String;
            entity ServiceAccount in [Group, Tenant] = { owner: Group, status: String } tags String;
            entity Environment enum ["dev", "staging", "prod"];
            entity Server in [Environment, Tenant] = { owner: Group };
            entity Tool in [Server] = { risk: Long };
            type System = { now: datetime, localHour: Long, weekday: Long, source: ipaddr };
            type Facts = { stepUp: Bool, approvals: { sre: Long, security: Long }, rate: { destructive: Long } };
            action "any";
            action "read", "write", "tools/call" in ["any"];

            """
        for tool in 0..<tools {
            // Every tool has an argument that no other has.
            text += """
                action "server/tool\(tool)" in ["tools/call", "\(tool % 3 == 0 ? "write" : "read")"]
                appliesTo { principal: [User, ServiceAccount], resource: [Tool], context: {
                  input: { name: String, only\(tool): \(tool == 7 ? argument : "Long")\(tool % 2 == 0 ? ", namespace?: String" : "") },
                  system: System, facts: Facts } };

                """
        }
        return try Schema(parsing: text + extra + "}")
    }

    private func policies(_ count: Int, tools: Int) throws -> PolicySet {
        var text = ""
        for number in 0..<count {
            let tool = number % tools
            switch number % 5 {
            case 0:
                text += """
                    permit(principal in MCP::Group::"g\(number)", action == MCP::Action::"server/tool\(tool)", resource)
                    when { context.input.only\(tool) > \(number) && context.input.name like "a*" };

                    """
            case 1:
                text += """
                    forbid(principal, action in MCP::Action::"tools/call", resource)
                    unless { context.facts.approvals.sre >= \(number) || principal in MCP::Group::"g\(number)" };

                    """
            case 2:
                text += """
                    forbid(principal, action in MCP::Action::"write", resource in MCP::Environment::"prod")
                    when { context.input has namespace && context.input.namespace == "n\(number)" };

                    """
            case 3:
                text += """
                    forbid(principal is MCP::User, action, resource)
                    when { principal.status != "s\(number)" || (principal has contractEnd && context.system.now >= principal.contractEnd) };

                    """
            default:
                text += """
                    permit(principal, action, resource)
                    when { action in MCP::Action::"read" && context.facts.stepUp && resource.risk < \(number) };

                    """
            }
        }
        return try PolicySet.parse(text)
    }

    @Test func `tools that a policy cannot tell apart are checked once`() throws {
        let schema = try schema(tools: 50)
        let policies = try policies(5, tools: 50)
        let report = Validator(schema).validate(policies)
        #expect(report.findings.isEmpty, "\(report.findings)")
        // Two principal types each: one tool; all tools; tools with and without namespace among
        // those that write; users only; actions in and not in `read`.
        #expect(report.checks == 2 + 2 + 4 + 1 + 4)
    }

    @Test func `a memo changes the work and not the report`() throws {
        let schema = try schema(tools: 50)
        let text =
            try policies(40, tools: 50).formatted()
            + "permit(principal, action, resource) when { context.input.only3 > 1 };"
        let policies = try PolicySet.parse(text)
        let validator = Validator(schema)
        let plain = validator.validate(policies)
        #expect(!plain.isValid)
        var memo = ValidationMemo()
        let first = validator.validate(policies, reusing: &memo)
        let second = validator.validate(policies, reusing: &memo)
        #expect(first.findings == plain.findings && second.findings == plain.findings)
        #expect(first.checks == plain.checks)
        #expect(second.checks == 0 && second.remembered > 0)
        // The text moves, the verdicts do not, and positions are those of the new text.
        let moved = try PolicySet.parse("\n\n" + text)
        let third = validator.validate(moved, reusing: &memo)
        #expect(third.checks == 0)
        #expect(third.findings.map(\.line) == plain.findings.map { $0.line + 2 })
    }

    @Test func `a changed tool is checked again by the policies that can see it`() throws {
        let policies = try policies(40, tools: 50)
        var memo = ValidationMemo()
        let before = Validator(try schema(tools: 50)).validate(policies, reusing: &memo)
        #expect(before.isValid)
        let changed = try schema(tools: 50, argument: "String")
        let after = Validator(changed).validate(policies, reusing: &memo)
        #expect(after.findings == Validator(changed).validate(policies).findings)
        // No policy of these reads the argument that changed.
        #expect(after.isValid && after.checks == 0)
        let reader = try PolicySet.parse(
            policies.formatted()
                + """
                permit(principal, action == MCP::Action::"server/tool7", resource)
                when { context.input.only7 > 1 };
                """
        )
        let valid = Validator(try schema(tools: 50)).validate(reader, reusing: &memo)
        let invalid = Validator(changed).validate(reader, reusing: &memo)
        #expect(valid.isValid && !invalid.isValid)
        #expect(valid.checks == 2 && invalid.checks == 2)
    }

    @Test func `a changed entity type is checked again by the policies that can reach it`() throws {
        let base = """
            entity A = { b: B }; entity B = { n: Long }; entity C = { n: Long };
            action a appliesTo { principal: A, resource: C };
            """
        let changed = base.replacing("entity B = { n: Long }", with: "entity B = { n: String }")
        let policies = try PolicySet.parse(
            """
            permit(principal, action, resource) when { principal.b.n > 1 };
            permit(principal, action, resource) when { C::"c".n > 1 };
            """
        )
        var memo = ValidationMemo()
        #expect(Validator(try Schema(parsing: base)).validate(policies, reusing: &memo).isValid)
        let report = Validator(try Schema(parsing: changed)).validate(policies, reusing: &memo)
        #expect(report.findings.map(\.code) == [.unexpectedType])
        #expect(report.findings.map(\.policy) == ["policy0"])
        let back = Validator(try Schema(parsing: base)).validate(policies, reusing: &memo)
        #expect(back.isValid && back.checks == 0)
    }

    @Test func `a thousand policies over five hundred tools are validated`() throws {
        let (tools, count) = SharedData.isRelease ? (500, 1000) : (50, 100)
        let schema = try schema(tools: tools)
        let policies = try policies(count, tools: tools)
        let clock = ContinuousClock()
        var memo = ValidationMemo()
        let validator = Validator(schema)
        var reports: [ValidationReport] = []
        let full = clock.measure {
            reports.append(validator.validate(policies, reusing: &memo))
        }
        let changed = try PolicySet.parse(
            policies.formatted()
                + "forbid(principal, action, resource) when { context.facts.stepUp };"
        )
        let policy = clock.measure {
            reports.append(validator.validate(changed, reusing: &memo))
        }
        let newTool = """
            action "server/new" in ["tools/call", "read"]
            appliesTo { principal: [User, ServiceAccount], resource: [Tool], context: {
              input: { name: String, brandNew: Long }, system: System, facts: Facts } };
            """
        let grown = Validator(try self.schema(tools: tools, extra: newTool))
        let tool = clock.measure { reports.append(grown.validate(changed, reusing: &memo)) }
        let isValid = reports.allSatisfy { $0.isValid }
        #expect(isValid)
        SharedData.note(
            "validation of \(count) policies over \(tools) tools: \(full), "
                + "\(reports[0].checks) checks; one policy more: \(policy), \(reports[1].checks); "
                + "one tool more: \(tool), \(reports[2].checks)"
        )
    }
}
