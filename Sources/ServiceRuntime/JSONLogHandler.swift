import GatewayModel
import Glibc
import JSON
public import Logging

/// Writes one JSON object a line to standard error: `time`, `level`, `logger`, `message`, then the metadata.
///
/// The message is constant and the facts are in the metadata; neither ever holds a secret, since secrets print as
/// `<redacted>`.
public struct JSONLogHandler: LogHandler {
    /// The least severe level that is written.
    public var logLevel: Logger.Level
    /// What every line of this logger carries.
    public var metadata: Logger.Metadata = [:]
    private let label: String

    /// A handler for one logger.
    public init(label: String, level: Logger.Level) {
        self.label = label
        logLevel = level
    }

    /// One piece of the metadata that every line carries.
    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    /// Writes a line.
    public func log(event: LogEvent) {
        var writer = JSONWriter(capacity: 256)
        writer.beginObject()
        writer.member("time", SystemClock.now().description)
        writer.member("level", event.level.rawValue)
        writer.member("logger", label)
        writer.member("message", event.message.description)
        let all = metadata.merging(event.metadata ?? [:]) { _, later in later }
        for (key, value) in all.sorted(by: { $0.key < $1.key }) {
            writer.key(Text(key))
            writer.value(value.description)
        }
        writer.endObject()
        // One write for one line, so that lines of several threads do not mix.
        let line = writer.bytes + [0x0A]
        _ = line.withUnsafeBytes { write(2, $0.baseAddress, $0.count) }
    }
}
