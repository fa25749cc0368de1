import Cedar
import ControlStore
import GatewayModel
import GatewayPolicy
import JSON

/// A decided call, read back from the bytes of its record.
struct RecordedCall {
    let time: Timestamp
    let server: ServerName
    let tool: ToolName
    let subject: Text
    /// What was answered.
    let decision: DecisionSummary
    /// What the release in shadow would have answered.
    let shadow: DecisionSummary?
    /// Which configuration was in force.
    let snapshot: UInt64
    private let root: JSONValue

    /// Reads a record; `nil` for one that lacks what a decision rests on.
    init?(reading body: [UInt8]) {
        guard let root = try? JSONDocument(parsing: body).root,
            let time = root["time"]?.string.flatMap({ Timestamp(rfc3339: $0.utf8) }),
            let server = root["server"]?.string, let tool = root["tool"]?.string,
            let subject = root["subject"]?.string,
            let decision = root["decision"].flatMap(DecisionSummary.init(recorded:)),
            let snapshot = root["snapshot"]?["version"]?.int64.flatMap(UInt64.init(exactly:))
        else { return nil }
        if let value = root["shadow"] {
            guard let summary = DecisionSummary(recorded: value) else { return nil }
            shadow = summary
        } else {
            shadow = nil
        }
        self.root = root
        self.time = time
        self.server = ServerName(server)
        self.tool = ToolName(tool)
        self.subject = subject
        self.decision = decision
        self.snapshot = snapshot
    }

    /// The call as it can be asked again; `nil` when what it rested on cannot be read.
    ///
    /// - Parameters:
    ///   - reference: where the record is, for people.
    ///   - principal: who acted, as the configuration of the time names it.
    ///   - arguments: canonical JSON; `nil` where nobody asks again.
    func input(
        reference: Text,
        principal: EntityUID,
        arguments: JSONValue?
    ) -> DecisionInput? {
        var facts = PolicyFacts(
            time: time,
            source: root["source"]?.string.flatMap(IPAddress.init(peer:)),
            definitionPinned: true
        )
        facts.client = root["client"]?.string
        if let recorded = root["facts"] {
            do throws(DecisionInput.ReadingError) {
                try facts.read(recorded: recorded)
            } catch {
                return nil
            }
        }
        return DecisionInput(
            reference: reference,
            principal: principal,
            action: MCPEntities.action(server, tool),
            resource: MCPEntities.tool(server, tool),
            input: arguments,
            facts: facts,
            snapshot: snapshot,
            recorded: decision
        )
    }
}

extension DecisionSummary {
    /// Reads the `decision` or `shadow` of a record.
    fileprivate init?(recorded value: JSONValue) {
        guard
            let answer = value["answer"]?.string.flatMap({
                GatewayModel.Decision.Answer(rawValue: $0.string)
            }),
            let ground = value["ground"]?.string.flatMap({
                GatewayModel.Decision.Ground(rawValue: $0.string)
            }),
            let release = value["release"]?.int64.flatMap(UInt64.init(exactly:))
        else { return nil }
        self.init(
            answer: answer,
            ground: ground,
            determining: value["determining"]?.elements.compactMap(\.string) ?? [],
            release: release
        )
    }
}
