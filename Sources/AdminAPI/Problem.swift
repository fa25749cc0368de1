public import JSON

/// The kinds of refusals, each documented in docs/reference/problems.md (RFC 9457).
///
/// The raw value is the end of `type`: `/problems/not-found`. Stable; within v1 kinds are only added.
public enum ProblemType: String, CaseIterable, Sendable {
    /// The body is not strict JSON.
    case bodyMalformed = "body-malformed"
    /// A parameter of the path, the query or a header does not have its form.
    case parameterInvalid = "parameter-invalid"
    /// No token, or one that is not valid (any more).
    case unauthenticated
    /// The token is known, and does not allow this.
    case forbidden
    /// Development tokens are off in this installation.
    case developmentTokensOff = "development-tokens-off"
    /// Nothing is here, or nothing that this token may know of.
    case notFound = "not-found"
    /// The resource does not know this method.
    case methodNotAllowed = "method-not-allowed"
    /// Something with this name is there already.
    case alreadyExists = "already-exists"
    /// Something else still needs it.
    case inUse = "in-use"
    /// A request with the same `Idempotency-Key` has not ended yet.
    case idempotencyKeyRunning = "idempotency-key-running"
    /// The resource changed since it was read.
    case preconditionFailed = "precondition-failed"
    /// The body is longer than allowed.
    case bodyTooLarge = "body-too-large"
    /// The body is not declared as JSON.
    case mediaTypeUnsupported = "media-type-unsupported"
    /// The body is JSON and does not mean anything here.
    case requestInvalid = "request-invalid"
    /// Policies do not compile.
    case policyInvalid = "policy-invalid"
    /// The checks of a release find errors.
    case policyChecksFailed = "policy-checks-failed"
    /// Not enough people who did not make the release have approved it.
    case policyReviewsMissing = "policy-reviews-missing"
    /// The release was rejected, for good.
    case policyRejected = "policy-rejected"
    /// The release is in force.
    case policyActive = "policy-active"
    /// The release was in force: it can come back, and is not reviewed again.
    case policyRetired = "policy-retired"
    /// Nobody reviews what they made.
    case policyReviewOwn = "policy-review-own"
    /// What is stored of the release is not what was signed when it was made.
    case policyManifestInvalid = "policy-manifest-invalid"
    /// The same `Idempotency-Key` came with another request before.
    case idempotencyKeyReused = "idempotency-key-reused"
    /// An edit must say which version it edits.
    case preconditionRequired = "precondition-required"
    /// Nobody has seen yet what a release changes.
    case policySimulationMissing = "policy-simulation-missing"
    /// A release lets calls go on that did not before, and nobody has accepted that.
    case policyWidening = "policy-widening"
    /// A bug.
    case internalError = "internal-error"
    /// The database is away or busy; later it is not.
    case unavailable

    /// The HTTP status.
    public var status: Int {
        switch self {
        case .bodyMalformed, .parameterInvalid: 400
        case .unauthenticated: 401
        case .forbidden, .developmentTokensOff, .policyReviewOwn: 403
        case .notFound: 404
        case .methodNotAllowed: 405
        case .alreadyExists, .inUse, .idempotencyKeyRunning, .policyReviewsMissing, .policyRejected,
            .policyActive, .policyRetired, .policyManifestInvalid, .policySimulationMissing,
            .policyWidening:
            409
        case .preconditionFailed: 412
        case .bodyTooLarge: 413
        case .mediaTypeUnsupported: 415
        case .requestInvalid, .policyInvalid, .policyChecksFailed, .idempotencyKeyReused: 422
        case .preconditionRequired: 428
        case .internalError: 500
        case .unavailable: 503
        }
    }

    /// The same sentence each time (RFC 9457 §3.1.3).
    public var title: String {
        switch self {
        case .bodyMalformed: "The body is not JSON"
        case .parameterInvalid: "A parameter is not valid"
        case .unauthenticated: "A valid API token is needed"
        case .forbidden: "The token does not allow this"
        case .developmentTokensOff: "Development tokens are off"
        case .notFound: "Nothing is here"
        case .methodNotAllowed: "The resource does not know this method"
        case .alreadyExists: "It is there already"
        case .inUse: "It is still in use"
        case .idempotencyKeyRunning: "The first request with this key is still running"
        case .preconditionFailed: "The resource has changed"
        case .bodyTooLarge: "The body is too large"
        case .mediaTypeUnsupported: "The body must be JSON"
        case .requestInvalid: "The request is not valid"
        case .policyInvalid: "The policies do not compile"
        case .policyChecksFailed: "The checks of the release find errors"
        case .policyReviewsMissing: "The release needs more reviews"
        case .policyRejected: "The release was rejected"
        case .policyActive: "The release is in force"
        case .policyRetired: "The release was in force before"
        case .policyReviewOwn: "Nobody reviews what they made"
        case .policyManifestInvalid: "The release is not what was signed"
        case .policySimulationMissing: "Nobody has seen what the release changes"
        case .policyWidening: "The release allows what was not allowed"
        case .idempotencyKeyReused: "The key was used for another request"
        case .preconditionRequired: "If-Match is required"
        case .internalError: "Something is wrong here"
        case .unavailable: "Not possible at the moment"
        }
    }
}

/// A refusal as it is answered.
public struct Problem: Error, Hashable, Sendable {
    /// What kind.
    public var type: ProblemType
    /// What is wrong this time; no value of the request, no secret.
    public var detail: String?
    /// Each place that is wrong.
    public var errors: [FieldError]

    /// A refusal.
    public init(_ type: ProblemType, _ detail: String? = nil, errors: [FieldError] = []) {
        self.type = type
        self.detail = detail
        self.errors = errors
    }

    /// The refusal in a sentence, for people.
    public var reason: String { detail.map { "\(type.title): \($0)" } ?? type.title }

    /// What the body of a refusal looks like.
    public static var schema: Schema { .problem }

    /// The body of the answer.
    ///
    /// - Parameter instance: the path of the request.
    public func json(instance: Text, requestID: Text) -> [UInt8] {
        var writer = JSONWriter()
        writer.object { writer in
            writer.member("type", Text("/problems/\(type.rawValue)"))
            writer.member("title", Text(type.title))
            writer.member("status", Int64(type.status))
            writer.member("detail", ifPresent: detail.map { Text($0) })
            writer.member("instance", instance)
            writer.member("requestId", requestID)
            guard !errors.isEmpty else { return }
            writer.array("errors") { writer in
                for error in errors {
                    writer.object { writer in
                        writer.member("pointer", error.pointer)
                        writer.member("code", Text(error.code.rawValue))
                        writer.member("detail", ifPresent: error.detail.map { Text($0) })
                        writer.member("document", ifPresent: error.document)
                        writer.member("policy", ifPresent: error.policy)
                        writer.member("line", ifPresent: error.line.map(Int64.init))
                        writer.member("column", ifPresent: error.column.map(Int64.init))
                    }
                }
            }
        }
        return writer.finish()
    }
}
