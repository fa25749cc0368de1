public import JSON

/// The id of a request: a string or an integer, never null, never a fraction.
///
/// Integers must be spelled as we would spell them. `1.0` and `-0` are the same id to one peer and another id, or
/// none, to the next, and ids decide which answer belongs to whom.
public enum RequestID: Hashable, Sendable, JSONWritable {
    /// An integer.
    case integer(Int64)
    /// A string.
    case string(Text)

    /// The longest string id, in UTF-8 bytes.
    public static let bytesMax = 512

    /// Reads an id, or nothing if the value may not be one.
    public init?(_ value: JSONValue) {
        switch value.kind {
        case .string:
            guard let string = value.string, string.byteCount <= Self.bytesMax else { return nil }
            self = .string(string)
        case .number:
            guard let integer = value.int64, value.numberLexeme == Text(String(integer)) else {
                return nil
            }
            self = .integer(integer)
        default:
            return nil
        }
    }

    /// Writes the id as it was.
    public func write(to writer: inout JSONWriter) {
        switch self {
        case .integer(let integer): writer.value(integer)
        case .string(let string): writer.value(string)
        }
    }
}

/// One JSON-RPC 2.0 message, read strictly.
///
/// What kind it is follows from its members and from nothing else. Anything that two readers could sort
/// differently (a method beside a result, a null id, an array) is refused.
public enum Message: Sendable {
    /// Wants an answer.
    case request(Request)
    /// Wants none. A request method without an id is this, and is never executed.
    case notification(Notification)
    /// Answers a request of ours.
    case response(Response)

    /// A message that wants an answer.
    public struct Request: Sendable {
        /// The sender's id for it.
        public let id: RequestID
        /// The method, known or not.
        public let method: Text
        /// The parameters as sent, of any kind.
        public let params: JSONValue?
    }

    /// A message that wants no answer.
    public struct Notification: Sendable {
        /// The method, known or not.
        public let method: Text
        /// The parameters as sent, of any kind.
        public let params: JSONValue?
    }

    /// An answer.
    public struct Response: Sendable {
        /// The id of the request; missing only on an error whose cause made the id unreadable.
        public let id: RequestID?
        /// What came of it.
        public let outcome: Outcome
    }

    /// What came of a request.
    public enum Outcome: Sendable {
        /// It succeeded with this result, which is an object.
        case result(JSONValue)
        /// It failed.
        case error(ReceivedError)
    }

    /// An error object as received.
    public struct ReceivedError: Sendable {
        /// The code; any integer.
        public let code: Int64
        /// The sentence.
        public let message: Text
        /// Details.
        public let data: JSONValue?
    }

    /// Why a body is no message.
    public enum Refusal: Error, Hashable, Sendable, CaseIterable {
        /// An array of messages where one message is expected.
        case batch
        /// Neither an object nor an array.
        case notAnObject
        /// The member `jsonrpc` is not exactly "2.0".
        case versionMissing
        /// An id that is null, a fraction, an object, too long or oddly spelled.
        case invalidID
        /// A method that is not a string, or is empty or too long.
        case invalidMethod
        /// A method beside a result or an error.
        case methodWithOutcome
        /// Both a result and an error.
        case resultWithError
        /// Neither a method, nor a result, nor an error.
        case shapeless
        /// A result without an id, or one that is no object.
        case invalidResult
        /// An error object without integer code and string message.
        case invalidError
    }

    /// The longest method name, in UTF-8 bytes.
    public static let methodBytesMax = 256

    /// Reads a message.
    public init(_ value: JSONValue) throws(Refusal) {
        guard value.kind == .object else {
            throw value.kind == .array ? .batch : .notAnObject
        }
        // One walk instead of a lookup per member: this is on the way of every call.
        var (version, id, method, params): (JSONValue?, JSONValue?, JSONValue?, JSONValue?)
        var (result, error): (JSONValue?, JSONValue?)
        for (key, member) in value.members {
            if key.equals("jsonrpc") {
                version = member
            } else if key.equals("id") {
                id = member
            } else if key.equals("method") {
                method = member
            } else if key.equals("params") {
                params = member
            } else if key.equals("result") {
                result = member
            } else if key.equals("error") {
                error = member
            }
        }
        guard let version, version.stringEquals("2.0") else { throw .versionMissing }
        if let method {
            guard result == nil, error == nil else { throw .methodWithOutcome }
            guard let name = method.string, !name.isEmpty, name.byteCount <= Self.methodBytesMax
            else { throw .invalidMethod }
            guard let id else {
                self = .notification(Notification(method: name, params: params))
                return
            }
            guard let id = RequestID(id) else { throw .invalidID }
            self = .request(Request(id: id, method: name, params: params))
        } else {
            self = .response(try Self.response(id: id, result: result, error: error))
        }
    }

    private static func response(
        id: JSONValue?,
        result: JSONValue?,
        error: JSONValue?
    ) throws(Refusal) -> Response {
        switch (result, error) {
        case (nil, nil): throw .shapeless
        case (.some, .some): throw .resultWithError
        case (let result?, nil):
            guard let id else { throw .invalidResult }
            guard let id = RequestID(id) else { throw .invalidID }
            guard result.kind == .object else { throw .invalidResult }
            return Response(id: id, outcome: .result(result))
        case (nil, let error?):
            guard let code = error["code"]?.int64, let message = error["message"]?.string else {
                throw .invalidError
            }
            let received = ReceivedError(code: code, message: message, data: error["data"])
            guard let id, !id.isNull else { return Response(id: nil, outcome: .error(received)) }
            guard let id = RequestID(id) else { throw .invalidID }
            return Response(id: id, outcome: .error(received))
        }
    }
}

/// Writes JSON-RPC messages, each a complete body.
enum RPCBody {
    static func request<E: Error>(
        id: RequestID,
        method: StaticString,
        capacity: Int = 512,
        params: (inout JSONWriter) throws(E) -> Void
    ) throws(E) -> [UInt8] {
        var writer = JSONWriter(capacity: capacity)
        try writer.object { (writer) throws(E) in
            writer.member("jsonrpc", "2.0")
            writer.member("id", id)
            writer.member("method", "\(method)")
            try writer.object("params", params)
        }
        return writer.finish()
    }

    static func notification(
        method: StaticString,
        params: ((inout JSONWriter) -> Void)? = nil
    ) -> [UInt8] {
        var writer = JSONWriter()
        writer.object { writer in
            writer.member("jsonrpc", "2.0")
            writer.member("method", "\(method)")
            if let params { writer.object("params", params) }
        }
        return writer.finish()
    }

    static func result(
        id: RequestID,
        capacity: Int = 512,
        _ result: (inout JSONWriter) -> Void
    ) -> [UInt8] {
        var writer = JSONWriter(capacity: capacity)
        writer.object { writer in
            writer.member("jsonrpc", "2.0")
            writer.member("id", id)
            writer.key("result")
            result(&writer)
        }
        return writer.finish()
    }

    /// An error; without an id it says `null`, as JSON-RPC wants it when the id could not be read.
    static func error(id: RequestID?, _ error: RPCError) -> [UInt8] {
        var writer = JSONWriter()
        writer.object { writer in
            writer.member("jsonrpc", "2.0")
            writer.key("id")
            if let id { writer.value(id) } else { writer.null() }
            writer.member("error", error)
        }
        return writer.finish()
    }
}
