import Configuration
public import Cryptography

/// Why a setting cannot be used.
///
/// Starting again without changing it does not help.
public struct SettingsError: Error, CustomStringConvertible {
    /// Which setting, and what is wrong with it; never its value.
    public let description: String

    /// A setting that cannot be used.
    public init(_ setting: String, _ problem: String) {
        description = "\(setting): \(problem)"
    }
}

/// Reads the settings of a process once, at its start, from environment variables.
///
/// A key `link.listen` is the variable `OSTIARY_LINK_LISTEN`. docs/reference/settings.md lists every key with type,
/// default and range. Secrets are read from files, which only their owner may read.
public struct SettingsReader: Sendable {
    private let reader: ConfigReader

    /// Reads the variables of this process.
    public init() {
        reader = ConfigReader(provider: EnvironmentVariablesProvider()).scoped(to: "ostiary")
    }

    /// Reads the given variables, for tests.
    public init(environment: [String: String]) {
        reader = ConfigReader(
            provider: EnvironmentVariablesProvider(environmentVariables: environment)
        )
        .scoped(to: "ostiary")
    }

    /// The variable a key stands for.
    public static func variable(_ key: String) -> String {
        "OSTIARY_" + key.uppercased().replacing(".", with: "_")
    }

    /// A text, or `nil` when the setting is absent or empty.
    public func text(_ key: String) -> String? {
        reader.string(forKey: ConfigKey(key)).flatMap { $0.isEmpty ? nil : $0 }
    }

    /// A text that must be there.
    public func requiredText(_ key: String) throws(SettingsError) -> String {
        guard let text = text(key) else {
            throw SettingsError(Self.variable(key), "is not set")
        }
        return text
    }

    /// An integer within a range.
    public func integer(
        _ key: String,
        default standard: Int,
        in range: ClosedRange<Int>
    ) throws(SettingsError) -> Int {
        guard let text = text(key) else {
            return standard
        }
        guard let value = Int(text), range.contains(value) else {
            throw SettingsError(
                Self.variable(key),
                "must be an integer from \(range.lowerBound) to \(range.upperBound)"
            )
        }
        return value
    }

    /// Yes or no: `true` or `false`.
    public func flag(_ key: String, default standard: Bool) throws(SettingsError) -> Bool {
        switch text(key) {
        case nil: return standard
        case "true": return true
        case "false": return false
        default: throw SettingsError(Self.variable(key), "must be true or false")
        }
    }

    /// A host and a port: `127.0.0.1:8080`, `[::1]:0`.
    public func address(
        _ key: String,
        default standard: (host: String, port: Int)
    ) throws(SettingsError) -> (host: String, port: Int) {
        guard let text = text(key) else {
            return standard
        }
        guard let colon = text.lastIndex(of: ":"),
            let port = UInt16(text[text.index(after: colon)...])
        else {
            throw SettingsError(Self.variable(key), "must be HOST:PORT")
        }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
        }
        guard !host.isEmpty else {
            throw SettingsError(Self.variable(key), "must be HOST:PORT")
        }
        return (String(host), Int(port))
    }

    /// The content of the secret file that the setting names; see ``Files/readSecret(_:orThrow:)``.
    public func secretFile(_ key: String) throws(SettingsError) -> Secret {
        try Files.readSecret(try requiredText(key)) { SettingsError(Self.variable(key), $0) }
    }
}
