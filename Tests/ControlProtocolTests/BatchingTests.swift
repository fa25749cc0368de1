import ControlProtocol
import Foundation
import GatewayModel
import Testing

/// When a record leaves: at once, with others, or after the batch delay.
@Suite struct BatchingTests {
    /// A live session, and the time as a number.
    struct Link {
        var session: ProxySession
        var now = MonotonicInstant(nanoseconds: 0)

        init() throws {
            session = ProxySession(
                bootID: Array(repeating: 1, count: 16),
                softwareVersion: "1",
                now: now
            )
            let connects = session.tick(now: now).connect
            #expect(connects)
            let hello = session.opened(now: now)
            _ = try #require(hello)
            var welcome = WireWelcome()
            welcome.revision = CompatibilityHistory.current
            welcome.epoch = 1
            welcome.leaseMs = 30_000
            welcome.heartbeatMs = 1000
            var message = WireControlMessage()
            message.welcome = welcome
            let violation = session.received(message, now: now).violation
            #expect(violation == nil)
        }

        /// The numbers of the batch that leaves with this record.
        mutating func append(gate: Bool) -> [UInt64] {
            var record = WireRecord()
            record.n = session.nextNumber
            record.body = .init([1, 2, 3])
            guard case .admitted(_, let batch) = session.append(record, gate: gate, now: now) else {
                return [.max]
            }
            return batch?.records.map(\.n) ?? []
        }

        /// The numbers that leave when this one is acknowledged.
        mutating func acknowledge(upTo n: UInt64) -> [UInt64] {
            var acknowledge = WireAcknowledge()
            acknowledge.epoch = 1
            acknowledge.upTo = n
            var message = WireControlMessage()
            message.acknowledge = acknowledge
            return numbers(session.received(message, now: now).send)
        }

        mutating func pass(milliseconds: Int64) -> [UInt64] {
            now = now.adding(milliseconds: milliseconds)
            return numbers(session.tick(now: now).send)
        }

        private func numbers(_ messages: [WireProxyMessage]) -> [UInt64] {
            messages.flatMap { $0.append.records.map(\.n) }
        }
    }

    @Test func `an intent goes at once when nothing is on its way`() throws {
        var link = try Link()
        #expect(link.append(gate: true) == [1])
    }

    @Test func `an intent in company goes when the batch before is acknowledged`() throws {
        var link = try Link()
        #expect(link.append(gate: true) == [1])
        #expect(link.append(gate: true) == [])
        #expect(link.acknowledge(upTo: 1) == [2])
    }

    @Test func `an outcome goes with the next intent`() throws {
        var link = try Link()
        #expect(link.append(gate: false) == [])
        #expect(link.session.isBatchWaiting)
        #expect(link.append(gate: true) == [1, 2])
        #expect(!link.session.isBatchWaiting)
    }

    @Test func `an outcome without company goes after the batch delay, and not before`() throws {
        var link = try Link()
        #expect(link.append(gate: true) == [1])
        #expect(link.append(gate: false) == [])
        #expect(link.acknowledge(upTo: 1) == [])
        #expect(link.pass(milliseconds: 1) == [])
        #expect(link.pass(milliseconds: 1) == [2])
        #expect(!link.session.isBatchWaiting)
    }
}
