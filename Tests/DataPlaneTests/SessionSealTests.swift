import Cryptography
import GatewayModel
import JSON
import Testing

@testable import DataPlane

@Suite struct SessionSealTests {
    static let session = SealedSession(
        revision: "2025-11-25",
        upstreamSession: "up-1",
        openedAt: 1_795_366_800,
        clientClaim: "agent/1"
    )

    static func seal(_ ids: [Text] = ["k1"], with current: Text = "k1") throws -> SessionSeal {
        var keys: [Text: AEAD] = [:]
        for id in ids {
            // The same id gives the same key, as every replica of a namespace has it.
            let bytes = SHA256.digest(of: id.utf8).bytes
            keys[id] = try AEAD(#require(SymmetricKey(bytes)))
        }
        return try #require(SessionSeal(keys: keys, sealingKeyID: current))
    }

    static func binding(
        namespace: Text = "demo",
        server: Text = "tools",
        subject: Text = "sub_1",
        client: Text = "agent"
    ) -> SessionSeal.Binding {
        SessionSeal.Binding(
            namespace: .init(namespace),
            server: .init(server),
            subject: .init(subject),
            client: client
        )
    }

    @Test func `any replica with the namespace's keys opens an id, before and after a rotation`()
        throws
    {
        let id = try Self.seal().seal(Self.session, for: Self.binding())
        #expect(try Self.seal().open(id, for: Self.binding()) == Self.session)
        #expect(
            try Self.seal(["k1", "k2"], with: "k2").open(id, for: Self.binding()) == Self.session
        )
        #expect(try Self.seal(["k2"], with: "k2").open(id, for: Self.binding()) == nil)
    }

    @Test(arguments: [
        binding(namespace: "other"), binding(server: "time"), binding(subject: "sub_2"),
        binding(client: "other"),
        // The same bytes in a row, cut elsewhere.
        binding(server: "toolss", subject: "ub_1"),
    ])
    func `an id does not open for anybody or anything else`(binding: SessionSeal.Binding) throws {
        let seal = try Self.seal()
        let id = try seal.seal(Self.session, for: Self.binding())
        #expect(seal.open(id, for: binding) == nil)
    }

    @Test func `an id with one character changed does not open`() throws {
        let seal = try Self.seal()
        let id = try seal.seal(Self.session, for: Self.binding())
        let bytes = Array(id.utf8)
        for index in bytes.indices {
            var changed = bytes
            changed[index] =
                changed[index] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
            let text = try #require(Text(validating: changed))
            #expect(seal.open(text, for: Self.binding()) == nil, "at \(index)")
        }
    }

    @Test(arguments: [
        "", "s1", "s1..", "s1.k1.", "s2.k1.AAAA", "s1.k1.AAAA.AAAA",
        String(repeating: "s", count: 4000),
    ])
    func `what is no id does not open`(text: String) throws {
        #expect(try Self.seal().open(Text(text), for: Self.binding()) == nil)
    }
}
