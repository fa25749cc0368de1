import Cryptography
import Foundation
import IdentityProtocols
import JSON
import Testing

/// PyJWT as a second opinion: what it signs we accept, and what we accept it accepts.
///
/// `OSTIARY_PYTHON` names the interpreter. Without the package the tests are skipped and counted as
/// such; with `CI=true` they run and fail instead.
@Suite(.enabled(if: PyJWT.isPresent, "no python3 with PyJWT and cryptography"))
struct JWTDifferentialTests {
    @Test(arguments: SignatureAlgorithm.allCases)
    func `we accept what PyJWT signs`(algorithm: SignatureAlgorithm) throws {
        let key = try Keys.key(algorithm)
        let pem = try key.pem().withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
        let script = """
            import json, sys, jwt
            given = json.load(sys.stdin)
            print(jwt.encode(given['claims'], given['pem'], algorithm=given['alg'],
                headers={'kid': 'k1', 'typ': 'at+jwt'}))
            """
        let given = JSONFragment(object: { writer in
            writer.member("pem", pem)
            writer.member("alg", algorithm.rawValue)
            writer.key("claims")
            writer.value(JSONFragment(preserialized: Array(Forge.claims().utf8)))
        })
        let token = try PyJWT.run(script, input: given.bytes)
        let forge = Forge(key: key)
        let issuers = Forge.issuers(try Forge.keySet([forge.jwk(kid: "k1")]))
        let trimmed = Array(token.utf8.filter { $0 > 0x20 })
        #expect(Forge.verdict(trimmed, issuers).reason == nil)
    }

    @Test func `PyJWT accepts whatever we accept`() throws {
        let forge = try Keys.forge()
        let jwk = try forge.jwk(kid: "k1")
        let issuers = Forge.issuers(try Forge.keySet([jwk]))
        let header = #"{"alg":"ES256","kid":"k1","typ":"at+jwt"}"#
        let payload = Array(Forge.claims(["groups": #"["a"]"#]).utf8)
        var tokens: [[UInt8]] = []
        for seed in 0..<1_200 {
            var random = SeededGenerator(seed: UInt64(seed) &+ 4_000_000)
            let changed = payload.mutated(using: &random)
            let signed = try forge.token(
                header: header,
                payload: String(decoding: changed, as: UTF8.self)
            )
            tokens.append(seed % 4 == 0 ? signed.mutated(using: &random) : signed)
        }
        tokens.append(try forge.token(header: header, payload: Forge.claims()))
        // One line for each token; what is not printable ASCII is nobody's token.
        tokens.removeAll { !$0.allSatisfy { (0x21...0x7e).contains($0) } || $0.isEmpty }
        let script = """
            import json, sys, jwt
            key = jwt.PyJWK(json.loads(sys.stdin.readline())).key
            for line in sys.stdin:
                try:
                    claims = jwt.decode(line.strip(), key, algorithms=['ES256'],
                        audience='\(Forge.audience.string)', issuer='\(Forge.issuerName.string)',
                        options={'verify_exp': False, 'verify_iat': False, 'verify_nbf': False,
                                 'require': ['exp', 'iat', 'sub', 'jti', 'client_id', 'aud', 'iss']})
                    print(int(claims['exp'] > \(Forge.now - 60)))
                except (jwt.PyJWTError, ValueError, TypeError):
                    print(0)
            """
        let lines: [[UInt8]] = [Array(jwk.utf8)] + tokens
        let input = lines.flatMap { line -> [UInt8] in line + [0x0a] }
        let verdicts = try PyJWT.run(script, input: input).split(separator: "\n").map { $0 == "1" }
        try #require(verdicts.count == tokens.count)
        var (both, onlyTheirs) = (0, 0)
        for (token, isTheirs) in zip(tokens, verdicts) {
            let isOurs = Forge.verdict(token, issuers).reason == nil
            let shown = Comment(rawValue: String(decoding: token, as: UTF8.self))
            #expect(!isOurs || isTheirs, shown)
            if isOurs, isTheirs { both += 1 }
            if !isOurs, isTheirs { onlyTheirs += 1 }
        }
        #expect(both >= 20, "too few accepted tokens to compare")
        #expect(
            onlyTheirs > 0,
            "we are the stricter reader; a run without a difference tests nothing"
        )
    }

    @Test func `PyJWT accepts our issuer's tokens with our published keys`() throws {
        for algorithm: SignatureAlgorithm in [.es256, .edDSA] {
            let issuer = try JWTIssuer(
                issuer: Forge.issuerName,
                key: SigningKey.generate(algorithm)
            )
            let token = try issuer.sign(
                JWTIssuer.AccessToken(
                    subject: "u-1",
                    audience: Forge.audience,
                    clientID: "cli",
                    tokenID: "t-1",
                    lifetimeSeconds: 300
                ),
                now: Forge.now
            )
            let script = """
                import json, sys, jwt
                keys = jwt.PyJWKSet.from_dict(json.loads(sys.stdin.readline())).keys
                token = sys.stdin.readline().strip()
                head = jwt.get_unverified_header(token)
                key = [k for k in keys if k.key_id == head['kid']][0]
                claims = jwt.decode(token, key.key, algorithms=[head['alg']],
                    audience='\(Forge.audience.string)', options={'verify_exp': False, 'verify_iat': False})
                print(head['typ'], claims['sub'])
                """
            let printed = try PyJWT.run(script, input: issuer.keySet() + [0x0a] + token + [0x0a])
            #expect(printed == "at+jwt u-1\n")
        }
    }
}

/// Python with PyJWT, where present.
enum PyJWT {
    static let isPresent =
        ProcessInfo.processInfo.environment["CI"] == "true"
        || (try? run("import jwt, cryptography", input: [])) != nil

    private struct Failure: Error {
        let status: Int32
    }

    static func run(_ script: String, input: [UInt8]) throws -> String {
        let environment = ProcessInfo.processInfo.environment
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [environment["OSTIARY_PYTHON"] ?? "python3", "-c", script]
        // Through a file: a pipe in each direction can lock up when both fill.
        let file = FileManager.default.temporaryDirectory
            .appendingPathComponent("ostiary-\(UUID().uuidString)")
        try Data(input).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        process.standardInput = try FileHandle(forReadingFrom: file)
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
        let printed = try output.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Failure(status: process.terminationStatus)
        }
        return String(decoding: printed, as: UTF8.self)
    }
}
