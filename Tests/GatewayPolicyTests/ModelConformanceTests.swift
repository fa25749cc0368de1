import Cedar
import GatewayModel
import JSON
import Testing

@testable import GatewayPolicy

/// What the gateway decides on is as the schema says that policies are validated against; so what validates cannot fail.
@Suite struct ModelConformanceTests {
    static func subject(
        _ id: SubjectID,
        _ kind: Subject.Kind = .user,
        groups: [Text] = [],
        _ attributes: [Text: Text] = [:]
    ) -> Subject {
        Subject(
            id: id,
            issuer: "https://idp.example",
            name: id.text,
            kind: kind,
            status: .active,
            groups: groups,
            attributes: attributes
        )
    }

    static let subjects = [
        subject("sub_1"),
        subject(
            "sub_2",
            groups: ["sre", "é"],
            [
                "employment": "contractor", "contractEnd": "2027-01-01", "mfaAt": "yesterday",
                "manager": "sub_1", "department": "x", "status": "leaver", "owner": "nobody",
            ]
        ),
        subject("svc_1", .workload, groups: ["ci"]),
        subject(
            "svc_2",
            .workload,
            ["owner": "platform", "employment": "robot", "mfaAt": "never"]
        ),
    ]
    static let clients = [
        PolicyClient(id: "c1", name: "Desk", version: "1", isAttested: true, groups: ["approved"]),
        PolicyClient(id: "c2", name: "", isAttested: false),
    ]
    static let memberships: [[EntityUID]] = [
        [
            EntityUID(type: "MCP::ServerGroup", id: "kubernetes"),
            EntityUID(type: "MCP::Environment", id: "qa"),
            EntityUID(type: "MCP::Environment", id: "prod"),
            EntityUID(type: "MCP::Site", id: "Hof"), EntityUID(type: "MCP::Group", id: "sre"),
        ], [], [],
    ]

    struct Model {
        let point: PolicyDecisionPoint
        let entities: [Entity]
        let schema: Schema
        let catalogue: [SchemaGenerator.Server]
    }

    static func model() throws -> Model {
        let release = try PolicyRelease(
            number: 1,
            documents: [
                ReleaseCheckTests.facts,
                .init(
                    name: "a.cedar",
                    source:
                        #"@tier("guard") @approval("night-watch:1") forbid (principal, action, resource) unless { context.facts.approvals["night-watch"] >= 1 };"#
                ),
            ]
        )
        var catalogue = try ReleaseCheckTests.catalogue()
        for index in catalogue.indices { catalogue[index].memberships = memberships[index] }
        let servers = catalogue.map { server in
            PolicyServer(
                name: server.name,
                memberships: server.memberships,
                tools: Dictionary(uniqueKeysWithValues: server.tools.map { ($0.name, $0.effect) })
            )
        }
        return Model(
            point: try PolicyDecisionPoint(
                release: release,
                subjects: subjects,
                servers: servers,
                clients: clients
            ),
            entities: MCPEntities.all(
                subjects: subjects,
                servers: servers,
                clients: clients,
                dataClasses: release.facts.dataClasses
            ),
            schema: try Schema(
                parsing: SchemaGenerator(facts: release.facts).generate(catalogue).schema.string
            ),
            catalogue: catalogue
        )
    }

    @Test func `every entity is as the generated schema says`() throws {
        let model = try Self.model()
        #expect(model.entities.count > 20)
        #expect(model.schema.violations(of: model.entities).map(\.description) == [])
        // The check sees what it is to see.
        var broken = model.entities
        for index in broken.indices where broken[index].uid.type == "MCP::Tool" {
            broken[index].attributes["risk"] = nil
        }
        #expect(model.schema.violations(of: broken).count == 4)
    }

    @Test
    func
        `what the directory says beyond the model is a tag, and what it says wrongly opens nothing`()
        throws
    {
        let entities = try Self.model().entities
        func find(_ type: Text, _ id: Text) throws -> Entity {
            try #require(entities.first { $0.uid == EntityUID(type: type, id: id) })
        }
        let user = try find("MCP::User", "sub_2")
        #expect(Self.text(user.tags) == "department=string(x) owner=string(nobody)")
        #expect(
            Self.text(user.attributes)
                == Self.text([
                    "employment": .string("contractor"), "status": .string("active"),
                    "contractEnd": .datetime(CedarDatetime(milliseconds: 1_798_761_600_000)),
                    "mfaAt": .datetime(CedarDatetime(milliseconds: 0)),
                    "manager": .entity(EntityUID(type: "MCP::User", id: "sub_1")),
                ])
        )
        let plain = try find("MCP::User", "sub_1")
        #expect(
            Self.text(plain.attributes)
                == Self.text([
                    "employment": .string("unknown"), "status": .string("active"),
                ])
        )
        let service = try find("MCP::ServiceAccount", "svc_1")
        #expect(
            Self.text(service.attributes)
                == Self.text([
                    "owner": .entity(EntityUID(type: "MCP::Group", id: "")),
                    "status": .string("active"),
                ])
        )
        let tool = try find("MCP::Tool", "k8s/apply")
        #expect(Self.text(tool.attributes) == Self.text(["risk": .long(3)]))
    }

    static func text(_ record: [Text: Value]) -> String {
        record.map { "\($0.key)=\($0.value)" }.sorted().joined(separator: " ")
    }

    @Test(arguments: [
        ("k8s", "delete_pod", #"{"namespace":"a","name":"b"}"#),
        ("k8s", "apply", #"{"manifest":"a"}"#),
        ("k8s", "get_pods", "{}"),
        ("s3", "put_object", #"{"bucket":"b","acl":null}"#),
        // What is not declared is left out, and what must be there is.
        ("s3", "put_object", #"{"bucket":"b","else":[1.5]}"#),
    ])
    func `every request is as the generated schema says`(
        server: String,
        tool: String,
        arguments: String
    ) throws {
        let model = try Self.model()
        let definition = try #require(
            model.catalogue.first { $0.name.text.string == server }?.tools
                .first { $0.name.text.string == tool }
        )
        for subject in Self.subjects {
            for client in [nil, "c1", "nobody"] as [Text?] {
                var facts = PolicyFacts(
                    time: Timestamp(microseconds: 1_000_000),
                    source: IPAddress(Array("10.1.2.3".utf8)),
                    definitionPinned: true
                )
                facts.client = client
                facts.found = ["personal.email"]
                for counter in model.point.declaredFacts.counters {
                    facts.rates[counter.name] = RateReading(count: 1)
                }
                for monitor in model.point.declaredFacts.monitors {
                    facts.history[monitor.name] = true
                }
                let asked = model.point.question(
                    subject,
                    ServerName(server),
                    definition.name,
                    arguments: try ToolSchemaTests.json(arguments),
                    schema: definition.input,
                    facts: facts
                )
                let request = model.point.outcomes.request(asked.question, asked.facts)
                func violations(_ context: [Text: Value]) -> [String] {
                    model.schema.violations(
                        principal: request.principal,
                        action: request.action,
                        resource: request.resource,
                        context: context
                    ).map(\.description)
                }
                #expect(violations(request.context) == [])
                var without = request.context
                without["system"] = nil
                #expect(violations(without).count == 1)
            }
        }
    }

    @Test func `arguments that lack what they must have do not conform, and policies are told`()
        throws
    {
        let model = try Self.model()
        let tool = try #require(model.catalogue[0].tools.first)
        let reading = tool.input.read(try ToolSchemaTests.json(#"{"name":"x"}"#))
        #expect(!reading.isFaithful)
        #expect(reading.values["namespace"] == nil)
    }

    @Test func `an entity is read back from a snapshot as it went in`() throws {
        let model = try Self.model()
        let snapshot = try EntitySnapshot(entities: model.entities)
        for entity in model.entities {
            let read = try #require(snapshot.entity(entity.uid))
            #expect(Self.text(read.attributes) == Self.text(entity.attributes))
            #expect(Self.text(read.tags) == Self.text(entity.tags))
            #expect(Set(entity.parents).isSubset(of: read.parents))
        }
        #expect(snapshot.entity(EntityUID(type: "MCP::Site", id: "Hof")) == nil)
    }
}
