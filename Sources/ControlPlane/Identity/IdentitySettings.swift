import Cryptography
import JSON
import ServiceRuntime

/// How control asks issuers for their keys (docs/reference/identity-providers.md).
struct IdentitySettings: Sendable {
    /// `OSTIARY_IDENTITY_LOOPBACK_HTTP`, `OSTIARY_IDENTITY_PRIVATE_ADDRESSES`, `OSTIARY_IDENTITY_CA_FILE`.
    var rules = GuardedClient.Rules()
    /// `OSTIARY_IDENTITY_REFRESH_SECONDS`, `OSTIARY_IDENTITY_STALE_SECONDS`.
    var schedule = KeyRefreshSchedule()

    /// The defaults.
    init() {}

    /// Reads the settings.
    init(_ reader: SettingsReader) throws(SettingsError) {
        rules.allowsLoopbackHTTP = try reader.flag("identity.loopback.http", default: false)
        rules.allowsPrivateAddresses = try reader.flag("identity.private.addresses", default: false)
        if let path = reader.text("identity.ca.file") {
            rules.trust = .roots(try Self.certificates(path))
        }
        schedule.intervalSeconds = Int64(
            try reader.integer("identity.refresh.seconds", default: 900, in: 30...86_400)
        )
        schedule.staleSeconds = Int64(
            try reader.integer("identity.stale.seconds", default: 86_400, in: 300...2_592_000)
        )
    }

    /// All certificates of a PEM file, at least one.
    private static func certificates(_ path: String) throws(SettingsError) -> [Certificate] {
        let variable = SettingsReader.variable("identity.ca.file")
        let bytes = try Files.read(path) { SettingsError(variable, $0) }
        var certificates: [Certificate] = []
        var block: [UInt8]?
        for line in bytes.split(separator: 0x0A) {
            if line.starts(with: "-----BEGIN CERTIFICATE-----".utf8) { block = [] }
            guard block != nil else { continue }
            block?.append(contentsOf: line + [0x0A])
            guard line.starts(with: "-----END CERTIFICATE-----".utf8), let pem = block else {
                continue
            }
            do throws(CryptographyError) {
                certificates.append(try Certificate(pem: pem))
            } catch {
                throw SettingsError(variable, "has a certificate that cannot be read")
            }
            block = nil
        }
        guard !certificates.isEmpty, block == nil else {
            throw SettingsError(variable, "has no certificates in PEM")
        }
        return certificates
    }
}
