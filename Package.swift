// swift-tools-version: 6.2
import PackageDescription

// One screen of targets, lowest band first (docs/ARCHITECTURE.md, "Modules"). A target imports only from
// bands below it and along the arrows named here; TidyTests holds Sources/ against the same table.

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    // Plain async functions run on their caller's executor: the way of a call never leaves its event loop.
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let metrics: Target.Dependency = .product(name: "CoreMetrics", package: "swift-metrics")
let protobuf: Target.Dependency = .product(name: "SwiftProtobuf", package: "swift-protobuf")
let lifecycle: Target.Dependency = .product(
    name: "ServiceLifecycle",
    package: "swift-service-lifecycle"
)
let configuration: Target.Dependency = .product(
    name: "Configuration",
    package: "swift-configuration"
)
let arguments: Target.Dependency = .product(
    name: "ArgumentParser",
    package: "swift-argument-parser"
)

let hummingbird: Target.Dependency = .product(name: "HummingbirdCore", package: "hummingbird")
let httpTypes: Target.Dependency = .product(name: "HTTPTypes", package: "swift-http-types")

func system(_ name: String, pkgConfig: String, apt: String) -> Target {
    .systemLibrary(name: name, pkgConfig: pkgConfig, providers: [.apt([apt])])
}

func library(
    _ name: String,
    _ dependencies: [Target.Dependency] = [],
    exclude: [String] = []
) -> Target {
    .target(name: name, dependencies: dependencies, exclude: exclude, swiftSettings: settings)
}

func executable(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(name: name, dependencies: dependencies, swiftSettings: settings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies, swiftSettings: settings)
}

let package = Package(
    name: "ostiary",
    products: [
        // For Benchmarks/, a package of its own.
        .library(name: "Networking", targets: ["Networking"]),
        .library(name: "Cedar", targets: ["Cedar"]),
        .library(name: "GatewayModel", targets: ["GatewayModel"]),
        .library(name: "GatewayPolicy", targets: ["GatewayPolicy"]),
        .library(name: "JSON", targets: ["JSON"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
        .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", exact: "2.13.0"),
        .package(url: "https://github.com/apple/swift-configuration", exact: "1.4.0", traits: []),
        .package(url: "https://github.com/apple/swift-protobuf", exact: "1.39.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", exact: "2.13.0"),
        .package(
            url: "https://github.com/hummingbird-project/hummingbird",
            exact: "2.28.1",
            traits: []
        ),
        .package(url: "https://github.com/apple/swift-http-types", exact: "1.8.0", traits: []),
    ],
    targets: [
        // Foundation: the one JSON reader and writer, the one crypto boundary.
        system("COpenSSL", pkgConfig: "openssl", apt: "libssl-dev"),
        library("JSON"),
        library("Cryptography", ["COpenSSL"]),
        system("CZlib", pkgConfig: "zlib", apt: "zlib1g-dev"),
        library("Compression", ["CZlib"]),

        // Vocabulary.
        library("GatewayModel", ["JSON"]),

        // Pure core: no I/O, no clock.
        library("Cedar", ["JSON"]),
        library("GatewayPolicy", ["Cedar", "GatewayModel", "JSON"]),
        library("PolicyConformance", ["Cedar", "GatewayPolicy", "JSON"]),
        library("AuditLog", ["Cryptography", "GatewayModel", "JSON"]),

        // Wire codecs: bytes to values and back, no I/O.
        library("MCPProtocol", ["GatewayModel", "JSON"]),
        library("ControlProtocol", ["GatewayModel", "JSON", protobuf], exclude: ["control.proto"]),
        library("IdentityProtocols", ["Cryptography", "GatewayModel", "JSON"]),
        library("AdminAPI", ["GatewayModel", "JSON"]),

        // Infrastructure: I/O, no business rules.
        system("CNghttp2", pkgConfig: "libnghttp2", apt: "libnghttp2-dev"),
        system("CLibpq", pkgConfig: "libpq", apt: "libpq-dev"),
        library("Networking", ["CNghttp2", "Cryptography", metrics, nioCore, nioPosix]),
        library("Postgres", ["CLibpq", logging, metrics]),
        library(
            "ServiceRuntime",
            [
                "Cryptography", "GatewayModel", "JSON", "Networking", configuration, lifecycle,
                logging, metrics, nioCore,
            ]
        ),

        library(
            "ControlStore",
            ["AuditLog", "Cryptography", "GatewayModel", "JSON", "Postgres"]
        ),

        // Services.
        library(
            "ControlPlane",
            [
                "AdminAPI", "AuditLog", "Cedar", "Compression", "ControlProtocol", "ControlStore",
                "Cryptography",
                "GatewayModel", "GatewayPolicy", "IdentityProtocols", "JSON", "Networking",
                "Postgres", "ServiceRuntime", httpTypes, hummingbird, lifecycle, logging, metrics,
                nioCore, nioHTTP1, protobuf,
            ]
        ),
        library(
            "DataPlane",
            [
                "AuditLog", "Cedar", "ControlProtocol", "Cryptography", "GatewayModel",
                "GatewayPolicy", "IdentityProtocols", "JSON", "MCPProtocol", "Networking",
                "ServiceRuntime", lifecycle, logging, metrics, nioCore, protobuf,
            ]
        ),
        executable(
            "ostiary-control",
            ["ControlPlane", "ServiceRuntime", arguments, logging]
        ),
        executable("ostiary-proxy", ["DataPlane", "ServiceRuntime", logging]),
        executable(
            "ostiary",
            [
                "AdminAPI", "Cedar", "Compression", "Cryptography", "GatewayModel", "GatewayPolicy",
                "JSON", "Networking", "PolicyConformance", arguments, nioCore,
            ]
        ),

        tests("JSONTests", ["JSON"]),
        tests("CryptographyTests", ["Cryptography"]),
        tests("CompressionTests", ["Compression"]),
        tests("CedarTests", ["Cedar", "Compression", "JSON", "PolicyConformance"]),
        tests("AuditLogTests", ["AuditLog", "Cryptography", "GatewayModel", "JSON"]),
        tests("GatewayPolicyTests", ["GatewayPolicy", "Cedar", "GatewayModel", "JSON"]),
        tests("ControlProtocolTests", ["ControlProtocol", "GatewayModel", protobuf]),
        tests("MCPProtocolTests", ["MCPProtocol", "JSON"]),
        tests("AdminAPITests", ["AdminAPI", "GatewayModel", "JSON"]),
        tests("IdentityProtocolsTests", ["IdentityProtocols", "Cryptography", "JSON"]),
        tests(
            "NetworkingTests",
            [
                "Networking", "Cryptography", nioCore, nioPosix,
                .product(name: "NIOEmbedded", package: "swift-nio"),
            ]
        ),
        .target(
            name: "PostgresTestSupport",
            dependencies: ["Postgres", logging],
            path: "Tests/PostgresTestSupport",
            swiftSettings: settings
        ),
        tests("PostgresTests", ["Postgres", "PostgresTestSupport", "CLibpq", logging]),
        tests(
            "ServiceRuntimeTests",
            [
                "ServiceRuntime", "Cryptography", "GatewayModel", "JSON", "Networking", lifecycle,
                logging, metrics, nioCore,
            ]
        ),
        tests(
            "ControlStoreTests",
            [
                "ControlStore", "AuditLog", "Cryptography", "GatewayModel", "JSON", "Postgres",
                "PostgresTestSupport", logging,
            ]
        ),
        tests(
            "ControlPlaneTests",
            [
                "ControlPlane", "AdminAPI", "ControlProtocol", "ControlStore", "AuditLog",
                "Cryptography", "GatewayModel", "IdentityProtocols", "JSON", "Networking",
                "Postgres", "PostgresTestSupport", "ServiceRuntime", lifecycle, logging, nioCore,
                nioPosix, protobuf,
            ]
        ),
        tests(
            "DataPlaneTests",
            [
                "DataPlane", "AuditLog", "Cedar", "ControlProtocol", "Cryptography",
                "GatewayModel", "GatewayPolicy", "JSON", "MCPProtocol", "Networking", nioCore,
            ]
        ),
        tests("TidyTests", ["GatewayModel", "ServiceRuntime"]),
    ]
)
