public import Cryptography
public import JSON

/// One public key of an issuer (RFC 7517), ready to verify.
public struct JWK: Sendable {
    /// The issuer's name for the key, 1 to 128 bytes.
    public let keyID: Text?
    /// One entry for each algorithm the key may serve: one when the JWK says `alg`, several for RSA
    /// without it.
    public let keys: [VerificationKey]
}

/// The published keys of an issuer: strict about the set, lenient about each key.
///
/// One key of a kind we do not know must not lock everybody out who uses the others, so such keys
/// are skipped and listed. A set that is not a set is refused as a whole.
public struct JWKSet: Sendable {
    /// The longest set read at all, in bytes.
    public static let bytesMax = 262_144
    /// The most keys a set may have, usable or not.
    public static let keyCountMax = 64

    /// The keys that can verify.
    public let keys: [JWK]
    /// The keys that cannot, and why.
    public let skipped: [SkippedKey]

    /// Why a whole set is refused.
    public enum SetError: String, Error, Hashable, Sendable, CustomStringConvertible {
        /// Longer than 256 KiB.
        case tooLong = "jwks_too_long"
        /// Not strict JSON of the form `{"keys":[…]}`.
        case malformed = "jwks_malformed"
        /// More than 64 keys.
        case tooManyKeys = "jwks_too_many_keys"

        /// The stable reason code.
        public var description: String { rawValue }
    }

    /// A key that was left out.
    public struct SkippedKey: Hashable, Sendable {
        /// Why a key is left out; raw values are stable.
        public enum Reason: String, Hashable, Sendable, CaseIterable {
            /// Not an object, or a member of the wrong type.
            case malformed = "jwk_malformed"
            /// `kty` or `crv` is none we verify with.
            case kindUnknown = "jwk_kind_unknown"
            /// `alg` is none we verify with, or not of this kind of key.
            case algorithmUnknown = "jwk_algorithm_unknown"
            /// `use` or `key_ops` reserve it for something else.
            case notForVerification = "jwk_not_for_verification"
            /// Too weak, too large, or not a point of its curve.
            case keyRefused = "jwk_key_refused"
            /// Private or secret members are published: the issuer must be told at once.
            case privateMembers = "jwk_private_members"
            /// An earlier key has the same id and algorithm.
            case duplicate = "jwk_duplicate"
        }

        /// The position in the set, from 0.
        public let index: Int
        /// The key's id where it has a readable one.
        public let keyID: Text?
        /// Why it was left out.
        public let reason: Reason

        /// Whether a person must act: the issuer has published what it must keep.
        public var isAlarm: Bool { reason == .privateMembers }
    }

    /// Reads a published set.
    public init(parsing bytes: [UInt8]) throws(SetError) {
        guard bytes.count <= Self.bytesMax else { throw .tooLong }
        guard let root = try? JSONDocument(parsing: bytes, limits: Self.limits).root,
            let list = root["keys"], list.kind == .array
        else { throw .malformed }
        guard list.count <= Self.keyCountMax else { throw .tooManyKeys }
        var keys: [JWK] = []
        var skipped: [SkippedKey] = []
        var seen: Set<KeyName> = []
        for (index, value) in list.elements.enumerated() {
            do throws(JWK.Skip) {
                let key = try JWK(value)
                let names = key.keys.map { KeyName(id: key.keyID, algorithm: $0.algorithm) }
                guard seen.isDisjoint(with: names) else { throw JWK.Skip(.duplicate) }
                seen.formUnion(names)
                keys.append(key)
            } catch {
                let id = value["kid"]?.string
                skipped.append(SkippedKey(index: index, keyID: id, reason: error.reason))
            }
        }
        self.keys = keys
        self.skipped = skipped
    }

    /// What a published document may be, keys and metadata alike.
    static let limits = JSONLimits(
        bytesMax: bytesMax,
        depthMax: 8,
        membersMax: 256,
        elementsMax: 1_024,
        valuesMax: 16_384,
        allowsNullCharacter: false
    )

    /// What a token names a key by, together with its issuer.
    struct KeyName: Hashable {
        let id: Text?
        let algorithm: SignatureAlgorithm
    }
}

extension JWK {
    struct Skip: Error {
        let reason: JWKSet.SkippedKey.Reason

        init(_ reason: JWKSet.SkippedKey.Reason) { self.reason = reason }
    }

    init(_ value: JSONValue) throws(Skip) {
        guard value.kind == .object else { throw Skip(.malformed) }
        // First, so that a published private key is an alarm whatever else is wrong with it.
        for name: StaticString in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
            guard value[name] == nil else { throw Skip(.privateMembers) }
        }
        guard let type = try Self.text(value, "kty") else { throw Skip(.malformed) }
        keyID = try Self.text(value, "kid")
        if let keyID, !(1...128).contains(keyID.byteCount) { throw Skip(.malformed) }
        try Self.checkPurpose(value)
        let named = try Self.algorithm(value)
        keys = try Self.keys(type, value, named)
    }

    private static func keys(
        _ type: Text,
        _ value: JSONValue,
        _ named: SignatureAlgorithm?
    ) throws(Skip) -> [VerificationKey] {
        switch type {
        case "RSA":
            let (n, e) = (try bytes(value, "n"), try bytes(value, "e"))
            let algorithms: [SignatureAlgorithm] =
                named.map { [$0] } ?? [.rs256, .rs384, .rs512, .ps256, .ps384, .ps512]
            guard algorithms.allSatisfy({ $0.keyKind == .rsa }) else {
                throw Skip(.algorithmUnknown)
            }
            return try load { () throws(CryptographyError) in
                let key = try VerificationKey(
                    rsaModulus: n,
                    exponent: e,
                    algorithm: algorithms[0]
                )
                var keys = [key]
                for other in algorithms.dropFirst() { keys.append(try key.serving(other)) }
                return keys
            }
        case "EC":
            let algorithm: SignatureAlgorithm =
                switch try text(value, "crv") {
                case "P-256": .es256
                case "P-384": .es384
                default: throw Skip(.kindUnknown)
                }
            guard named == nil || named == algorithm else { throw Skip(.algorithmUnknown) }
            let (x, y) = (try bytes(value, "x"), try bytes(value, "y"))
            return try load { () throws(CryptographyError) in
                [try VerificationKey(x: x, y: y, algorithm: algorithm)]
            }
        case "OKP":
            guard try text(value, "crv") == "Ed25519" else { throw Skip(.kindUnknown) }
            guard named == nil || named == .edDSA else { throw Skip(.algorithmUnknown) }
            let x = try bytes(value, "x")
            return try load { () throws(CryptographyError) in [try VerificationKey(ed25519: x)] }
        default:
            throw Skip(.kindUnknown)
        }
    }

    private static func load(
        _ body: () throws(CryptographyError) -> [VerificationKey]
    ) throws(Skip) -> [VerificationKey] {
        do throws(CryptographyError) { return try body() } catch { throw Skip(.keyRefused) }
    }

    private static func checkPurpose(_ value: JSONValue) throws(Skip) {
        if let use = try text(value, "use"), use != "sig" { throw Skip(.notForVerification) }
        guard let operations = value["key_ops"] else { return }
        guard operations.kind == .array else { throw Skip(.malformed) }
        guard operations.elements.contains(where: { $0.stringEquals("verify") }) else {
            throw Skip(.notForVerification)
        }
    }

    private static func algorithm(_ value: JSONValue) throws(Skip) -> SignatureAlgorithm? {
        guard let name = try text(value, "alg") else { return nil }
        guard let algorithm = SignatureAlgorithm(jose: name) else { throw Skip(.algorithmUnknown) }
        return algorithm
    }

    private static func text(_ value: JSONValue, _ name: StaticString) throws(Skip) -> Text? {
        guard let member = value[name] else { return nil }
        guard let text = member.string else { throw Skip(.malformed) }
        return text
    }

    private static func bytes(_ value: JSONValue, _ name: StaticString) throws(Skip) -> [UInt8] {
        guard let text = try text(value, name), let bytes = Base64.decode(text.utf8, .url) else {
            throw Skip(.malformed)
        }
        return bytes
    }
}

extension JWK {
    /// A key as an issuer publishes it, with `use` and `alg`.
    public static func published(
        _ key: VerificationKey,
        keyID: Text
    ) throws(CryptographyError) -> JSONFragment {
        let components = try key.components()
        return JSONFragment(object: { writer in
            writer.member("kid", keyID)
            writer.member("use", "sig")
            writer.member("alg", key.algorithm.rawValue)
            Self.write(components, key.algorithm, to: &writer)
        })
    }

    /// The name of a key that anybody can compute from it (RFC 7638), in base64url.
    public static func thumbprint(_ key: VerificationKey) throws(CryptographyError) -> Text {
        let components = try key.components()
        let fragment = JSONFragment(object: { writer in
            Self.write(components, key.algorithm, to: &writer)
        })
        return Text(Base64.encode(SHA256.digest(of: fragment.bytes).bytes, .url))
    }

    /// The required members in lexicographic order, which RFC 7638 §3 hashes.
    private static func write(
        _ components: PublicKeyComponents,
        _ algorithm: SignatureAlgorithm,
        to writer: inout JSONWriter
    ) {
        switch components {
        case .rsa(let modulus, let exponent):
            writer.member("e", Base64.encode(exponent, .url))
            writer.member("kty", "RSA")
            writer.member("n", Base64.encode(modulus, .url))
        case .ec(let x, let y):
            writer.member("crv", algorithm == .es384 ? "P-384" : "P-256")
            writer.member("kty", "EC")
            writer.member("x", Base64.encode(x, .url))
            writer.member("y", Base64.encode(y, .url))
        case .ed25519(let x):
            writer.member("crv", "Ed25519")
            writer.member("kty", "OKP")
            writer.member("x", Base64.encode(x, .url))
        }
    }
}
