import ControlStore
import GatewayModel
import GatewayPolicy
import JSON
import Postgres

/// What REST and imports do with releases: made, checked, shown, and let into force.
struct PolicyReleases: Sendable {
    let store: AdministrationStore
    let signer: ReleaseSigner
    let checker = ReleaseChecker()

    /// Who does something, and with what.
    struct Actor: Sendable {
        var person: Person
        /// The API token, or the command.
        var token: Text
    }

    /// Why a release does not come into force.
    enum Refusal: Error {
        /// Where it stands in its life does not allow it.
        case life(ReleaseLife.Refusal, [ReleaseChecks.Finding])
        /// This build cannot compile it.
        case invalid([ReleaseChecks.Finding])
        /// What is stored is not what was signed.
        case manifest(String)
        /// Nobody has seen yet what it changes.
        case simulationMissing
        /// So many recorded calls go on under it that did not before, and nobody has accepted that.
        case widening(Int64)
    }

    /// Documents with the policies that quick rules among them say, so that what is stored is what one can read.
    ///
    /// Policies that stand beside their rules already stay; ``make(_:by:in:_:)`` refuses them where they say something
    /// else, and rules that cannot be read.
    static func expandingRules(_ documents: [StoredRelease.Document]) -> [StoredRelease.Document] {
        let policies = documents.map(\.forPolicies).filter { $0.kind == .rules }
            .compactMap { try? QuickRule.policies(of: $0) }
            .filter { policies in !documents.contains { $0.name == policies.name } }
        return documents
            + policies.map { .init(name: $0.name, source: $0.source, layer: $0.layer) }
    }

    /// Makes a release of documents, as a draft.
    ///
    /// The caller holds the namespace's lock.
    ///
    /// - Throws: ``Refusal/invalid(_:)`` for what does not compile; nothing is stored then.
    func make(
        _ documents: [StoredRelease.Document],
        by actor: Actor,
        in namespace: Namespace,
        _ transaction: borrowing Transaction
    ) async throws -> Int64 {
        let catalogue = try await store.catalogue(of: namespace.id, in: transaction)
        let check = checker.check(documents, against: catalogue, in: namespace.id)
        guard check.compiles else { throw Refusal.invalid(check.checks.findings) }
        let unread = check.checks.findings.filter {
            $0.code == "rules_invalid" || $0.code == "rules_stale"
        }
        guard unread.isEmpty else { throw Refusal.invalid(unread) }
        return try await store.makeRelease(
            documents,
            of: namespace,
            by: actor.person,
            with: actor.token,
            basis: check.basis,
            signer: signer,
            in: transaction
        )
    }

    /// A release as it stands now, with what the checks find; `nil` if there is none of this number.
    func shown(
        _ number: Int64,
        in namespace: Namespace,
        _ transaction: borrowing Transaction
    ) async throws -> ShownRelease? {
        guard let row = try await store.release(number, of: namespace.id, in: transaction) else {
            return nil
        }
        let catalogue = try await store.catalogue(of: namespace.id, in: transaction)
        let check = checker.check(row.release.documents, against: catalogue, in: namespace.id)
        let signOff = try await signOff(of: row, in: namespace, transaction)
        return ShownRelease(row, check, signOff, in: namespace)
    }

    /// The guard of every activation: returns when nothing speaks against `release` coming into force now.
    ///
    /// REST and imports ask it in the transaction that activates, under the namespace's lock: what it saw cannot change
    /// before the activation is committed.
    ///
    /// - Parameter acceptsWidening: whether whoever activates accepts that calls go on which did not before.
    /// - Throws: ``Refusal`` with what has to happen first.
    func allowActivation(
        of release: ShownRelease,
        in namespace: Namespace,
        acceptingWidening acceptsWidening: Bool,
        _ transaction: borrowing Transaction
    ) async throws {
        let stored = release.row.release
        // 1. Another person has looked at it, nobody has rejected it, and the checks find no error. The way back is open.
        if let refusal = release.life.refusal(of: .activate) {
            throw Refusal.life(refusal, release.findings)
        }
        // 2. It is what was made and signed. Releases from before they were signed can only come back.
        let signed = try await store.manifest(of: stored.number, in: namespace.id, in: transaction)
        if let signed {
            if let reason = signer.refusal(of: signed, for: stored, in: namespace.name) {
                throw Refusal.manifest(reason)
            }
        } else if !release.life.isRollback {
            throw Refusal.manifest("it was made before releases were signed: make it again")
        }
        // 3. This build can enforce it: it may have been stored by another.
        guard let check = release.check, check.compiles else {
            throw Refusal.invalid(release.findings)
        }
        // 4. Somebody has seen what it changes, and accepts what it opens.
        switch release.signOff {
        case .notNeeded: break
        case .simulationMissing: throw Refusal.simulationMissing
        case .widening(let calls):
            guard acceptsWidening else { throw Refusal.widening(calls) }
        }
    }

    /// What simulations and shadow reports say about activating a release now: about the pair of it and the one in force,
    /// so that it is another answer once another one is.
    private func signOff(
        of release: ReleaseRow,
        in namespace: Namespace,
        _ transaction: borrowing Transaction
    ) async throws -> ShownRelease.SignOff {
        // What was in force before was accepted then.
        guard !release.wasActivated,
            let active = try await store.activeReleaseNumber(of: namespace.id, in: transaction)
        else { return .notNeeded }
        let widening = try await store.wideningFound(
            by: release.release.number,
            against: active,
            in: namespace.id,
            in: transaction
        )
        guard let widening else {
            return namespace.policyReviewersRequired == 0 ? .notNeeded : .simulationMissing
        }
        return widening == 0 ? .notNeeded : .widening(widening)
    }
}

/// A release with where it stands.
struct ShownRelease: Sendable {
    let row: ReleaseRow
    let life: ReleaseLife
    /// What the checks say; absent where the documents were not read.
    let check: ReleaseCheck?
    /// What has to be seen and accepted before it comes into force.
    let signOff: SignOff
    /// What the checks find in its documents.
    var findings: [ReleaseChecks.Finding] { check?.checks.findings ?? [] }

    /// What has to be seen and accepted before a release comes into force.
    enum SignOff {
        /// Nothing: it changes nothing that was not seen, and opens nothing.
        case notNeeded
        /// Where reviews are required, somebody has to see what it changes.
        case simulationMissing
        /// Recorded calls go on under it that did not before, so many.
        case widening(Int64)
    }

    /// A release; of a list, its documents were not read, and nothing was checked.
    init(
        _ row: ReleaseRow,
        _ check: ReleaseCheck? = nil,
        _ signOff: SignOff = .notNeeded,
        in namespace: Namespace
    ) {
        self.row = row
        self.check = check
        self.signOff = signOff
        life = ReleaseLife(
            approvals: row.approvals,
            rejections: row.rejections,
            reviewersRequired: namespace.policyReviewersRequired,
            hasErrors: check?.checks.hasErrors ?? false,
            isShadow: row.isShadow,
            isActive: row.isActive,
            wasActivated: row.wasActivated
        )
    }
}
