import Glibc
import NIOCore
import Testing

@testable import Networking

/// Seeded mutations of good and bad messages: the parsers must not trap, must not depend on how the
/// input is split, and must not take a byte more than they were given.
@Suite("HTTP/1.1 codec under mutation")
struct HTTPCodecFuzzTests {
    /// SplitMix64: small, seeded, good enough to choose mutations.
    struct Random: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var z = state
            z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
            return z ^ (z >> 31)
        }
    }

    static let tokens = [
        "\r\n", "\n", "\r", " ", "\t", ":", "chunked", "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "0\r\n\r\n", "\0", "HTTP/1.1", "Host: a\r\n", ",", ";", "ffffffff", "\u{e9}",
    ]

    static func mutate(_ bytes: [UInt8], _ random: inout Random) -> [UInt8] {
        var bytes = bytes
        for _ in 0..<Int.random(in: 1...4, using: &random) where !bytes.isEmpty {
            let at = Int.random(in: 0..<bytes.count, using: &random)
            switch Int.random(in: 0..<5, using: &random) {
            case 0: bytes[at] = UInt8.random(in: 0...255, using: &random)
            case 1: bytes.remove(at: at)
            case 2: bytes.insert(UInt8.random(in: 0...255, using: &random), at: at)
            case 3:
                bytes.insert(
                    contentsOf: Array((tokens.randomElement(using: &random) ?? "").utf8),
                    at: at
                )
            default:
                let end = min(bytes.count, at + Int.random(in: 1...40, using: &random))
                bytes.insert(
                    contentsOf: bytes[at..<end],
                    at: Int.random(in: 0...bytes.count, using: &random)
                )
            }
        }
        return bytes
    }

    static var duration: Duration {
        guard let text = getenv("OSTIARY_FUZZ_SECONDS"), let seconds = Int(String(cString: text))
        else {
            return .milliseconds(300)
        }
        return .seconds(seconds)
    }

    @Test func `mutated requests and responses read the same at random splits`() {
        let requests =
            RefusalRow.requests.filter { $0.bytes.utf8.count < 2000 }.map { Array($0.bytes.utf8) }
            + HTTPRequestParserTests.accepted.map { Array($0.0.utf8) }
        let responses = HTTPResponseParserTests.rows.map { Array($0.1.utf8) }
        var seed: UInt64 = 1
        let end = ContinuousClock.now + Self.duration
        while ContinuousClock.now < end {
            var random = Random(state: seed)
            let request = Self.mutate(requests.randomElement(using: &random) ?? [], &random)
            let response = Self.mutate(responses.randomElement(using: &random) ?? [], &random)
            func splits(_ count: Int) -> [Int] {
                guard count > 1 else { return [] }
                return Array(
                    Set((0..<3).map { _ in Int.random(in: 1..<count, using: &random) })
                ).sorted()
            }
            let whole = parseRequest(request, splits: [])
            #expect(parseRequest(request, splits: splits(request.count)) == whole, "seed \(seed)")
            let wholeResponse = parseResponse(response, splits: [])
            #expect(
                parseResponse(response, splits: splits(response.count)) == wholeResponse,
                "seed \(seed)"
            )
            seed += 1
        }
    }
}
