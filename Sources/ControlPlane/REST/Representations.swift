import AdminAPI
import ControlStore
import Cryptography
import GatewayModel
import GatewayPolicy
import JSON

// What resources look like, in the order of AdminAPI's schemas. Nothing secret has a line here.

protocol Represented {
    func write(to writer: inout JSONWriter)
}

extension Represented {
    func json() -> [UInt8] {
        var writer = JSONWriter()
        write(to: &writer)
        return writer.finish()
    }
}

extension JSONWriter {
    mutating func time(_ name: StaticString, _ time: Timestamp) {
        member(name, Text(time.description))
    }

    mutating func time(_ name: StaticString, orNull time: Timestamp?) {
        text(name, orNull: time.map { Text($0.description) })
    }

    mutating func text(_ name: StaticString, orNull text: Text?) {
        key(name)
        if let text { value(text) } else { null() }
    }

    mutating func keySet(_ jwks: Text) {
        if let document = try? JSONDocument(parsing: jwks.string) {
            value(document.root)
        } else {
            null()
        }
    }

    mutating func texts(_ name: StaticString, _ texts: [Text]) {
        array(name) { writer in
            for text in texts { writer.value(text) }
        }
    }
}

extension NamespaceRow: Represented {
    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("name", namespace.name.text)
            writer.member("trustOnFirstUse", namespace.trustsOnFirstUse)
            writer.member("policyReviewersRequired", Int64(namespace.policyReviewersRequired))
            writer.time("createdAt", createdAt)
        }
    }
}

extension ServerRow: Represented {
    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("name", server.name.text)
            writer.member("url", server.url)
            writer.member("enabled", server.isEnabled)
            writer.texts("memberships", server.memberships)
            writer.text("credentialHeader", orNull: server.credentialHeader)
            writer.time("createdAt", createdAt)
            writer.time("updatedAt", updatedAt)
        }
    }
}

extension ToolRow: Represented {
    func write(to writer: inout JSONWriter) { write(to: &writer, isWhole: false) }

    /// - Parameter isWhole: with the definitions themselves.
    func write(to writer: inout JSONWriter, isWhole: Bool) {
        writer.object { writer in
            writer.member("server", server.text)
            writer.member("name", name.text)
            writer.member("effect", effect)
            writer.text("pinnedDigest", orNull: pinnedDigest.map { Text(Hex.encode($0)) })
            writer.text("acceptedBy", orNull: acceptedBy)
            writer.time("updatedAt", updatedAt)
            writer.array("definitions") { writer in
                for definition in definitions {
                    writer.object { writer in
                        writer.member("digest", Text(Hex.encode(definition.digest)))
                        writer.time("firstSeenAt", definition.firstSeenAt)
                        if isWhole, let document = try? JSONDocument(parsing: definition.canonical)
                        {
                            writer.member("definition", document.root)
                        }
                    }
                }
            }
        }
    }

    func wholeJSON() -> [UInt8] {
        var writer = JSONWriter()
        write(to: &writer, isWhole: true)
        return writer.finish()
    }
}

extension IdentityProviderRow: Represented {
    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("id", id)
            writer.member("issuer", provider.issuer)
            var url: Text?
            switch provider.keySource {
            case .uploaded: writer.member("keySource", "uploaded" as Text)
            case .discovery: writer.member("keySource", "discovery" as Text)
            case .url(let its):
                writer.member("keySource", "url" as Text)
                url = its
            }
            writer.text("jwksUrl", orNull: url)
            writer.member("allowPrivateAddresses", provider.allowsPrivateAddresses)
            writer.key("jwks")
            // Fetched keys come and go; the version of the resource is what an administrator said.
            if provider.keySource == .uploaded {
                writer.keySet(provider.jwks)
            } else {
                writer.null()
            }
            writer.texts("audiences", provider.audiences)
            writer.texts("algorithms", provider.algorithms)
            writer.texts("tokenTypes", provider.tokenTypes)
            writer.member("groupsPointer", provider.groupsPointer)
            writer.member("subjectPointer", provider.subjectPointer)
            writer.time("createdAt", createdAt)
            writer.time("updatedAt", updatedAt)
        }
    }
}

extension SubjectRow: Represented {
    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("id", subject.id.text)
            writer.member("issuer", subject.issuer)
            writer.member("name", subject.name)
            writer.member("kind", Text(subject.kind.rawValue))
            writer.member("status", Text(subject.status.rawValue))
            writer.texts("groups", subject.groups)
            writer.object("attributes") { writer in
                for (name, value) in subject.attributes.sorted(by: { $0.key < $1.key }) {
                    writer.key(name)
                    writer.value(value)
                }
            }
            writer.time("createdAt", createdAt)
            writer.time("updatedAt", updatedAt)
        }
    }
}

extension GroupRow: Represented {
    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("name", name)
            writer.member("members", members)
        }
    }
}

extension ShownRelease: Represented {
    func write(to writer: inout JSONWriter) { writer.object { writeFacts(to: &$0) } }

    private func writeFacts(to writer: inout JSONWriter) {
        writer.member("number", row.release.number)
        writer.member("id", row.release.id)
        writer.member("digest", Text(Hex.encode(row.release.digest)))
        writer.member("createdBy", row.createdBy)
        writer.text("maker", orNull: row.maker?.name)
        writer.time("createdAt", row.createdAt)
        writer.member("active", row.isActive)
        writer.member("state", Text(life.state.rawValue))
        writer.member("approvals", Int64(row.approvals))
        writer.member("rejections", Int64(row.rejections))
    }

    /// With the documents, and what the checks find in them.
    func wholeJSON() -> [UInt8] {
        var writer = JSONWriter()
        writer.object { writer in
            writeFacts(to: &writer)
            writer.array("activationRefusals") { writer in
                if let refusal = life.refusal(of: .activate) {
                    writer.value(Text(Problem(refusal, findings).type.rawValue))
                }
                switch signOff {
                case .notNeeded: break
                case .simulationMissing:
                    writer.value(Text(ProblemType.policySimulationMissing.rawValue))
                case .widening: writer.value(Text(ProblemType.policyWidening.rawValue))
                }
            }
            writer.object("checks") { writer in
                let errors = findings.count { $0.severity == .error }
                writer.member("errors", Int64(errors))
                writer.member("warnings", Int64(findings.count - errors))
                writer.array("findings") { writer in
                    for finding in findings.prefix(Schema.findingsMax) {
                        finding.write(to: &writer)
                    }
                }
            }
            writer.object("cases") { writer in
                let cases = check?.checks.cases ?? []
                let passed = cases.count(where: \.passes)
                writer.member("passed", Int64(passed))
                writer.member("failed", Int64(cases.count - passed))
            }
            writer.array("documents") { writer in
                for document in row.release.documents {
                    writer.object { writer in
                        writer.member("name", document.name)
                        writer.member("source", document.source)
                        writer.member("layer", ifPresent: document.layer)
                    }
                }
            }
        }
        return writer.finish()
    }
}

extension SignedManifest: Represented {
    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("manifest", Text(String(decoding: bytes, as: UTF8.self)))
            writer.member("signature", Text(Base64.encode(signature, .url)))
            writer.member("keyId", keyID)
        }
    }
}

extension ReviewRow: Represented {
    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("id", id)
            writer.member("release", release)
            writer.member("digest", Text(Hex.encode(digest)))
            writer.member("verdict", Text(verdict.rawValue))
            writer.member("comment", comment)
            writer.member("reviewer", reviewer)
            writer.member("reviewedBy", reviewedBy)
            writer.time("reviewedAt", reviewedAt)
        }
    }
}

extension ActivationRow: Represented {
    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("id", id)
            writer.member("release", release)
            writer.member("kind", (isRollback ? "rollback" : "activation") as Text)
            writer.member("acceptsWidening", acceptsWidening)
            writer.member("activatedBy", activatedBy)
            writer.time("activatedAt", activatedAt)
        }
    }
}

extension ProxyRow: Represented {
    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("name", name.text)
            writer.time("enrolledAt", enrolledAt)
            writer.time("revokedAt", orNull: revokedAt)
            writer.member("epoch", epoch)
            writer.text("softwareVersion", orNull: softwareVersion)
            writer.time("leaseUntil", orNull: leaseUntil)
            writer.member("connected", isConnected)
        }
    }
}

extension EnrolmentTokenRow: Represented {
    func write(to writer: inout JSONWriter) { writer.object { writeFacts(to: &$0) } }

    private func writeFacts(to writer: inout JSONWriter) {
        writer.member("id", id)
        writer.member("proxy", proxy.text)
        writer.time("createdAt", createdAt)
        writer.time("expiresAt", expiresAt)
        writer.time("spentAt", orNull: spentAt)
    }

    /// With the token, which is shown this once.
    func json(showing token: [UInt8]) -> [UInt8] {
        var writer = JSONWriter()
        writer.object { writer in
            writeFacts(to: &writer)
            writer.member("token", Text(String(decoding: token, as: UTF8.self)))
        }
        return writer.finish()
    }
}

extension APITokenRow: Represented {
    func write(to writer: inout JSONWriter) { writer.object { writeFacts(to: &$0) } }

    private func writeFacts(to writer: inout JSONWriter) {
        writer.member("id", id)
        writer.member("name", name)
        writer.member("role", Text(role.rawValue))
        writer.text("namespace", orNull: namespace?.name.text)
        writer.member("createdBy", createdBy)
        writer.time("createdAt", createdAt)
        writer.time("expiresAt", expiresAt)
        writer.time("revokedAt", orNull: revokedAt)
    }

    /// With the token, which is shown this once.
    func json(showing token: [UInt8]) -> [UInt8] {
        var writer = JSONWriter()
        writer.object { writer in
            writeFacts(to: &writer)
            writer.member("token", Text(String(decoding: token, as: UTF8.self)))
        }
        return writer.finish()
    }
}

extension StoredRecord: Represented {
    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("position", arrival)
            writer.member("annotation", isAnnotation)
            writer.key("record")
            // As its writer wrote it: digests are made of these bytes.
            writer.value(JSONFragment(preserialized: body))
        }
    }
}

extension AdminRow: Represented {
    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("id", id)
            writer.time("at", at)
            writer.text("namespace", orNull: namespace?.text)
            writer.member("actor", actor)
            writer.member("actorName", actorName)
            writer.member("requestId", requestID)
            writer.member("operation", operation)
            writer.member("target", target)
            writer.key("after")
            if let after, let document = try? JSONDocument(parsing: after.string) {
                writer.value(document.root)
            } else {
                writer.null()
            }
        }
    }
}
