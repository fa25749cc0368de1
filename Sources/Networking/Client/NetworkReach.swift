public import NIOCore

/// From where an address can be reached: what a client that follows somebody else's URLs has to know before it connects.
///
/// By the special-purpose registries of IANA (RFC 6890 and its updates). An address that carries another one inside
/// (mapped, translated, tunnelled) counts as the one inside.
public enum NetworkReach: Hashable, Sendable {
    /// Anywhere.
    case global
    /// Within this machine.
    case loopback
    /// Within this network: RFC 1918, RFC 4193, shared address space (RFC 6598).
    case `private`
    /// Nowhere a server can be asked at: link-local with the cloud's metadata services, multicast, unspecified, reserved,
    /// documentation.
    case special

    /// The reach of an address.
    public init(_ address: SocketAddress) {
        // struct sockaddr_in has its address at 4, struct sockaddr_in6 at 8 (netinet/in.h).
        let bytes = address.withSockAddr { pointer, size in
            Array(UnsafeRawBufferPointer(start: pointer, count: size))
        }
        switch address {
        case .v4: self = Self(v4: Array(bytes[4..<8]))
        case .v6: self = Self(v6: Array(bytes[8..<24]))
        case .unixDomainSocket: self = .special
        }
    }

    /// The reach of the four bytes of an IPv4 address.
    init(v4 bytes: [UInt8]) {
        let (a, b, c) = (bytes[0], bytes[1], bytes[2])
        switch (a, b) {
        case (127, _): self = .loopback
        // 100.100.100.200 serves one cloud's metadata from shared address space.
        case (100, 64...127): self = bytes == [100, 100, 100, 200] ? .special : .private
        case (10, _), (172, 16...31), (192, 168): self = .private
        case (0, _), (169, 254), (224...255, _): self = .special
        // Benchmarking (RFC 2544), protocol assignments, documentation (RFC 5737), 6to4 relays.
        case (198, 18...19): self = .special
        case (192, 0) where c == 0 || c == 2: self = .special
        case (192, 88) where c == 99: self = .special
        case (198, 51) where c == 100: self = .special
        case (203, 0) where c == 113: self = .special
        default: self = .global
        }
    }

    /// The reach of the sixteen bytes of an IPv6 address.
    init(v6 bytes: [UInt8]) {
        let isZero: (Range<Int>) -> Bool = { bytes[$0].allSatisfy { $0 == 0 } }
        if isZero(0..<15), bytes[15] == 1 {
            self = .loopback
        } else if isZero(0..<10), bytes[10] == 0xFF, bytes[11] == 0xFF {
            self = Self(v4: Array(bytes[12...]))  // ::ffff:0:0/96, mapped
        } else if Array(bytes[0..<4]) == [0x00, 0x64, 0xFF, 0x9B] {
            // 64:ff9b::/96 translates; 64:ff9b:1::/48 does so within a network.
            self = isZero(4..<12) ? Self(v4: Array(bytes[12...])) : .special
        } else if bytes[0] == 0x20, bytes[1] == 0x02 {
            self = Self(v4: Array(bytes[2..<6]))  // 2002::/16, 6to4
        } else if bytes[0] & 0xFE == 0xFC {
            // fd00:ec2::254 serves a cloud's metadata.
            let metadata: [UInt8] =
                [0xFD, 0x00, 0x0E, 0xC2] + Array(repeating: 0, count: 10) + [2, 0x54]
            self = bytes == metadata ? .special : .private
        } else if bytes[0] & 0xE0 == 0x20 {
            // 2000::/3 is what is given out; of it, 2001::/23 is for protocols (Teredo among them), 2001:db8::/32 and
            // 3fff::/20 are for documentation.
            let isProtocol = bytes[0] == 0x20 && bytes[1] == 0x01 && bytes[2] & 0xFE == 0
            let isExample =
                Array(bytes[0..<4]) == [0x20, 0x01, 0x0D, 0xB8]
                || (bytes[0] == 0x3F && bytes[1] == 0xFF && bytes[2] & 0xF0 == 0)
            self = isProtocol || isExample ? .special : .global
        } else {
            self = .special
        }
    }
}
