/// An IPv4 or IPv6 address with a prefix, as Cedar's `ipaddr` has it.
///
/// Equality is of address and prefix: `1.2.3.4/24` is not `1.2.3.0/24`.
public struct IPAddress: Hashable, Sendable {
    /// Whether this is an IPv6 address.
    public let isIPv6: Bool
    /// The bits of an IPv6 address above ``low``; 0 for IPv4.
    public let high: UInt64
    /// The lower bits; all 32 of an IPv4 address.
    public let low: UInt64
    /// How many leading bits are the network: up to 32 or 128.
    public let prefix: UInt8

    init(isIPv6: Bool, high: UInt64, low: UInt64, prefix: UInt8) {
        self.isIPv6 = isIPv6
        self.high = high
        self.low = low
        self.prefix = prefix
    }

    /// Reads dotted or colon notation with an optional `/prefix`, at most 43 bytes.
    ///
    /// Leading zeros in IPv4 octets and prefixes, zone ids and IPv4 inside IPv6 are refused:
    /// readers differ on them.
    public init?(_ text: some Collection<UInt8>) {
        let bytes = Array(text)
        guard bytes.count <= 43 else { return nil }
        let slash = bytes.firstIndex(of: UInt8(ascii: "/")) ?? bytes.count
        let address = bytes[..<slash]
        let isIPv6 = address.contains(UInt8(ascii: ":"))
        var prefix = isIPv6 ? 128 : 32
        if slash < bytes.count {
            guard let value = Self.number(bytes[(slash + 1)...], digitsMax: 3, max: prefix) else {
                return nil
            }
            prefix = value
        }
        if isIPv6 {
            guard let groups = Self.groups(address) else { return nil }
            let words = groups.map(UInt64.init)
            high = words[0] << 48 | words[1] << 32 | words[2] << 16 | words[3]
            low = words[4] << 48 | words[5] << 32 | words[6] << 16 | words[7]
        } else {
            var value: UInt64 = 0
            let octets = address.split(
                separator: UInt8(ascii: "."),
                omittingEmptySubsequences: false
            )
            guard octets.count == 4 else { return nil }
            for octet in octets {
                guard let number = Self.number(octet, digitsMax: 3, max: 255) else { return nil }
                value = value << 8 | UInt64(number)
            }
            high = 0
            low = value
        }
        self.isIPv6 = isIPv6
        self.prefix = UInt8(prefix)
    }

    /// A decimal number without leading zeros.
    private static func number(_ digits: ArraySlice<UInt8>, digitsMax: Int, max: Int) -> Int? {
        guard (1...digitsMax).contains(digits.count), digits.allSatisfy(isDigit) else { return nil }
        guard digits.count == 1 || digits.first != UInt8(ascii: "0") else { return nil }
        let value = digits.reduce(0) { $0 * 10 + Int($1 & 0xF) }
        return value <= max ? value : nil
    }

    /// The eight groups of an IPv6 address; `::` stands for one or more of zero.
    private static func groups(_ address: ArraySlice<UInt8>) -> [UInt16]? {
        let colon = UInt8(ascii: ":")
        var gap: ArraySlice<UInt8>.Index?
        var at = address.startIndex
        while at + 1 < address.endIndex, gap == nil {
            if address[at] == colon, address[at + 1] == colon { gap = at }
            at += 1
        }
        func list(_ part: ArraySlice<UInt8>) -> [UInt16]? {
            guard !part.isEmpty else { return [] }
            var groups: [UInt16] = []
            for group in part.split(separator: colon, omittingEmptySubsequences: false) {
                guard (1...4).contains(group.count) else { return nil }
                var value: UInt16 = 0
                for byte in group {
                    guard let digit = Escapes.hexadecimal(byte) else { return nil }
                    value = value << 4 | UInt16(digit)
                }
                groups.append(value)
            }
            return groups
        }
        guard let gap else {
            guard let all = list(address), all.count == 8 else { return nil }
            return all
        }
        guard let head = list(address[..<gap]), let tail = list(address[(gap + 2)...]),
            head.count + tail.count < 8
        else { return nil }
        return head + Array(repeating: 0, count: 8 - head.count - tail.count) + tail
    }

    // MARK: Questions

    /// Whether the whole range is loopback: `127.0.0.0/8` or `::1`.
    public var isLoopback: Bool {
        isIPv6 ? high == 0 && low == 1 && prefix == 128 : low >> 24 == 127 && prefix >= 8
    }

    /// Whether the whole range is multicast: `224.0.0.0/4` or `ff00::/8`.
    public var isMulticast: Bool {
        isIPv6 ? high >> 56 == 0xFF && prefix >= 8 : low >> 28 == 0xE && prefix >= 4
    }

    /// Whether every address of this range is in the other; never across families.
    public func isInRange(_ other: IPAddress) -> Bool {
        guard isIPv6 == other.isIPv6, prefix >= other.prefix else { return false }
        let (maskHigh, maskLow) = other.mask
        return high & maskHigh == other.high & maskHigh && low & maskLow == other.low & maskLow
    }

    private var mask: (high: UInt64, low: UInt64) {
        func leading(_ count: Int) -> UInt64 {
            count <= 0 ? 0 : count >= 64 ? .max : ~(UInt64.max >> UInt64(count))
        }
        guard isIPv6 else { return (0, leading(Int(prefix) + 32) & 0xFFFF_FFFF) }
        return (leading(Int(prefix)), leading(Int(prefix) - 64))
    }
}

extension IPAddress: CustomStringConvertible {
    /// The address, uncompressed, with its prefix unless it is a single address.
    public var description: String {
        let address: String
        if isIPv6 {
            address = [high, low].flatMap { word in
                [48, 32, 16, 0].map { String((word >> $0) & 0xFFFF, radix: 16) }
            }.joined(separator: ":")
        } else {
            address = [24, 16, 8, 0].map { String((low >> $0) & 0xFF) }.joined(separator: ".")
        }
        return prefix == (isIPv6 ? 128 : 32) ? address : "\(address)/\(prefix)"
    }
}
