import Glibc
import NIOCore
import Networking

// A plain forwarding proxy on the codec, the connection actor and the pool: what they cost without
// anything else.
//
//     codec-bench LISTEN_PORT UPSTREAM_PORT
//
// Measure it beside nginx with the proxies on one core, and the load and the upstream on another.

guard CommandLine.arguments.count == 3, let listenPort = Int(CommandLine.arguments[1]),
    let upstreamPort = Int(CommandLine.arguments[2])
else { fatalError("usage: codec-bench LISTEN_PORT UPSTREAM_PORT") }

let loops = EventLoops(count: 1)
let client = HTTPClient(loops: loops)
let upstream = client.upstream(
    HTTPOrigin(isSecure: false, host: "127.0.0.1", port: upstreamPort)
)

let server = try await HTTPServer.bind(
    [try SocketAddress(ipAddress: "127.0.0.1", port: listenPort)],
    loops: loops
) { request, connection in
    do {
        let body = try await connection.collectBody()
        var call = upstream.request(request.method, request.target, on: connection.executor)
        for name: StaticString in ["content-type", "accept", "authorization"] {
            if let value = request.fields[name] { call.head.add(name, value) }
        }
        call.body = body
        var answer = try await upstream.send(call, on: connection.executor)
        let content = try await answer.collect()
        var response = connection.makeResponse(answer.head.status)
        if let type = answer.head.fields["content-type"] { response.add("content-type", type) }
        try connection.respond(response, body: content)
    } catch {
        try? connection.respond(connection.makeResponse(502))
    }
}
print(getpid())
try await Task.sleep(for: .seconds(1_000_000))
_ = server
