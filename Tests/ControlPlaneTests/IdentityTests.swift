import JSON
import Networking
import Testing

@testable import ControlPlane

@Suite struct KeyRefreshScheduleTests {
    @Test func `keys are fetched again before the interval ends, not all at once`() {
        let schedule = KeyRefreshSchedule(intervalSeconds: 900)
        #expect(schedule.secondsAfterSuccess(draw: 0) == 900)
        #expect(schedule.secondsAfterSuccess(draw: 1) == 720)
        #expect(schedule.secondsAfterSuccess(draw: 7) == 720)
    }

    @Test(
        arguments: [
            (1, 30, 30), (2, 60, 48), (3, 120, 96), (4, 240, 192), (5, 480, 384), (6, 900, 720),
            (60, 900, 720), (0, 30, 30),
        ] as [(Int, Int64, Int64)]
    )
    func `pauses double with each failure, up to the interval and never below 30 seconds`(
        failures: Int,
        longest: Int64,
        shortest: Int64
    ) {
        let schedule = KeyRefreshSchedule(intervalSeconds: 900)
        #expect(schedule.secondsAfterFailure(failures, draw: 0) == longest)
        #expect(schedule.secondsAfterFailure(failures, draw: 1) == shortest)
    }

    @Test func `keys that were never fetched are not stale, old ones are`() {
        let schedule = KeyRefreshSchedule(staleSeconds: 100)
        #expect(!schedule.isStale(secondsSinceSuccess: nil))
        #expect(!schedule.isStale(secondsSinceSuccess: 100))
        #expect(schedule.isStale(secondsSinceSuccess: 101))
    }
}

@Suite struct GuardedClientTests {
    /// Nothing listens at any of these: what is refused is refused before a packet is sent.
    @Test(
        arguments: [
            ("http://idp.example/keys", .urlRefused), ("http://127.0.0.1:1/keys", .urlRefused),
            ("ftp://idp.example/keys", .urlRefused), ("https://user@idp.example/", .urlRefused),
            ("file:///etc/passwd", .urlRefused), ("", .urlRefused),
            ("https://127.0.0.1:1/", .addressRefused), ("https://localhost:1/", .addressRefused),
            ("https://[::1]:1/", .addressRefused),
            ("https://[::ffff:127.0.0.1]:1/", .addressRefused),
            ("https://2130706433:1/", .addressRefused), ("https://127.1:1/", .addressRefused),
            ("https://10.0.0.1/", .addressRefused), ("https://192.168.0.1/", .addressRefused),
            ("https://[fd00::1]/", .addressRefused), ("https://0.0.0.0:1/", .addressRefused),
            ("https://169.254.169.254/latest/meta-data/", .addressRefused),
            ("https://[fd00:ec2::254]/", .addressRefused),
            ("https://100.100.100.200/", .addressRefused),
        ] as [(String, GuardedClient.Refusal)]
    )
    func `a place that strangers must not steer to is not asked`(
        url: String,
        why: GuardedClient.Refusal
    ) async throws {
        let loops = EventLoops(count: 1)
        let client = try GuardedClient(loops: loops, rules: .init())
        await #expect(throws: why) {
            try await client.document(at: Text(url), allowingPrivateAddresses: false)
        }
        try await loops.shutdown()
    }

    @Test(
        arguments: [
            // Marked as private: loopback is reached (and refuses), metadata is not, and http is not.
            ("https://127.0.0.1:1/", true, false, .connectFailed),
            ("https://169.254.169.254/", true, true, .addressRefused),
            ("http://127.0.0.1:1/", true, false, .urlRefused),
            // http within the machine: only there.
            ("http://127.0.0.1:1/", false, true, .connectFailed),
            ("http://10.0.0.1/", true, true, .addressRefused),
            ("http://8.8.8.8/", true, true, .addressRefused),
        ] as [(String, Bool, Bool, GuardedClient.Refusal)]
    )
    func `each allowance reaches as far as it says`(
        url: String,
        isPrivate: Bool,
        loopbackHTTP: Bool,
        why: GuardedClient.Refusal
    ) async throws {
        let loops = EventLoops(count: 1)
        var rules = GuardedClient.Rules()
        rules.allowsLoopbackHTTP = loopbackHTTP
        let client = try GuardedClient(loops: loops, rules: rules)
        await #expect(throws: why) {
            try await client.document(at: Text(url), allowingPrivateAddresses: isPrivate)
        }
        try await loops.shutdown()
    }
}
