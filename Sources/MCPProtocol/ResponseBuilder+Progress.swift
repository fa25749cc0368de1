public import JSON

extension ResponseBuilder {
    /// A server's progress notification, under the token that the client chose.
    public func progress(_ params: JSONValue, token: ProgressToken) -> [UInt8] {
        RPCBody.notification(method: "notifications/progress") { writer in
            writer.member("progressToken", token)
            writer.members(of: params, except: ["progressToken", "_meta"])
        }
    }
}
