public import JSON

extension JWKSet {
    /// The keys of a set that can verify, as the issuer wrote them but without the members nobody needs.
    ///
    /// `nil` when there is none.
    ///
    /// What goes on to proxies is this and not the issuer's own text.
    public static func usableKeys(
        parsing bytes: [UInt8]
    ) throws(SetError) -> (jwks: Text, skipped: [SkippedKey])? {
        let set = try JWKSet(parsing: bytes)
        let skipped = Set(set.skipped.map(\.index))
        guard !set.keys.isEmpty,
            let keys = try? JSONDocument(parsing: bytes, limits: limits).root["keys"]
        else { return nil }
        let fragment = JSONFragment(object: { writer in
            writer.key("keys")
            writer.beginArray()
            for (index, key) in keys.elements.enumerated() where !skipped.contains(index) {
                writer.beginObject()
                for name: StaticString in ["kty", "kid", "use", "alg", "crv", "x", "y", "n", "e"] {
                    guard let value = key[name]?.string else { continue }
                    writer.key(name)
                    writer.value(value)
                }
                writer.endObject()
            }
            writer.endArray()
        })
        return (Text(String(decoding: fragment.bytes, as: UTF8.self)), set.skipped)
    }
}
