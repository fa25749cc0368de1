import CNghttp2
import NIOCore

/// What a session tells its owner while it takes bytes in or gives bytes out.
///
/// The calls come from inside nghttp2: they may change stream state and submit frames, but must not
/// call ``HTTP2Session/receive(_:)`` or ``HTTP2Session/drain(bytesMax:)``.
protocol HTTP2SessionDelegate: AnyObject {
    /// A request with an acceptable head arrived (server).
    func streamOpened(_ stream: HTTP2StreamState)
    /// Head, data, trailers or the end of the peer's half arrived; the stream's fields say what.
    func streamChanged(_ stream: HTTP2StreamState)
    /// The stream's unsent bytes went below half of what it may hold.
    func streamDrained(_ stream: HTTP2StreamState)
    /// The stream is closed and no longer in the session; ``HTTP2StreamState/failure`` says why, if
    /// it failed.
    func streamClosed(_ stream: HTTP2StreamState)
    /// The peer takes no new streams.
    func goAwayReceived()
    /// The peer answered a PING of ours.
    func pingAcknowledged(_ opaque: UInt64)
    /// An event of the flood guard; false stops the connection.
    func permits(_ event: FloodGuard.Event) -> Bool
}

/// One stream as the event loop sees it.
///
/// Owned by the connection's event loop.
final class HTTP2StreamState {
    /// What ends our half.
    enum OutboundEnd: Equatable {
        case open
        case endStream
        case trailers(HTTP2Headers)
        case submitted
    }

    fileprivate(set) var id: Int32

    /// The peer's head: request at a server, final response at a client.
    fileprivate(set) var head: HTTP2Headers?
    fileprivate(set) var trailers: HTTP2Headers?

    var inbound = ByteBuffer()
    /// Received bytes that the peer has not got its window back for.
    fileprivate(set) var unacknowledgedBytes = 0
    fileprivate(set) var inboundEnded = false

    var outbound = ByteBuffer()
    var outboundEnd = OutboundEnd.open
    var hasSubmittedHead = false
    /// nghttp2 asked for bytes when there were none; it asks again after `resume`.
    fileprivate var isDeferred = false

    var isClosed = false
    var failure: HTTP2Error?

    /// The tasks that wait; at most one of each.
    var reader: UnsafeContinuation<Void, Never>?
    var writer: UnsafeContinuation<Void, Never>?
    var closeWaiter: UnsafeContinuation<Void, Never>?
    var deadline: Scheduled<Void>?

    fileprivate init(id: Int32) {
        self.id = id
    }

    /// Counted up with every change that a reader or writer may wait for, whether or not one waits.
    ///
    /// Whoever is about to wait compares with what it saw before it looked: news that came in between is not
    /// slept through.
    private(set) var readerNews: UInt64 = 0
    private(set) var writerNews: UInt64 = 0

    /// A wait that is over: someone else must look at the fields.
    func wakeReader() {
        readerNews &+= 1
        reader.take()?.resume()
    }

    func wakeWriter() {
        writerNews &+= 1
        writer.take()?.resume()
    }

    func wakeCloseWaiter() {
        closeWaiter.take()?.resume()
    }
}

/// One nghttp2 session: bytes in, bytes out, streams between.
///
/// Owned by the connection's event loop.
///
/// This is the only file that touches nghttp2, and all its unsafe pointers stay in it: the session
/// pointer lives as long as the object, `user_data` is the object itself (unretained: callbacks run
/// only inside `receive` and `drain`, which the object's owner calls), and every pointer handed to
/// a callback is copied from before the callback returns.
///
/// Window updates are manual: a byte is given back to the peer when its reader took it
/// (``acknowledge(_:bytes:)``), so a slow reader slows its sender through the whole path, and
/// memory is bounded by the windows.
final class HTTP2Session {
    enum Role {
        case server
        case client
    }

    enum Failure: Error, Equatable {
        /// The delegate stopped the connection.
        case stopped
        /// nghttp2 stopped the connection for the same reason.
        case flooded
        /// The peer cannot be understood (nghttp2's error code, for logs).
        case library(Int32)
    }

    let role: Role
    let limits: HTTP2Limits
    unowned var delegate: (any HTTP2SessionDelegate)?

    private(set) var streams: [Int32: HTTP2StreamState] = [:]
    private var raw: OpaquePointer?
    private var scanner: FrameScanner
    private var output = ByteBuffer()
    private var outputBytesMax = 0

    /// The stream the last frame belonged to: most frames in a row belong to one.
    private var recent: HTTP2StreamState?

    /// The header block being received; blocks never interleave (RFC 9113 §4.3).
    private var block = HTTP2Headers()

    /// RST_STREAM frames queued by this side's own wish; any other was provoked by the peer.
    private var ownResets = 0

    /// True when nghttp2 sent GOAWAY with an error: the peer broke the protocol.
    private(set) var hasTerminated = false

    init(role: Role, limits: HTTP2Limits) {
        self.role = role
        self.limits = limits
        delegate = nil
        scanner = FrameScanner(prefaceBytes: role == .server ? Int(NGHTTP2_CLIENT_MAGIC_LEN) : 0)
        raw = Self.make(role, limits)
        nghttp2_session_set_user_data(raw, Unmanaged.passUnretained(self).toOpaque())
        submitSettings()
    }

    deinit {
        nghttp2_session_del(raw)
    }

    // MARK: Bytes

    /// Takes what arrived.
    func receive(_ buffer: ByteBuffer) throws(Failure) {
        var isPermitted = true
        scanner.scan(buffer) { type, flags, payloadBytes in
            guard
                let event = FloodGuard.Event(
                    frameType: type,
                    flags: flags,
                    payloadBytes: payloadBytes
                )
            else { return true }
            isPermitted = delegate?.permits(event) ?? false
            return isPermitted
        }
        if !isPermitted { throw .stopped }
        let result = buffer.withUnsafeReadableBytes { bytes in
            nghttp2_session_mem_recv(
                raw,
                bytes.baseAddress?.assumingMemoryBound(to: UInt8.self),
                bytes.count
            )
        }
        recent = nil
        if result == Int(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue) { throw .stopped }
        // More answers are due to PING and SETTINGS than a peer that reads would leave.
        if result == Int(NGHTTP2_ERR_FLOODED.rawValue) { throw .flooded }
        if result < 0 { throw .library(Int32(result)) }
    }

    /// What can be sent now, about `bytesMax` bytes at a time; empty when there is nothing.
    ///
    /// The buffer's memory is used again for the next call if the caller has let go of it by then.
    func drain(bytesMax: Int) throws(Failure) -> ByteBuffer {
        output.clear()
        outputBytesMax = bytesMax
        while output.readableBytes < bytesMax {
            let before = output.readableBytes
            var chunk: UnsafePointer<UInt8>?
            let count = nghttp2_session_mem_send(raw, &chunk)
            if count < 0 { throw .library(Int32(count)) }
            output.writeBytes(UnsafeRawBufferPointer(start: chunk, count: count))
            if output.readableBytes == before { break }
        }
        recent = nil
        return output
    }

    /// Lets go of the memory that a burst needed.
    func trim() {
        if output.capacity > 16 * 1024 { output = ByteBuffer() }
    }

    var wantsWrite: Bool { nghttp2_session_want_write(raw) != 0 }

    /// Nothing will be sent or received any more: close the channel.
    var isFinished: Bool { !wantsWrite && nghttp2_session_want_read(raw) == 0 }

    // MARK: Streams

    /// Opens a stream (client).
    func open(_ head: HTTP2Headers, endStream: Bool) -> HTTP2StreamState? {
        let stream = HTTP2StreamState(id: 0)
        let id = withNameValues(head) { fields, count in
            var provider = Self.bodyProvider
            return withUnsafeMutablePointer(to: &provider) {
                nghttp2_submit_request(raw, nil, fields, count, endStream ? nil : $0, nil)
            }
        }
        if id < 0 { return nil }
        stream.id = id
        stream.hasSubmittedHead = true
        if endStream { stream.outboundEnd = .submitted }
        streams[id] = stream
        return stream
    }

    /// Sends the response head (server).
    func respond(_ stream: HTTP2StreamState, _ head: HTTP2Headers, endStream: Bool) -> Bool {
        let result = withNameValues(head) { fields, count in
            var provider = Self.bodyProvider
            return withUnsafeMutablePointer(to: &provider) {
                nghttp2_submit_response(raw, stream.id, fields, count, endStream ? nil : $0)
            }
        }
        stream.hasSubmittedHead = true
        if endStream { stream.outboundEnd = .submitted }
        return result == 0
    }

    /// Says that the stream has bytes or an end to send.
    func resume(_ stream: HTTP2StreamState) {
        if !stream.isDeferred { return }
        stream.isDeferred = false
        nghttp2_session_resume_data(raw, stream.id)
    }

    func reset(_ stream: HTTP2StreamState, _ code: HTTP2ErrorCode) {
        if stream.isClosed { return }
        if nghttp2_submit_rst_stream(raw, 0, stream.id, code.rawValue) == 0 { ownResets += 1 }
    }

    /// Gives the peer its window back for bytes that the reader took.
    func acknowledge(_ stream: HTTP2StreamState, bytes: Int) {
        let bytes = min(bytes, stream.unacknowledgedBytes)
        if bytes == 0 { return }
        stream.unacknowledgedBytes -= bytes
        nghttp2_session_consume(raw, stream.id, bytes)
    }

    // MARK: Connection

    func ping(_ opaque: UInt64) {
        withUnsafeBytes(of: opaque) {
            _ = nghttp2_submit_ping(raw, 0, $0.baseAddress?.assumingMemoryBound(to: UInt8.self))
        }
    }

    /// First GOAWAY of a graceful end (server): "no new streams, please", still accepting those
    /// under way.
    func announceShutdown() {
        nghttp2_submit_shutdown_notice(raw)
    }

    /// Last GOAWAY of a graceful end: names the last stream that is or was processed.
    func finishShutdown() {
        let last = nghttp2_session_get_last_proc_stream_id(raw)
        nghttp2_submit_goaway(raw, 0, last, HTTP2ErrorCode.noError.rawValue, nil, 0)
    }

    /// GOAWAY with an error; the session ends when it has been sent.
    func terminate(_ code: HTTP2ErrorCode) {
        nghttp2_session_terminate_session(raw, code.rawValue)
    }

    private func submitSettings() {
        var settings = [
            entry(
                NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
                role == .server ? limits.concurrentStreamsMax : 0
            ),
            entry(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.streamWindowBytes),
            entry(NGHTTP2_SETTINGS_MAX_FRAME_SIZE, limits.frameBytesMax),
            entry(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits.headerListBytesMax),
            // No priority trees: one queue is fair enough, and a tree is memory in the peer's
            // hands.
            entry(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1),
        ]
        if role == .client { settings.append(entry(NGHTTP2_SETTINGS_ENABLE_PUSH, 0)) }
        nghttp2_submit_settings(raw, 0, settings, settings.count)
        nghttp2_session_set_local_window_size(raw, 0, 0, Int32(limits.connectionWindowBytes))
    }

    private func entry(_ id: nghttp2_settings_id, _ value: Int) -> nghttp2_settings_entry {
        nghttp2_settings_entry(settings_id: Int32(id.rawValue), value: UInt32(value))
    }

    private func withNameValues(
        _ headers: HTTP2Headers,
        _ body: (UnsafePointer<nghttp2_nv>?, Int) -> Int32
    ) -> Int32 {
        headers.bytes.withUnsafeBufferPointer { bytes in
            withUnsafeTemporaryAllocation(of: nghttp2_nv.self, capacity: headers.count) { fields in
                // nghttp2 copies names and values; its pointers are mutable only for want of
                // `const`.
                let start = UnsafeMutablePointer(mutating: bytes.baseAddress)
                for (index, field) in headers.fields.enumerated() {
                    let name = start.map { $0 + Int(field.start) }
                    let value = name.map { $0 + Int(field.nameBytes) }
                    let flags = field.isSensitive ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE
                    fields.initializeElement(
                        at: index,
                        to: nghttp2_nv(
                            name: name,
                            value: value,
                            namelen: Int(field.nameBytes),
                            valuelen: Int(field.valueBytes),
                            flags: UInt8(flags.rawValue)
                        )
                    )
                }
                return body(UnsafePointer(fields.baseAddress), headers.count)
            }
        }
    }

    // MARK: Called by nghttp2

    private func stream(_ id: Int32) -> HTTP2StreamState? {
        if let recent, recent.id == id { return recent }
        recent = streams[id]
        return recent
    }

    private func permits(_ event: FloodGuard.Event) -> Int32 {
        (delegate?.permits(event) ?? false) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
    }

    fileprivate func beganHeaders(_ frame: nghttp2_frame) -> Int32 {
        block = HTTP2Headers()
        if role == .server, frame.headers.cat == NGHTTP2_HCAT_REQUEST {
            let id = frame.hd.stream_id
            streams[id] = HTTP2StreamState(id: id)
        }
        return 0
    }

    fileprivate func received(
        field name: UnsafeBufferPointer<UInt8>,
        _ value: UnsafeBufferPointer<UInt8>,
        stream id: Int32
    ) -> Int32 {
        let listBytes = block.listBytes + name.count + value.count + 32
        if listBytes > limits.headerListBytesMax || block.count == limits.headerFieldsMax {
            return refuse(id, .enhanceYourCalm)
        }
        block.append(name, value)
        return 0
    }

    /// Resets a stream from inside a header block.
    ///
    /// HPACK state is kept in step: nghttp2 decodes the rest silently.
    fileprivate func refuse(_ id: Int32, _ code: HTTP2ErrorCode) -> Int32 {
        block = HTTP2Headers()
        nghttp2_submit_rst_stream(raw, 0, id, code.rawValue)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
    }

    fileprivate func received(_ frame: nghttp2_frame) -> Int32 {
        switch nghttp2_frame_type(UInt32(frame.hd.type)) {
        case NGHTTP2_HEADERS:
            return receivedHeaders(frame)
        case NGHTTP2_DATA:
            return receivedData(frame)
        case NGHTTP2_GOAWAY:
            delegate?.goAwayReceived()
            return 0
        case NGHTTP2_PING where frame.hd.flags & 0x1 != 0:
            delegate?.pingAcknowledged(
                withUnsafeBytes(of: frame.ping.opaque_data) { $0.load(as: UInt64.self) }
            )
            return 0
        default:
            return 0
        }
    }

    private func receivedHeaders(_ frame: nghttp2_frame) -> Int32 {
        guard let stream = stream(frame.hd.stream_id) else { return 0 }
        let received = block
        block = HTTP2Headers()
        let isEnd = frame.hd.flags & 0x1 != 0
        if role == .server, stream.head == nil {
            guard HTTP2RequestRules.accept(received) else {
                nghttp2_submit_rst_stream(raw, 0, stream.id, HTTP2ErrorCode.protocolError.rawValue)
                return 0
            }
            stream.head = received
            stream.inboundEnded = isEnd
            delegate?.streamOpened(stream)
            return 0
        }
        if stream.head == nil {
            // Interim responses (RFC 9110 §15.2) announce nothing we wait for.
            if received.value(":status")?.first == UInt8(ascii: "1") { return 0 }
            stream.head = received
        } else {
            stream.trailers = received
        }
        stream.inboundEnded = isEnd
        delegate?.streamChanged(stream)
        return 0
    }

    private func receivedData(_ frame: nghttp2_frame) -> Int32 {
        guard let stream = stream(frame.hd.stream_id) else { return 0 }
        if frame.hd.flags & 0x1 != 0 {
            stream.inboundEnded = true
            delegate?.streamChanged(stream)
            return 0
        }
        // Nothing but padding: the frame header alone could not tell.
        return frame.hd.length > 0 && frame.hd.length == frame.data.padlen
            ? permits(.emptyFrame) : 0
    }

    fileprivate func received(_ data: UnsafeRawBufferPointer, stream id: Int32) -> Int32 {
        guard let stream = stream(id) else {
            nghttp2_session_consume(raw, id, data.count)
            return 0
        }
        stream.inbound.writeBytes(data)
        stream.unacknowledgedBytes += data.count
        delegate?.streamChanged(stream)
        return 0
    }

    fileprivate func closed(_ id: Int32, _ code: HTTP2ErrorCode) {
        recent = nil
        guard let stream = streams.removeValue(forKey: id) else { return }
        // The stream's own window is gone, the connection's is not.
        nghttp2_session_consume_connection(raw, stream.unacknowledgedBytes)
        stream.unacknowledgedBytes = 0
        stream.isClosed = true
        if code != .noError || !stream.inboundEnded {
            if stream.failure == nil { stream.failure = .reset(code) }
            // Abandoned: what was not read must not outlive the windows that bounded it.
            if !stream.inboundEnded { stream.inbound = ByteBuffer() }
            stream.outbound = ByteBuffer()
        }
        delegate?.streamClosed(stream)
    }

    /// How much of the stream's outbound bytes goes into the next DATA frame.
    fileprivate func nextData(
        _ id: Int32,
        bytesMax: Int,
        flags: UnsafeMutablePointer<UInt32>
    ) -> Int {
        guard let stream = stream(id) else {
            return Int(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue)
        }
        let count = min(bytesMax, stream.outbound.readableBytes)
        let isLast = count == stream.outbound.readableBytes && stream.outboundEnd != .open
        if count == 0 && !isLast {
            stream.isDeferred = true
            return Int(NGHTTP2_ERR_DEFERRED.rawValue)
        }
        flags.pointee = NGHTTP2_DATA_FLAG_NO_COPY.rawValue
        if isLast {
            flags.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue
            if case .trailers(let trailers) = stream.outboundEnd {
                flags.pointee |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
                _ = withNameValues(trailers) { nghttp2_submit_trailer(raw, id, $0, $1) }
            }
            stream.outboundEnd = .submitted
        }
        return count
    }

    /// Writes one DATA frame straight into the output: the bytes are copied once.
    fileprivate func write(_ id: Int32, header: UnsafeRawBufferPointer, count: Int) -> Int32 {
        guard let stream = stream(id), let data = stream.outbound.readSlice(length: count) else {
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
        }
        output.writeBytes(header)
        output.writeImmutableBuffer(data)
        if stream.outbound.readableBytes <= limits.sendBufferBytes / 2 {
            delegate?.streamDrained(stream)
        }
        return output.readableBytes < outputBytesMax ? 0 : NGHTTP2_ERR_PAUSE.rawValue
    }

    fileprivate func sent(_ frame: nghttp2_frame) -> Int32 {
        switch nghttp2_frame_type(UInt32(frame.hd.type)) {
        case NGHTTP2_RST_STREAM:
            if ownResets == 0 { return permits(.reset) }
            ownResets -= 1
        case NGHTTP2_GOAWAY where frame.goaway.error_code != HTTP2ErrorCode.noError.rawValue:
            hasTerminated = true
        case NGHTTP2_HEADERS where frame.hd.flags & 0x1 != 0,
            NGHTTP2_DATA where frame.hd.flags & 0x1 != 0:
            // A complete response before the end of the request: the rest is not wanted (RFC 9113
            // §8.1).
            if role == .server, let stream = stream(frame.hd.stream_id), !stream.inboundEnded {
                reset(stream, .noError)
            }
        default: break
        }
        return 0
    }

    fileprivate func notSent(_ frame: nghttp2_frame) {
        switch nghttp2_frame_type(UInt32(frame.hd.type)) {
        case NGHTTP2_RST_STREAM: ownResets = max(0, ownResets - 1)
        // A request that GOAWAY overtook, or a response head too large to send.
        case NGHTTP2_HEADERS: closed(frame.hd.stream_id, .refusedStream)
        default: break
        }
    }

    // MARK: The C side

    private static let bodyProvider = nghttp2_data_provider(
        source: nghttp2_data_source(fd: 0),
        read_callback: { _, id, _, bytesMax, flags, _, owner in
            guard let flags else { return Int(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue) }
            return session(owner).nextData(id, bytesMax: bytesMax, flags: flags)
        }
    )

    private static func make(_ role: Role, _ limits: HTTP2Limits) -> OpaquePointer? {
        var options: OpaquePointer?
        var callbacks: OpaquePointer?
        var raw: OpaquePointer?
        defer {
            nghttp2_option_del(options)
            nghttp2_session_callbacks_del(callbacks)
        }
        var failed = nghttp2_option_new(&options) != 0
        failed = nghttp2_session_callbacks_new(&callbacks) != 0 || failed
        precondition(!failed, "out of memory")

        nghttp2_option_set_no_auto_window_update(options, 1)
        nghttp2_option_set_no_closed_streams(options, 1)
        nghttp2_option_set_peer_max_concurrent_streams(options, UInt32(limits.concurrentStreamsMax))
        nghttp2_option_set_max_reserved_remote_streams(options, 0)
        nghttp2_option_set_max_outbound_ack(options, 128)
        nghttp2_option_set_max_settings(options, 16)
        nghttp2_option_set_max_continuations(options, 4)
        nghttp2_option_set_stream_reset_rate_limit(options, UInt64(limits.flood.resets), 33)
        nghttp2_option_set_max_send_header_block_length(options, limits.headerListBytesMax)
        setCallbacks(callbacks)

        let result =
            switch role {
            case .server: nghttp2_session_server_new2(&raw, callbacks, nil, options)
            case .client: nghttp2_session_client_new2(&raw, callbacks, nil, options)
            }
        precondition(result == 0, "out of memory")
        return raw
    }

    private static func setCallbacks(_ callbacks: OpaquePointer?) {
        nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks) { _, frame, owner in
            guard let frame else { return 0 }
            return session(owner).beganHeaders(frame.pointee)
        }
        nghttp2_session_callbacks_set_on_header_callback(callbacks) {
            _,
            frame,
            name,
            nameBytes,
            value,
            valueBytes,
            _,
            owner in
            guard let frame else { return 0 }
            return session(owner).received(
                field: UnsafeBufferPointer(start: name, count: nameBytes),
                UnsafeBufferPointer(start: value, count: valueBytes),
                stream: frame.pointee.hd.stream_id
            )
        }
        // Left alone, nghttp2 drops a field with illegal bytes and lets the rest pass.
        nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks) {
            _,
            frame,
            _,
            _,
            _,
            _,
            _,
            owner in
            guard let frame else { return 0 }
            return session(owner).refuse(frame.pointee.hd.stream_id, .protocolError)
        }
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { _, frame, owner in
            guard let frame else { return 0 }
            return session(owner).received(frame.pointee)
        }
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks) {
            _,
            _,
            id,
            data,
            count,
            owner in
            session(owner).received(UnsafeRawBufferPointer(start: data, count: count), stream: id)
        }
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks) { _, id, code, owner in
            session(owner).closed(id, HTTP2ErrorCode(rawValue: code))
            return 0
        }
        nghttp2_session_callbacks_set_send_data_callback(callbacks) {
            _,
            frame,
            header,
            count,
            _,
            owner in
            guard let frame else { return NGHTTP2_ERR_CALLBACK_FAILURE.rawValue }
            // We never pad, so the frame is its header and the bytes.
            return session(owner).write(
                frame.pointee.hd.stream_id,
                header: UnsafeRawBufferPointer(start: header, count: 9),
                count: count
            )
        }
        nghttp2_session_callbacks_set_on_frame_send_callback(callbacks) { _, frame, owner in
            guard let frame else { return 0 }
            return session(owner).sent(frame.pointee)
        }
        nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks) { _, frame, _, owner in
            guard let frame else { return 0 }
            session(owner).notSent(frame.pointee)
            return 0
        }
    }
}

private func session(_ owner: UnsafeMutableRawPointer?) -> HTTP2Session {
    guard let owner else { preconditionFailure("nghttp2 called back without user data") }
    return Unmanaged<HTTP2Session>.fromOpaque(owner).takeUnretainedValue()
}
