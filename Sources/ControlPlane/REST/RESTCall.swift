import AdminAPI
import ControlStore
import Cryptography
import GatewayModel
import JSON
import ServiceRuntime

/// A request that was let in: who asks for what, read and checked.
struct RESTCall: Sendable {
    let operation: Operation
    /// The parameters of the path, in order.
    let parameters: [Text]
    let query: [Text: Text]
    /// Checked against the operation's schema.
    let body: JSONValue?
    let ifMatch: Text?
    let caller: APITokenRow
    let requestID: Text
    /// Of an operation on a namespace: that one, locked when it is changed.
    var namespace: NamespaceRow?
    /// What was fetched before the transaction began.
    var prepared = Prepared()

    /// What a handler needs and must not fetch inside a transaction.
    struct Prepared: Sendable {
        var vault: CredentialVault?
        var keySet: Text?
    }

    /// The id of the namespace.
    var namespaceID: NamespaceID {
        get throws(Problem) {
            guard let namespace else { throw Problem(.internalError) }
            return namespace.namespace.id
        }
    }

    /// The namespace of an operation on one.
    var itsNamespace: Namespace {
        get throws(Problem) {
            guard let namespace else { throw Problem(.internalError) }
            return namespace.namespace
        }
    }

    /// The page that is asked for.
    var page: PageRequest {
        get throws(Problem) {
            if let items = query["limit"].flatMap({ Int($0.string) }), items > PageRequest.limitMax
            {
                Limit.restPageItems.reached()
            }
            return try PageRequest(limit: query["limit"], cursor: query["cursor"])
        }
    }

    /// A member that the schema requires.
    func text(_ name: StaticString) throws(Problem) -> Text {
        guard let text = body?[name]?.string else { throw Problem(.internalError) }
        return text
    }

    func texts(_ name: StaticString) -> [Text]? {
        body?[name].map { $0.elements.compactMap(\.string) }
    }

    /// Who goes on record.
    func entry(on target: Text, after: [UInt8]?, of namespace: NamespaceID?) -> AdminEntry {
        AdminEntry(
            namespace: namespace,
            actor: caller.id,
            actorName: caller.name,
            requestID: requestID,
            operation: Text(operation.id.rawValue),
            target: target,
            after: after
        )
    }
}

/// What a request is answered with.
struct RESTAnswer: Sendable, Equatable {
    var status: Int
    var body: [UInt8]?
    var etag: Text?
    var location: Text?

    /// A resource, with the strong validator that its bytes make (RFC 9110 §8.8.1).
    static func resource(_ body: [UInt8], status: Int = 200, location: Text? = nil) -> Self {
        Self(status: status, body: body, etag: etag(of: body), location: location)
    }

    static let nothing = Self(status: 204)

    static func etag(of body: [UInt8]) -> Text {
        Text("\"\(Base64.encode(SHA256.digest(of: body).bytes.prefix(18), .url))\"")
    }
}

extension RESTAnswer {
    /// As it is kept for a request that is sent again.
    func kept() -> [UInt8] {
        var writer = JSONWriter()
        writer.object { writer in
            writer.member("status", Int64(status))
            writer.member("body", ifPresent: body.map { Text(String(decoding: $0, as: UTF8.self)) })
            writer.member("etag", ifPresent: etag)
            writer.member("location", ifPresent: location)
        }
        return writer.finish()
    }

    init?(kept bytes: [UInt8]) {
        guard let root = try? JSONDocument(parsing: bytes).root, let status = root["status"]?.int64
        else { return nil }
        self.status = Int(status)
        body = root["body"]?.string.map { Array($0.utf8) }
        etag = root["etag"]?.string
        location = root["location"]?.string
    }
}

extension RESTCall {
    /// Whether this version may be changed (RFC 9110 §13.1.1: strong comparison).
    func requireMatch(_ body: [UInt8]) throws(Problem) {
        guard let ifMatch else { throw Problem(.preconditionRequired) }
        let current = RESTAnswer.etag(of: body)
        let listed = ifMatch.utf8.split(separator: UInt8(ascii: ",")).map { piece in
            Text(String(decoding: piece, as: UTF8.self).trimmed)
        }
        guard listed.contains("*") || listed.contains(current) else {
            throw Problem(.preconditionFailed, "read it again, then decide again")
        }
    }
}

extension String {
    fileprivate var trimmed: Substring {
        var text = self[...]
        while text.first == " " || text.first == "\t" { text.removeFirst() }
        while text.last == " " || text.last == "\t" { text.removeLast() }
        return text
    }
}
