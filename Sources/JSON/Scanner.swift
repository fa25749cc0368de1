/// The one pass over the bytes that turns them into a tape, or refuses.
///
/// It is iterative: open containers are chained through their `next` field, so that nesting costs no stack and
/// no allocation. The bytes come as a `Span`, which checks every access: this is the code that meets strangers
/// first, and measured in release mode it is fast enough with all checks on.
struct Scanner {
    private(set) var nodes: [Node] = []
    private var at = 0
    private var open = Node.noParent
    private var depth = 0
    private let limits: JSONLimits

    init(limits: JSONLimits, byteCount: Int) {
        self.limits = limits
        nodes.reserveCapacity(min(limits.valuesMax, byteCount / 12 + 8))
    }

    mutating func scan(_ bytes: Span<UInt8>) throws(JSONError) {
        guard bytes.count <= limits.bytesMax else {
            throw JSONError(.tooManyBytes, at: limits.bytesMax)
        }
        if bytes.count >= 3, bytes[0] == 0xEF, bytes[1] == 0xBB, bytes[2] == 0xBF {
            throw JSONError(.byteOrderMark, at: 0)
        }
        skipBlanks(bytes)
        while true {
            let opened = try value(bytes)
            if opened { continue }
            let finished = try afterValue(bytes)
            if finished { return }
        }
    }

    /// Reads a scalar, an empty container, or the beginning of one up to its first value (then true).
    private mutating func value(_ bytes: Span<UInt8>) throws(JSONError) -> Bool {
        guard at < bytes.count else { throw JSONError(.unexpectedEnd, at: at) }
        switch bytes[at] {
        case UInt8(ascii: "\""):
            try string(bytes, bytesMax: limits.stringBytesMax, tooLong: .stringTooLong)
        case UInt8(ascii: "{"):
            try push(.object)
            skipBlanks(bytes)
            guard at < bytes.count, bytes[at] == UInt8(ascii: "}") else {
                try memberName(bytes)
                return true
            }
            try pop(bytes)
        case UInt8(ascii: "["):
            try push(.array)
            skipBlanks(bytes)
            guard at < bytes.count, bytes[at] == UInt8(ascii: "]") else {
                try countElement()
                return true
            }
            try pop(bytes)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
            try number(bytes)
        case UInt8(ascii: "t"):
            try literal(bytes, "true", .boolean, isTrue: true)
        case UInt8(ascii: "f"):
            try literal(bytes, "false", .boolean)
        case UInt8(ascii: "n"):
            try literal(bytes, "null", .null)
        default:
            throw JSONError(.unexpectedByte, at: at)
        }
        return false
    }

    /// Closes containers until a comma asks for another value (false) or the document is over (true).
    private mutating func afterValue(_ bytes: Span<UInt8>) throws(JSONError) -> Bool {
        while true {
            skipBlanks(bytes)
            if open == Node.noParent {
                guard at == bytes.count else { throw JSONError(.trailingBytes, at: at) }
                return true
            }
            guard at < bytes.count else { throw JSONError(.unexpectedEnd, at: at) }
            let isObject = nodes[Int(open)].kind == .object
            switch bytes[at] {
            case UInt8(ascii: ","):
                let comma = at
                at += 1
                skipBlanks(bytes)
                if at < bytes.count, bytes[at] == UInt8(ascii: isObject ? "}" : "]") {
                    throw JSONError(.trailingComma, at: comma)
                }
                if isObject { try memberName(bytes) } else { try countElement() }
                return false
            case UInt8(ascii: "}") where isObject, UInt8(ascii: "]") where !isObject:
                try pop(bytes)
            default:
                throw JSONError(.unexpectedByte, at: at)
            }
        }
    }

    // MARK: Containers

    private mutating func push(_ kind: JSONValue.Kind) throws(JSONError) {
        guard depth < limits.depthMax else { throw JSONError(.tooDeep, at: at) }
        depth += 1
        let parent = open
        open = UInt32(nodes.count)
        try append(from: at, to: at, next: parent, header: UInt32(kind.rawValue))
        at += 1
    }

    private mutating func pop(_ bytes: Span<UInt8>) throws(JSONError) {
        at += 1
        depth -= 1
        let index = Int(open)
        let node = nodes[index]
        if node.kind == .object, node.count > 1 {
            try refuseDuplicateNames(of: index, bytes)
        }
        open = node.next
        nodes[index].end = UInt32(at)
        nodes[index].next = UInt32(nodes.count)
        if open != Node.noParent {
            nodes[Int(open)].header |= node.header & Node.reworded
        }
    }

    private mutating func countElement() throws(JSONError) {
        guard nodes[Int(open)].count < limits.elementsMax else {
            throw JSONError(.tooManyElements, at: at)
        }
        nodes[Int(open)].header += Node.countUnit
    }

    private mutating func memberName(_ bytes: Span<UInt8>) throws(JSONError) {
        guard at < bytes.count else { throw JSONError(.unexpectedEnd, at: at) }
        guard bytes[at] == UInt8(ascii: "\"") else { throw JSONError(.unexpectedByte, at: at) }
        guard nodes[Int(open)].count < limits.membersMax else {
            throw JSONError(.tooManyMembers, at: at)
        }
        nodes[Int(open)].header += Node.countUnit
        try string(bytes, bytesMax: limits.keyBytesMax, tooLong: .keyTooLong)
        skipBlanks(bytes)
        guard at < bytes.count else { throw JSONError(.unexpectedEnd, at: at) }
        guard bytes[at] == UInt8(ascii: ":") else { throw JSONError(.unexpectedByte, at: at) }
        at += 1
        skipBlanks(bytes)
    }

    // MARK: Scalars

    private mutating func string(
        _ bytes: Span<UInt8>,
        bytesMax: Int,
        tooLong: JSONError.Code
    ) throws(JSONError) {
        let start = at
        var header = UInt32(JSONValue.Kind.string.rawValue)
        at += 1
        scan: while true {
            at = endOfPlainASCII(bytes, from: at)
            guard at < bytes.count else { throw JSONError(.unexpectedEnd, at: at) }
            switch bytes[at] {
            case UInt8(ascii: "\""):
                at += 1
                break scan
            case UInt8(ascii: "\\"):
                header |= Node.escaped
                let isMinimal = try escape(bytes)
                if !isMinimal { header |= Node.reworded }
            case 0x80...:
                repeat {
                    try multibyte(bytes)
                } while at < bytes.count && bytes[at] >= 0x80
            default:
                throw JSONError(.controlCharacter, at: at)
            }
        }
        guard at - start - 2 <= bytesMax else { throw JSONError(tooLong, at: start) }
        try append(from: start, to: at, next: UInt32(nodes.count + 1), header: header)
        if header & Node.reworded != 0, open != Node.noParent {
            nodes[Int(open)].header |= Node.reworded
        }
    }

    /// Passes one escape; true if the writer would write it the same way.
    private mutating func escape(_ bytes: Span<UInt8>) throws(JSONError) -> Bool {
        guard at + 1 < bytes.count else { throw JSONError(.unexpectedEnd, at: bytes.count) }
        switch bytes[at + 1] {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "b"), UInt8(ascii: "f"),
            UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
            at += 2
            return true
        case UInt8(ascii: "/"):
            at += 2
            return false
        case UInt8(ascii: "u"):
            return try unicodeEscape(bytes)
        default:
            throw JSONError(.invalidEscape, at: at)
        }
    }

    private mutating func unicodeEscape(_ bytes: Span<UInt8>) throws(JSONError) -> Bool {
        let start = at
        let unit = try hexadecimal(bytes)
        switch unit {
        case 0 where !limits.allowsNullCharacter:
            throw JSONError(.nullCharacter, at: start)
        case 0x08, 0x09, 0x0A, 0x0C, 0x0D:
            return false
        case 0..<0x20:
            // The writer uses small letters.
            return !(UInt8(ascii: "A")...UInt8(ascii: "F") ~= bytes[start + 5])
        case 0xDC00...0xDFFF:
            throw JSONError(.loneSurrogate, at: start)
        case 0xD800...0xDBFF:
            guard at + 1 < bytes.count, bytes[at] == UInt8(ascii: "\\"),
                bytes[at + 1] == UInt8(ascii: "u"),
                0xDC00...0xDFFF ~= (try hexadecimal(bytes))
            else {
                throw JSONError(.loneSurrogate, at: start)
            }
            return false
        default:
            return false
        }
    }

    /// Reads the four digits after `\u`.
    private mutating func hexadecimal(_ bytes: Span<UInt8>) throws(JSONError) -> UInt32 {
        guard at + 6 <= bytes.count else { throw JSONError(.invalidEscape, at: at) }
        var unit: UInt32 = 0
        for index in at + 2..<at + 6 {
            guard let digit = hexadecimalDigit(bytes[index]) else {
                throw JSONError(.invalidEscape, at: at)
            }
            unit = unit << 4 | digit
        }
        at += 6
        return unit
    }

    /// Passes one UTF-8 sequence of two to four bytes (RFC 3629 §4).
    private mutating func multibyte(_ bytes: Span<UInt8>) throws(JSONError) {
        let second: ClosedRange<UInt8>
        let length: Int
        switch bytes[at] {
        case 0xC2...0xDF: (second, length) = (0x80...0xBF, 2)
        case 0xE0: (second, length) = (0xA0...0xBF, 3)
        case 0xE1...0xEC, 0xEE, 0xEF: (second, length) = (0x80...0xBF, 3)
        case 0xED: (second, length) = (0x80...0x9F, 3)
        case 0xF0: (second, length) = (0x90...0xBF, 4)
        case 0xF1...0xF3: (second, length) = (0x80...0xBF, 4)
        case 0xF4: (second, length) = (0x80...0x8F, 4)
        default: throw JSONError(.invalidUTF8, at: at)
        }
        guard at + length <= bytes.count, second ~= bytes[at + 1],
            length < 3 || bytes[at + 2] & 0xC0 == 0x80,
            length < 4 || bytes[at + 3] & 0xC0 == 0x80
        else {
            throw JSONError(.invalidUTF8, at: at)
        }
        at += length
    }

    private mutating func number(_ bytes: Span<UInt8>) throws(JSONError) {
        let start = at
        if bytes[at] == UInt8(ascii: "-") { at += 1 }
        if at < bytes.count, bytes[at] == UInt8(ascii: "0") {
            at += 1
            if at < bytes.count, isDigit(bytes[at]) { throw JSONError(.leadingZero, at: at - 1) }
        } else {
            try digits(bytes)
        }
        if at < bytes.count, bytes[at] == UInt8(ascii: ".") {
            at += 1
            try digits(bytes)
        }
        if at < bytes.count, bytes[at] | 0x20 == UInt8(ascii: "e") {
            at += 1
            if at < bytes.count, bytes[at] == UInt8(ascii: "+") || bytes[at] == UInt8(ascii: "-") {
                at += 1
            }
            try digits(bytes)
        }
        guard at - start <= limits.numberBytesMax else {
            throw JSONError(.numberTooLong, at: start)
        }
        let header = UInt32(JSONValue.Kind.number.rawValue)
        try append(from: start, to: at, next: UInt32(nodes.count + 1), header: header)
    }

    /// Passes one digit or more.
    private mutating func digits(_ bytes: Span<UInt8>) throws(JSONError) {
        guard at < bytes.count else { throw JSONError(.unexpectedEnd, at: at) }
        guard isDigit(bytes[at]) else { throw JSONError(.invalidNumber, at: at) }
        repeat { at += 1 } while at < bytes.count && isDigit(bytes[at])
    }

    private mutating func literal(
        _ bytes: Span<UInt8>,
        _ word: StaticString,
        _ kind: JSONValue.Kind,
        isTrue: Bool = false
    ) throws(JSONError) {
        let start = at
        for index in 0..<word.utf8CodeUnitCount {
            guard at < bytes.count else { throw JSONError(.unexpectedEnd, at: at) }
            guard word.withUTF8Buffer({ $0[index] == bytes[at] }) else {
                throw JSONError(.unexpectedByte, at: at)
            }
            at += 1
        }
        let header = UInt32(kind.rawValue) | (isTrue ? Node.countUnit : 0)
        try append(from: start, to: at, next: UInt32(nodes.count + 1), header: header)
    }

    // MARK: Small parts

    @inline(__always)
    private mutating func append(
        from start: Int,
        to end: Int,
        next: UInt32,
        header: UInt32
    ) throws(JSONError) {
        guard nodes.count < limits.valuesMax else { throw JSONError(.tooManyValues, at: start) }
        nodes.append(
            Node(start: UInt32(start), end: UInt32(end), next: next, header: header)
        )
    }

    @inline(__always)
    private mutating func skipBlanks(_ bytes: Span<UInt8>) {
        if at < bytes.count, bytes[at] > 0x20 { return }
        skipBlankRun(bytes)
    }

    private mutating func skipBlankRun(_ bytes: Span<UInt8>) {
        let start = at
        while at < bytes.count {
            switch bytes[at] {
            case 0x20, 0x0A, 0x0D, 0x09: at += 1
            default:
                if at > start { markReworded() }
                return
            }
        }
    }

    private mutating func markReworded() {
        if open != Node.noParent { nodes[Int(open)].header |= Node.reworded }
    }

    // MARK: Duplicate names

    /// Refuses an object that names a member twice.
    ///
    /// Small objects compare every pair by an eight-byte signature first. Large ones, and those with escapes in
    /// their names, are sorted: the cost stays n·log n whatever names an attacker finds, with no hash to flood.
    private func refuseDuplicateNames(of object: Int, _ bytes: Span<UInt8>) throws(JSONError) {
        let count = nodes[object].count
        guard count <= 16 else { return try refuseDuplicatesSorted(of: object, bytes) }
        var signatures = [16 of UInt64](repeating: 0)
        var indices = [16 of UInt32](repeating: 0)
        var index = object + 1
        for member in 0..<count {
            let name = nodes[index]
            guard !name.isEscaped else { return try refuseDuplicatesSorted(of: object, bytes) }
            let signature = signature(of: name.content, bytes)
            for earlier in 0..<member where signatures[earlier] == signature {
                let other = nodes[Int(indices[earlier])].content
                if other.count == name.content.count,
                    bytesEqual(
                        bytes,
                        other.lowerBound,
                        bytes,
                        name.content.lowerBound,
                        count: other.count
                    )
                {
                    throw JSONError(.duplicateKey, at: Int(name.start))
                }
            }
            signatures[member] = signature
            indices[member] = UInt32(index)
            index = Int(nodes[index + 1].next)
        }
    }

    /// The first seven bytes and the length of a name.
    private func signature(of content: Range<Int>, _ bytes: Span<UInt8>) -> UInt64 {
        let length = content.count
        if length >= 7 {
            // The closing quote guarantees that eight bytes can be read.
            return word(bytes, at: content.lowerBound) & 0x00FF_FFFF_FFFF_FFFF | UInt64(length)
                << 56
        }
        var signature = UInt64(length) << 56
        for index in 0..<length {
            signature |= UInt64(bytes[content.lowerBound + index]) << UInt64(8 * index)
        }
        return signature
    }

    private struct Name {
        /// Where the unescaped bytes are: in the document, or in a side buffer for names with escapes.
        var content: Range<Int>
        var isAside: Bool
        var offset: UInt32
    }

    private func refuseDuplicatesSorted(
        of object: Int,
        _ bytes: Span<UInt8>
    ) throws(JSONError) {
        let count = nodes[object].count
        var names: [Name] = []
        names.reserveCapacity(count)
        var aside: [UInt8] = []
        var index = object + 1
        for _ in 0..<count {
            let node = nodes[index]
            if node.isEscaped {
                let start = aside.count
                appendUnescaped(bytes, node.content, to: &aside)
                names.append(
                    Name(content: start..<aside.count, isAside: true, offset: node.start)
                )
            } else {
                names.append(Name(content: node.content, isAside: false, offset: node.start))
            }
            index = Int(nodes[index + 1].next)
        }
        // Sorting by length first is as good as any order for finding equals, and cheaper.
        let order = sortedOrder(names, bytes, aside.span)
        var duplicate: UInt32?
        for (left, right) in zip(order, order.dropFirst()) {
            let (a, b) = (names[Int(left)], names[Int(right)])
            if compare(a, b, bytes, aside.span) == 0 {
                duplicate = min(duplicate ?? .max, max(a.offset, b.offset))
            }
        }
        if let duplicate { throw JSONError(.duplicateKey, at: Int(duplicate)) }
    }

    /// A merge sort over indices, written out because a closure cannot hold a span.
    private func sortedOrder(
        _ names: [Name],
        _ bytes: Span<UInt8>,
        _ aside: Span<UInt8>
    ) -> [UInt32] {
        var order = names.indices.map { UInt32($0) }
        var merged = order
        var width = 1
        while width < order.count {
            var start = 0
            while start < order.count {
                let middle = min(start + width, order.count)
                let end = min(start + 2 * width, order.count)
                var (left, right) = (start, middle)
                for target in start..<end {
                    let takesLeft =
                        left < middle
                        && (right >= end
                            || compare(
                                names[Int(order[left])],
                                names[Int(order[right])],
                                bytes,
                                aside
                            ) <= 0)
                    merged[target] = takesLeft ? order[left] : order[right]
                    if takesLeft { left += 1 } else { right += 1 }
                }
                start = end
            }
            swap(&order, &merged)
            width *= 2
        }
        return order
    }

    /// Below, equal to or above zero, by length and then by bytes.
    private func compare(
        _ left: Name,
        _ right: Name,
        _ bytes: Span<UInt8>,
        _ aside: Span<UInt8>
    ) -> Int {
        let count = left.content.count
        guard count == right.content.count else { return count - right.content.count }
        for index in 0..<count {
            let (a, b) = (left.content.lowerBound + index, right.content.lowerBound + index)
            let x = left.isAside ? aside[a] : bytes[a]
            let y = right.isAside ? aside[b] : bytes[b]
            guard x == y else { return Int(x) - Int(y) }
        }
        return 0
    }
}

@inline(__always)
private func isDigit(_ byte: UInt8) -> Bool { byte &- UInt8(ascii: "0") < 10 }

@inline(__always)
func hexadecimalDigit(_ byte: UInt8) -> UInt32? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt32(byte - UInt8(ascii: "a") + 10)
    case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt32(byte - UInt8(ascii: "A") + 10)
    default: nil
    }
}
