import GatewayModel
import JSON

/// What the gateway says about itself as a protected resource (RFC 9728), one document for each endpoint.
enum ResourceMetadata {
    /// The resource's name, which is also the audience of its tokens: exactly what a user types.
    static func resource(_ server: ServerName, _ settings: MCPEndpoint.Settings) -> Text {
        Text("\(settings.publicURL)/s/\(server)/mcp")
    }

    static func document(_ server: ServerName, _ settings: MCPEndpoint.Settings) -> [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        writer.member("resource", resource(server, settings))
        if let issuer = settings.authorizationServer {
            writer.key("authorization_servers")
            writer.beginArray()
            writer.value(issuer)
            writer.endArray()
        }
        writer.key("bearer_methods_supported")
        writer.beginArray()
        writer.value("header")
        writer.endArray()
        writer.endObject()
        return writer.bytes
    }

    /// The value of `WWW-Authenticate` (RFC 6750 §3, RFC 9728 §5.1).
    static func challenge(
        _ server: ServerName,
        _ settings: MCPEndpoint.Settings,
        invalidToken: Bool
    ) -> String {
        let document = "\(settings.publicURL)/.well-known/oauth-protected-resource/s/\(server)/mcp"
        let error = invalidToken ? "error=\"invalid_token\", " : ""
        return "Bearer \(error)resource_metadata=\"\(document)\""
    }
}
