import ControlStore
import IdentityProtocols
import JSON
import Logging
import Networking

/// Gets the keys of one issuer: finds where they are, fetches them, keeps what can verify.
struct KeySetFetcher: Sendable {
    let client: GuardedClient
    let logger: Logger

    /// The usable keys of an issuer.
    ///
    /// - Throws: The code of what stood in the way.
    func keys(
        of issuer: Text,
        from source: IdentityProvider.KeySource,
        allowingPrivateAddresses allowsPrivate: Bool = false
    ) async throws(GuardedClient.Refusal) -> Text {
        let url: Text
        switch source {
        case .uploaded: throw .urlRefused
        case .url(let named): url = named
        case .discovery: url = try await discover(issuer, allowsPrivate)
        }
        let bytes = try await client.document(at: url, allowingPrivateAddresses: allowsPrivate)
        let usable: (jwks: Text, skipped: [JWKSet.SkippedKey])?
        do throws(JWKSet.SetError) {
            usable = try JWKSet.usableKeys(parsing: bytes)
        } catch {
            throw GuardedClient.Refusal(error.rawValue)
        }
        // An issuer without keys is more likely broken than a decision to lock everybody out.
        guard let usable else { throw GuardedClient.Refusal("jwks_without_usable_key") }
        for key in usable.skipped {
            logger.log(
                level: key.isAlarm ? .error : .debug,
                "a key of an issuer is not used",
                metadata: [
                    "ostiary.issuer": "\(issuer)", "error.type": "\(key.reason.rawValue)",
                ]
            )
        }
        return usable.jwks
    }

    /// Where the issuer's metadata says its keys are: OpenID Connect's document, else that of RFC 8414.
    private func discover(
        _ issuer: Text,
        _ allowsPrivate: Bool
    ) async throws(GuardedClient.Refusal) -> Text {
        guard let home = HTTPLocation(issuer.string) else { throw .urlRefused }
        var refusal = GuardedClient.Refusal.urlRefused
        for location in ProviderMetadata.locations(of: issuer) {
            let bytes: [UInt8]
            do throws(GuardedClient.Refusal) {
                bytes = try await client.document(
                    at: location,
                    allowingPrivateAddresses: allowsPrivate
                )
            } catch {
                // Only what is not there is looked for elsewhere.
                guard error == .notFound else { throw error }
                refusal = error
                continue
            }
            let url: Text
            do throws(ProviderMetadata.Refusal) {
                url = try ProviderMetadata(parsing: bytes, of: issuer).keysURL
            } catch {
                throw GuardedClient.Refusal(error.rawValue)
            }
            guard let keys = HTTPLocation(url.string), Self.belongs(keys.origin, to: home.origin)
            else { throw GuardedClient.Refusal("jwks_uri_elsewhere") }
            return url
        }
        throw refusal
    }

    /// Keys are where the issuer is, or on a host below it, and never on a weaker scheme; for any other place an
    /// administrator names the URL.
    private static func belongs(_ keys: HTTPOrigin, to issuer: HTTPOrigin) -> Bool {
        guard keys.isSecure == issuer.isSecure else { return false }
        let (host, home) = (keys.host.lowercased(), issuer.host.lowercased())
        return host == home || host.hasSuffix("." + home)
    }
}

extension KeySetFetcher: KeySetSource {
    /// For an administrator who waits: what the issuer's metadata leads to, or why it leads nowhere.
    func keySet(of issuer: Text) async throws -> Text {
        do throws(GuardedClient.Refusal) {
            return try await keys(of: issuer, from: .discovery)
        } catch {
            throw KeySetUnavailable(description: "its keys were not fetched: \(error.code)")
        }
    }
}
