// swift-tools-version: 6.2
import PackageDescription

// Benchmarks stand apart, so that nobody builds them by accident: swift build -c release --package-path Benchmarks

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

let package = Package(
    name: "ostiary-benchmarks",
    dependencies: [
        .package(name: "ostiary", path: ".."),
        .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
    ],
    targets: [
        .executableTarget(
            name: "codec-bench",
            dependencies: [
                .product(name: "Networking", package: "ostiary"),
                .product(name: "NIOCore", package: "swift-nio"),
            ],
            swiftSettings: settings
        ),
        .target(name: "CAllocationCounter"),
        .executableTarget(
            name: "policy-bench",
            dependencies: [
                "CAllocationCounter",
                .product(name: "Cedar", package: "ostiary"),
                .product(name: "GatewayModel", package: "ostiary"),
                .product(name: "GatewayPolicy", package: "ostiary"),
                .product(name: "JSON", package: "ostiary"),
            ],
            swiftSettings: settings
        ),
    ]
)
