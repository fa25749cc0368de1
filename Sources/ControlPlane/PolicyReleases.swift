import ControlStore
import GatewayModel
import GatewayPolicy
import JSON
import Postgres

/// What REST and imports do with releases: made, checked, shown, and let into force.
struct PolicyReleases: Sendable {
    let store: AdministrationStore
    let signer: ReleaseSigner

    /// Who does something, and with what.
    struct Actor: Sendable {
        var person: Person
        /// The API token, or the command.
        var token: Text
    }

    /// Why a release does not come into force.
    enum Refusal: Error {
        /// Where it stands in its life does not allow it.
        case life(ReleaseLife.Refusal, [ReleaseFinding])
        /// This build cannot compile it.
        case invalid(PolicyRelease.Failure)
        /// What is stored is not what was signed.
        case manifest(String)
        /// Nobody has seen yet what it changes.
        case simulationMissing
        /// So many recorded calls go on under it that did not before, and nobody has accepted that.
        case widening(Int64)
    }

    /// Makes a release of documents, as a draft.
    ///
    /// The caller holds the namespace's lock.
    ///
    /// - Throws: `PolicyRelease.Failure` for what does not compile; nothing is stored then.
    func make(
        _ documents: [StoredRelease.Document],
        by actor: Actor,
        in namespace: Namespace,
        _ transaction: borrowing Transaction
    ) async throws -> Int64 {
        let catalogue = try await store.catalogue(of: namespace.id, in: transaction)
        let check = try ReleaseCheck(documents, against: catalogue)
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
        return ShownRelease(
            row,
            in: namespace,
            against: catalogue,
            signOff: try await signOff(of: row, in: namespace, transaction)
        )
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
        do throws(PolicyRelease.Failure) {
            _ = try ReleaseCheck.compile(stored.documents)
        } catch {
            throw Refusal.invalid(error)
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
    /// What the checks find in its documents; nothing where documents were not read.
    let findings: [ReleaseFinding]
    /// What has to be seen and accepted before it comes into force.
    let signOff: SignOff

    /// What has to be seen and accepted before a release comes into force.
    enum SignOff {
        /// Nothing: it changes nothing that was not seen, and opens nothing.
        case notNeeded
        /// Where reviews are required, somebody has to see what it changes.
        case simulationMissing
        /// Recorded calls go on under it that did not before, so many.
        case widening(Int64)
    }

    /// A release of a list, whose documents were not read.
    init(listed row: ReleaseRow, in namespace: Namespace) {
        self.init(row, findings: [], in: namespace, signOff: .notNeeded)
    }

    /// A release with its documents, checked.
    init(
        _ row: ReleaseRow,
        in namespace: Namespace,
        against catalogue: StoredCatalogue,
        signOff: SignOff
    ) {
        let findings: [ReleaseFinding]
        do throws(PolicyRelease.Failure) {
            findings = try ReleaseCheck(row.release.documents, against: catalogue).findings
        } catch {
            // Another build took it for a release.
            findings = error.findings.map { finding in
                ReleaseFinding(
                    code: "does_not_compile",
                    isError: true,
                    policy: "",
                    document: finding.document,
                    line: finding.line,
                    column: finding.column,
                    message: finding.message
                )
            }
        }
        self.init(row, findings: findings, in: namespace, signOff: signOff)
    }

    private init(
        _ row: ReleaseRow,
        findings: [ReleaseFinding],
        in namespace: Namespace,
        signOff: SignOff
    ) {
        self.row = row
        self.signOff = signOff
        self.findings = findings
        life = ReleaseLife(
            approvals: row.approvals,
            rejections: row.rejections,
            reviewersRequired: namespace.policyReviewersRequired,
            hasErrors: findings.contains(where: \.isError),
            isShadow: row.isShadow,
            isActive: row.isActive,
            wasActivated: row.wasActivated
        )
    }
}
