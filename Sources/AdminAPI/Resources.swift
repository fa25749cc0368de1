/// The shapes of requests and answers.
extension Schema {
    static let name = Schema.string(.label)
    static let digest = Schema.string(.digest)
    static let time = Schema.string(.time)
    static let count = Schema.integer(0...Int64.max)
    static let shortText = Schema.string(.free(1...256))
    static let toolName = Schema.string(.free(1...128))
    static let effect = Schema.string(.choice(["read", "write", "destructive", "cluster-admin"]))
    static let role = Schema.string(.choice(["administrator", "auditor"]))

    static func list(_ item: Schema) -> Schema {
        .object([
            .required("items", .array(of: item, max: PageRequest.limitMax), "This page."),
            .required(
                "nextCursor",
                .nullable(.string(.free(1...1024))),
                "For the next page; null when this is the last one."
            ),
        ])
    }

    // MARK: Problems

    static let problem = Schema.named(
        "Problem",
        .object([
            .required("type", .string(.free(1...128)), "The kind: docs/reference/problems.md."),
            .required("title", .string(.free(1...128)), "The kind in words."),
            .required("status", .integer(400...599), "The HTTP status."),
            .optional("detail", .string(.free(1...4096)), "What is wrong this time."),
            .required("instance", .string(.free(1...4096)), "The path of the request."),
            .required("requestId", .string(.id("req_")), "Names the request in the logs."),
            .optional(
                "errors",
                .array(
                    of: .object([
                        .required(
                            "pointer",
                            .string(.free(0...4096)),
                            "A JSON pointer into the body, or a parameter's name."
                        ),
                        .required("code", .string(.free(1...64)), "Stable, for programs."),
                        .optional("detail", .string(.free(0...4096)), "For people."),
                        .optional(
                            "document",
                            .string(.free(1...128)),
                            "The document of a release that it is in."
                        ),
                        .optional(
                            "policy",
                            .longText,
                            "The policy's @id, or its number in the release, if it is about one."
                        ),
                        .optional("line", .count, "In a text inside the body, from 1."),
                        .optional("column", .count, "In a text inside the body, from 1."),
                    ]),
                    max: errorsMax
                ),
                "Each place that is wrong."
            ),
        ])
    )

    // MARK: Namespaces

    private static let trust = Field.optional(
        "trustOnFirstUse",
        .boolean,
        "Whether the first definition of a tool is accepted without a person looking at it."
    )
    private static let reviewersRange = Schema.integer(0...5)
    static let namespaceNew = Schema.named(
        "NamespaceNew",
        .object([
            .required("name", name, "A label, never used again."), trust,
            .optional(
                "policyReviewersRequired",
                reviewersRange,
                "How many people who did not make a release must approve it; else 1."
            ),
        ])
    )
    static let namespaceEdit = Schema.named(
        "NamespaceEdit",
        .object([
            trust,
            .optional(
                "policyReviewersRequired",
                reviewersRange,
                "See NamespaceNew. Fewer needs the installation's token."
            ),
        ])
    )
    static let namespace = Schema.named(
        "Namespace",
        .object([
            .required("name", name, "Its name."),
            .required("trustOnFirstUse", .boolean, "See NamespaceNew."),
            .required("policyReviewersRequired", reviewersRange, "See NamespaceNew."),
            .required("createdAt", time, "When it was made."),
        ])
    )

    // MARK: Servers

    private static let credential = Schema.named(
        "Credential",
        .object([
            .required("header", .string(.fieldName), "The field that carries it."),
            .required(
                "value",
                .string(.fieldValue),
                "Its value; encrypted at once, and never answered.",
                isSecret: true
            ),
        ])
    )
    private static let memberships = Field.optional(
        "memberships",
        .array(of: .string(.free(1...256)), max: 64),
        "Entities it is in, as Cedar: MCP::Environment::\"production\"."
    )
    static let serverNew = Schema.named(
        "ServerNew",
        .object([
            .required(
                "name",
                name,
                "A label; part of the MCP URL. Not tools, resources, prompts, sampling or data."
            ),
            .required("url", .string(.httpURL), "Where it is."),
            .optional("enabled", .boolean, "Whether calls may reach it; else true."),
            memberships,
            .optional("credential", credential, "What it wants to see, if anything."),
        ])
    )
    static let serverEdit = Schema.named(
        "ServerEdit",
        .object([
            .optional("url", .string(.httpURL), "Where it is."),
            .optional("enabled", .boolean, "Whether calls may reach it."),
            memberships,
            .optional("credential", .nullable(credential), "A new one; null removes it."),
        ])
    )
    static let server = Schema.named(
        "Server",
        .object([
            .required("name", name, "Its name."),
            .required("url", .string(.httpURL), "Where it is."),
            .required("enabled", .boolean, "Whether calls may reach it."),
            .required(
                "memberships",
                .array(of: .string(.free(1...256)), max: 64),
                "Entities it is in."
            ),
            .required(
                "credentialHeader",
                .nullable(.string(.fieldName)),
                "The field that carries its credential, if it has one."
            ),
            .required("createdAt", time, "When it was registered."),
            .required("updatedAt", time, "When it or its credential was changed."),
        ])
    )

    // MARK: Tools

    static let tool = Schema.named(
        "Tool",
        .object([
            .required("server", name, "Its server."),
            .required("name", toolName, "Its bare name."),
            .required("effect", effect, "How a person classed it."),
            .required("pinnedDigest", .nullable(digest), "The definition that may be called."),
            .required("acceptedBy", .nullable(shortText), "Who classed or accepted last."),
            .required("updatedAt", time, "When it was classed or accepted last."),
            .required(
                "definitions",
                .array(
                    of: .object([
                        .required("digest", digest, "SHA-256 of the canonical definition."),
                        .required("firstSeenAt", time, "When a proxy first reported it."),
                        .optional(
                            "definition",
                            .foreignObject("The tool as the server lists it."),
                            "Only where one tool is read."
                        ),
                    ]),
                    max: 100
                ),
                "The newest definitions that proxies saw, newest first, at most 100."
            ),
        ])
    )
    static let toolEdit = Schema.named(
        "ToolEdit",
        .object([
            .optional("effect", effect, "Classes the tool."),
            .optional(
                "pinnedDigest",
                .nullable(digest),
                "Accepts one of its definitions; null withdraws, and the tool cannot be called."
            ),
        ])
    )

    static let toolImpact = Schema.named(
        "ToolImpact",
        .object([
            .required(
                "release",
                .nullable(.integer(1...Int64.max)),
                "The release, if there is one."
            ),
            .required("digest", .nullable(digest), "The definition; null: none was reported."),
            .required("effect", effect, "The class."),
            .required(
                "changes",
                .array(
                    of: .object([
                        .required("change", shortText, "What: docs/reference/policy-life.md."),
                        .optional("argument", longText, "Of which argument."),
                        .optional("required", .boolean, "Whether calls must have it."),
                    ]),
                    max: 65_536
                ),
                "What policies see otherwise than in the definition that is accepted now."
            ),
            .required("unaffected", count, "Policies that mean what they meant."),
            .required("affected", count, "Policies that do not."),
            .required(
                "policies",
                .array(of: policyImpact, max: findingsMax),
                "The first 500 of those that do not."
            ),
            .required("obstacle", .nullable(finding), "Why nothing is known of policies."),
        ])
    )
    private static let policyImpact = Schema.named(
        "PolicyImpact",
        .object([
            .required("policy", longText, "Its @id, or its number."),
            .required("document", .string(.free(1...128)), "Where it stands."),
            .required("line", count, "Where, from 1."),
            .required("column", count, "Where, in characters from 1."),
            .required(
                "verdict",
                .string(.choice(["unaffected", "impossible", "invalid"])),
                "impossible: it can no longer apply; invalid: it does not validate any more."
            ),
            .required("findings", .array(of: finding, max: 65_536), "What was not found before."),
        ])
    )

    // MARK: Identity providers

    private static let privateAddresses = Field.optional(
        "allowPrivateAddresses",
        .boolean,
        "Whether keys may be fetched where only this network reaches; needs the installation's token."
    )
    private static let providerSettings: [Field] = [
        .optional(
            "audiences",
            .array(of: .string(.issuer), max: 64),
            "What tokens may name as audience; empty: the URL of the server that is called."
        ),
        .optional(
            "algorithms",
            .array(
                of: .string(
                    .choice(["ES256", "ES384", "RS256", "PS256", "EdDSA"])
                ),
                max: 8
            ),
            "Signature algorithms; else ES256 and RS256."
        ),
        .optional(
            "tokenTypes",
            .array(of: .string(.choice(["at+jwt", "JWT"])), max: 2),
            "Values of typ; else at+jwt."
        ),
        .optional(
            "groupsPointer",
            .string(.jsonPointer),
            "Where claims name groups; else nowhere."
        ),
        .optional(
            "subjectPointer",
            .string(.jsonPointer),
            "Where claims name the subject; else /sub."
        ),
    ]
    static let identityProviderNew = Schema.named(
        "IdentityProviderNew",
        .object(
            [
                .required("issuer", .string(.issuer), "Compared with iss byte for byte."),
                .optional(
                    "jwks",
                    .foreignObject("A JSON Web Key Set (RFC 7517)."),
                    "Its public keys. Without them and jwksUrl, they are where its metadata says."
                ),
                .optional("jwksUrl", .string(.httpURL), "Where its keys are fetched."),
                privateAddresses,
            ] + providerSettings
        )
    )
    static let identityProviderEdit = Schema.named(
        "IdentityProviderEdit",
        .object(
            [
                .optional(
                    "jwks",
                    .foreignObject("A JSON Web Key Set (RFC 7517)."),
                    "Its public keys."
                ),
                .optional(
                    "jwksUrl",
                    .nullable(.string(.httpURL)),
                    "Where its keys are fetched; null: where its metadata says."
                ),
                privateAddresses,
            ] + providerSettings
        )
    )
    static let identityProvider = Schema.named(
        "IdentityProvider",
        .object([
            .required("id", .string(.id("idp_")), "Its id."),
            .required("issuer", .string(.issuer), "Compared with iss byte for byte."),
            .required(
                "keySource",
                .string(.choice(["uploaded", "discovery", "url"])),
                "Where its keys come from."
            ),
            .required("jwksUrl", .nullable(.string(.httpURL)), "Where they are fetched."),
            .required("allowPrivateAddresses", .boolean, "See IdentityProviderNew."),
            .required(
                "jwks",
                .nullable(.foreignObject("A JSON Web Key Set (RFC 7517).")),
                "Its public keys where they were uploaded; else they are at …/keys."
            ),
            .required("audiences", .array(of: .string(.issuer), max: 64), "Accepted audiences."),
            .required("algorithms", .array(of: shortText, max: 8), "Accepted algorithms."),
            .required("tokenTypes", .array(of: shortText, max: 2), "Accepted values of typ."),
            .required("groupsPointer", .string(.jsonPointer), "Where claims name groups."),
            .required("subjectPointer", .string(.jsonPointer), "Where claims name the subject."),
            .required("createdAt", time, "When it was added."),
            .required("updatedAt", time, "When it was changed."),
        ])
    )

    static let identityProviderKeys = Schema.named(
        "IdentityProviderKeys",
        .object([
            .required(
                "jwks",
                .foreignObject("A JSON Web Key Set (RFC 7517)."),
                "The keys in force."
            ),
            .required("attemptedAt", .nullable(time), "When they were last asked for."),
            .required("fetchedAt", .nullable(time), "When they last came."),
            .required("dueAt", .nullable(time), "When they are asked for again."),
            .required(
                "failure",
                .nullable(shortText),
                "Why they did not come: docs/reference/identity-providers.md."
            ),
        ])
    )

    // MARK: Subjects

    private static let kind = Schema.string(.choice(["user", "workload"]))
    private static let status = Schema.string(.choice(["active", "suspended", "leaver"]))
    private static let groups = Schema.array(of: .string(.free(1...128)), max: 256)
    private static let attributes = Schema.map(of: .string(.free(0...1024)), max: 64)
    static let subjectNew = Schema.named(
        "SubjectNew",
        .object([
            .optional("id", .string(.id("sub_")), "Its id for good; made when none is given."),
            .required("issuer", .string(.issuer), "The identity provider that knows it."),
            .required(
                "name",
                shortText,
                "Its name there: the value of sub. Never an e-mail address."
            ),
            .optional("kind", kind, "Person or workload; else user."),
            .optional("status", status, "Else active."),
            .optional("groups", groups, "Groups of the directory."),
            .optional("attributes", attributes, "For policies."),
        ])
    )
    static let subjectEdit = Schema.named(
        "SubjectEdit",
        .object([
            .optional("kind", kind, "Person or workload."),
            .optional("status", status, "Only an active subject may act; a leaver never returns."),
            .optional("groups", groups, "Groups of the directory, all of them."),
            .optional("attributes", attributes, "For policies, all of them."),
        ])
    )
    static let subject = Schema.named(
        "Subject",
        .object([
            .required("id", .string(.id("sub_")), "The only name that records carry."),
            .required("issuer", .string(.issuer), "The identity provider that knows it."),
            .required("name", shortText, "Its name there."),
            .required("kind", kind, "Person or workload."),
            .required("status", status, "Whether it may act."),
            .required("groups", groups, "Groups of the directory."),
            .required("attributes", attributes, "For policies."),
            .required("createdAt", time, "When it was added."),
            .required("updatedAt", time, "When it was changed."),
        ])
    )
    static let group = Schema.named(
        "Group",
        .object([
            .required("name", .string(.free(1...128)), "Its name."),
            .required("members", count, "How many subjects are in it."),
        ])
    )

    // MARK: Proxies

    static let proxy = Schema.named(
        "Proxy",
        .object([
            .required("name", name, "Its name."),
            .required("enrolledAt", time, "When it first enrolled."),
            .required("revokedAt", .nullable(time), "Since when it is refused."),
            .required("epoch", count, "Its newest epoch; 0 before it first connected."),
            .required("softwareVersion", .nullable(shortText), "What it runs."),
            .required("leaseUntil", .nullable(time), "Until when it may enforce what it has."),
            .required("connected", .boolean, "Whether its newest epoch is open."),
        ])
    )
    static let enrolmentTokenNew = Schema.named(
        "EnrolmentTokenNew",
        .object([
            .required("proxy", name, "The name the proxy will have."),
            .optional("ttlSeconds", .integer(60...604_800), "How long it is valid; else 3600."),
        ])
    )
    private static let enrolmentTokenFacts: [Field] = [
        .required("id", .string(.id("enr_")), "Its id."),
        .required("proxy", name, "The name the proxy will have."),
        .required("createdAt", time, "When it was made."),
        .required("expiresAt", time, "When it ends."),
        .required("spentAt", .nullable(time), "When a proxy used it, or it was withdrawn."),
    ]
    static let enrolmentToken = Schema.named("EnrolmentToken", .object(enrolmentTokenFacts))
    static let enrolmentTokenMade = Schema.named(
        "EnrolmentTokenMade",
        .object(
            enrolmentTokenFacts + [
                .required("token", shortText, "The token, shown this once.", isSecret: true)
            ]
        )
    )

    // MARK: Records

    static let record = Schema.named(
        "Record",
        .object([
            .required("position", count, "Where it stands in the order of arrival."),
            .required("annotation", .boolean, "Whether it is kept without effect."),
            .required(
                "record",
                .foreignObject("docs/reference/records.md"),
                "The record, byte for byte as its writer wrote it."
            ),
        ])
    )
    static let adminRecord = Schema.named(
        "AdminRecord",
        .object([
            .required("id", count, "Counts them."),
            .required("at", time, "When."),
            .required("namespace", .nullable(name), "Where; null: the installation."),
            .required("actor", shortText, "Who: the id of an API token, or a command."),
            .required("actorName", shortText, "What people call it."),
            .required("requestId", shortText, "The request that did it."),
            .required("operation", shortText, "What was done: an operationId, or a command."),
            .required("target", .string(.free(0...4096)), "To what."),
            .required(
                "after",
                .nullable(.foreignObject("A resource, or a part of one.")),
                "What it became, without secrets; null: it is gone."
            ),
        ])
    )

    // MARK: Tokens

    static let apiTokenNew = Schema.named(
        "APITokenNew",
        .object([
            .required(
                "name",
                .string(.free(1...128)),
                "What people call it: who has it, what for."
            ),
            .required("role", role, "Administrators change, auditors read."),
            .optional("namespace", name, "The one namespace it reaches; else the installation."),
            .optional(
                "ttlSeconds",
                .integer(60...31_536_000),
                "How long it is valid; else 90 days."
            ),
        ])
    )
    private static let apiTokenFacts: [Field] = [
        .required("id", .string(.id("tok_")), "Its id."),
        .required("name", .string(.free(1...128)), "What people call it."),
        .required("role", role, "What it may."),
        .required("namespace", .nullable(name), "The one namespace it reaches."),
        .required("createdBy", shortText, "Who made it."),
        .required("createdAt", time, "When it was made."),
        .required("expiresAt", time, "When it ends."),
        .required("revokedAt", .nullable(time), "Since when it is refused."),
    ]
    static let apiToken = Schema.named("APIToken", .object(apiTokenFacts))
    static let apiTokenMade = Schema.named(
        "APITokenMade",
        .object(
            apiTokenFacts + [
                .required("token", shortText, "The token, shown this once.", isSecret: true)
            ]
        )
    )
    static let developmentTokenNew = Schema.named(
        "DevelopmentTokenNew",
        .object([
            .required("subject", shortText, "The subject's name at the development issuer."),
            .required("audience", .string(.httpURL), "The MCP URL that will be called."),
            .optional(
                "groups",
                groups,
                "Groups of a subject that is not there yet; one that is keeps its own."
            ),
            .optional("ttlSeconds", .integer(60...86_400), "How long it is valid; else 3600."),
        ])
    )
    static let developmentToken = Schema.named(
        "DevelopmentToken",
        .object([
            .required("token", .string(.free(1...8192)), "An access token.", isSecret: true),
            .required("subject", .string(.id("sub_")), "Whom it names."),
            .required("expiresAt", time, "When it ends."),
        ])
    )
}
