import Cryptography
import Foundation
import IdentityProtocols
import JSON
import Testing

/// Seeded mutations.
///
/// `OSTIARY_FUZZ_SECONDS` makes them go on with fresh seeds; a failing seed becomes a row.
@Suite struct JWTFuzzTests {
    private static func rounds(_ body: (UInt64) throws -> Void) rethrows {
        let wanted = ProcessInfo.processInfo.environment["OSTIARY_FUZZ_SECONDS"].flatMap(
            Double.init
        )
        let end = wanted.map { ContinuousClock.now + .seconds($0) }
        var seed: UInt64 = 0
        while end.map({ ContinuousClock.now < $0 }) ?? (seed < 1_500) {
            try body(seed)
            seed += 1
        }
    }

    @Test func `a changed token is never accepted`() throws {
        let forge = try Keys.forge()
        let issuers = Forge.issuers(try Forge.keySet([forge.jwk(kid: "k1")]))
        let genuine = try forge.token(
            header: #"{"alg":"ES256","kid":"k1","typ":"at+jwt"}"#,
            payload: Forge.claims()
        )
        Self.rounds { seed in
            var random = SeededGenerator(seed: seed)
            let token = genuine.mutated(using: &random)
            guard token != genuine else { return }
            #expect(Forge.verdict(token, issuers).reason != nil, "seed \(seed)")
        }
    }

    @Test func `whatever is signed, what is accepted keeps the invariants`() throws {
        let forge = try Keys.forge(.edDSA)
        let issuers = Forge.issuers(try Forge.keySet([forge.jwk(kid: "k1")]))
        let header = #"{"alg":"EdDSA","kid":"k1","typ":"at+jwt"}"#
        let payload = Array(
            Forge.claims(["groups": #"["a","b"]"#, "scope": #""x y""#, "auth_time": "1"]).utf8
        )
        var accepted = 0
        try Self.rounds { seed in
            var random = SeededGenerator(seed: seed &+ 1_000_000)
            let changed = payload.mutated(using: &random)
            let token = try forge.token(
                header: header,
                payload: String(decoding: changed, as: UTF8.self)
            )
            guard case .success(let claims) = Forge.verdict(token, issuers) else { return }
            accepted += 1
            #expect(claims.issuer == Forge.issuerName, "seed \(seed)")
            #expect(claims.audiences.contains(Forge.audience), "seed \(seed)")
            #expect(claims.expiresAt > Forge.now - 60, "seed \(seed)")
            #expect(claims.expiresAt - (claims.issuedAt ?? 0) <= 86_400, "seed \(seed)")
            #expect(!claims.subject.isEmpty && claims.subject.byteCount <= 255, "seed \(seed)")
            #expect(claims.clientID != nil && claims.tokenID != nil, "seed \(seed)")
        }
        #expect(accepted > 0, "no mutation kept the rules: the others prove little")
    }

    @Test func `a changed header never gets further than its rules`() throws {
        let forge = try Keys.forge(.edDSA)
        let issuers = Forge.issuers(try Forge.keySet([forge.jwk(kid: "k1")]))
        let header = Array(#"{"alg":"EdDSA","kid":"k1","typ":"at+jwt"}"#.utf8)
        try Self.rounds { seed in
            var random = SeededGenerator(seed: seed &+ 2_000_000)
            let changed = header.mutated(using: &random)
            let text = String(decoding: changed, as: UTF8.self)
            let token = try forge.token(header: text, payload: Forge.claims())
            guard case .success = Forge.verdict(token, issuers) else { return }
            let root = try JSONDocument(parsing: text).root
            #expect(
                root["alg"]?.string == "EdDSA" || root["alg"]?.string == "Ed25519",
                "seed \(seed)"
            )
            #expect(root["crit"] == nil, "seed \(seed)")
        }
    }

    @Test func `a changed key set never yields a key it does not hold`() throws {
        let forges = try [Keys.forge(), Keys.forge(.rs256), Keys.forge(.edDSA)]
        let set = try forges.enumerated().map { try $1.jwk(kid: "k\($0)", alg: $0 != 1) }
        let text = Array(#"{"keys":[\#(set.joined(separator: ","))]}"#.utf8)
        Self.rounds { seed in
            var random = SeededGenerator(seed: seed &+ 3_000_000)
            guard let set = try? JWKSet(parsing: text.mutated(using: &random)) else { return }
            #expect(set.keys.count + set.skipped.count <= 5, "seed \(seed)")
            for key in set.keys {
                #expect(!key.keys.isEmpty, "seed \(seed)")
                #expect(throws: CryptographyError.signatureInvalid, "seed \(seed)") {
                    let verifier = key.keys[0]
                    try verifier.verify(
                        [UInt8](repeating: 1, count: 64),
                        over: [],
                        with: verifier.algorithm
                    )
                }
            }
        }
    }
}

extension [UInt8] {
    /// One to three changes: a flipped bit, a byte put in, taken out or doubled, a piece moved, a
    /// JSON token put in.
    func mutated(using random: inout SeededGenerator) -> [UInt8] {
        var bytes = self
        for _ in 0..<Int.random(in: 1...3, using: &random) {
            let at = Int.random(in: 0..<Swift.max(bytes.count, 1), using: &random)
            guard at < bytes.count else { return bytes }
            switch Int.random(in: 0..<7, using: &random) {
            case 0: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 1: bytes.insert(UInt8.random(in: 0...255, using: &random), at: at)
            case 2: bytes.remove(at: at)
            case 3: bytes.insert(bytes[at], at: at)
            case 4:
                let end = Swift.min(at + Int.random(in: 1...12, using: &random), bytes.count)
                let piece = Array(bytes[at..<end])
                bytes.removeSubrange(at..<end)
                bytes.insert(contentsOf: piece, at: Int.random(in: 0...bytes.count, using: &random))
            case 5: bytes.insert(UInt8.random(in: 0x20...0x7e, using: &random), at: at)
            default:
                let pieces = [
                    "null", "[]", "{}", "1e300", #""x":1,"#, "-", "\\u0000", "\"", ",", "0",
                ]
                let piece = pieces.randomElement(using: &random) ?? ""
                bytes.insert(contentsOf: Array(piece.utf8), at: at)
            }
        }
        return bytes
    }
}
