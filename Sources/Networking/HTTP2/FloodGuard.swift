public import NIOCore

/// Counts the frames that cost the receiver work and carry nothing, and says when it is too much.
///
/// HTTP/2 lets a peer open and cancel streams, ping, and send empty frames without ever being
/// slowed by flow control (CVE-2019-9511…9518; rapid reset, CVE-2023-44487; CVE-2024-27316).
/// nghttp2 limits some of it: resets, acknowledgements not yet sent, CONTINUATION frames in a row.
/// This counts the rest, and counts again what nghttp2 counts, so that the bound is ours and the
/// same in every version of the library. It also counts resets that the peer provoked from our side
/// (CVE-2025-8671).
///
/// Windows follow each other without overlap: a burst across a boundary can be twice the limit,
/// which is no harm, and a counter needs no history. Time is a parameter.
public struct FloodGuard: Sendable, Equatable {
    /// What is counted.
    public enum Event: Int, Sendable, Hashable, CaseIterable {
        /// RST_STREAM, received or provoked.
        case reset
        /// PING, in either direction of the exchange.
        case ping
        /// SETTINGS that wants an acknowledgement.
        case settings
        /// DATA, HEADERS or CONTINUATION without content.
        case emptyFrame
        /// Frames without a meaning for us: PRIORITY, extensions.
        case ignoredFrame
    }

    /// How many of each in one window.
    public struct Limits: Sendable, Hashable {
        /// Length of a window.
        public var window: TimeAmount = .seconds(10)
        /// Resets per window.
        ///
        /// A client that cancels more than 20 calls a second is not one of ours.
        public var resets: Int = 200
        /// Pings per window.
        ///
        /// gRPC clients ping to measure bandwidth, some ten times a second.
        public var pings: Int = 500
        /// ``Event/settings`` per window.
        public var settings: Int = 20
        /// ``Event/emptyFrame`` per window.
        public var emptyFrames: Int = 100
        /// ``Event/ignoredFrame`` per window.
        public var ignoredFrames: Int = 500

        /// The defaults.
        public init() {}

        func max(_ event: Event) -> Int {
            switch event {
            case .reset: resets
            case .ping: pings
            case .settings: settings
            case .emptyFrame: emptyFrames
            case .ignoredFrame: ignoredFrames
            }
        }
    }

    private let limits: Limits
    private var windowEnd: NIODeadline
    private var counts: [5 of Int] = .init(repeating: 0)

    /// Starts counting; the first window begins `now`.
    public init(_ limits: Limits, now: NIODeadline) {
        self.limits = limits
        windowEnd = now + limits.window
    }

    /// Counts one event.
    ///
    /// - Returns: false when the window has had more of these than allowed: close the connection.
    public mutating func record(_ event: Event, now: NIODeadline) -> Bool {
        if now >= windowEnd {
            counts = .init(repeating: 0)
            windowEnd = now + limits.window
        }
        counts[event.rawValue] += 1
        return counts[event.rawValue] <= limits.max(event)
    }

    /// Two guards are equal when they would answer alike.
    public static func == (left: Self, right: Self) -> Bool {
        left.limits == right.limits && left.windowEnd == right.windowEnd
            && left.counts.indices.allSatisfy { left.counts[$0] == right.counts[$0] }
    }
}

extension FloodGuard.Event {
    /// The event a frame is, judged by its header alone; `nil` for frames that carry something.
    init?(frameType: UInt8, flags: UInt8, payloadBytes: Int) {
        let endStreamOrAcknowledgement = flags & 0x1 != 0
        switch frameType {
        case 0x0:  // DATA
            if payloadBytes > 0 || endStreamOrAcknowledgement { return nil }
            self = .emptyFrame
        case 0x1, 0x9:  // HEADERS, CONTINUATION
            if payloadBytes > 0 { return nil }
            self = .emptyFrame
        case 0x3: self = .reset
        case 0x4:
            if endStreamOrAcknowledgement { return nil }
            self = .settings
        case 0x6: self = .ping
        case 0x5, 0x7, 0x8: return nil  // PUSH_PROMISE (nghttp2 refuses it), GOAWAY, WINDOW_UPDATE
        default: self = .ignoredFrame
        }
    }
}
