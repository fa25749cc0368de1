import Foundation
import JSON
import Testing

/// Documents nobody thought of; a failing seed is printed and becomes a row elsewhere.
struct RandomDocumentTests {
    @Test func `what is written is read as the same, and written the same`() throws {
        let seed = fuzzSeed(0x05_71A2)
        print("seed", seed)
        var generator = DocumentGenerator(seed: seed)
        for round in 0..<3000 {
            let text = generator.document()
            let value = try parse(text)
            let bytes = value.serialized()
            let again = try JSONDocument(parsing: bytes).root
            #expect(again.serialized() == bytes, "seed \(seed), round \(round)")
            #expect(
                again.canonicalBytes() == value.canonicalBytes(),
                "seed \(seed), round \(round)"
            )
            #expect(rebuilt(value) == bytes, "seed \(seed), round \(round)")
        }
    }

    @Test func `Foundation reads the same value from the received and from the written bytes`()
        throws
    {
        let seed = fuzzSeed(0x05_71A3)
        print("seed", seed)
        var generator = DocumentGenerator(seed: seed)
        for round in 0..<1500 {
            let text = generator.document()
            let value = try parse(text)
            for bytes in [Array(text.utf8), value.serialized(), value.canonicalBytes()] {
                let peer = try JSONSerialization.jsonObject(
                    with: Data(bytes),
                    options: .fragmentsAllowed
                )
                #expect(isSame(value, peer), "seed \(seed), round \(round): \(text)")
            }
        }
    }

    /// The same bytes by another way: every node visited and written through the public interface.
    private func rebuilt(_ value: JSONValue) -> [UInt8] {
        var writer = JSONWriter()
        rebuild(value, &writer)
        return writer.finish()
    }

    private func rebuild(_ value: JSONValue, _ writer: inout JSONWriter) {
        switch value.kind {
        case .null: writer.null()
        case .boolean: writer.value(value.boolean ?? false)
        case .number:
            writer.value(JSONFragment(preserialized: Array((value.numberLexeme ?? "").utf8)))
        case .string: writer.value(value.string ?? "")
        case .array:
            writer.beginArray()
            for element in value.elements { rebuild(element, &writer) }
            writer.endArray()
        case .object:
            writer.beginObject()
            for (key, member) in value.members {
                writer.key(key.text)
                rebuild(member, &writer)
            }
            writer.endObject()
        }
    }

    private func isSame(_ value: JSONValue, _ peer: Any) -> Bool {
        switch value.kind {
        case .null: return peer is NSNull
        case .boolean: return (peer as? Bool) == value.boolean
        case .number:
            guard let number = (peer as? NSNumber)?.doubleValue, let own = value.double else {
                return false
            }
            // Foundation's conversion may differ in the last place.
            return abs(number - own) <= abs(own) * 1e-15
        case .string: return (peer as? String).map { Text($0) } == value.string
        case .array:
            guard let array = peer as? [Any], array.count == value.count else { return false }
            return zip(value.elements, array).allSatisfy { isSame($0, $1) }
        case .object:
            guard let object = peer as? [String: Any], object.count == value.count else {
                return false
            }
            return value.members.allSatisfy { key, member in
                object[key.text.string].map { isSame(member, $0) } ?? false
            }
        }
    }
}

/// Hostile bytes near valid ones.
struct MutationTests {
    private static let corpus: [String] = [
        #"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"t","arguments":{"a":"Zürich"}}}"#,
        #"[{"a":[1,2.5e-3,-0,null,true,false]},"\ud83d\ude00\u0041\n\"\\","é東😀",{}]"#,
        #"{"a":{"b":{"c":{"d":[[[[]]]]}}},"x":"","y":"long enough for more than one word of eight"}"#,
        #" { "a" : 1 , "\u0062" : [ ] , "c" : "\u001f" } "#,
        "[" + (0..<20).map { "{\"k\($0)\":\($0)}" }.joined(separator: ",") + "]",
        "{" + (0..<20).map { "\"k\($0)\":\($0)" }.joined(separator: ",") + "}",
    ]

    private static let tokens: [String] = [
        "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u", "\\ud800", "\\udc00", "\\u0000", "1", "0",
        "-",
        "e", ".", "null", "true", " ", "\n", "\0", "\u{FEFF}", "é", "😀", "\"a\"", "\"a\":1,",
    ]

    @Test func `mutated documents never crash, and what is accepted reads back as the same`() throws
    {
        let seed = fuzzSeed(0x05_71A4)
        print("seed", seed)
        var random = SeededGenerator(seed: seed)
        let deadline = ContinuousClock.now + fuzzDuration
        var (round, accepted) = (0, 0)
        let limits = JSONLimits(bytesMax: 1000, depthMax: 12, numberBytesMax: 20, membersMax: 24)
        while round < 20_000 || ContinuousClock.now < deadline {
            round += 1
            var bytes = Array((Self.corpus.randomElement(using: &random) ?? "").utf8)
            for _ in 0..<Int.random(in: 1...4, using: &random) { mutate(&bytes, &random) }
            do throws(JSONError) {
                let value = try JSONDocument(parsing: bytes, limits: limits).root
                accepted += 1
                let written = value.serialized()
                let again = try JSONDocument(parsing: written, limits: limits).root
                #expect(again.serialized() == written, "seed \(seed), round \(round)")
                #expect(
                    again.canonicalBytes() == value.canonicalBytes(),
                    "seed \(seed), round \(round)"
                )
                #expect(written.count <= bytes.count, "seed \(seed), round \(round)")
            } catch {
                #expect((0...bytes.count).contains(error.offset), "seed \(seed), round \(round)")
            }
        }
        // A mutator that only makes rubbish proves nothing.
        #expect(accepted > round / 20)
        #expect(accepted < round * 19 / 20)
    }

    private func mutate(_ bytes: inout [UInt8], _ random: inout SeededGenerator) {
        guard !bytes.isEmpty else { return bytes.append(0x31) }
        let at = Int.random(in: 0..<bytes.count, using: &random)
        let end = min(bytes.count, at + Int.random(in: 1...12, using: &random))
        switch Int.random(in: 0..<6, using: &random) {
        case 0: bytes[at] = .random(in: 0...255, using: &random)
        case 1: bytes[at] ^= 1 << UInt8.random(in: 0...7, using: &random)
        case 2: bytes.remove(at: at)
        case 3: bytes.insert(contentsOf: bytes[at..<end], at: at)
        case 4: bytes.removeSubrange(at..<end)
        default:
            bytes.insert(
                contentsOf: Array((Self.tokens.randomElement(using: &random) ?? "").utf8),
                at: at
            )
        }
    }
}
