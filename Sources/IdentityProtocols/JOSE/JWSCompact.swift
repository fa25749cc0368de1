public import Cryptography
public import JSON

/// A signed token in its parts, before anything in it is believed (RFC 7515 §3.1).
///
/// Strict, because a token that two readers take apart differently is two tokens: three non-empty
/// parts, base64url without padding and with zero trailing bits, a header without duplicate names.
public struct JWSCompact: Sendable {
    /// The longest token read at all, in bytes.
    public static let bytesMax = 16_384

    /// The protected header.
    public let header: JWTHeader
    /// The decoded payload.
    public let payload: [UInt8]
    /// The decoded signature; ECDSA as `r || s`.
    public let signature: [UInt8]
    /// What was signed: header and payload as sent, with the dot between them.
    public let signingInput: ArraySlice<UInt8>

    /// Takes `token` apart.
    public init(_ token: [UInt8]) throws(JWTRefusal) {
        guard token.count <= Self.bytesMax else { throw JWTRefusal(.tooLong) }
        let dot = UInt8(ascii: ".")
        guard let first = token.firstIndex(of: dot),
            let second = token[(first + 1)...].firstIndex(of: dot),
            !token[(second + 1)...].contains(dot),
            let header = Base64.decode(token[..<first], .url), !header.isEmpty,
            let payload = Base64.decode(token[(first + 1)..<second], .url), !payload.isEmpty,
            let signature = Base64.decode(token[(second + 1)...], .url), !signature.isEmpty
        else { throw JWTRefusal(.malformed) }
        self.header = try JWTHeader(parsing: header)
        self.payload = payload
        self.signature = signature
        signingInput = token[..<second]
    }
}

/// The protected header of a token: the few members that are used, after refusing those that must
/// not be there.
public struct JWTHeader: Hashable, Sendable {
    /// How the token claims to be signed.
    ///
    /// Compared with the key's algorithm, never used to choose one.
    public let algorithm: SignatureAlgorithm
    /// Which key of the issuer signed, 1 to 128 bytes.
    public let keyID: Text?
    /// The media type of the token in lower case, without `application/` (RFC 7515 §4.1.9).
    public let type: Text?

    /// Reads a decoded header.
    public init(parsing bytes: [UInt8]) throws(JWTRefusal) {
        let root = try joseObject(bytes, else: .headerMalformed)
        var (algorithm, keyID, type): (Text?, Text?, Text?)
        for (name, value) in root.members {
            if name.equals("alg") {
                algorithm = try Self.text(value)
            } else if name.equals("kid") {
                keyID = try Self.text(value)
            } else if name.equals("typ") {
                type = try Self.text(value)
            } else if Self.forbidden.contains(where: { name.equals($0) }) {
                throw JWTRefusal(.headerForbidden)
            }
        }
        guard let algorithm, let known = SignatureAlgorithm(jose: algorithm) else {
            throw JWTRefusal(.algorithmRefused)
        }
        if let keyID, !(1...128).contains(keyID.byteCount) { throw JWTRefusal(.headerMalformed) }
        self.algorithm = known
        self.keyID = keyID
        self.type = type.map(Self.mediaType)
    }

    /// Extensions that change what the signature covers, and keys brought along by the sender.
    private static let forbidden: [StaticString] = [
        "crit", "b64", "zip", "enc", "jwk", "jku", "x5c", "x5u",
    ]

    private static func text(_ value: JSONValue) throws(JWTRefusal) -> Text {
        guard let text = value.string else { throw JWTRefusal(.headerMalformed) }
        return text
    }

    private static func mediaType(_ text: Text) -> Text {
        let prefix = "application/"
        var bytes = text.utf8.map { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 }
        if bytes.starts(with: prefix.utf8) { bytes.removeFirst(prefix.utf8.count) }
        return Text(String(decoding: bytes, as: UTF8.self))
    }
}

extension SignatureAlgorithm {
    /// The algorithm a JOSE name stands for, also by the fully specified name of RFC 9864.
    init?(jose name: Text) {
        if name == "Ed25519" {
            self = .edDSA
            return
        }
        // The raw values are ASCII, so that canonical equivalence cannot match another name.
        self.init(rawValue: name.string)
    }
}

/// The bounds of JSON inside tokens; a depth of 8 is more than any issuer needs.
let joseLimits = JSONLimits(
    bytesMax: JWSCompact.bytesMax,
    depthMax: 8,
    stringBytesMax: JWSCompact.bytesMax,
    keyBytesMax: 512,
    numberBytesMax: 64,
    membersMax: 256,
    elementsMax: 2_048,
    valuesMax: 4_096,
    allowsNullCharacter: false
)

/// The root of a strict JSON document that is an object.
func joseObject(
    _ bytes: [UInt8],
    else reason: JWTRefusal.Reason
) throws(JWTRefusal) -> JSONValue {
    guard let root = try? JSONDocument(parsing: bytes, limits: joseLimits).root,
        root.kind == .object
    else { throw JWTRefusal(reason) }
    return root
}
