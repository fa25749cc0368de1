import Foundation
import JSON
import MCPProtocol

func json(_ text: String) -> JSONValue {
    do {
        return try JSONDocument(parsing: text).root
    } catch {
        preconditionFailure("test data is no JSON: \(error) in \(text)")
    }
}

func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

let gateway = Implementation(name: "acme-gateway", version: "1.0.0")

let envelope =
    #""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"acme-agent","version":"3.1.0"},"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{},"url":{}}}"#

/// Header lines as they come from HTTP.
typealias Lines = [(String, String)]

let contentLines: Lines = [
    ("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream"),
]

func headers(_ lines: Lines) -> RequestHeaders {
    var headers = RequestHeaders()
    for (name, value) in lines { headers.add(name: Array(name.utf8), value: Array(value.utf8)) }
    return headers
}

func modernLines(_ method: String, name: String? = nil) -> Lines {
    contentLines + [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", method)]
        + (name.map { [("Mcp-Name", $0)] } ?? [])
}

/// What the ladder says, in one line: for tables.
func verdict(_ ladder: RequestLadder = RequestLadder(), _ lines: Lines, _ body: String) -> String {
    verdict(ladder, headers(lines), Array(body.utf8))
}

func verdict(_ ladder: RequestLadder, _ headers: RequestHeaders, _ body: [UInt8]) -> String {
    do throws(LadderRefusal) {
        switch try ladder.accept(headers: headers, body: body) {
        case .request(let request):
            let known = request.known.map { $0.rawValue } ?? "unknown"
            switch request.context {
            case .modern(let revision, _): return "request \(known) \(revision)"
            case .legacy(let header, let session):
                return
                    "request \(known) legacy \(header?.rawValue ?? "-") \(session?.string ?? "-")"
            }
        case .notification(let notification):
            return "notification \(notification.known?.rawValue ?? "unknown") \(notification.era)"
        case .response(let response, _):
            return "response \(response.id.map { "\($0)" } ?? "-")"
        }
    } catch {
        let id = JSONFragment { writer in
            writer.key("id")
            if let id = error.id { writer.value(id) } else { writer.null() }
        }
        return "\(error.httpStatus) \(error.error.code) \(text(id.bytes)) \(error.reason)"
    }
}

/// SplitMix64.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// How long a fuzz test runs beyond its fixed number of rounds; from OSTIARY_FUZZ_SECONDS, default none.
var fuzzDuration: Duration {
    .seconds(ProcessInfo.processInfo.environment["OSTIARY_FUZZ_SECONDS"].flatMap { Int($0) } ?? 0)
}

/// The seed of this run: fixed, unless OSTIARY_FUZZ_SEED or a longer fuzz run asks for another.
func fuzzSeed(_ fixed: UInt64) -> UInt64 {
    let environment = ProcessInfo.processInfo.environment
    if let seed = environment["OSTIARY_FUZZ_SEED"].flatMap({ UInt64($0) }) { return seed }
    return fuzzDuration > .zero ? .random(in: .min ... .max) : fixed
}
