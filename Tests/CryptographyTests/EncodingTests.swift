import Cryptography
import Testing

@Suite struct EncodingTests {
    @Test(arguments: [
        ("", "", ""), ("f", "Zg==", "Zg"), ("fo", "Zm8=", "Zm8"), ("foo", "Zm9v", "Zm9v"),
        ("foob", "Zm9vYg==", "Zm9vYg"), ("fooba", "Zm9vYmE=", "Zm9vYmE"),
        ("foobar", "Zm9vYmFy", "Zm9vYmFy"),
    ])
    func `base64 gives the texts of RFC 4648`(plain: String, padded: String, url: String) {
        #expect(Base64.encode(plain.utf8) == padded)
        #expect(Base64.encode(plain.utf8, .url) == url)
        #expect(Base64.decode(padded) == Array(plain.utf8))
        #expect(Base64.decode(url, .url) == Array(plain.utf8))
    }

    @Test(arguments: [
        ("a lone character", "Zm9vY"), ("bits beyond the last byte", "Zh"),
        ("bits beyond the last byte, two left", "Zm9"), ("padding", "Zg=="), ("a blank", "Zm9v Zg"),
        ("a line break", "Zm9v\nZg"), ("the other alphabet", "+/+/"), ("beyond ASCII", "Zm9ä"),
        ("a NUL", "Zm9v\u{0}Zg"), ("only padding", "="),
    ])
    func `base64url has one text for each value`(why: String, text: String) {
        #expect(Base64.decode(text, .url) == nil)
    }

    @Test(arguments: [
        "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Zm9v\n", "-_-_", "=Zm9",
    ])
    func `base64 is padded and canonical`(text: String) {
        #expect(Base64.decode(text) == nil)
    }

    @Test func `base64 takes back every text it wrote`() {
        var random = SeededGenerator(seed: 11)
        for count in 0..<200 {
            let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
            #expect(Base64.decode(Base64.encode(bytes)) == bytes)
            #expect(Base64.decode(Base64.encode(bytes, .url), .url) == bytes)
            #expect(Base64.encodeToBytes(bytes, .url) == Array(Base64.encode(bytes, .url).utf8))
            #expect(Hex.decode(Hex.encode(bytes)) == bytes)
        }
    }

    @Test func `no two base64url texts of up to three characters mean the same`() {
        let alphabet = Array("AZaz09-_gQ+/=\n ".utf8)
        var texts: [[UInt8]: [UInt8]] = [:]
        var all: [[UInt8]] = [[]]
        for _ in 0..<3 { all += all.flatMap { text in alphabet.map { text + [$0] } } }
        for text in Set(all) {
            guard let value = Base64.decode(text, .url) else { continue }
            #expect(texts.updateValue(text, forKey: value) == nil)
        }
    }

    @Test(arguments: ["a", "zz", "0g", "0x00", " 00"])
    func `hexadecimal is digits only`(text: String) {
        #expect(Hex.decode(text) == nil)
    }

    @Test func `PEM blocks are read in order and written back`() throws {
        let one = PEM.encode(PEM.Block(label: "CERTIFICATE", bytes: Array(0...99)))
        let two = PEM.encode(PEM.Block(label: "PRIVATE KEY", bytes: [1]))
        let text =
            "a comment\r\n" + one + "\n" + two.split(separator: "\n").joined(separator: "\r\n")
        let blocks = try PEM.decode(text.utf8)
        #expect(blocks.map(\.label) == ["CERTIFICATE", "PRIVATE KEY"])
        #expect(blocks.map(\.bytes) == [Array(0...99), [1]])
        #expect(one.split(separator: "\n").allSatisfy { $0.utf8.count <= 64 })
    }

    @Test(arguments: [
        "-----BEGIN A-----\nAQ==\n", "-----BEGIN A-----\nAQ==\n-----END B-----\n",
        "-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\n\nAQ==\n-----END A-----\n",
        "-----BEGIN A-----\nAQ=\n-----END A-----\n",
        "-----BEGIN A-----\n-----BEGIN A-----\nAQ==\n-----END A-----\n",
    ])
    func `broken PEM is refused`(text: String) {
        #expect(throws: CryptographyError.malformed(what: "PEM")) { _ = try PEM.decode(text.utf8) }
    }
}
