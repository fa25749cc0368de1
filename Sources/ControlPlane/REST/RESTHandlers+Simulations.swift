import AdminAPI
import ControlStore
import GatewayModel
import GatewayPolicy
import JSON
import Postgres
import ServiceRuntime

// What a release would answer: releases in shadow, and simulations.
extension RESTHandlers {
    // MARK: - Shadows

    func readShadow(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        guard let row = try await store.shadow(of: try call.namespaceID, in: transaction) else {
            throw Problem(.notFound)
        }
        return .resource(row.json())
    }

    func startShadow(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let namespace = try call.namespaceID
        let release = try await release(call, transaction)
        let number = release.row.release.number
        if let row = try await store.shadow(of: namespace, in: transaction) {
            // The same again changes nothing; another would end a run that somebody waits for.
            guard row.release == number else {
                throw Problem(.inUse, "release \(row.release) is in shadow: end that first")
            }
            return RESTAnswer(status: 200, body: row.json())
        }
        if let refusal = release.life.refusal(of: .shadow) {
            throw Problem(refusal, release.findings)
        }
        let body = try await change(
            [.shadow(release: number, by: call.caller.id)],
            call,
            target: Text("\(number)"),
            transaction
        ) { try await store.shadow(of: namespace, in: $0)?.json() }
        guard let body else { throw Problem(.internalError) }
        return RESTAnswer(status: 200, body: body)
    }

    func endShadow(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let namespace = try call.namespaceID
        guard let row = try await store.shadow(of: namespace, in: transaction),
            Text("\(row.release)") == call.parameters[1]
        else { throw Problem(.notFound) }
        _ = try await change(
            [.shadow(release: nil, by: call.caller.id)],
            call,
            target: call.parameters[1],
            transaction
        ) { _ in nil }
        return .nothing
    }

    // MARK: - Simulations

    func listSimulations(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let page = try call.page
        let rows = try await store.simulations(
            of: try await storedRelease(of: call, transaction).release.number,
            in: try call.namespaceID,
            before: try page.timeAndID,
            limit: page.limit + 1,
            in: transaction
        )
        return list(rows, page) { $0.write(to: &$1) }
    }

    func createSimulation(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let namespace = try call.namespaceID
        let stored = try await storedRelease(of: call, transaction).release
        let number = stored.number
        let catalogue = try await store.catalogue(of: namespace, in: transaction)
        let check = releases.checker.check(stored.documents, against: catalogue, in: namespace)
        guard check.compiles else {
            throw Problem(PolicyReleases.Refusal.invalid(check.checks.findings), given: [])
        }
        let new = SimulationNew(
            kind: call.body?["kind"]?.stringEquals("shadow") == true ? .shadow : .replay,
            release: number,
            against: try await baseline(of: call, transaction),
            from: try call.bodyTime("from"),
            to: try call.bodyTime("to") ?? SystemClock.now(),
            recordsMax: call.body?["limit"]?.int64 ?? 1_000_000
        )
        guard new.from.map({ $0 < new.to }) ?? true else {
            throw Problem(
                .requestInvalid,
                "see errors",
                errors: [.init("/from", .combination, "is not earlier than to")]
            )
        }
        let id = try await store.makeSimulation(
            new,
            by: call.caller.id,
            in: namespace,
            in: transaction
        )
        guard let id else {
            Limit.simulationsOpen.reached()
            throw Problem(
                .inUse,
                "\(AdministrationStore.simulationsOpenMax) simulations of the namespace wait: let one of them end"
            )
        }
        guard
            let row = try await store.simulation(
                id,
                of: number,
                in: namespace,
                in: transaction
            )
        else { throw Problem(.internalError) }
        let body = row.json()
        try await call.entry(on: id, after: body, of: namespace).insert(in: transaction)
        return RESTAnswer(status: 202, body: body, location: call.location(id))
    }

    func readSimulation(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        guard let number = UInt64(call.parameters[1].string),
            let row = try await store.simulation(
                call.parameters[2],
                of: number,
                in: try call.namespaceID,
                in: transaction
            )
        else { throw Problem(.notFound) }
        return RESTAnswer(status: 200, body: row.wholeJSON())
    }

    /// The release to compare with.
    private func baseline(
        of call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> UInt64 {
        let namespace = try call.namespaceID
        guard let number = call.body?["against"]?.int64 else {
            guard
                let active = try await store.activeReleaseNumber(of: namespace, in: transaction)
            else {
                throw Problem(
                    .requestInvalid,
                    "see errors",
                    errors: [.init("/against", .missing, "no release is in force")]
                )
            }
            return active
        }
        guard try await store.release(number, of: namespace, in: transaction) != nil else {
            throw Problem(
                .requestInvalid,
                "see errors",
                errors: [.init("/against", .reference, "no such release")]
            )
        }
        return UInt64(number)
    }

    /// The release in the path, without what the checks find.
    private func storedRelease(
        of call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> ReleaseRow {
        guard let number = Int64(call.parameters[1].string),
            let row = try await store.release(number, of: try call.namespaceID, in: transaction)
        else { throw Problem(.notFound) }
        return row
    }
}

extension RESTCall {
    /// A time of the body.
    fileprivate func bodyTime(_ name: StaticString) throws(Problem) -> GatewayModel.Timestamp? {
        guard let text = body?[name]?.string else { return nil }
        guard let time = GatewayModel.Timestamp(requested: text) else {
            throw Problem(
                .requestInvalid,
                "see errors",
                errors: [.init(Text("/\(name)"), .form, "is not a time")]
            )
        }
        return time
    }
}

extension ShadowRow: Represented {
    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("release", release)
            writer.member("startedBy", startedBy)
            writer.time("startedAt", startedAt)
        }
    }
}

extension SimulationRow: Represented {
    func write(to writer: inout JSONWriter) {
        writer.object { writer in members(to: &writer) }
    }

    /// With what it found.
    func wholeJSON() -> [UInt8] {
        var writer = JSONWriter()
        writer.object { writer in
            members(to: &writer)
            writer.key("report")
            if let report, let document = try? JSONDocument(parsing: report.string) {
                writer.value(document.root)
            } else {
                writer.null()
            }
        }
        return writer.finish()
    }

    private func members(to writer: inout JSONWriter) {
        writer.member("id", id)
        writer.member("kind", kind.rawValue)
        writer.member("release", release)
        writer.member("against", against)
        writer.time("from", orNull: from)
        writer.time("to", to)
        writer.member("limit", recordsMax)
        writer.member("requestedBy", requestedBy)
        writer.time("createdAt", createdAt)
        writer.member("state", state.rawValue)
        writer.member("recordsRead", recordsRead)
        writer.time("finishedAt", orNull: finishedAt)
        writer.text("failure", orNull: failure)
    }
}
