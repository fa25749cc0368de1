public import JSON

/// What an issuer says of itself, as far as it is needed to verify tokens.
///
/// OpenID Connect Discovery 1.0 §3, RFC 8414 §2.
public struct ProviderMetadata: Sendable, Hashable {
    /// The longest document read at all, in bytes.
    public static let bytesMax = 262_144
    /// The longest URL in it that is followed, in bytes.
    public static let urlBytesMax = 2_048

    /// The issuer, as it was asked for.
    public let issuer: Text
    /// Where its keys are.
    public let keysURL: Text

    /// Why a document is refused.
    public enum Refusal: String, Error, Hashable, Sendable, CustomStringConvertible {
        /// Longer than 256 KiB.
        case tooLong = "metadata_too_long"
        /// Not strict JSON, or a member of the wrong type.
        case malformed = "metadata_malformed"
        /// It speaks for another issuer.
        case issuerMismatch = "metadata_issuer_mismatch"
        /// No `jwks_uri`.
        case keysMissing = "metadata_without_jwks_uri"

        /// The stable reason code.
        public var description: String { rawValue }
    }

    /// Reads a document that was fetched for `issuer`.
    ///
    /// The issuer it names must be the same, byte for byte: a document for another issuer would let that one's keys vouch
    /// for this one's tokens (OpenID Connect Discovery §4.3, RFC 8414 §3.3).
    public init(parsing bytes: [UInt8], of issuer: Text) throws(Refusal) {
        guard bytes.count <= Self.bytesMax else { throw .tooLong }
        guard let root = try? JSONDocument(parsing: bytes, limits: JWKSet.limits).root,
            root.kind == .object
        else { throw .malformed }
        guard let named = root["issuer"]?.string else { throw .malformed }
        guard named == issuer else { throw .issuerMismatch }
        guard let member = root["jwks_uri"] else { throw .keysMissing }
        guard let url = member.string, (1...Self.urlBytesMax).contains(url.byteCount) else {
            throw .malformed
        }
        self.issuer = issuer
        keysURL = url
    }

    /// Where the documents of an issuer may be, in the order to ask: OpenID Connect appends to the issuer's path, RFC 8414
    /// puts the well-known part before it, each with the name it registered.
    ///
    /// Empty when the issuer is no URL that metadata can be at: with a query or fragment, or without a host.
    public static func locations(of issuer: Text) -> [Text] {
        let text = issuer.string
        guard !text.utf8.contains(where: { $0 == UInt8(ascii: "?") || $0 == UInt8(ascii: "#") })
        else { return [] }
        // "https:", "", host, path.
        let pieces = text.split(separator: "/", maxSplits: 3, omittingEmptySubsequences: false)
        guard pieces.count >= 3, pieces[0].hasSuffix(":"), pieces[1].isEmpty, !pieces[2].isEmpty
        else { return [] }
        let origin = "\(pieces[0])//\(pieces[2])"
        // A slash at the end is left out before appending (OpenID Connect Discovery §4.1, RFC 8414 §3.1).
        var path = pieces.count > 3 ? "/\(pieces[3])" : ""
        if path.utf8.last == UInt8(ascii: "/") { path.removeLast() }
        return [
            "\(origin)\(path)/.well-known/openid-configuration",
            "\(origin)/.well-known/oauth-authorization-server\(path)",
        ].map { Text($0) }
    }
}
