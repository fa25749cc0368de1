import GatewayModel

enum RejectionCodes {
    static var all: [String] {
        Rejection.Code.allCases.map(\.rawValue)
    }
}
