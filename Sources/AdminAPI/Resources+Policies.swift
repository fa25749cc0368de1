/// What releases of policies are over REST: made, checked, reviewed, tried and put in force (docs/reference/policy-life.md).
extension Schema {
    private static let document = Schema.object([
        .required("name", .string(.free(1...128)), "What people call it: sre.cedar."),
        .required(
            "source",
            .string(.free(0...262_144)),
            "Cedar text; facts.json, *.cases.json and *.rules.yaml as they are."
        ),
        .optional(
            "layer",
            .nullable(layer),
            "Whose it is; null: the namespace's own. If missing, that of the document it replaces (basedOn), else null."
        ),
    ])
    private static let layer = Schema.named(
        "Layer",
        .object([
            .required(
                "rank",
                .string(.choice(["organisation", "namespace", "team"])),
                "How far up."
            ),
            .required(
                "name",
                .string(.free(1...128)),
                "The organisation's, namespace's or team's."
            ),
            .optional(
                "owned",
                .array(of: .string(.free(1...256)), max: 256),
                "All its policies may be about, as Cedar: MCP::Server::\"k8s\". A team must say; else everything."
            ),
        ])
    )
    static let releaseNew = Schema.named(
        "ReleaseNew",
        .object([
            .required("documents", .array(of: document, max: 256), "Files of policies."),
            .optional(
                "basedOn",
                .string(.choice(["nothing", "active"])),
                "active: the documents in force stay, except those named here. Else nothing."
            ),
            .optional("activate", .boolean, "Whether to put it in force at once; else false."),
        ])
    )
    private static let releaseFacts: [Field] = [
        .required("number", .integer(1...Int64.max), "Counts releases of the namespace."),
        .required("id", .string(.id("pol_")), "Its id."),
        .required("digest", digest, "SHA-256 over names, sources and layers."),
        .required("createdBy", shortText, "The API token, or the command, that made it."),
        .required("maker", .nullable(shortText), "The person who made it."),
        .required("createdAt", time, "When it was made."),
        .required("active", .boolean, "Whether it is in force."),
        .required(
            "state",
            .string(.choice(["draft", "shadow", "approved", "rejected", "active", "retired"])),
            "Where it stands: docs/reference/policy-life.md."
        ),
        .required("approvals", count, "How many people approved it."),
        .required("rejections", count, "How many people rejected it."),
    ]
    static let releaseSummary = Schema.named("ReleaseSummary", .object(releaseFacts))
    static let release = Schema.named(
        "Release",
        .object(
            releaseFacts + [
                .required(
                    "activationRefusals",
                    .array(of: .string(.free(1...128)), max: 8),
                    "The kinds of problems that activating it now would meet; empty: none."
                ),
                .required("checks", releaseChecks, "What the checks find, as of now."),
                .required(
                    "cases",
                    .object([
                        .required("passed", count, "Came out as stated."),
                        .required("failed", count, "Did not; each is a finding."),
                    ]),
                    "Its own cases, run now."
                ),
                .required("documents", .array(of: document, max: 256), "Its files."),
            ]
        )
    )
    /// How many findings one answer shows.
    public static let findingsMax = 500
    private static let releaseChecks = Schema.named(
        "ReleaseChecks",
        .object([
            .required("errors", count, "How many findings keep it from being approved."),
            .required("warnings", count, "How many do not."),
            .required(
                "findings",
                .array(of: finding, max: findingsMax),
                "The first 500, errors and warnings: docs/reference/policy-lint.md."
            ),
        ])
    )
    static let longText = Schema.string(.free(0...1_048_576))
    static let finding = Schema.named(
        "Finding",
        .object([
            .required("code", shortText, "Stable, for programs."),
            .required("severity", .string(.choice(["error", "warning"])), "How bad it is."),
            .optional("policy", longText, "The policy's @id, if it is about one."),
            .required("document", .string(.free(1...128)), "Where; *: in all together."),
            .required("line", count, "Where, from 1."),
            .required("column", count, "Where, in characters from 1."),
            .optional("endLine", count, "Where it ends."),
            .optional("endColumn", count, "Behind its last character."),
            .required("message", longText, "What is wrong."),
            .optional("hint", longText, "What may have been meant, or what to do about it."),
            .optional(
                "actions",
                .array(of: longText, max: 65_536),
                "The actions in whose requests it was found."
            ),
        ])
    )
    static let releaseManifest = Schema.named(
        "ReleaseManifest",
        .object([
            .required(
                "manifest",
                .string(.free(1...1_048_576)),
                "Canonical JSON, byte for byte what was signed: docs/reference/policy-life.md."
            ),
            .required(
                "signature",
                .string(.free(1...1024)),
                "ES256 over ostiary-release-v1, a line feed and the manifest; base64url of r and s."
            ),
            .required("keyId", shortText, "Names the key, which also signs configurations."),
        ])
    )

    // MARK: Reviews

    private static let verdict = Schema.string(.choice(["approved", "rejected"]))
    static let reviewNew = Schema.named(
        "ReviewNew",
        .object([
            .required("verdict", verdict, "A rejection is for good."),
            .optional("comment", .string(.free(0...4096)), "Why, for whoever reads it later."),
            .optional(
                "digest",
                digest,
                "The digest that was looked at; refused when it is not the release's."
            ),
        ])
    )
    static let review = Schema.named(
        "Review",
        .object([
            .required("id", count, "Counts reviews."),
            .required("release", .integer(1...Int64.max), "The release."),
            .required("digest", digest, "The contents that were reviewed."),
            .required("verdict", verdict, "What was said."),
            .required("comment", .string(.free(0...4096)), "Why."),
            .required("reviewer", shortText, "The person: the name of the API token."),
            .required("reviewedBy", shortText, "The API token."),
            .required("reviewedAt", time, "When."),
        ])
    )

    // MARK: Activations

    static let activationNew = Schema.named(
        "ActivationNew",
        .object([
            .required(
                "release",
                .integer(1...Int64.max),
                "The number of the release to put in force; one that was in force before rolls back."
            ),
            .optional(
                "replaces",
                .nullable(.integer(1...Int64.max)),
                "The release that is in force, or null for none; refused when it is another by now."
            ),
            .optional(
                "acceptsWidening",
                .boolean,
                "Accepts that calls go on which did not before, where a simulation or a shadow found such; else false."
            ),
        ])
    )
    static let activation = Schema.named(
        "Activation",
        .object([
            .required("id", count, "Counts activations."),
            .required("release", .integer(1...Int64.max), "The release that came into force."),
            .required(
                "kind",
                .string(.choice(["activation", "rollback"])),
                "rollback: it had been in force before."
            ),
            .required(
                "acceptsWidening",
                .boolean,
                "Whether it was accepted that calls go on which did not before."
            ),
            .required("activatedBy", shortText, "Who did it."),
            .required("activatedAt", time, "When."),
        ])
    )

    static let shadow = Schema.named(
        "Shadow",
        .object([
            .required("release", .integer(1...Int64.max), "The release that is evaluated."),
            .required("startedBy", shortText, "Who put it there."),
            .required("startedAt", time, "When."),
        ])
    )
    private static let simulationKind = Schema.string(.choice(["replay", "shadow"]))
    private static let recordsMax = Schema.integer(1...10_000_000)
    static let simulationNew = Schema.named(
        "SimulationNew",
        .object([
            .optional(
                "kind",
                simulationKind,
                "replay: ask recorded calls again; shadow: count what the release answered in shadow. Else replay."
            ),
            .optional(
                "against",
                .integer(1...Int64.max),
                "The release to compare with; else the one in force."
            ),
            .optional("from", time, "Calls not earlier than this; else all."),
            .optional("to", time, "Calls earlier than this; else until now."),
            .optional("limit", recordsMax, "The most calls, the newest; else 1,000,000."),
        ])
    )
    private static let simulationFacts: [Field] = [
        .required("id", .string(.id("sim_")), "Its id."),
        .required("kind", simulationKind, "What is counted."),
        .required("release", .integer(1...Int64.max), "The release that is tried."),
        .required("against", .integer(1...Int64.max), "The release that it is compared with."),
        .required("from", .nullable(time), "Calls not earlier than this."),
        .required("to", time, "Calls earlier than this."),
        .required("limit", recordsMax, "The most calls."),
        .required("requestedBy", shortText, "Who asked."),
        .required("createdAt", time, "When."),
        .required(
            "state",
            .string(.choice(["queued", "running", "finished", "failed"])),
            "Where it stands."
        ),
        .required("recordsRead", count, "How many records were looked at so far."),
        .required("finishedAt", .nullable(time), "When it ended."),
        .required(
            "failure",
            .nullable(shortText),
            "Why it came to nothing: release_invalid, abandoned."
        ),
    ]
    static let simulation = Schema.named("Simulation", .object(simulationFacts))
    static let simulationWithReport = Schema.named(
        "SimulationWithReport",
        .object(
            simulationFacts + [
                .required(
                    "report",
                    .nullable(.foreignObject("A decision diff: docs/reference/policy-life.md.")),
                    "What it found, once it is finished."
                )
            ]
        )
    )
}
