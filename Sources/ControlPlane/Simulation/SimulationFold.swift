import Cedar
import ControlStore
import Cryptography
import GatewayModel
import GatewayPolicy
import JSON

/// What a simulation has counted of some records: a part of a report, made on one core and added to others in order.
struct SimulationFold: Sendable {
    /// Both releases over recorded calls.
    private(set) var simulation = Simulation()
    /// Decisions that the release in force made by itself, whatever is tried.
    private(set) var liveDecisions = 0
    /// How many of them each of its policies determined.
    private(set) var determined: [Text: Int] = [:]
    /// Records that were looked at.
    private(set) var recordsRead: Int64 = 0

    /// What a worker needs to read records.
    struct Source: Sendable {
        let kind: SimulationRow.Kind
        let release: UInt64
        let against: UInt64
        let configurations: ReplayConfigurations
        /// Keys of parts, by name; a key that is not here was destroyed.
        let keys: [String: AEAD]
        /// Arguments that were too long to be read with their page, by place in the order of arrival.
        let longArguments: [Int64: [UInt8]]
    }

    /// Adds what was counted of the records that follow.
    mutating func merge(_ later: SimulationFold) {
        simulation.merge(later.simulation)
        liveDecisions += later.liveDecisions
        determined.merge(later.determined, uniquingKeysWith: +)
        recordsRead += later.recordsRead
    }

    /// Counts records, in their order.
    ///
    /// - Throws: when the database is away, or the task was cancelled.
    static func of(_ records: [RecordedDecision], _ source: Source) async throws -> SimulationFold {
        var fold = SimulationFold()
        var version: UInt64?
        var configuration: ReplayConfigurations.Result?
        for (index, record) in records.enumerated() {
            // Calls wait for commits in this process; a simulation waits for nobody.
            if index % 64 == 63 {
                await Task.yield()
                try Task.checkCancellation()
            }
            fold.recordsRead += 1
            guard let call = RecordedCall(reading: record.body) else {
                fold.simulation.leaveOut(.unreadable)
                continue
            }
            if call.decision.release == source.against {
                fold.liveDecisions += 1
                for policy in call.decision.determining { fold.determined[policy, default: 0] += 1 }
            }
            if version != call.snapshot {
                configuration = try await source.configurations.configuration(call.snapshot)
                version = call.snapshot
            }
            switch configuration {
            case .success(let bound)?: fold.count(call, record, bound, source)
            case .failure(let obstacle)?: fold.simulation.leaveOut(obstacle.reason)
            case nil: break
            }
        }
        return fold
    }

    private mutating func count(
        _ call: RecordedCall,
        _ record: RecordedDecision,
        _ bound: ReplayConfigurations.Bound,
        _ source: Source
    ) {
        guard let principal = bound.principal(call.subject) else {
            return simulation.leaveOut(.unreadable)
        }
        let reference = Text("\(record.arrival)")
        switch source.kind {
        case .shadow:
            // Only where both were asked: before the shadow began and after it ended there is nothing to compare.
            guard let shadow = call.shadow, shadow.release == source.release,
                call.decision.release == source.against
            else { return }
            guard
                let input = call.input(
                    reference: reference,
                    principal: principal,
                    arguments: nil
                )
            else { return simulation.leaveOut(.unreadable) }
            simulation.compare(input, withShadow: shadow)
        case .replay:
            guard let bytes = arguments(of: record, source) else {
                return simulation.leaveOut(.argumentsUnavailable)
            }
            guard let arguments = try? JSONDocument(parsing: bytes).root,
                let input = call.input(
                    reference: reference,
                    principal: principal,
                    arguments: arguments
                )
            else { return simulation.leaveOut(.unreadable) }
            guard bound.knowsArguments(of: input.action.id) else {
                return simulation.leaveOut(.configurationMissing)
            }
            simulation.replay(input, in: bound.replay)
        }
    }

    private func arguments(of record: RecordedDecision, _ source: Source) -> [UInt8]? {
        guard let part = record.arguments else { return nil }
        guard let sealed = part.sealed else { return source.longArguments[record.arrival] }
        guard let key = source.keys[part.keyID] else { return nil }
        return try? record.openArguments(sealed, with: key)
    }
}
