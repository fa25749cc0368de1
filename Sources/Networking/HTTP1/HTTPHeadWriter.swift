import NIOCore

/// A head under construction: the start line and fields as they will go on the wire, in one buffer.
///
/// Framing and connection fields (`Content-Length`, `Transfer-Encoding`, `Connection`, `Date`,
/// `Host`) belong to the connection, which adds them when the head is sent; do not add them here. A
/// value with a byte that could end its line makes the head unsendable: sending it throws, nothing
/// of it reaches the wire.
///
/// Not copyable: a copy would share the buffer, and the next field would have to duplicate it
/// (measured: four of eleven allocations of a call).
public struct HTTPHeadWriter: ~Copyable, Sendable {
    var bytes: ByteBuffer
    private(set) var isSendable = true
    /// The status of a response, 0 for a request.
    let status: Int

    /// A head that begins with `HTTP/1.1 status reason`; takes over the buffer.
    init(status: Int, reusing buffer: inout ByteBuffer) {
        self.status = status
        bytes = ByteBuffer()
        swap(&bytes, &buffer)
        bytes.clear(minimumCapacity: 512)
        if status == 200 {
            bytes.writeStaticString("HTTP/1.1 200 OK\r\n")
            return
        }
        bytes.writeStaticString("HTTP/1.1 ")
        bytes.writeDecimal(status)
        bytes.writeStaticString(" ")
        bytes.writeStaticString(Self.reason(status))
        bytes.writeStaticString("\r\n")
    }

    /// A head that begins with `method target HTTP/1.1`; takes over the buffer.
    init(method: HTTPMethod, target: ByteBuffer, reusing buffer: inout ByteBuffer) {
        status = 0
        bytes = ByteBuffer()
        swap(&bytes, &buffer)
        bytes.clear(minimumCapacity: 1024)
        bytes.writeStaticString(method.token)
        bytes.writeStaticString(" ")
        let span = target.readableBytesSpan
        isSendable = span.byteCount > 0 && span[0] == UInt8(ascii: "/") && span.isVisibleASCII
        bytes.writeBytes(span)
        bytes.writeStaticString(" HTTP/1.1\r\n")
    }

    /// Adds a field whose value is known to be valid: a literal.
    public mutating func add(_ name: StaticString, _ value: StaticString) {
        bytes.writeStaticString(name)
        bytes.writeStaticString(": ")
        bytes.writeStaticString(value)
        bytes.writeStaticString("\r\n")
    }

    /// Adds a field with a value taken from another message.
    public mutating func add(_ name: StaticString, _ value: HTTPFieldValue) {
        add(name, bytes: value.bytes.readableBytesSpan)
    }

    /// Adds a field with a text value.
    public mutating func add(_ name: StaticString, _ value: String) {
        add(name, bytes: value.utf8.span.bytes)
    }

    /// Adds a field with a decimal value.
    public mutating func add(_ name: StaticString, _ value: Int) {
        bytes.writeStaticString(name)
        bytes.writeStaticString(": ")
        bytes.writeDecimal(value)
        bytes.writeStaticString("\r\n")
    }

    /// Adds a field; both parts come from elsewhere and are checked.
    public mutating func add(name: HTTPFieldValue, _ value: HTTPFieldValue) {
        let name = name.bytes.readableBytesSpan
        isSendable = isSendable && name.isToken
        bytes.writeBytes(name)
        finishField(value.bytes.readableBytesSpan)
    }

    /// Adds a field; both parts come from elsewhere and are checked.
    public mutating func add(name: String, _ value: String) {
        let name = name.utf8.span.bytes
        isSendable = isSendable && name.isToken
        bytes.writeBytes(name)
        finishField(value.utf8.span.bytes)
    }

    private mutating func add(_ name: StaticString, bytes value: RawSpan) {
        bytes.writeStaticString(name)
        finishField(value)
    }

    private mutating func finishField(_ value: RawSpan) {
        isSendable = isSendable && value.isFieldValue
        bytes.writeStaticString(": ")
        bytes.writeBytes(value)
        bytes.writeStaticString("\r\n")
    }

    mutating func addDate(_ date: borrowing [UInt8]) {
        bytes.writeStaticString("date: ")
        bytes.writeBytes(date.span.bytes)
        bytes.writeStaticString("\r\n")
    }

    /// Ends the head and gives its bytes away.
    mutating func finish() -> ByteBuffer {
        bytes.writeStaticString("\r\n")
        var finished = ByteBuffer()
        swap(&bytes, &finished)
        return finished
    }

    /// The reason phrase (RFC 9110 §15); nobody reads it, but people who look at a trace.
    private static func reason(_ status: Int) -> StaticString {
        switch status {
        case 100: "Continue"
        case 200: "OK"
        case 201: "Created"
        case 202: "Accepted"
        case 204: "No Content"
        case 302: "Found"
        case 303: "See Other"
        case 304: "Not Modified"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 406: "Not Acceptable"
        case 408: "Request Timeout"
        case 409: "Conflict"
        case 413: "Content Too Large"
        case 414: "URI Too Long"
        case 415: "Unsupported Media Type"
        case 417: "Expectation Failed"
        case 421: "Misdirected Request"
        case 429: "Too Many Requests"
        case 431: "Request Header Fields Too Large"
        case 500: "Internal Server Error"
        case 501: "Not Implemented"
        case 502: "Bad Gateway"
        case 503: "Service Unavailable"
        case 504: "Gateway Timeout"
        case 505: "HTTP Version Not Supported"
        default: "Status"
        }
    }
}

extension ByteBuffer {
    /// Writes a number without making a `String`.
    mutating func writeDecimal(_ value: Int) {
        precondition(value >= 0, "lengths and statuses are not negative")
        var divisor = 1
        while value / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            writeInteger(UInt8(ascii: "0") + UInt8(value / divisor % 10))
            divisor /= 10
        }
    }

    /// Writes the frame of one chunk: its size and CRLF.
    mutating func writeChunkSize(_ size: Int) {
        var shift = 0
        while size >> shift >= 16 { shift += 4 }
        while shift >= 0 {
            let digit = UInt8(size >> shift & 15)
            writeInteger(digit < 10 ? 0x30 + digit : 0x57 + digit)
            shift -= 4
        }
        writeStaticString("\r\n")
    }
}
