import AdminAPI
import ControlStore
import Cryptography
import GatewayModel
import GatewayPolicy
import JSON
import Postgres

// Releases of policies, their reviews and their activations.
extension RESTHandlers {
    func listReleases(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let page = try call.page
        let namespace = try call.itsNamespace
        let rows = try await store.releases(
            of: namespace.id,
            before: try page.numberOrMax,
            limit: page.limit + 1,
            in: transaction
        )
        return list(rows, page) { ShownRelease($0, in: namespace).write(to: &$1) }
    }

    func createRelease(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let namespace = try call.itsNamespace
        var active: [StoredRelease.Document] = []
        if call.body?["basedOn"]?.stringEquals("active") == true {
            active =
                try await store.activeRelease(of: namespace.id, in: transaction)?.release.documents
                ?? []
        }
        let given = try documents(call, basedOn: active)
        // Before those in force come in: policies made of other rules must not stay.
        var documents = PolicyReleases.expandingRules(given)
        documents += active.filter { [documents] document in
            !documents.contains { $0.name == document.name }
        }
        let actor = PolicyReleases.Actor(person: call.caller.person, token: call.caller.id)
        let number: Int64
        do {
            number = try await releases.make(documents, by: actor, in: namespace, transaction)
        } catch let refusal as PolicyReleases.Refusal {
            throw Problem(refusal, given: given.map(\.name))
        }
        var activation: [ConfigurationEdit] = []
        if call.body?["activate"]?.boolean == true {
            try await allowActivation(of: number, call, given: given, transaction)
            activation = [
                .activation(
                    release: UInt64(number),
                    by: call.caller.id,
                    acceptsWidening: call.acceptsWidening
                )
            ]
        }
        var body: [UInt8]?
        _ = try await change(activation, call, target: Text("\(number)"), transaction) {
            let release = try await releases.shown(number, in: namespace, $0)
            body = release?.wholeJSON()
            // The trail names the release; its text stands beside it for good.
            return release?.json()
        }
        guard let body else { throw Problem(.internalError) }
        return .resource(body, status: 201, location: call.location(Text("\(number)")))
    }

    func readRelease(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        .resource(try await release(call, transaction).wholeJSON())
    }

    func readReleaseManifest(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        guard let number = UInt64(call.parameters[1].string),
            let signed = try await store.manifest(
                of: number,
                in: try call.namespaceID,
                in: transaction
            )
        else { throw Problem(.notFound) }
        return RESTAnswer(status: 200, body: signed.json())
    }

    // MARK: - Reviews

    func listReviews(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let page = try call.page
        let rows = try await store.reviews(
            of: try await release(call, transaction).row.release.number,
            in: try call.namespaceID,
            after: try page.numberOrZero,
            limit: page.limit + 1,
            in: transaction
        )
        return list(rows, page) { $0.write(to: &$1) }
    }

    func createReview(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let release = try await release(call, transaction)
        let stored = release.row.release
        guard let verdict = ReviewRow.Verdict(rawValue: try call.text("verdict").string) else {
            throw Problem(.internalError)
        }
        if let digest = call.body?["digest"]?.string, digest != Text(Hex.encode(stored.digest)) {
            throw Problem(.preconditionFailed, "the release has another digest")
        }
        let person = call.caller.person
        // Of a release from before makers were kept, nobody is known not to be the maker.
        guard let maker = release.row.maker, !person.mayBe(maker) else {
            throw Problem(
                .policyReviewOwn,
                "needs somebody else, with a token that the maker had no part in"
            )
        }
        let reviewers = try await store.reviewers(
            of: stored.number,
            in: try call.namespaceID,
            in: transaction
        )
        guard !reviewers.contains(where: person.mayBe) else {
            throw Problem(
                .alreadyExists,
                "one person reviews a release once, whatever the tokens that the person had a part in"
            )
        }
        let step: ReleaseLife.Step = verdict == .approved ? .approve : .reject
        if let refusal = release.life.refusal(of: step) {
            throw Problem(refusal, release.findings)
        }
        let review = try await store.addReview(
            verdict,
            comment: call.body?["comment"]?.string ?? "",
            of: stored,
            by: person,
            with: call.caller.id,
            in: try call.namespaceID,
            in: transaction
        )
        guard let review else { throw Problem(.alreadyExists, "one person reviews a release once") }
        let body = review.json()
        try await call.entry(
            on: Text("\(stored.number)"),
            after: body,
            of: try call.namespaceID
        ).insert(in: transaction)
        return RESTAnswer(status: 201, body: body)
    }

    // MARK: - Activations

    func listActivations(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let page = try call.page
        let rows = try await store.activations(
            of: try call.namespaceID,
            before: try page.numberOrMax,
            limit: page.limit + 1,
            in: transaction
        )
        return list(rows, page) { $0.write(to: &$1) }
    }

    func createActivation(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> RESTAnswer {
        let namespace = try call.namespaceID
        guard let number = call.body?["release"]?.int64 else { throw Problem(.internalError) }
        if let replaced = call.body?["replaces"] {
            let active = try await store.activeReleaseNumber(of: namespace, in: transaction)
            guard replaced.int64 == active.map(Int64.init) else {
                throw Problem(.preconditionFailed, "another release is in force by now")
            }
        }
        try await allowActivation(of: number, call, given: [], transaction)
        let body = try await change(
            [
                .activation(
                    release: UInt64(number),
                    by: call.caller.id,
                    acceptsWidening: call.acceptsWidening
                )
            ],
            call,
            target: Text("\(number)"),
            transaction
        ) {
            try await store.activations(of: namespace, before: .max, limit: 1, in: $0).first?.json()
        }
        guard let body else { throw Problem(.internalError) }
        return RESTAnswer(status: 201, body: body)
    }

    private func allowActivation(
        of number: Int64,
        _ call: RESTCall,
        given: [StoredRelease.Document],
        _ transaction: borrowing Transaction
    ) async throws {
        let namespace = try call.itsNamespace
        guard let release = try await releases.shown(number, in: namespace, transaction) else {
            throw Problem(
                .requestInvalid,
                "see errors",
                errors: [.init("/release", .reference, "no such release")]
            )
        }
        do {
            try await releases.allowActivation(
                of: release,
                in: namespace,
                acceptingWidening: call.acceptsWidening,
                transaction
            )
        } catch let refusal as PolicyReleases.Refusal {
            throw Problem(refusal, given: given.map(\.name))
        }
    }

    /// The release in the path.
    func release(
        _ call: RESTCall,
        _ transaction: borrowing Transaction
    ) async throws -> ShownRelease {
        guard let number = Int64(call.parameters[1].string),
            let release = try await releases.shown(number, in: try call.itsNamespace, transaction)
        else { throw Problem(.notFound) }
        return release
    }

    /// The documents of the request.
    ///
    /// An edit of a document that says nothing about its layer leaves it where it is: a text alone never takes a team's
    /// document out of the team's bounds.
    private func documents(
        _ call: RESTCall,
        basedOn active: [StoredRelease.Document]
    ) throws(Problem) -> [StoredRelease.Document] {
        var documents: [StoredRelease.Document] = []
        guard let given = call.body?["documents"] else { throw Problem(.internalError) }
        for (index, value) in given.elements.enumerated() {
            guard let name = value["name"]?.string, let source = value["source"]?.string else {
                throw Problem(.internalError)
            }
            guard !documents.contains(where: { $0.name == name }) else {
                throw Problem(
                    .requestInvalid,
                    "see errors",
                    errors: [.init(Text("/documents/\(index)/name"), .duplicate)]
                )
            }
            var document = StoredRelease.Document(name: name, source: source)
            if let layer = value["layer"] {
                if !layer.isNull {
                    document = .init(
                        name: name,
                        source: source,
                        layer: try Self.layer(layer, at: Text("/documents/\(index)/layer"))
                    )
                }
            } else {
                document.layer = active.first { $0.name == name }?.layer
            }
            documents.append(document)
        }
        return documents
    }

    private static func layer(
        _ value: JSONValue,
        at pointer: Text
    ) throws(Problem) -> PolicyLayer {
        do throws(PolicyLayer.ReadingError) {
            return try PolicyLayer(value)
        } catch {
            let code: FieldError.Code =
                switch error.kind {
                case .missing: .missing
                case .form: .form
                case .duplicate: .duplicate
                }
            let place = Text("\(pointer)\(error.pointer)")
            throw Problem(
                .requestInvalid,
                "see errors",
                errors: [.init(place, code, error.reason)]
            )
        }
    }
}

extension RESTCall {
    /// Whether calls may go on from now on that did not before.
    fileprivate var acceptsWidening: Bool { body?["acceptsWidening"]?.boolean ?? false }
}

extension Problem {
    /// Why a release does not come into force.
    ///
    /// - Parameter given: the names of the documents in the request, in its order.
    init(_ refusal: PolicyReleases.Refusal, given: [Text]) {
        switch refusal {
        case .life(let refusal, let findings): self.init(refusal, findings, given: given)
        case .invalid(let findings): self.init(.policyInvalid, findings, given)
        case .manifest(let reason): self.init(.policyManifestInvalid, reason)
        case .simulationMissing:
            self.init(
                .policySimulationMissing,
                "simulate it against the release in force, or count its shadow"
            )
        case .widening(let calls):
            self.init(
                .policyWidening,
                "\(calls) recorded \(calls == 1 ? "call goes" : "calls go") on under it that did not before: "
                    + "see its simulations, then say acceptsWidening"
            )
        }
    }

    /// Why a step in the life of a release is not possible.
    init(
        _ refusal: ReleaseLife.Refusal,
        _ findings: [ReleaseChecks.Finding],
        given: [Text] = []
    ) {
        switch refusal {
        case .checksFailed:
            let errors = findings.filter { $0.severity == .error }
            self.init(.policyChecksFailed, errors, given)
        case .reviewsMissing(let approvals, let required):
            self.init(.policyReviewsMissing, "\(approvals) of \(required) people approved it")
        case .rejected: self.init(.policyRejected, "make a new release")
        case .active: self.init(.policyActive)
        case .retired: self.init(.policyRetired)
        }
    }

    private init(
        _ type: ProblemType,
        _ findings: [ReleaseChecks.Finding],
        _ given: [Text]
    ) {
        self.init(
            type,
            "see errors",
            errors: findings.prefix(Schema.errorsMax).map { finding in
                let hint = finding.hint.map { "; \($0)" } ?? ""
                let detail = "\(finding.code): \(finding.message)\(hint)"
                return FieldError(
                    Self.pointer(to: finding.document, given),
                    .policy,
                    String(detail.unicodeScalars.prefix(4096)),
                    document: finding.document,
                    policy: finding.policy.isEmpty ? nil : finding.policy,
                    line: finding.line,
                    column: finding.column
                )
            }
        )
    }

    private static func pointer(to document: Text, _ given: [Text]) -> Text {
        given.firstIndex(of: document).map { Text("/documents/\($0)/source") } ?? "/documents"
    }
}

extension PageRequest {
    /// The key of the last item as a number; of the first page, one above all.
    var numberOrMax: Int64 {
        get throws(Problem) {
            guard let after else { return .max }
            return try number(after)
        }
    }

    /// The key of the last item as a number; of the first page, one below all.
    var numberOrZero: Int64 {
        get throws(Problem) {
            guard let after else { return 0 }
            return try number(after)
        }
    }

    /// The key of the last item as a time and an id.
    var timeAndID: (createdAt: GatewayModel.Timestamp, id: Text)? {
        get throws(Problem) {
            guard let after else { return nil }
            let pieces = after.utf8.split(separator: UInt8(ascii: " ")).map {
                String(decoding: $0, as: UTF8.self)
            }
            // No row is from before 1970 or after 9999, and not every number is a time to the database.
            guard pieces.count == 2, let microseconds = Int64(pieces[0]),
                (0..<253_402_300_800_000_000).contains(microseconds)
            else { throw refusal }
            return (GatewayModel.Timestamp(microseconds: microseconds), Text(pieces[1]))
        }
    }

    private func number(_ text: Text) throws(Problem) -> Int64 {
        guard let number = Int64(text.string), number >= 0 else { throw refusal }
        return number
    }

    private var refusal: Problem {
        Problem(
            .parameterInvalid,
            "see errors",
            errors: [.init("cursor", .form, "is not a cursor of this list")]
        )
    }
}
