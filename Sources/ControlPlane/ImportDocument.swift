import ControlStore
import GatewayModel
import GatewayPolicy
import JSON
import Networking

/// A namespace's configuration as an administrator writes it down: one JSON document that says how
/// things are to be.
///
///     {"namespace": "demo", "trustOnFirstUse": true, "policyReviewersRequired": 0,
///      "identityProviders": [{"developmentIssuer": true,
///                             "audiences": ["http://127.0.0.1:8080/"]}],
///      "subjects": [{"id": "sub_ann", "issuer": "urn:ostiary:development", "name": "ann",
///                    "groups": ["sre"]}],
///      "servers": [{"name": "demo", "url": "http://127.0.0.1:9000/mcp", "tools": {"echo": "read"},
///                   "credential": {"header": "Authorization", "file": "demo.credential"}}],
///      "policies": [{"name": "demo.cedar", "file": "demo.cedar",
///                    "layer": {"rank": "team", "name": "demo", "owned": ["MCP::Server::\"demo\""]}}]}
///
/// What is not named is left alone, except policies: the list, when it is there, is the whole
/// release; it comes into force where no other person has to look at it first. Unknown members are refused, since a misspelt restriction is none.
struct ImportDocument: Sendable {
    var namespace: NamespaceName
    var trustsOnFirstUse: Bool?
    var policyReviewersRequired: Int?
    var identityProviders: [Provider] = []
    var subjects: [Subject] = []
    var servers: [Server] = []
    var policies: [Policy]?

    enum Provider: Sendable {
        case development(audiences: [Text])
        case named(IdentityProvider)
    }

    struct Server: Sendable {
        var name: ServerName
        var url: Text
        var isEnabled: Bool
        var memberships: [Text]
        var credential: (header: Text, file: Text)?
        var tools: [(name: ToolName, effect: ToolEffect)]
    }

    struct Policy: Sendable {
        var name: Text
        var source: Content
        var layer = PolicyLayer.namespace
    }

    /// Text in the document, or the path of a file beside it.
    enum Content: Sendable {
        case text(Text)
        case file(Text)
    }
}

/// Why an import was refused.
///
/// Nothing of it was applied.
public struct ImportError: Error, CustomStringConvertible {
    /// Where in the document, and what is wrong there; for policies, with line and column.
    public let description: String

    init(_ place: String, _ problem: String) {
        description = "\(place): \(problem)"
    }
}

extension ImportDocument {
    init(parsing bytes: [UInt8]) throws(ImportError) {
        let document: JSONDocument
        do throws(JSONError) {
            document = try JSONDocument(parsing: bytes)
        } catch {
            throw ImportError("document", "\(error)")
        }
        let root = try Fields(
            document.root,
            at: "document",
            knowing: [
                "namespace", "trustOnFirstUse", "policyReviewersRequired", "identityProviders",
                "subjects", "servers", "policies",
            ]
        )
        namespace = NamespaceName(try root.text("namespace"))
        guard namespace.isWellFormed else { throw ImportError("namespace", "must be a label") }
        trustsOnFirstUse = try root.flag("trustOnFirstUse")
        policyReviewersRequired = try root.number("policyReviewersRequired", in: 0...5)
        for (value, at) in try root.list("identityProviders") {
            identityProviders.append(try Provider(value, at: at))
        }
        for (value, at) in try root.list("subjects") {
            subjects.append(try Subject(imported: value, at: at))
        }
        for (value, at) in try root.list("servers") { servers.append(try Server(value, at: at)) }
        if root.has("policies") {
            var policies: [Policy] = []
            for (value, at) in try root.list("policies") {
                let fields = try Fields(
                    value,
                    at: at,
                    knowing: ["name", "source", "file", "layer"]
                )
                var policy = Policy(
                    name: try fields.text("name"),
                    source: try fields.content("source")
                )
                if let layer = value["layer"], !layer.isNull {
                    do throws(PolicyLayer.ReadingError) {
                        policy.layer = try PolicyLayer(layer)
                    } catch {
                        throw ImportError("\(at).layer\(error.pointer)", error.reason)
                    }
                }
                policies.append(policy)
            }
            self.policies = policies
        }
    }
}

extension ImportDocument.Provider {
    fileprivate init(_ value: JSONValue, at place: String) throws(ImportError) {
        let fields = try Fields(
            value,
            at: place,
            knowing: [
                "developmentIssuer", "issuer", "jwks", "jwksUrl", "discovery",
                "allowPrivateAddresses", "audiences", "algorithms", "tokenTypes",
                "groupsPointer", "subjectPointer",
            ]
        )
        let audiences = try fields.texts("audiences") ?? []
        if try fields.flag("developmentIssuer") == true {
            self = .development(audiences: audiences)
            return
        }
        let (source, jwks) = try Self.keys(of: value, fields, at: place)
        self = .named(
            IdentityProvider(
                issuer: try fields.text("issuer"),
                jwks: jwks,
                keySource: source,
                allowsPrivateAddresses: try fields.flag("allowPrivateAddresses") ?? false,
                audiences: audiences,
                algorithms: try fields.texts("algorithms") ?? ["ES256", "RS256"],
                tokenTypes: try fields.texts("tokenTypes") ?? ["at+jwt"],
                groupsPointer: try fields.optionalText("groupsPointer") ?? "",
                subjectPointer: try fields.optionalText("subjectPointer") ?? ""
            )
        )
    }
}

extension ImportDocument.Provider {
    /// Exactly one of three says where the keys come from.
    private static func keys(
        of value: JSONValue,
        _ fields: Fields,
        at place: String
    ) throws(ImportError) -> (IdentityProvider.KeySource, Text) {
        let url = try fields.optionalText("jwksUrl")
        let discovers = try fields.flag("discovery") ?? false
        switch (value["jwks"], url, discovers) {
        case (let jwks?, nil, false):
            guard jwks["keys"]?.kind == .array else {
                throw ImportError(place + ".jwks", "must be a JSON Web Key Set")
            }
            return (.uploaded, Text(String(decoding: jwks.serialized(), as: UTF8.self)))
        case (nil, let url?, false):
            guard HTTPLocation(url.string) != nil else {
                throw ImportError(place + ".jwksUrl", "must be a plain URL")
            }
            return (.url(url), IdentityProvider.noKeys)
        case (nil, nil, true):
            return (.discovery, IdentityProvider.noKeys)
        default:
            throw ImportError(place, "must have exactly one of jwks, jwksUrl and discovery")
        }
    }
}

extension Subject {
    fileprivate init(imported value: JSONValue, at place: String) throws(ImportError) {
        let fields = try Fields(
            value,
            at: place,
            knowing: ["id", "issuer", "name", "kind", "status", "groups", "attributes"]
        )
        var attributes: [Text: Text] = [:]
        for (key, value) in value["attributes"]?.members ?? emptyMembers {
            guard let text = value.string else {
                throw ImportError("\(place).attributes", "must be strings")
            }
            attributes[key.text] = text
        }
        self.init(
            id: SubjectID(try fields.text("id")),
            issuer: try fields.text("issuer"),
            name: try fields.text("name"),
            kind: try fields.choice("kind", default: .user),
            status: try fields.choice("status", default: .active),
            groups: try fields.texts("groups") ?? [],
            attributes: attributes
        )
    }
}

extension ImportDocument.Server {
    fileprivate init(_ value: JSONValue, at place: String) throws(ImportError) {
        let fields = try Fields(
            value,
            at: place,
            knowing: ["name", "url", "enabled", "memberships", "credential", "tools"]
        )
        name = ServerName(try fields.text("name"))
        guard name.isWellFormed else { throw ImportError(place + ".name", "must be a label") }
        guard !MCPEntities.isReserved(name) else {
            throw ImportError(
                place + ".name",
                "begins the names of methods: no tool could be told from one"
            )
        }
        url = try fields.text("url")
        isEnabled = try fields.flag("enabled") ?? true
        memberships = try fields.texts("memberships") ?? []
        // What proxies could not read would stop them from taking the whole configuration.
        guard memberships.allSatisfy({ MCPEntities.uid(cedarText: $0) != nil }) else {
            throw ImportError(place + ".memberships", "must be like Type::\"id\"")
        }
        if let credential = value["credential"] {
            let its = try Fields(
                credential,
                at: place + ".credential",
                knowing: ["header", "file"]
            )
            self.credential = (try its.text("header"), try its.text("file"))
        }
        tools = []
        for (key, value) in value["tools"]?.members ?? emptyMembers {
            guard let effect = value.string.flatMap({ ToolEffect(rawValue: $0.string) }) else {
                throw ImportError(
                    place + ".tools",
                    "must be read, write, destructive or cluster-admin"
                )
            }
            tools.append((ToolName(key.text), effect))
        }
    }
}

private let emptyMembers: JSONMembers = {
    guard let document = try? JSONDocument(parsing: "{}") else {
        preconditionFailure("an empty object is JSON")
    }
    return document.root.members
}()

/// The members of one object, each read as what it must be.
private struct Fields {
    private let value: JSONValue
    private let place: String

    init(_ value: JSONValue, at place: String, knowing names: Set<Text>) throws(ImportError) {
        guard value.kind == .object else { throw ImportError(place, "must be an object") }
        for (key, _) in value.members where !names.contains(key.text) {
            throw ImportError(place, "has an unknown member")
        }
        (self.value, self.place) = (value, place)
    }

    func has(_ name: StaticString) -> Bool { value[name] != nil }

    func text(_ name: StaticString) throws(ImportError) -> Text {
        guard let text = try optionalText(name), !text.isEmpty else {
            throw ImportError("\(place).\(name)", "is missing")
        }
        return text
    }

    func optionalText(_ name: StaticString) throws(ImportError) -> Text? {
        guard let member = value[name] else { return nil }
        guard let text = member.string else {
            throw ImportError("\(place).\(name)", "must be a string")
        }
        return text
    }

    func number(
        _ name: StaticString,
        in range: ClosedRange<Int64>
    ) throws(ImportError) -> Int? {
        guard let member = value[name] else { return nil }
        guard let number = member.int64, range.contains(number) else {
            throw ImportError(
                "\(place).\(name)",
                "must be \(range.lowerBound) to \(range.upperBound)"
            )
        }
        return Int(number)
    }

    func flag(_ name: StaticString) throws(ImportError) -> Bool? {
        guard let member = value[name] else { return nil }
        guard let flag = member.boolean else {
            throw ImportError("\(place).\(name)", "must be true or false")
        }
        return flag
    }

    func texts(_ name: StaticString) throws(ImportError) -> [Text]? {
        guard let member = value[name] else { return nil }
        let texts = member.elements.compactMap(\.string)
        guard member.kind == .array, texts.count == member.count else {
            throw ImportError("\(place).\(name)", "must be an array of strings")
        }
        return texts
    }

    func list(_ name: StaticString) throws(ImportError) -> [(JSONValue, String)] {
        guard let member = value[name] else { return [] }
        guard member.kind == .array else {
            throw ImportError("\(place).\(name)", "must be an array")
        }
        return member.elements.enumerated().map { ($1, "\(name)[\($0)]") }
    }

    func choice<Value: RawRepresentable<String>>(
        _ name: StaticString,
        default standard: Value
    ) throws(ImportError) -> Value {
        guard let text = try optionalText(name) else { return standard }
        guard let value = Value(rawValue: text.string) else {
            throw ImportError("\(place).\(name)", "is not one of the known values")
        }
        return value
    }

    func content(_ name: StaticString) throws(ImportError) -> ImportDocument.Content {
        if let text = try optionalText(name) { return .text(text) }
        return .file(try text("file"))
    }
}
