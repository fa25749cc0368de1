import ControlStore
import GatewayModel
import GatewayPolicy
import JSON

/// What a finished simulation says, as JSON (docs/reference/policy-life.md).
struct SimulationReport {
    let simulation: SimulationRow
    let fold: SimulationFold
    /// There were more records in the range than may be looked at: the oldest are not in here.
    let isTruncated: Bool
    /// The `@id`s of the baseline's policies, in the order of its documents.
    let policies: [Text]

    func json() -> [UInt8] {
        var writer = JSONWriter(capacity: 8192)
        writer.object { writer in
            writer.member("kind", simulation.kind.rawValue)
            writer.member("release", simulation.release)
            writer.member("against", simulation.against)
            writer.member("from", ifPresent: simulation.from?.description)
            writer.member("to", simulation.to.description)
            writer.member("records", fold.recordsRead)
            writer.member("truncated", isTruncated)
            fold.simulation.diff.writeMembers(to: &writer)
            writer.object("live") { writer in
                writer.member("decisions", fold.liveDecisions)
                writer.array("policies") { writer in
                    for policy in policies {
                        writer.object { writer in
                            writer.member("policy", policy)
                            writer.member("determining", fold.determined[policy] ?? 0)
                        }
                    }
                }
            }
        }
        return writer.finish()
    }
}
