import Cedar
import JSON

// Policies held against schemas: strict and permissive verdicts, levels, partial evaluation.

extension ConformanceRun {
    /// Whether the set, and each policy of it, validates.
    mutating func validation(_ record: JSONValue, _ schema: Schema, _ name: String) {
        guard let policies = try? policies(of: record) else { return }
        let said = record["validation"]?["policyValidation"]
        let strict = Validator(schema).validate(policies)
        for verdict in [record["shouldValidate"], said?["strict"]] {
            guard let verdict = verdict?.boolean else { continue }
            compare(.setValidation, strict, nil, verdict, name)
        }
        let permissive = Validator(schema, mode: .permissive).validate(policies)
        if let verdict = said?["permissive"]?.boolean {
            compare(.permissiveSetValidation, permissive, nil, verdict, name)
        }
        for (key, verdict) in said?["perPolicy"]?.members.map(\.self) ?? [] {
            let policy = PolicyID(key.text)
            if let verdict = verdict["strict"]?.boolean {
                compare(.policyValidation, strict, policy, verdict, name)
            }
            if let verdict = verdict["permissive"]?.boolean {
                compare(.permissivePolicyValidation, permissive, policy, verdict, name)
            }
        }
    }

    private mutating func compare(
        _ kind: ConformanceReport.Kind,
        _ report: ValidationReport,
        _ policy: PolicyID?,
        _ expected: Bool,
        _ name: String
    ) {
        self.report.check(
            kind,
            (policy.map(report.isValid) ?? report.isValid) == expected,
            in: name,
            "\(expected ? "validates" : "does not validate"), found \(report.findings)"
        )
    }

    /// Policies that follow no longer chain of entities than they are published for.
    mutating func level(_ record: JSONValue, _ name: String) {
        do {
            let level = record["level"]?.int64.map(Int.init) ?? 0
            guard let schema = Self.schema(record) else { throw ConformanceFileError.noRecords }
            let findings = Validator(schema, levelMax: level)
                .validate(try policies(of: record)).findings
            let errors = findings.filter { $0.severity == .error }
            report.check(.level, errors.isEmpty, in: name, "level \(level), found \(errors)")
        } catch {
            report.check(.level, false, in: name, "\(error)")
        }
    }

    /// The published request leaves the resource open: for each completion that is tried, what is left of the policies
    /// answers as the whole.
    mutating func partialEvaluation(_ record: JSONValue, _ name: String) {
        do {
            guard let schema = Self.schema(record), let request = record["request"],
                let principalType = request["principal_type"]?.string,
                let resourceType = request["resource_type"]?.string,
                let declared = schema.entityTypes[resourceType]
            else { throw ConformanceFileError.noRecords }
            let policies = try policies(of: record)
            let principal = EntityUID(
                type: principalType,
                id: request["principal_eid"]?.string ?? ""
            )
            let action = try Self.uid(request["action"] ?? request)
            let known = try Entity.list(cedarJSON: record["entities"] ?? record, schema: schema)
            let residual = PartialEvaluator(policies: policies, schema: schema).evaluate(
                PartialRequest(
                    principal: PartialReference(principal),
                    action: action,
                    resource: PartialReference(someOf: resourceType)
                ),
                entities: PartialEntities(known.map { PartialEntity($0) })
            ).residuals
            let context = schema.actions[action]?.context ?? SchemaRecord()
            for number in 0..<64 {
                var choices = Choices(state: UInt64(number), principal: principal)
                let resource = EntityUID(type: resourceType, id: "some")
                let entities = try EntitySnapshot(
                    entities: known + [
                        Entity(uid: resource, attributes: choices.record(declared.attributes))
                    ]
                )
                let question = Request(
                    principal: principal,
                    action: action,
                    resource: resource,
                    context: choices.record(context)
                )
                let whole = CompiledPolicySet(policies).decide(question, entities: entities)
                let rest = CompiledPolicySet(residual).decide(question, entities: entities)
                report.check(
                    .partialEvaluation,
                    whole.decision == rest.decision
                        && Set(whole.determining) == Set(rest.determining),
                    in: name,
                    "completion \(number): whole \(whole), residual \(rest)\n\(residual.formatted())"
                )
            }
        } catch {
            report.check(.partialEvaluation, false, in: name, "\(error)")
        }
    }
}

/// Values of declared types, chosen by a number.
private struct Choices {
    var state: UInt64
    let principal: EntityUID

    mutating func next(_ bound: UInt64) -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return (state >> 33) % bound
    }

    mutating func record(_ type: SchemaRecord) -> [Text: Value] {
        var members: [Text: Value] = [:]
        for (name, attribute) in type.attributes.sorted(by: { $0.key < $1.key }) {
            guard attribute.isRequired || next(2) == 0 else { continue }
            members[name] = value(attribute.type)
        }
        return members
    }

    private mutating func value(_ type: SchemaType) -> Value {
        switch type {
        case .bool: .bool(next(2) == 0)
        case .long: .long(Int64(next(3)) - 1)
        case .string: .string(next(2) == 0 ? "" : "a")
        case .set(let element): .set((0..<next(3)).map { _ in value(element) })
        case .record(let record): .record(self.record(record))
        case .entity(let type):
            .entity(
                type == principal.type && next(2) == 0
                    ? principal : EntityUID(type: type, id: "other")
            )
        case .decimal: CedarDecimal("1.5".utf8).map(Value.decimal) ?? .bool(false)
        case .ipaddr:
            IPAddress((next(2) == 0 ? "1.1.1.7" : "::1").utf8).map(Value.ip) ?? .bool(false)
        case .datetime: .datetime(CedarDatetime(milliseconds: 0))
        case .duration: CedarDuration("1d".utf8).map(Value.duration) ?? .bool(false)
        }
    }
}
