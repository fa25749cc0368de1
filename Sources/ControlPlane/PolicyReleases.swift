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
        return ShownRelease(row, in: namespace, against: catalogue)
    }

    /// The guard of every activation: returns when nothing speaks against `release` coming into force now.
    ///
    /// REST and imports ask it in the transaction that activates, under the namespace's lock: what it saw cannot change
    /// before the activation is committed.
    ///
    /// - Throws: ``Refusal`` with what has to happen first.
    func allowActivation(
        of release: ShownRelease,
        in namespace: Namespace,
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
    }
}

/// A release with where it stands.
struct ShownRelease: Sendable {
    let row: ReleaseRow
    let life: ReleaseLife
    /// What the checks find in its documents; nothing where documents were not read.
    let findings: [ReleaseFinding]

    /// A release of a list, whose documents were not read.
    init(listed row: ReleaseRow, in namespace: Namespace) {
        self.init(row, findings: [], in: namespace)
    }

    /// A release with its documents, checked.
    init(_ row: ReleaseRow, in namespace: Namespace, against catalogue: StoredCatalogue) {
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
        self.init(row, findings: findings, in: namespace)
    }

    private init(_ row: ReleaseRow, findings: [ReleaseFinding], in namespace: Namespace) {
        self.row = row
        self.findings = findings
        life = ReleaseLife(
            approvals: row.approvals,
            rejections: row.rejections,
            reviewersRequired: namespace.policyReviewersRequired,
            hasErrors: findings.contains(where: \.isError),
            isActive: row.isActive,
            wasActivated: row.wasActivated
        )
    }
}
