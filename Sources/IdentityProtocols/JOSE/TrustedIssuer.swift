public import Cryptography
public import JSON

/// An issuer whose tokens are accepted, and how far.
public struct TrustedIssuer: Sendable {
    /// Compared with `iss` byte for byte.
    public let issuer: Text
    /// The kinds of tokens accepted from it, in order of trial.
    public let profiles: [JWTProfile]
    /// The claim that names the subject, `sub` by default.
    public let subjectClaim: Text
    /// Where the subject's groups are; `nil` when groups come from the directory alone.
    public let groupsClaim: ClaimPointer?

    private let keys: [JWKSet.KeyName: VerificationKey]
    private let algorithms: Set<SignatureAlgorithm>
    private let keyCount: Int

    /// An issuer with the keys it publishes now.
    ///
    /// Keys of other algorithms than `algorithms` are never used.
    public init(
        issuer: Text,
        algorithms: Set<SignatureAlgorithm>,
        keys: JWKSet,
        profiles: [JWTProfile],
        subjectClaim: Text = "sub",
        groupsClaim: ClaimPointer? = nil
    ) {
        self.issuer = issuer
        self.algorithms = algorithms
        self.profiles = profiles
        self.subjectClaim = subjectClaim
        self.groupsClaim = groupsClaim
        keyCount = keys.keys.count
        var table: [JWKSet.KeyName: VerificationKey] = [:]
        for key in keys.keys {
            for entry in key.keys where algorithms.contains(entry.algorithm) {
                table[JWKSet.KeyName(id: key.keyID, algorithm: entry.algorithm)] = entry
            }
        }
        self.keys = table
    }

    /// The one key that may have signed under `header`.
    ///
    /// The algorithm was fixed when the key was loaded. That the header names it is part of the
    /// lookup, and no token changes the table: a forged one cannot spoil a key for the genuine ones
    /// after it.
    func key(for header: JWTHeader) throws(JWTRefusal) -> VerificationKey {
        guard algorithms.contains(header.algorithm) else { throw JWTRefusal(.algorithmRefused) }
        // A key without an id can only be meant where there is no other.
        if header.keyID == nil, keyCount > 1 { throw JWTRefusal(.keyIDMissing) }
        let name = JWKSet.KeyName(id: header.keyID, algorithm: header.algorithm)
        if let key = keys[name] { return key }
        if header.keyID == nil,
            let only = keys.first(where: { $0.key.algorithm == header.algorithm })
        {
            return only.value
        }
        // A known id with another algorithm is a lie about the key; refreshing the set would not
        // help.
        let isKnown = keys.keys.contains { $0.id == header.keyID && header.keyID != nil }
        throw JWTRefusal(isKnown ? .algorithmRefused : .keyUnknown)
    }
}

/// The issuers that one endpoint believes.
public struct TrustedIssuers: Sendable {
    private let table: [Text: TrustedIssuer]

    /// A table of issuers; of two with the same name the later one counts, as in an update.
    public init(_ issuers: [TrustedIssuer]) {
        table = Dictionary(issuers.map { ($0.issuer, $0) }, uniquingKeysWith: { $1 })
    }

    /// The issuer with exactly this name.
    public subscript(issuer: Text) -> TrustedIssuer? { table[issuer] }
}
