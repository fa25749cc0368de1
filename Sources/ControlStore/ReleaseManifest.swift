import Cryptography
public import GatewayModel
public import JSON

/// What a release is, in one piece that can be signed: canonical JSON, stored and shown as exactly these bytes.
///
/// It names every document by its digest, and what the release was checked against when it was made: the schema that the
/// tools of that moment gave, and those tools.
public struct ReleaseManifest: Sendable, Hashable {
    /// The version of the Cedar language that the policies are written in.
    public static let languageVersion: Text = "4.5"
    /// What the bytes are, as their first member says, and what a signature is made for.
    static let format: Text = "ostiary-release-v1"

    /// The namespace.
    public var namespace: NamespaceName
    /// Its number there.
    public var number: UInt64
    /// SHA-256 over the names, sources and layers of its documents: ``StoredRelease/digest``.
    public var digest: [UInt8]
    /// SHA-256 of each document's source, and its layer, by name.
    public var documents: [Document]
    /// The person who made it.
    public var maker: Text
    /// The API token, or the command, that made it.
    public var createdBy: Text
    /// When it was made.
    public var createdAt: Timestamp
    /// What it was checked against.
    public var basis: Basis

    /// A document of a release.
    public struct Document: Sendable, Hashable {
        /// Its name.
        public var name: Text
        /// SHA-256 of its source.
        public var digest: [UInt8]
        /// Whose it is; `nil` for the namespace's own, which the bytes do not mention.
        public var layer: StoredRelease.Layer?
    }

    /// What a release was checked against when it was made, each as SHA-256.
    public struct Basis: Sendable, Hashable {
        /// The facts that its policies may read, as they are declared.
        public var facts: [UInt8]
        /// The generated schema.
        public var schema: [UInt8]
        /// The servers, tools, definitions and effects that the schema was generated from.
        public var catalogue: [UInt8]

        /// Digests of 32 bytes.
        public init(facts: [UInt8], schema: [UInt8], catalogue: [UInt8]) {
            self.facts = facts
            self.schema = schema
            self.catalogue = catalogue
        }
    }

    /// The manifest of documents that are about to be stored.
    init(
        namespace: NamespaceName,
        number: UInt64,
        documents: [StoredRelease.Document],
        maker: Text,
        createdBy: Text,
        createdAt: Timestamp,
        basis: Basis
    ) {
        self.namespace = namespace
        self.number = number
        digest = StoredRelease.digest(of: documents)
        self.documents = documents.sorted { $0.name < $1.name }.map {
            Document(
                name: $0.name,
                digest: SHA256.digest(of: $0.source.utf8).bytes,
                layer: $0.layer
            )
        }
        self.maker = maker
        self.createdBy = createdBy
        self.createdAt = createdAt
        self.basis = basis
    }

    /// Canonical JSON: members sorted, no blanks.
    public func bytes() -> [UInt8] {
        var writer = JSONWriter(capacity: 1024)
        writer.object { writer in
            writer.member("catalogue", hex: basis.catalogue)
            writer.member("createdAt", Text(createdAt.description))
            writer.member("createdBy", createdBy)
            writer.member("digest", hex: digest)
            writer.array("documents") { writer in
                for document in documents {
                    writer.object { writer in
                        writer.member("digest", hex: document.digest)
                        writer.member("layer", ifPresent: document.layer)
                        writer.member("name", document.name)
                    }
                }
            }
            writer.member("facts", hex: basis.facts)
            writer.member("format", Self.format)
            writer.member("language", Self.languageVersion)
            writer.member("maker", maker)
            writer.member("namespace", namespace.text)
            writer.member("number", number)
            writer.member("schema", hex: basis.schema)
        }
        return writer.finish()
    }
}

extension JSONWriter {
    fileprivate mutating func member(_ name: StaticString, hex bytes: [UInt8]) {
        member(name, Text(Hex.encode(bytes)))
    }
}

/// A manifest with its signature, as it is stored.
public struct SignedManifest: Sendable, Hashable {
    /// The bytes of the manifest.
    public let bytes: [UInt8]
    /// ES256 over ``ReleaseSigner/context`` and ``bytes``, `r` and `s` side by side.
    public let signature: [UInt8]
    /// Names the key: ``InstallationKeys/snapshotKeyID``.
    public let keyID: Text
}

/// Signs the manifests of releases with the key that also signs configurations, and verifies them.
public struct ReleaseSigner: Sendable {
    /// Stands before the bytes that are signed, so that no signature can be taken for another kind's.
    public static let context = "ostiary-release-v1\n"

    private let key: SigningKey
    private let keyID: Text

    /// Signs with the installation's snapshot key.
    public init(_ keys: InstallationKeys) {
        key = keys.snapshot
        keyID = Text(keys.snapshotKeyID)
    }

    func sign(_ manifest: ReleaseManifest) throws(CryptographyError) -> SignedManifest {
        let bytes = manifest.bytes()
        return SignedManifest(
            bytes: bytes,
            signature: try key.sign(Array(Self.context.utf8) + bytes),
            keyID: keyID
        )
    }

    /// Why what is stored of a release is not what was made and signed; `nil` when it is.
    ///
    /// Everything is held against the signed bytes: the namespace, the number, and the digest, which is over the names,
    /// sources and layers of all documents. So a row that was exchanged or edited past the application is found before it comes into
    /// force.
    ///
    /// - Parameter release: with its documents.
    public func refusal(
        of signed: SignedManifest,
        for release: StoredRelease,
        in namespace: NamespaceName
    ) -> String? {
        guard signed.keyID == keyID else { return "it is signed with a key that is not known here" }
        do throws(CryptographyError) {
            try key.verificationKey.verify(
                signed.signature,
                over: Array(Self.context.utf8) + signed.bytes,
                with: .es256
            )
        } catch {
            return "the signature is not the installation's"
        }
        guard let root = try? JSONDocument(parsing: signed.bytes).root,
            root["format"]?.string == ReleaseManifest.format
        else { return "the manifest is not one of this build" }
        let isSame =
            root["namespace"]?.string == namespace.text
            && root["number"]?.int64 == Int64(release.number)
            && root["digest"]?.string == Text(Hex.encode(release.digest))
            && release.digest == StoredRelease.digest(of: release.documents)
        return isSame ? nil : "what is stored is not what was signed"
    }
}
