import Foundation
import JSON

/// SplitMix64: small, seedable, the same on every machine.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// How long a fuzz test runs beyond its fixed number of rounds; from OSTIARY_FUZZ_SECONDS, default none.
var fuzzDuration: Duration {
    .seconds(ProcessInfo.processInfo.environment["OSTIARY_FUZZ_SECONDS"].flatMap { Int($0) } ?? 0)
}

/// The seed of this run: fixed, unless OSTIARY_FUZZ_SEED or a longer fuzz run asks for another.
func fuzzSeed(_ fixed: UInt64) -> UInt64 {
    let environment = ProcessInfo.processInfo.environment
    if let seed = environment["OSTIARY_FUZZ_SEED"].flatMap({ UInt64($0) }) { return seed }
    return fuzzDuration > .zero ? .random(in: .min ... .max) : fixed
}

func parse(_ text: String, _ limits: JSONLimits = .default) throws(JSONError) -> JSONValue {
    try JSONDocument(parsing: text, limits: limits).root
}

func serialized(_ value: JSONValue) -> String {
    String(decoding: value.serialized(), as: UTF8.self)
}

/// The error of parsing these bytes, or nil if they are accepted.
func refusal(of bytes: [UInt8], _ limits: JSONLimits = .default) -> JSONError? {
    do throws(JSONError) {
        _ = try JSONDocument(parsing: bytes, limits: limits)
        return nil
    } catch {
        return error
    }
}

/// Random documents with random blanks and escapes, so that one value has many spellings.
struct DocumentGenerator {
    var random: SeededGenerator

    init(seed: UInt64) { random = SeededGenerator(seed: seed) }

    mutating func document(depth: Int = 5) -> String { blanks() + value(depth: depth) + blanks() }

    private mutating func value(depth: Int) -> String {
        switch Int.random(in: 0..<(depth > 0 ? 10 : 6), using: &random) {
        case 0: return ["null", "true", "false"].randomElement(using: &random) ?? "null"
        case 1, 2: return number()
        case 3, 4, 5: return string()
        case 6, 7:
            let elements = (0..<count()).map { _ in blanks() + value(depth: depth - 1) + blanks() }
            return "[" + (elements.isEmpty ? blanks() : elements.joined(separator: ",")) + "]"
        default:
            let members = (0..<count()).map { index in
                blanks() + string(suffix: "\(index)") + blanks() + ":" + blanks()
                    + value(depth: depth - 1) + blanks()
            }
            return "{" + (members.isEmpty ? blanks() : members.joined(separator: ",")) + "}"
        }
    }

    private mutating func count() -> Int {
        Int.random(in: 0..<20, using: &random) == 0
            ? Int.random(in: 17...40, using: &random) : Int.random(in: 0...5, using: &random)
    }

    private mutating func blanks() -> String {
        guard Int.random(in: 0..<4, using: &random) == 0 else { return "" }
        return [" ", "\n", "\t", "\r\n", "  \n "].randomElement(using: &random) ?? ""
    }

    private mutating func number() -> String {
        let integer = Int.random(in: -1_000_000_000...1_000_000_000, using: &random)
        return switch Int.random(in: 0..<4, using: &random) {
        case 0: "\(integer)"
        case 1: "\(integer).\(Int.random(in: 0...999, using: &random))"
        case 2: "\(integer)e\(Int.random(in: -9...9, using: &random))"
        default: "\(Int.random(in: -9...9, using: &random))"
        }
    }

    private mutating func string(suffix: String = "") -> String {
        var text = "\""
        for _ in 0..<Int.random(in: 0...12, using: &random) {
            let scalar = scalar()
            switch Int.random(in: 0..<6, using: &random) {
            case 0:
                for unit in String(scalar).utf16 {
                    let digits = String(unit, radix: 16, uppercase: Bool.random(using: &random))
                    text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                }
            default:
                text += Self.short[scalar] ?? String(scalar)
            }
        }
        return text + suffix + "\""
    }

    private static let short: [Unicode.Scalar: String] = [
        "\"": "\\\"", "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\u{08}": "\\b",
        "\u{0C}": "\\f", "\u{00}": "\\u0000", "\u{1F}": "\\u001f", "/": "\\/",
    ]

    private mutating func scalar() -> Unicode.Scalar {
        let table: [Unicode.Scalar] = [
            "a", "b", "z", "0", " ", "/", "\"", "\\", "\n", "\t", "\u{08}", "\u{0C}", "\r",
            "\u{00}",
            "\u{1F}", "\u{7F}", "é", "ß", "東", "\u{2028}", "\u{FFFF}", "😀", "\u{10FFFF}",
        ]
        return table.randomElement(using: &random) ?? "a"
    }
}
