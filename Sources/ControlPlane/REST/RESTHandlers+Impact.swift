import AdminAPI
import ControlStore
import Cryptography
import GatewayModel
import GatewayPolicy
import JSON
import Postgres

// What accepting another definition of a tool would mean for policies.
extension RESTHandlers {
    func readToolImpact(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let namespace = try call.namespaceID
        let tool = try await tool(call, transaction)
        let definition = try definition(of: tool, call)
        let release: ReleaseRow?
        if let number = call.query["release"].flatMap({ Int64($0.string) }) {
            release = try await store.release(number, of: namespace, in: transaction)
            guard release != nil else { throw refusal("release", "no such release") }
        } else {
            release = try await store.activeRelease(of: namespace, in: transaction)
        }
        let catalogue = try await store.catalogue(of: namespace, in: transaction)
        let effect = call.query["effect"] ?? tool.effect
        let candidate = catalogue.accepting(definition, of: tool, as: effect)
        let impact = releases.checker.impact(
            of: candidate,
            on: release?.release.documents ?? [],
            checkedAgainst: catalogue,
            in: namespace
        )
        var writer = JSONWriter(capacity: 4096)
        writer.object { writer in
            writer.key("release")
            if let release { writer.value(release.release.number) } else { writer.null() }
            writer.text("digest", orNull: definition.map { Text(Hex.encode($0.digest)) })
            writer.member("effect", effect)
            writer.array("changes") { writer in
                for change in impact.changes[tool.server]?.changes[tool.name] ?? [] {
                    change.write(to: &writer)
                }
            }
            let affected = impact.affected
            writer.member("unaffected", Int64(impact.policies.count - affected.count))
            writer.member("affected", Int64(affected.count))
            writer.array("policies") { writer in
                for policy in affected.prefix(Schema.findingsMax) { writer.value(policy) }
            }
            writer.key("obstacle")
            if let obstacle = impact.obstacle { writer.value(obstacle) } else { writer.null() }
        }
        return RESTAnswer(status: 200, body: writer.finish())
    }

    /// The definition that is asked about: the one that is named, or the newest that proxies reported.
    private func definition(
        of tool: ToolRow,
        _ call: RESTCall
    ) throws(Problem) -> ToolRow.Definition? {
        guard let digest = call.query["digest"] else { return tool.definitions.first }
        guard let found = tool.definitions.first(where: { Text(Hex.encode($0.digest)) == digest })
        else { throw refusal("digest", "no proxy reported this definition") }
        return found
    }

    private func refusal(_ parameter: Text, _ detail: String) -> Problem {
        Problem(
            .parameterInvalid,
            "see errors",
            errors: [.init(parameter, .reference, detail)]
        )
    }
}

extension StoredCatalogue {
    /// The catalogue in which a definition of a tool is the accepted one; without a definition the tool is not there.
    fileprivate func accepting(
        _ definition: ToolRow.Definition?,
        of tool: ToolRow,
        as effect: Text
    ) -> StoredCatalogue {
        var catalogue = self
        guard let index = catalogue.servers.firstIndex(where: { $0.name == tool.server }) else {
            return catalogue
        }
        catalogue.servers[index].tools.removeAll { $0.name == tool.name }
        guard let definition else { return catalogue }
        catalogue.servers[index].tools.append(
            Tool(
                name: tool.name,
                effect: effect,
                digest: definition.digest,
                definition: definition.canonical
            )
        )
        catalogue.servers[index].tools.sort { $0.name.text < $1.name.text }
        return catalogue
    }
}

extension ToolListDiff.Change: Represented {
    func write(to writer: inout JSONWriter) {
        func describe(_ kind: Text, _ argument: Text? = nil, required: Bool? = nil) {
            writer.object { writer in
                writer.member("change", kind)
                writer.member("argument", ifPresent: argument)
                writer.member("required", ifPresent: required)
            }
        }
        switch self {
        case .toolAdded: describe("toolAdded")
        case .toolRemoved: describe("toolRemoved")
        case .optionalArgumentAdded(let name): describe("argumentAdded", name, required: false)
        case .requiredArgumentAdded(let name): describe("argumentAdded", name, required: true)
        case .argumentRemoved(let name): describe("argumentRemoved", name)
        case .typeChanged(let name): describe("typeChanged", name)
        case .requirementChanged(let name, let isRequired):
            describe("requirementChanged", name, required: isRequired)
        case .omissionsChanged: describe("omissionsChanged")
        case .effectChanged: describe("effectChanged")
        case .descriptionChanged: describe("descriptionChanged")
        case .otherChanged: describe("otherChanged")
        }
    }
}
