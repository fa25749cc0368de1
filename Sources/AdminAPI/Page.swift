public import JSON

/// A piece of a list: how much of it, and from where.
///
/// Pages are by key, not by number: what is added or removed between two requests never shifts a page.
public struct PageRequest: Hashable, Sendable {
    /// How many items at most: 1 to 500, 100 when nothing is said.
    public var limit = 100
    /// The key of the last item of the page before.
    public var after: Text?

    /// The largest page.
    public static let limitMax = 500

    /// The two parameters of every list.
    public static let parameters: [Operation.QueryParameter] = [
        .init(
            name: "limit",
            form: .number,
            summary: "How many items at most: 1 to 500, else 100."
        ),
        .init(
            name: "cursor",
            form: .free(1...1024),
            summary: "The nextCursor of the page before."
        ),
    ]

    /// Reads the parameters.
    public init(limit: Text?, cursor: Text?) throws(Problem) {
        var errors: [FieldError] = []
        if let limit {
            if let number = Int(limit.string), (1...Self.limitMax).contains(number) {
                self.limit = number
            } else {
                errors.append(.init("limit", .range, "must be 1 to \(Self.limitMax)"))
            }
        }
        if let cursor {
            after = Cursor.key(of: cursor)
            if after == nil {
                errors.append(.init("cursor", .form, "is not a cursor of this list"))
            }
        }
        guard errors.isEmpty else {
            throw Problem(.parameterInvalid, "see errors", errors: errors)
        }
    }
}

/// Where a page ended, as callers carry it: opaque, with a version, so that its content may change.
public enum Cursor {
    private static let alphabet = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8
    )

    /// A cursor that follows the item with this key.
    public static func after(_ key: Text) -> Text {
        var encoded: [UInt8] = []
        var bits = 0
        var value: UInt32 = 0
        for byte in [1] + Array(key.utf8) {
            value = value << 8 | UInt32(byte)
            bits += 8
            while bits >= 6 {
                bits -= 6
                encoded.append(alphabet[Int(value >> UInt32(bits) & 63)])
            }
        }
        if bits > 0 { encoded.append(alphabet[Int(value << UInt32(6 - bits) & 63)]) }
        return Text(String(decoding: encoded, as: UTF8.self))
    }

    /// The key in a cursor that ``after(_:)`` made.
    public static func key(of cursor: Text) -> Text? {
        var decoded: [UInt8] = []
        var bits = 0
        var value: UInt32 = 0
        for byte in cursor.utf8 {
            guard let digit = alphabet.firstIndex(of: byte) else { return nil }
            value = value << 6 | UInt32(digit)
            bits += 6
            if bits >= 8 {
                bits -= 8
                decoded.append(UInt8(truncatingIfNeeded: value >> UInt32(bits)))
            }
        }
        guard decoded.first == 1, !decoded.contains(0),
            let key = Text(validating: decoded.dropFirst()),
            after(key) == cursor
        else { return nil }
        return key
    }
}
