import Cedar
import GatewayModel
import GatewayPolicy
import JSON
import MCPProtocol
import NIOCore
import Networking
import Testing

@testable import DataPlane

@Suite struct ReaderTests {
    @Test(arguments: [
        ("http://127.0.0.1:9000/mcp", "127.0.0.1", 9000, false, "/mcp"),
        ("https://mcp.example/a/b?c=d", "mcp.example", 443, true, "/a/b?c=d"),
        ("http://mcp.example", "mcp.example", 80, false, "/"),
        ("http://[::1]:9000/mcp", "::1", 9000, false, "/mcp"),
    ])
    func `a server's URL is read`(
        url: String,
        host: String,
        port: Int,
        secure: Bool,
        target: String
    ) throws {
        let location = try #require(HTTPLocation(url))
        #expect(location.origin == HTTPOrigin(isSecure: secure, host: host, port: port))
        #expect(location.target == target)
    }

    @Test(arguments: [
        "", "ftp://a/", "http://", "http:///mcp", "http://user@host/", "http://host/#part",
        "http://host:0/",
        "http://host:99999/", "http://host?x", "http://ho%73t/", "http://host:x/", "http://[::1/",
        "http://[::1]x/", "http://ho st/",
        "http://hé/",
        "HTTP://host/", "http://host/\r\nX: y",
    ])
    func `a URL that is not plain is refused instead of guessed`(url: String) {
        #expect(HTTPLocation(url) == nil)
    }

    @Test(arguments: [
        ("/s/tools/mcp", "tools"), ("/s/a/mcp", "a"), ("/s//mcp", nil), ("/s/tools/mcp/", nil),
        ("/s/tools", nil),
        ("/s/To/mcp", nil), ("/s/a%62/mcp", nil), ("/s/a/b/mcp", nil), ("/", nil),
        ("/s/-a/mcp", nil), ("/s/mcp", nil),
    ])
    func `a path names a server or nothing`(path: String, server: String?) {
        let route = Route(HTTPFieldValue(path))
        #expect(route == server.map { .server(ServerName($0)) })
    }

    @Test func `the metadata of a server stands at its well-known path`() {
        let path = "/.well-known/oauth-protected-resource/s/tools/mcp"
        #expect(Route(HTTPFieldValue(path)) == .metadata("tools"))
    }

    @Test(arguments: [
        ("Bearer abc", "abc"), ("bearer abc.def", "abc.def"), ("BEARER a", "a"), ("Bearer ", nil),
        ("Bearer", nil),
        ("Basic abc", nil), ("Bearer a b", nil), ("Bearer a,b", nil), ("Bearer  a", nil),
        ("Bearer a\u{7F}", nil), ("", nil),
    ])
    func `a bearer token stands alone in its field`(field: String, token: String?) {
        #expect(BearerToken.read(HTTPFieldValue(field)) == token.map { Array($0.utf8) })
    }

    @Test(arguments: [
        ("127.0.0.1:5000", "127.0.0.1"), ("[::1]:5000", "::1"), ("local", nil), ("unknown", nil),
    ])
    func `policies see the client's address without its port`(source: String, address: String?) {
        #expect(IPAddress(peer: .init(source)) == address.flatMap { IPAddress($0.utf8) })
    }

    @Test func `ids on the way to a server keep strings and integers apart`() {
        #expect(HopID.derived(from: .integer(1)) != HopID.derived(from: .string("1")))
        #expect(HopID.derived(from: .string("i1")) != HopID.derived(from: .integer(1)))
        #expect(HopID.derived(from: .integer(-1)) == HopID.derived(from: .integer(-1)))
    }

    @Test(arguments: Rejection.Code.allCases)
    func `what a client is told names no detail of the operator's`(code: Rejection.Code) {
        let rejection = Rejection(code, "detail-for-the-operator")
        let answer = ResponseBuilder(
            revision: .r2026_07_28,
            id: .integer(1),
            server: MCPEndpoint.implementation
        )
        let body = String(decoding: answer.rejection(rejection), as: UTF8.self)
        #expect(!body.contains("detail-for-the-operator"))
        #expect(body.contains("\"id\":1"))
    }
}
