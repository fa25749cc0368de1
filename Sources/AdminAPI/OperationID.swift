/// The names of the operations; a handler is a `switch` over them, so none can be forgotten.
public enum OperationID: String, CaseIterable, Sendable {
    case readOpenAPI

    case listNamespaces, createNamespace, readNamespace, updateNamespace

    case listServers, createServer, readServer, updateServer, deleteServer
    case listTools, readTool, updateTool, readToolImpact

    case listIdentityProviders, createIdentityProvider, readIdentityProvider
    case updateIdentityProvider, deleteIdentityProvider, readIdentityProviderKeys

    case listSubjects, createSubject, readSubject, updateSubject
    case listGroups, addGroupMember, removeGroupMember

    case listReleases, createRelease, readRelease, readReleaseManifest
    case listReviews, createReview
    case listActivations, createActivation
    case readShadow, startShadow, endShadow
    case listSimulations, createSimulation, readSimulation

    case listProxies, readProxy, revokeProxy
    case listEnrolmentTokens, createEnrolmentToken, withdrawEnrolmentToken

    case listRecords, readRecord
    case listAdminRecords

    case listAPITokens, createAPIToken, readAPIToken, revokeAPIToken
    case createDevelopmentToken
}

private typealias Segment = Operation.Segment

private let namespaces: [Segment] = [.literal("v1"), .literal("namespaces")]
private let namespace = namespaces + [.parameter("namespace", .label)]
private let servers = namespace + [.literal("servers")]
private let server = servers + [.parameter("server", .label)]
private let tools = server + [.literal("tools")]
private let tool = tools + [.parameter("tool", .free(1...128))]
private let providers = namespace + [.literal("identity-providers")]
private let provider = providers + [.parameter("identityProvider", .id("idp_"))]
private let subjects = namespace + [.literal("subjects")]
private let subject = subjects + [.parameter("subject", .id("sub_"))]
private let groups = namespace + [.literal("groups")]
private let member =
    groups + [
        .parameter("group", .free(1...128)), .literal("members"),
        .parameter("subject", .id("sub_")),
    ]
private let releases = namespace + [.literal("releases")]
private let release = releases + [.parameter("release", .number)]
private let reviews = release + [.literal("reviews")]
private let simulations = release + [.literal("simulations")]
private let simulation = simulations + [.parameter("simulation", .id("sim_"))]
private let activations = namespace + [.literal("activations")]
private let proxies = namespace + [.literal("proxies")]
private let proxy = proxies + [.parameter("proxy", .label)]
private let enrolmentTokens = namespace + [.literal("enrolment-tokens")]
private let enrolmentToken = enrolmentTokens + [.parameter("enrolmentToken", .id("enr_"))]
private let records = namespace + [.literal("records")]
private let record = records + [.parameter("position", .number)]
private let apiTokens: [Segment] = [.literal("v1"), .literal("api-tokens")]
private let apiToken = apiTokens + [.parameter("apiToken", .id("tok_"))]

extension OperationID {
    /// What the operation is.
    public var operation: Operation {
        switch self {
        case .readOpenAPI:
            Operation(
                id: self,
                method: .get,
                path: [.literal("v1"), .literal("openapi.json")],
                summary: "This document.",
                access: .open,
                status: 200,
                answer: .foreignObject("OpenAPI 3.1.")
            )
        case .listNamespaces, .createNamespace, .readNamespace, .updateNamespace:
            namespaceOperation
        case .listServers, .createServer, .readServer, .updateServer, .deleteServer, .listTools,
            .readTool, .updateTool, .readToolImpact:
            serverOperation
        case .listIdentityProviders, .createIdentityProvider, .readIdentityProvider,
            .updateIdentityProvider, .deleteIdentityProvider, .readIdentityProviderKeys,
            .listSubjects, .createSubject,
            .readSubject, .updateSubject, .listGroups, .addGroupMember, .removeGroupMember:
            directoryOperation
        case .listReleases, .createRelease, .readRelease, .readReleaseManifest, .listReviews,
            .createReview, .listActivations, .createActivation:
            policyOperation
        case .readShadow, .startShadow, .endShadow, .listSimulations, .createSimulation,
            .readSimulation:
            simulationOperation
        case .listProxies, .readProxy, .revokeProxy, .listEnrolmentTokens, .createEnrolmentToken,
            .withdrawEnrolmentToken:
            proxyOperation
        case .listRecords, .readRecord, .listAdminRecords:
            recordOperation
        case .listAPITokens, .createAPIToken, .readAPIToken, .revokeAPIToken,
            .createDevelopmentToken:
            tokenOperation
        }
    }

    private var namespaceOperation: Operation {
        switch self {
        case .listNamespaces:
            list(
                namespaces,
                of: .namespace,
                "The namespaces that the token reaches.",
                access: .reading(.own)
            )
        case .createNamespace:
            create(
                namespaces,
                .namespaceNew,
                .namespace,
                "Makes a namespace.",
                access: .writing(.installation),
                hasETag: true
            )
        case .readNamespace: read(namespace, .namespace, "One namespace.")
        default: update(namespace, .namespaceEdit, .namespace, "Changes a namespace.")
        }
    }

    private var serverOperation: Operation {
        switch self {
        case .listServers: list(servers, of: .server, "Servers, by name.")
        case .createServer:
            create(servers, .serverNew, .server, "Registers a server.", hasETag: true)
        case .readServer: read(server, .server, "One server.")
        case .updateServer: update(server, .serverEdit, .server, "Changes a server.")
        case .deleteServer:
            delete(server, "Removes a server and what is known of its tools.", isConditional: true)
        case .listTools: list(tools, of: .tool, "Tools of a server, by name.")
        case .readTool: read(tool, .tool, "One tool, with its definitions.")
        case .readToolImpact:
            Operation(
                id: self,
                method: .get,
                path: tool + [.literal("impact")],
                summary: "What accepting a definition of a tool would mean for policies.",
                access: .reading(.namespace),
                query: [
                    .init(
                        name: "digest",
                        form: .digest,
                        summary: "One of its definitions; else the newest that proxies reported."
                    ),
                    .init(
                        name: "effect",
                        form: .choice(["read", "write", "destructive", "cluster-admin"]),
                        summary: "As if it were classed so; else as it is."
                    ),
                    .init(
                        name: "release",
                        form: .number,
                        summary: "A release; else the one in force."
                    ),
                ],
                status: 200,
                answer: .toolImpact
            )
        default: update(tool, .toolEdit, .tool, "Classes a tool, or accepts a definition.")
        }
    }

    private var directoryOperation: Operation {
        switch self {
        case .listIdentityProviders:
            list(providers, of: .identityProvider, "Identity providers, by issuer.")
        case .createIdentityProvider:
            create(
                providers,
                .identityProviderNew,
                .identityProvider,
                "Believes the tokens of an issuer.",
                hasETag: true,
                refusals: [.developmentTokensOff]
            )
        case .readIdentityProvider: read(provider, .identityProvider, "One identity provider.")
        case .updateIdentityProvider:
            update(
                provider,
                .identityProviderEdit,
                .identityProvider,
                "Changes an identity provider."
            )
        case .deleteIdentityProvider:
            delete(
                provider,
                "Believes an issuer no longer. None of its subjects may be left.",
                isConditional: true,
                refusals: [.inUse]
            )
        case .readIdentityProviderKeys:
            Operation(
                id: self,
                method: .get,
                path: provider + [.literal("keys")],
                summary: "The keys of an issuer that are in force, and how fetching them goes.",
                access: .reading(.namespace),
                status: 200,
                answer: .identityProviderKeys
            )
        case .listSubjects:
            list(
                subjects,
                of: .subject,
                "Subjects, by id.",
                query: [
                    .init(name: "group", form: .free(1...128), summary: "Only its members."),
                    .init(
                        name: "status",
                        form: .choice(["active", "suspended", "leaver"]),
                        summary: "Only these."
                    ),
                ]
            )
        case .createSubject:
            create(subjects, .subjectNew, .subject, "Adds a subject.", hasETag: true)
        case .readSubject: read(subject, .subject, "One subject.")
        case .updateSubject:
            update(
                subject,
                .subjectEdit,
                .subject,
                "Changes a subject. It is never removed, since records name it; it can leave."
            )
        case .listGroups: list(groups, of: .group, "Groups that have members, by name.")
        case .addGroupMember:
            Operation(
                id: self,
                method: .put,
                path: member,
                summary: "Makes sure that a subject is in a group.",
                access: .writing(.namespace),
                status: 204
            )
        default: delete(member, "Makes sure that a subject is not in a group.")
        }
    }

    private var policyOperation: Operation {
        switch self {
        case .listReleases: list(releases, of: .releaseSummary, "Releases, newest first.")
        case .createRelease:
            create(
                releases,
                .releaseNew,
                .release,
                "Makes an immutable, numbered, signed release of policies that compile.",
                hasETag: true,
                refusals: [.policyInvalid] + ReleaseStep.activation
            )
        case .readRelease:
            read(release, .release, "One release, with its documents and what the checks find.")
        case .readReleaseManifest:
            Operation(
                id: self,
                method: .get,
                path: release + [.literal("manifest")],
                summary: "What the release is, as it was signed.",
                access: .reading(.namespace),
                status: 200,
                answer: .releaseManifest
            )
        case .listReviews: list(reviews, of: .review, "Reviews of a release, oldest first.")
        case .createReview:
            create(
                reviews,
                .reviewNew,
                .review,
                "Approves or rejects a release that somebody else made, once.",
                refusals: [
                    .policyReviewOwn, .policyChecksFailed, .policyRejected, .policyActive,
                    .policyRetired, .preconditionFailed,
                ]
            )
        case .listActivations: list(activations, of: .activation, "Activations, newest first.")
        default:
            create(
                activations,
                .activationNew,
                .activation,
                "Puts a release in force; an older one rolls back.",
                refusals: [.policyInvalid, .preconditionFailed] + ReleaseStep.activation
            )
        }
    }

    /// Why a step in the life of a release is refused.
    private enum ReleaseStep {
        static let activation: [ProblemType] = [
            .policyChecksFailed, .policyReviewsMissing, .policyRejected, .policyActive,
            .policyManifestInvalid, .policySimulationMissing, .policyWidening,
        ]
    }

    private var simulationOperation: Operation {
        switch self {
        case .readShadow:
            read(
                namespace + [.literal("shadow")],
                .shadow,
                "The release in shadow, if there is one."
            )
        case .startShadow:
            Operation(
                id: self,
                method: .put,
                path: release + [.literal("shadow")],
                summary:
                    "Has proxies evaluate a release beside the one in force, and never enforce it.",
                access: .writing(.namespace),
                status: 200,
                answer: .shadow,
                refusals: [
                    .policyChecksFailed, .policyRejected, .policyActive, .policyRetired, .inUse,
                ]
            )
        case .endShadow:
            delete(release + [.literal("shadow")], "Ends the shadow of a release.")
        case .listSimulations:
            list(
                simulations,
                of: .simulation,
                "Simulations of a release, newest first, without their reports."
            )
        case .readSimulation:
            Operation(
                id: self,
                method: .get,
                path: simulation,
                summary: "How far a simulation is; once it is finished, its report.",
                access: .reading(.namespace),
                status: 200,
                answer: .simulationWithReport
            )
        default:
            Operation(
                id: self,
                method: .post,
                path: simulations,
                summary: "Asks what recorded calls would be answered under a release.",
                access: .writing(.namespace),
                body: .simulationNew,
                status: 202,
                answer: .simulation,
                refusals: [.policyInvalid, .inUse]
            )
        }
    }

    private var proxyOperation: Operation {
        switch self {
        case .listProxies: list(proxies, of: .proxy, "Enrolled proxies, by name.")
        case .readProxy: read(proxy, .proxy, "One proxy.")
        case .revokeProxy:
            delete(proxy, "Refuses a proxy from now on; its name is never used again.")
        case .listEnrolmentTokens:
            list(enrolmentTokens, of: .enrolmentToken, "Enrolment tokens, newest first.")
        case .createEnrolmentToken:
            create(
                enrolmentTokens,
                .enrolmentTokenNew,
                .enrolmentTokenMade,
                "Makes a token that enrols one proxy, once."
            )
        default: delete(enrolmentToken, "Withdraws a token that was not used yet.")
        }
    }

    private var recordOperation: Operation {
        switch self {
        case .listRecords:
            list(
                records,
                of: .record,
                "Records in the order of their arrival. A page never changes.",
                query: [
                    .init(
                        name: "kind",
                        form: .choice(["intent", "outcome", "refusal", "access", "gap"]),
                        summary: "Only this kind."
                    ),
                    .init(name: "subject", form: .free(1...256), summary: "Only this subject's."),
                    .init(name: "server", form: .label, summary: "Only about this server."),
                    .init(name: "tool", form: .free(1...128), summary: "Only about this tool."),
                    .init(
                        name: "answer",
                        form: .choice([
                            "permit", "deny", "requireApproval", "stepUp", "rateLimited",
                        ]),
                        summary: "Only with this decision."
                    ),
                    .init(name: "from", form: .time, summary: "Not earlier, by the record's time."),
                    .init(name: "to", form: .time, summary: "Earlier than this."),
                ]
            )
        case .readRecord:
            read(record, .record, "One record.")
        default:
            list(
                [.literal("v1"), .literal("admin-records")],
                of: .adminRecord,
                "What administrators did, oldest first. A page never changes.",
                access: .reading(.own),
                query: [.init(name: "namespace", form: .label, summary: "Only of this namespace.")]
            )
        }
    }

    private var tokenOperation: Operation {
        switch self {
        case .listAPITokens:
            list(
                apiTokens,
                of: .apiToken,
                "API tokens that the token reaches, newest first.",
                access: .reading(.own)
            )
        case .createAPIToken:
            create(
                apiTokens,
                .apiTokenNew,
                .apiTokenMade,
                "Makes an API token, which reaches no further than the one that asks.",
                access: .writing(.own)
            )
        case .readAPIToken: read(apiToken, .apiToken, "One API token.", access: .reading(.own))
        case .revokeAPIToken:
            delete(apiToken, "Refuses an API token from now on.", access: .writing(.own))
        default:
            create(
                namespace + [.literal("development-tokens")],
                .developmentTokenNew,
                .developmentToken,
                "Issues an access token for trials. Makes the issuer and the subject if need be.",
                refusals: [.developmentTokensOff]
            )
        }
    }

    // MARK: The usual forms

    private func list(
        _ path: [Segment],
        of item: Schema,
        _ summary: StaticString,
        access: Operation.Access = .reading(.namespace),
        query: [Operation.QueryParameter] = []
    ) -> Operation {
        Operation(
            id: self,
            method: .get,
            path: path,
            summary: summary,
            access: access,
            query: PageRequest.parameters + query,
            status: 200,
            answer: .list(item)
        )
    }

    private func create(
        _ path: [Segment],
        _ body: Schema,
        _ answer: Schema,
        _ summary: StaticString,
        access: Operation.Access = .writing(.namespace),
        hasETag: Bool = false,
        refusals: [ProblemType] = []
    ) -> Operation {
        Operation(
            id: self,
            method: .post,
            path: path,
            summary: summary,
            access: access,
            body: body,
            status: 201,
            answer: answer,
            hasETag: hasETag,
            refusals: [.alreadyExists] + refusals
        )
    }

    private func read(
        _ path: [Segment],
        _ answer: Schema,
        _ summary: StaticString,
        access: Operation.Access = .reading(.namespace)
    ) -> Operation {
        Operation(
            id: self,
            method: .get,
            path: path,
            summary: summary,
            access: access,
            status: 200,
            answer: answer,
            hasETag: true
        )
    }

    private func update(
        _ path: [Segment],
        _ body: Schema,
        _ answer: Schema,
        _ summary: StaticString
    ) -> Operation {
        Operation(
            id: self,
            method: .patch,
            path: path,
            summary: summary,
            access: .writing(.namespace),
            body: body,
            status: 200,
            answer: answer,
            isConditional: true,
            hasETag: true
        )
    }

    private func delete(
        _ path: [Segment],
        _ summary: StaticString,
        access: Operation.Access = .writing(.namespace),
        isConditional: Bool = false,
        refusals: [ProblemType] = []
    ) -> Operation {
        Operation(
            id: self,
            method: .delete,
            path: path,
            summary: summary,
            access: access,
            status: 204,
            isConditional: isConditional,
            refusals: refusals
        )
    }
}
