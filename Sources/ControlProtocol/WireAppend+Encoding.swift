// Only for Data, the type of protobuf's bytes fields.
import FoundationEssentials

extension WireAppend {
    /// The bytes of a ``WireProxyMessage`` that carries this, the same that the generated code would make.
    ///
    /// Records are nearly all of what travels, and the generated encoder walks them twice through witness tables
    /// (measured: 2.5 % of the proxy's work for a call). Unknown fields are not written: nothing here was received.
    public func proxyMessageBytes() -> [UInt8] {
        let recordSizes = records.map(\.encodedByteCount)
        var size = epoch == 0 ? 0 : 1 + varintByteCount(epoch)
        for record in recordSizes { size += fieldByteCount(record) }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(fieldByteCount(size))
        bytes.appendLength(size, field: 2)
        bytes.appendVarint(epoch, field: 1)
        for (record, size) in zip(records, recordSizes) {
            bytes.appendLength(size, field: 2)
            bytes.appendVarint(UInt64(record.lane.rawValue), field: 1)
            bytes.appendVarint(record.n, field: 2)
            bytes.append(record.body, field: 3)
            for part in record.parts {
                bytes.appendLength(part.encodedByteCount, field: 4)
                if !part.name.isEmpty {
                    bytes.appendLength(part.name.utf8.count, field: 1)
                    bytes.append(contentsOf: part.name.utf8)
                }
                bytes.append(part.salt, field: 2)
                bytes.append(part.content, field: 3)
            }
        }
        return bytes
    }
}

extension WireRecord {
    fileprivate var encodedByteCount: Int {
        var size = lane.rawValue == 0 ? 0 : 1 + varintByteCount(UInt64(lane.rawValue))
        size += n == 0 ? 0 : 1 + varintByteCount(n)
        size += body.isEmpty ? 0 : fieldByteCount(body.count)
        for part in parts { size += fieldByteCount(part.encodedByteCount) }
        return size
    }
}

extension WirePart {
    fileprivate var encodedByteCount: Int {
        var size = 0
        for count in [name.utf8.count, salt.count, content.count] where count > 0 {
            size += fieldByteCount(count)
        }
        return size
    }
}

/// A tag of one byte (fields below 16), a length, and as many bytes.
private func fieldByteCount(_ length: Int) -> Int {
    1 + varintByteCount(UInt64(length)) + length
}

private func varintByteCount(_ value: UInt64) -> Int {
    max(1, (64 - value.leadingZeroBitCount + 6) / 7)
}

extension [UInt8] {
    fileprivate mutating func appendLength(_ length: Int, field: UInt8) {
        append(field << 3 | 2)
        appendVarint(UInt64(length))
    }

    /// A number, unless it is the default.
    fileprivate mutating func appendVarint(_ value: UInt64, field: UInt8) {
        guard value != 0 else { return }
        append(field << 3)
        appendVarint(value)
    }

    private mutating func appendVarint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        append(UInt8(rest))
    }

    /// Bytes, unless there are none.
    fileprivate mutating func append(_ data: Data, field: UInt8) {
        guard !data.isEmpty else { return }
        appendLength(data.count, field: field)
        data.withUnsafeBytes { append(contentsOf: $0) }
    }
}
