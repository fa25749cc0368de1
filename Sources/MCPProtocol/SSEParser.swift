public import JSON

/// One event of a stream (WHATWG HTML §9.2).
public struct SSEEvent: Hashable, Sendable {
    /// The data lines, joined with newlines.
    public var data: [UInt8]
    /// The event's type; `message` unless it says otherwise.
    public var event: Text
    /// The event's own id, if it has one.
    public var id: Text?

    /// Makes an event.
    public init(data: [UInt8], event: Text = "message", id: Text? = nil) {
        (self.data, self.event, self.id) = (data, event, id)
    }
}

/// Reads a stream of server-sent events from chunks that may end anywhere.
///
/// Lines end with CR, LF or CRLF. Unknown fields and comments are ignored, since other people's servers send them.
/// Both bounds are on memory: a stream may be endless, a line or an event may not.
public struct SSEParser: Sendable {
    /// Why a stream is given up.
    public enum Fault: Error, Hashable, Sendable {
        /// A line is longer than `lineBytesMax`.
        case lineTooLong
        /// The data of one event is longer than `eventBytesMax`.
        case eventTooLong
    }

    private let lineBytesMax: Int
    private let eventBytesMax: Int
    /// The last `retry` that the server asked for, in milliseconds.
    public private(set) var retryMilliseconds: Int?

    private var line: [UInt8] = []
    private var endedWithReturn = false
    private var isFirstLine = true

    private var data: [UInt8] = []
    private var hasData = false
    private var event: Text = ""
    private var id: Text?

    /// Starts at the beginning of a stream.
    public init(lineBytesMax: Int = 16 << 20, eventBytesMax: Int = 16 << 20) {
        (self.lineBytesMax, self.eventBytesMax) = (lineBytesMax, eventBytesMax)
    }

    /// Takes the next bytes and gives the events that they complete.
    public mutating func push(_ chunk: some Sequence<UInt8>) throws(Fault) -> [SSEEvent] {
        let bytes = Array(chunk)
        return try push(bytes.span)
    }

    /// Takes the next bytes and gives the events that they complete.
    public mutating func push(_ chunk: Span<UInt8>) throws(Fault) -> [SSEEvent] {
        var events: [SSEEvent] = []
        var at = 0
        if endedWithReturn, !chunk.isEmpty {
            endedWithReturn = false
            if chunk[0] == UInt8(ascii: "\n") { at = 1 }
        }
        while at < chunk.count {
            let start = at
            while at < chunk.count, chunk[at] != UInt8(ascii: "\n"), chunk[at] != UInt8(ascii: "\r")
            {
                at += 1
            }
            guard line.count + at - start <= lineBytesMax else { throw .lineTooLong }
            chunk.extracting(start..<at).withUnsafeBufferPointer { line.append(contentsOf: $0) }
            guard at < chunk.count else { break }
            if chunk[at] == UInt8(ascii: "\r") {
                if at + 1 == chunk.count {
                    endedWithReturn = true
                } else if chunk[at + 1] == UInt8(ascii: "\n") {
                    at += 1
                }
            }
            at += 1
            if let event = try endLine() { events.append(event) }
        }
        return events
    }

    /// Whether bytes of an unfinished event are held; at the end of a stream they are dropped.
    public var isInsideEvent: Bool { !line.isEmpty || hasData || id != nil || !event.isEmpty }

    private mutating func endLine() throws(Fault) -> SSEEvent? {
        defer { line.removeAll(keepingCapacity: true) }
        if isFirstLine {
            isFirstLine = false
            if line.starts(with: [0xEF, 0xBB, 0xBF]) { line.removeFirst(3) }
        }
        guard !line.isEmpty else { return dispatch() }
        let colon = line.firstIndex(of: UInt8(ascii: ":")) ?? line.endIndex
        let name = line[..<colon]
        var value = line[min(colon + 1, line.endIndex)...]
        if value.first == 0x20 { value = value.dropFirst() }
        try field(name, value)
        return nil
    }

    private mutating func field(
        _ name: ArraySlice<UInt8>,
        _ value: ArraySlice<UInt8>
    ) throws(Fault) {
        switch name.count {
        case 4 where name.elementsEqual("data".utf8):
            guard data.count + value.count < eventBytesMax else { throw .eventTooLong }
            if hasData { data.append(UInt8(ascii: "\n")) }
            data.append(contentsOf: value)
            hasData = true
        case 5 where name.elementsEqual("event".utf8):
            event = Text(validating: value) ?? ""
        case 2 where name.elementsEqual("id".utf8):
            if !value.contains(0) { id = Text(validating: value) }
        case 5 where name.elementsEqual("retry".utf8):
            let isNumber = value.allSatisfy {
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
            }
            if isNumber, let number = Int(String(decoding: value, as: UTF8.self)) {
                retryMilliseconds = number
            }
        default:
            break
        }
    }

    /// A blank line ends an event; without any data line there is none.
    private mutating func dispatch() -> SSEEvent? {
        defer {
            data = []
            hasData = false
            event = ""
            id = nil
        }
        guard hasData else { return nil }
        return SSEEvent(data: data, event: event.isEmpty ? "message" : event, id: id)
    }
}

/// Writes server-sent events.
///
/// Data is JSON without raw newlines, ids are ours: nothing that a server sent can end a line here.
public enum SSEWriter {
    /// One message as an event of type `message`.
    public static func message(_ json: [UInt8], id: Text? = nil) -> [UInt8] {
        precondition(
            !json.contains { $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") },
            "data of an event is one line"
        )
        var bytes: [UInt8] = []
        bytes.reserveCapacity(json.count + 64)
        if let id { append("id", id, to: &bytes) }
        bytes.append(contentsOf: "event: message\ndata: ".utf8)
        bytes.append(contentsOf: json)
        bytes.append(contentsOf: "\n\n".utf8)
        return bytes
    }

    /// The event that lets a client of 2025-11-25 resume before anything was said.
    ///
    /// Never for older clients: their parsers stumble over empty data.
    public static func priming(id: Text, retryMilliseconds: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        append("id", id, to: &bytes)
        bytes.append(contentsOf: "retry: \(retryMilliseconds)\ndata: \n\n".utf8)
        return bytes
    }

    /// A comment, to keep a connection alive.
    public static func comment(_ text: StaticString = "keep-alive") -> [UInt8] {
        Array(": \(text)\n\n".utf8)
    }

    private static func append(_ field: StaticString, _ value: Text, to bytes: inout [UInt8]) {
        precondition(value.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }, "an id is visible ASCII")
        bytes.append(contentsOf: "\(field): ".utf8)
        bytes.append(contentsOf: value.utf8)
        bytes.append(UInt8(ascii: "\n"))
    }
}
