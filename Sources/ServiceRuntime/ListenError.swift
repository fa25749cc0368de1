import Glibc
import NIOCore

/// Runs `body`, which listens on the address of a setting; when the system refuses, the error names the setting and says why.
///
/// "Address already in use" alone helps nobody who starts four listeners.
public func listening<Value>(
    _ variable: String,
    _ body: () async throws -> Value
) async throws -> Value {
    do {
        return try await body()
    } catch let error as IOError {
        let reason = String(cString: strerror(error.errnoCode))
        throw SettingsError(variable, "this address cannot be listened on: \(reason)")
    } catch let error as SocketAddressError {
        throw SettingsError(variable, "names no address of this machine: \(error)")
    }
}
