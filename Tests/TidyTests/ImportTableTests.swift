import Testing

/// The import table of docs/ARCHITECTURE.md, held against `Sources/` and Package.swift.
///
/// The compiler does not keep it: a warm build lets a target import what it does not declare.
@Suite struct ImportTableTests {
    /// Our own modules that each target may import, lowest band first.
    ///
    /// An absent edge is a design decision.
    static let table: [String: Set<String>] = [
        // foundation
        "JSON": [],
        "Cryptography": ["COpenSSL"],
        "Compression": ["CZlib"],
        // vocabulary
        "GatewayModel": ["JSON"],
        // pure core
        "Cedar": ["JSON"],
        "GatewayPolicy": ["Cedar", "GatewayModel", "JSON"],
        "PolicyConformance": ["Cedar", "GatewayPolicy", "JSON"],
        "AuditLog": ["Cryptography", "GatewayModel", "JSON"],
        // wire codecs
        "MCPProtocol": ["GatewayModel", "JSON"],
        "ControlProtocol": ["GatewayModel", "JSON"],
        "IdentityProtocols": ["Cryptography", "GatewayModel", "JSON"],
        "AdminAPI": ["GatewayModel", "JSON"],
        // infrastructure
        "ServiceRuntime": ["Cryptography", "GatewayModel", "JSON", "Networking"],
        "Networking": ["CNghttp2", "Cryptography"],
        "Postgres": ["CLibpq"],
        "ControlStore": ["AuditLog", "Cryptography", "GatewayModel", "JSON", "Postgres"],
        // services
        "DataPlane": [
            "AuditLog", "Cedar", "ControlProtocol", "Cryptography", "GatewayModel", "GatewayPolicy",
            "IdentityProtocols", "JSON", "MCPProtocol", "Networking", "ServiceRuntime",
        ],
        "ControlPlane": [
            "AdminAPI", "AuditLog", "Cedar", "Compression", "ControlProtocol", "ControlStore",
            "Cryptography", "GatewayModel", "GatewayPolicy", "IdentityProtocols", "JSON",
            "Networking", "Postgres",
            "ServiceRuntime",
        ],
        // executables
        "ostiary-proxy": ["DataPlane", "ServiceRuntime"],
        "ostiary-control": ["ControlPlane", "ServiceRuntime"],
        "ostiary": [
            "AdminAPI", "AuditLog", "Cedar", "Compression", "Cryptography", "GatewayModel",
            "GatewayPolicy", "JSON", "Networking", "PolicyConformance",
        ],
    ]

    /// Modules that bring I/O, clocks or processes; the pure targets import none of them.
    static let impure: Set<String> = [
        "Foundation", "FoundationEssentials", "Glibc", "Dispatch", "NIOCore", "NIOHTTP1",
        "NIOPosix", "Logging", "Synchronization",
    ]

    static let pureTargets: Set<String> = [
        "JSON", "GatewayModel", "Cedar", "GatewayPolicy", "PolicyConformance", "AuditLog",
        "MCPProtocol", "ControlProtocol", "IdentityProtocols", "AdminAPI",
    ]

    @Test func `every target imports only what the table allows`() throws {
        for file in try SourceTree().swiftFiles(below: "Sources") {
            let allowed = try #require(
                Self.table[file.target],
                "\(file.target) is not in the import table: add it there and to docs/ARCHITECTURE.md"
            )
            let ours = file.imports.intersection(
                Set(Self.table.keys).union(Self.homes.keys)
            )
            let excess = ours.subtracting(allowed)
            #expect(
                excess.isEmpty,
                "\(file.path) imports \(excess.sorted()), which the table does not allow"
            )
        }
    }

    @Test func `pure targets know no clock, no file and no thread`() throws {
        for file in try SourceTree().swiftFiles(below: "Sources")
        where Self.pureTargets.contains(file.target) {
            var excess = file.imports.intersection(Self.impure)
            if file.target == "ControlProtocol" {
                // Only for Data, the type of protobuf's bytes fields.
                excess.remove("FoundationEssentials")
            }
            #expect(
                excess.isEmpty,
                "\(file.path) imports \(excess.sorted()): take the value as a parameter"
            )
        }
    }

    /// The one module behind which each C library stays.
    static let homes = [
        "COpenSSL": "Cryptography", "CNghttp2": "Networking", "CLibpq": "Postgres",
        "CZlib": "Compression",
    ]

    @Test func `each C library stays behind one module`() throws {
        for file in try SourceTree().swiftFiles(below: "Sources") {
            for (library, home) in Self.homes where file.imports.contains(library) {
                #expect(file.target == home, "\(file.path) reaches past \(home) for \(library)")
            }
        }
    }

    @Test func `the table stands in docs/ARCHITECTURE.md`() throws {
        let text = try SourceTree().text(of: "docs/ARCHITECTURE.md")
        for target in Self.table.keys {
            #expect(text.contains("`\(target)`"), "docs/ARCHITECTURE.md does not name `\(target)`")
        }
    }
}
