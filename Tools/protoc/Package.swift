// swift-tools-version: 6.2
import PackageDescription

// Builds `protoc-gen-swift`, which `scripts/generate` hands to Debian's `protoc`. A package of its
// own, so that building Ostiary neither compiles nor links the generator. Only the product
// `protoc-gen-swift` is named: the product that wraps `protoc` itself would compile the C++
// compiler as well.
let package = Package(
    name: "protoc",
    dependencies: [
        .package(url: "https://github.com/apple/swift-protobuf", exact: "1.39.0")
    ],
    targets: [
        .target(
            name: "ProtocPlugin",
            dependencies: [.product(name: "protoc-gen-swift", package: "swift-protobuf")],
            path: "Sources/Plugin"
        )
    ]
)
