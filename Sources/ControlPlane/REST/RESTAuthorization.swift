import AdminAPI
import ControlStore
import GatewayModel
import JSON

/// Who may do what over REST: the whole rule.
enum RESTAuthorization {
    /// Why a caller may not do something, if so.
    ///
    /// A namespace that the token does not reach looks like one that is not there.
    static func refusal(
        of operation: Operation,
        parameters: [Text],
        role: APITokenRow.Role,
        reach: NamespaceName?
    ) -> Problem? {
        let (scope, isWriting): (Operation.Access.Scope, Bool)
        switch operation.access {
        case .open: return nil
        case .reading(let its): (scope, isWriting) = (its, false)
        case .writing(let its): (scope, isWriting) = (its, true)
        }
        if scope == .namespace, let reach, parameters.first != reach.text {
            return Problem(.notFound)
        }
        if scope == .installation, reach != nil {
            return Problem(.forbidden, "the token reaches one namespace only")
        }
        if isWriting, role != .administrator {
            return Problem(.forbidden, "an auditor only reads")
        }
        return nil
    }
}
