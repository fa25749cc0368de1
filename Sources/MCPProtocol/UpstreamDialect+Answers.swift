import JSON

extension UpstreamDialect {
    /// The answer to a question that a legacy server asks in between.
    ///
    /// The gateway declared no capability, so nothing but `ping` can be right; anything else is told so.
    public func answer(to request: Message.Request, known: ServerMethod?) -> UpstreamRequest {
        precondition(revision.era == .legacy, "servers of this revision ask nothing")
        let builder = ResponseBuilder(revision: revision, id: request.id, server: client)
        let body =
            known == .ping
            ? builder.empty() : builder.error(RPCError(.methodNotFound, "Method not found"))
        return UpstreamRequest(body: body, headers: initialized().headers)
    }
}
