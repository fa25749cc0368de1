public import JSON

/// Name and version of a program, as it appears in `clientInfo` and `serverInfo`.
public struct Implementation: Hashable, Sendable, JSONWritable {
    /// The program's name.
    public let name: Text
    /// The program's version.
    public let version: Text
    /// A name for people.
    public let title: Text?

    /// Names a program.
    public init(name: Text, version: Text, title: Text? = nil) {
        (self.name, self.version, self.title) = (name, version, title)
    }

    /// Writes the object.
    public func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("name", name)
            writer.member("title", ifPresent: title)
            writer.member("version", version)
        }
    }
}

/// How long a client may keep a result, and for whom (2026-07-28).
public struct CachingHints: Hashable, Sendable {
    /// Milliseconds, 0 or more.
    public var ttlMs: Int64
    /// Whether the result may be shown to other callers too.
    public var isPublic: Bool

    /// Makes hints.
    public init(ttlMs: Int64, isPublic: Bool = false) {
        (self.ttlMs, self.isPublic) = (ttlMs, isPublic)
    }

    /// What every list gets: it was filtered for one caller, and permissions end without notice.
    public static let privateAndStale = CachingHints(ttlMs: 0)
}

/// Writes the answers to one request, in the revision its client speaks.
///
/// Results of servers are written again member by member: ids, cursors, hints and hop metadata are ours, the rest
/// is theirs. What 2026-07-28 demands of a result is added for modern clients and taken away for legacy ones.
public struct ResponseBuilder: Sendable {
    /// The revision the client speaks.
    public let revision: ProtocolRevision
    /// The client's id of the request.
    public let id: RequestID
    /// Who answers.
    public let server: Implementation

    /// Prepares the answer to a request.
    public init(revision: ProtocolRevision, id: RequestID, server: Implementation) {
        (self.revision, self.id, self.server) = (revision, id, server)
    }

    // MARK: Answers of the gateway itself

    /// The result of a handshake; its version is this builder's revision.
    public func initialize(capabilities: JSONFragment, instructions: Text? = nil) -> [UInt8] {
        RPCBody.result(id: id) { writer in
            writer.object { writer in
                writer.member("protocolVersion", revision.rawValue)
                writer.member("capabilities", capabilities)
                writer.member("serverInfo", server)
                writer.member("instructions", ifPresent: instructions)
            }
        }
    }

    /// The result of `server/discover`, naming the modern revisions among those served.
    ///
    /// Legacy ones are left out: the client is told to use one of these with the envelope.
    public func discover(
        served: [ProtocolRevision],
        capabilities: JSONFragment,
        instructions: Text? = nil,
        hints: CachingHints = .privateAndStale
    ) -> [UInt8] {
        result(hints: hints) { writer in
            writer.array("supportedVersions") { writer in
                for revision in served where revision.era == .modern {
                    writer.value(revision.rawValue)
                }
            }
            writer.member("capabilities", capabilities)
            writer.member("instructions", ifPresent: instructions)
        }
    }

    /// An empty result, for `ping` and the like.
    public func empty() -> [UInt8] {
        result { _ in }
    }

    /// An error.
    public func error(_ error: RPCError) -> [UInt8] {
        RPCBody.error(id: id, error)
    }

    /// A refused or failed tool call, so that the model sees why.
    ///
    /// HTTP 200 and a result with `isError`: other statuses and protocol errors get lost in many clients. `decision`
    /// is for programs and goes to `_meta`.
    public func toolError(_ text: Text, decision: JSONFragment? = nil) -> [UInt8] {
        result(decision: decision) { writer in
            writer.array("content") { writer in
                writer.object { writer in
                    writer.member("type", "text")
                    writer.member("text", text)
                }
            }
            writer.member("isError", true)
        }
    }

    // MARK: Results of servers

    /// A page of `tools/list` with the tools that the caller may see.
    ///
    /// `isVisible` gets a tool's name and definition. `nextCursor` is the gateway's own; the server's is dropped. A
    /// page may become empty and still have a successor.
    public func toolsList<E: Error>(
        from upstream: JSONValue,
        nextCursor: Text? = nil,
        hints: CachingHints = .privateAndStale,
        where isVisible: (Text, JSONValue) throws(E) -> Bool
    ) throws(E) -> [UInt8] {
        var tools: [JSONValue] = []
        for tool in upstream["tools"]?.elements ?? JSONValue.noElements {
            guard let name = tool["name"]?.string, try isVisible(name, tool) else { continue }
            tools.append(tool)
        }
        return toolsList(
            tools,
            copying: upstream,
            nextCursor: nextCursor,
            hints: hints
        )
    }

    /// A page of `tools/list` that the gateway composes from definitions it keeps.
    ///
    /// `decision` gets a tool's position and says what the gateway has to say about it, if anything.
    public func toolsList(
        _ tools: [JSONValue],
        nextCursor: Text? = nil,
        hints: CachingHints = .privateAndStale,
        decision: (Int) -> JSONFragment? = { _ in nil }
    ) -> [UInt8] {
        toolsList(tools, copying: nil, nextCursor: nextCursor, hints: hints, decision: decision)
    }

    private func toolsList(
        _ tools: [JSONValue],
        copying upstream: JSONValue?,
        nextCursor: Text?,
        hints: CachingHints,
        decision: (Int) -> JSONFragment? = { _ in nil }
    ) -> [UInt8] {
        let capacity = tools.reduce(512) { $0 + $1.sourceRange.count }
        return result(copying: upstream, hints: hints, capacity: capacity) { writer in
            writer.array("tools") { writer in
                for (position, tool) in tools.enumerated() {
                    write(tool: tool, decision(position), to: &writer)
                }
            }
            writer.member("nextCursor", ifPresent: nextCursor)
        }
    }

    /// Writes a tool as this revision knows tools.
    private func write(
        tool: JSONValue,
        _ decision: JSONFragment?,
        to writer: inout JSONWriter
    ) {
        var dropped: [StaticString] = []
        if !revision.hasToolExecution, tool["execution"] != nil { dropped.append("execution") }
        // Legacy clients validate structured content against an object schema, and fail on any other.
        if !revision.allowsAnyStructuredContent, let schema = tool["outputSchema"],
            schema["type"]?.stringEquals("object") != true
        {
            dropped.append("outputSchema")
        }
        guard let decision else {
            guard dropped.isEmpty else { return writer.object(copying: tool, except: dropped) }
            return writer.value(tool)
        }
        writer.object(copying: tool, except: dropped + ["_meta"]) { writer in
            writer.object("_meta") { writer in
                writer.passingMembers(of: tool["_meta"])
                writer.member(MetaKey.decision, decision)
            }
        }
    }

    /// The result of a tool call.
    public func toolCall(from upstream: JSONValue, decision: JSONFragment? = nil) -> [UInt8] {
        let structured = upstream["structuredContent"]
        let isDropped =
            structured != nil && structured?.kind != .object
            && !revision.allowsAnyStructuredContent
        return result(
            copying: upstream,
            except: isDropped ? ["structuredContent"] : [],
            decision: decision,
            capacity: upstream.sourceRange.count + 256
        ) { writer in
            if upstream["content"] == nil { writer.array("content") { _ in } }
        }
    }

    // MARK: The envelope of a result

    /// Members of a server's result that belong to its hop and are written anew, or not at all.
    private static let hopMembers: [StaticString] = ["resultType", "_meta"]
    private static let listMembers: [StaticString] = ["ttlMs", "cacheScope", "tools", "nextCursor"]

    private func result(
        copying upstream: JSONValue? = nil,
        except names: [StaticString] = [],
        hints: CachingHints? = nil,
        decision: JSONFragment? = nil,
        capacity: Int = 512,
        _ members: (inout JSONWriter) -> Void
    ) -> [UInt8] {
        RPCBody.result(id: id, capacity: capacity) { writer in
            writer.object { writer in
                if revision.hasResultEnvelope { writer.member("resultType", "complete") }
                if let upstream {
                    let dropped = Self.hopMembers + (hints == nil ? [] : Self.listMembers) + names
                    writer.members(of: upstream, except: dropped)
                }
                members(&writer)
                if let hints, revision.hasResultEnvelope {
                    writer.member("ttlMs", hints.ttlMs)
                    writer.member("cacheScope", hints.isPublic ? "public" : "private")
                }
                meta(of: upstream, decision: decision, to: &writer)
            }
        }
    }

    private func meta(
        of upstream: JSONValue?,
        decision: JSONFragment?,
        to writer: inout JSONWriter
    ) {
        let meta = upstream?["_meta"]
        guard revision.hasResultEnvelope || decision != nil || JSONWriter.hasPassingMembers(meta)
        else { return }
        writer.object("_meta") { writer in
            writer.passingMembers(of: meta)
            if revision.hasResultEnvelope { writer.member(MetaKey.serverInfo, server) }
            writer.member(MetaKey.decision, ifPresent: decision)
        }
    }
}

/// What a gateway may offer of a server's capabilities.
public enum ServerCapabilities {
    /// The server's capabilities reduced to what the gateway carries.
    ///
    /// `listChanged` and `subscribe` are promises about pushing, so they are the gateway's to make, never copied.
    public static func carried(
        from upstream: JSONValue?,
        names: [StaticString] = ["tools"],
        pushesListChanges: Bool = false
    ) -> JSONFragment {
        JSONFragment { writer in
            for name in names {
                guard let capability = upstream?[name], capability.kind == .object else { continue }
                writer.key(name)
                writer.object(copying: capability, except: ["listChanged", "subscribe"]) { writer in
                    if pushesListChanges { writer.member("listChanged", true) }
                }
            }
        }
    }
}

extension JSONValue {
    /// The elements of nothing.
    static var noElements: JSONElements { emptyArray.elements }

    private static let emptyArray: JSONValue = {
        do {
            return try JSONDocument(parsing: "[]").root
        } catch {
            preconditionFailure("an empty array is valid JSON")
        }
    }()
}
