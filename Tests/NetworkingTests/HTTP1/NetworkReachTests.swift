import NIOCore
import Networking
import Testing

@Suite struct NetworkReachTests {
    @Test(
        arguments: [
            ("8.8.8.8", .global), ("1.1.1.1", .global), ("172.15.0.1", .global),
            ("172.32.0.1", .global),
            ("100.63.255.255", .global), ("100.128.0.1", .global), ("192.167.1.1", .global),
            ("2606:4700::1111", .global), ("2a00:1450:4001::1", .global),
            ("127.0.0.1", .loopback), ("127.255.255.254", .loopback), ("::1", .loopback),
            ("::ffff:127.0.0.1", .loopback), ("64:ff9b::7f00:1", .loopback),
            ("2002:7f00:1::", .loopback),
            ("10.0.0.1", .private), ("172.16.0.1", .private), ("172.31.255.255", .private),
            ("192.168.1.1", .private), ("100.64.0.1", .private), ("fd12:3456::1", .private),
            ("fc00::1", .private), ("::ffff:10.0.0.1", .private), ("64:ff9b::a00:1", .private),
            ("2002:c0a8:101::1", .private),
            // Metadata services of clouds.
            ("169.254.169.254", .special), ("::ffff:169.254.169.254", .special),
            ("64:ff9b::a9fe:a9fe", .special), ("2002:a9fe:a9fe::", .special),
            ("fd00:ec2::254", .special),
            ("100.100.100.200", .special),
            ("0.0.0.0", .special), ("0.1.2.3", .special), ("169.254.0.1", .special),
            ("224.0.0.1", .special),
            ("240.0.0.1", .special), ("255.255.255.255", .special), ("192.0.2.1", .special),
            ("198.51.100.1", .special), ("203.0.113.1", .special), ("198.18.0.1", .special),
            ("192.88.99.1", .special), ("192.0.0.8", .special),
            ("::", .special), ("fe80::1", .special), ("fec0::1", .special), ("ff02::1", .special),
            ("2001:db8::1", .special), ("2001::1", .special), ("3fff::1", .special),
            ("100::1", .special),
            ("::7f00:1", .special), ("64:ff9b:1::7f00:1", .special), ("4000::1", .special),
        ] as [(String, NetworkReach)]
    )
    func `an address is known by its reach, also inside another one`(
        address: String,
        reach: NetworkReach
    ) throws {
        #expect(NetworkReach(try SocketAddress(ipAddress: address, port: 443)) == reach)
    }
}
