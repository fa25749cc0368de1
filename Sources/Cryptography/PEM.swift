/// Textual encoding of keys and certificates (RFC 7468), the strict form.
public enum PEM {
    /// One `BEGIN` … `END` block.
    public struct Block: Sendable, Equatable {
        /// The label, as in `CERTIFICATE`.
        public var label: String
        /// The decoded content.
        public var bytes: [UInt8]

        /// A block to be written.
        public init(label: String, bytes: [UInt8]) {
            self.label = label
            self.bytes = bytes
        }
    }

    /// All blocks of `text`, in order.
    ///
    /// Text between blocks is ignored (RFC 7468 §2), headers inside are refused.
    public static func decode(_ text: some Collection<UInt8>) throws(CryptographyError) -> [Block] {
        var blocks: [Block] = []
        var label: String?
        var content: [UInt8] = []
        for line in Array(text).split(whereSeparator: { $0 == 0x0a || $0 == 0x0d }) {
            let line = line.trimmingBlanks()
            if let open = label {
                if let end = line.label(after: "-----END ") {
                    guard end == open, let bytes = Base64.decode(content) else {
                        throw .malformed(what: "PEM")
                    }
                    blocks.append(Block(label: open, bytes: bytes))
                    label = nil
                    content.removeAll(keepingCapacity: true)
                } else {
                    content.append(contentsOf: line)
                }
            } else {
                label = line.label(after: "-----BEGIN ")
            }
        }
        guard label == nil else { throw .malformed(what: "PEM") }
        return blocks
    }

    /// The block as text with lines of 64 characters.
    public static func encode(_ block: Block) -> String {
        let content = Base64.encodeToBytes(block.bytes)
        var text = "-----BEGIN \(block.label)-----\n"
        var start = 0
        while start < content.count {
            let end = min(start + 64, content.count)
            text += String(decoding: content[start..<end], as: UTF8.self)
            text += "\n"
            start = end
        }
        return text + "-----END \(block.label)-----\n"
    }
}

extension ArraySlice<UInt8> {
    fileprivate func trimmingBlanks() -> ArraySlice<UInt8> {
        var rest = self
        while let first = rest.first, first == 0x20 || first == 0x09 { rest.removeFirst() }
        while let last = rest.last, last == 0x20 || last == 0x09 { rest.removeLast() }
        return rest
    }

    fileprivate func label(after prefix: String) -> String? {
        let dashes = "-----"
        guard count > prefix.utf8.count + dashes.utf8.count, starts(with: prefix.utf8),
            suffix(dashes.utf8.count).elementsEqual(dashes.utf8)
        else { return nil }
        let label = dropFirst(prefix.utf8.count).dropLast(dashes.utf8.count)
        return String(decoding: label, as: UTF8.self)
    }
}
