import ArgumentParser
import Cedar
import GatewayPolicy
import Glibc
import JSON

/// What would change if a release came into force, and then the change.
struct ActivationPlan {
    private let client: APIClient
    private let namespace: Namespace
    private let target: JSONValue
    private let number: Int64
    /// The release in force.
    private let active: (number: Int64, release: JSONValue)?

    /// Where the release stands.
    var state: String { target.words("state") }
    /// Whether it was in force before.
    var isRollback: Bool { state == "retired" }

    /// Reads the release, and the one in force.
    init(_ client: APIClient, _ namespace: Namespace, to number: Int64) async throws {
        self.client = client
        self.namespace = namespace
        self.number = number
        target = try await client.get("\(namespace.path)/releases/\(number)")
        let newest = try await client.get("\(namespace.path)/activations?limit=1")
        active =
            if let item = newest["items"]?.elements.first(where: { _ in true }),
                let current = item["release"]?.int64
            {
                (current, try await client.get("\(namespace.path)/releases/\(current)"))
            } else {
                nil
            }
    }

    /// Shows the plan, asks unless told not to, and puts the release in force.
    func carryOut(
        _ options: ActivationOptions,
        acceptingWidening acceptsWidening: Bool = false
    ) async throws {
        show()
        if !options.yes { try confirm() }
        let body = JSONFragment(object: { writer in
            writer.member("release", number)
            writer.key("replaces")
            if let active { writer.value(active.number) } else { writer.null() }
            if acceptsWidening { writer.member("acceptsWidening", true) }
        })
        let activation: JSONValue
        do {
            activation = try await client.post("\(namespace.path)/activations", body)
        } catch let failure as APIClient.Failure where failure.problem == "precondition-failed" {
            throw APIClient.Failure(
                description: "another release came into force since the plan was made: look again",
                problem: failure.problem
            )
        }
        switch options.output {
        case .json: Console.data(json: activation)
        case .table:
            Console.words("release \(number) is in force (\(activation.words("kind")))")
        }
    }

    // MARK: - The plan

    private func show() {
        let from = active.map { "release \($0.number)" } ?? "no release"
        let verb = isRollback ? "roll back" : "go"
        Console.words("\(namespace.name): \(verb) from \(from) to release \(number) (\(state))")
        let made = "made by \(target["maker"]?.string?.string ?? target.words("createdBy"))"
        let approvals = target["approvals"]?.int64 ?? 0
        Console.words(
            "  \(made) at \(target.words("createdAt")), \(Console.count(approvals, "approval", "approvals"))"
        )
        let changes = ReleaseChanges(from: active?.release, to: target).lines
        for line in changes.isEmpty ? ["nothing in the documents"] : changes {
            Console.words("  \(line)")
        }
        for refusal in target["activationRefusals"]?.elements.compactMap(\.string) ?? [] {
            Console.words("  in the way: \(refusal)")
        }
    }

    private func confirm() throws {
        guard isatty(STDIN_FILENO) == 1 else {
            throw APIClient.Failure(description: "nothing was changed: say --yes")
        }
        Console.words("Put release \(number) in force? [y/N]")
        guard let answer = readLine(), ["y", "Y", "yes"].contains(answer) else {
            throw APIClient.Failure(description: "nothing was changed")
        }
    }
}

/// How the documents of two releases differ: by policy where both can be read, else by document.
struct ReleaseChanges {
    /// A line each, in the order of the names: `+` is new, `-` is gone, `~` reads otherwise.
    let lines: [String]

    init(from old: JSONValue?, to new: JSONValue) {
        let (before, after) = (Self.pieces(of: old), Self.pieces(of: new))
        lines = Set(before.keys).union(after.keys).sorted().compactMap { name in
            switch (before[name], after[name]) {
            case (nil, _?): "+ \(name)"
            case (_?, nil): "- \(name)"
            case (let a, let b): a == b ? nil : "~ \(name)"
            }
        }
    }

    /// What can change: each policy by its id, each other document by its name, and the layer of each.
    private static func pieces(of release: JSONValue?) -> [Text: Text] {
        var pieces: [Text: Text] = [:]
        for document in release?["documents"]?.elements.map({ $0 }) ?? [] {
            guard let name = document["name"]?.string, let source = document["source"]?.string
            else { continue }
            if let layer = document["layer"], !layer.isNull {
                // In the name: another layer is one that goes and one that comes.
                let words = (try? PolicyLayer(layer))?.description ?? "unknown"
                pieces[Text("\(name): layer \(words)")] = ""
            }
            guard let set = try? PolicySet.parse(source.string), !set.policies.isEmpty else {
                pieces[name] = source
                continue
            }
            let bytes = Array(source.utf8)
            for policy in set.policies {
                let id = policy.annotations.first { $0.key == "id" }?.value ?? policy.id.text
                let text = bytes[Int(policy.span.start)..<Int(policy.span.end)]
                let effect = policy.effect == .permit ? "permit" : "forbid"
                pieces[Text("\(name): \(effect) \(id)")] = Text(validating: text)
            }
        }
        return pieces
    }
}
