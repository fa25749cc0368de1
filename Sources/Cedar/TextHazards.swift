import JSON

/// What in a text a reviewer cannot see, or would take for something else.
///
/// Source: Unicode Technical Standard #39 (security mechanisms), UAX #9 (bidirectional algorithm).
enum TextHazards {
    /// Whether a name has a control that changes the direction of the text around it.
    static func hasBidirectionalControl(_ name: Text) -> Bool {
        name.string.unicodeScalars.contains(where: isBidirectionalControl)
    }

    /// Where such controls stand in a source, in bytes.
    static func bidirectionalControls(in source: [UInt8]) -> [Range<Int>] {
        // All of them are three bytes from E2 80 or E2 81, or the two bytes D8 9C.
        var found: [Range<Int>] = []
        var at = 0
        while at < source.count {
            let length: Int
            switch source[at] {
            case 0xE2: length = 3
            case 0xD8: length = 2
            default:
                at += 1
                continue
            }
            let end = min(at + length, source.count)
            let scalars = String(decoding: source[at..<end], as: UTF8.self).unicodeScalars
            if let scalar = scalars.first, isBidirectionalControl(scalar) { found.append(at..<end) }
            at += 1
        }
        return found
    }

    /// Where carriage returns stand that no line feed follows, in bytes.
    static func bareCarriageReturns(in source: [UInt8]) -> [Range<Int>] {
        source.indices.filter { index in
            source[index] == 0x0D && (index + 1 == source.count || source[index + 1] != 0x0A)
        }.map { $0..<$0 + 1 }
    }

    private static func isBidirectionalControl(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x061C, 0x200E, 0x200F, 0x202A...0x202E, 0x2066...0x2069: true
        default: false
        }
    }

    /// Whether one word of a name has letters of scripts that are not written together.
    ///
    /// This is the level "highly restrictive" of UTS #39, word by word: one script, or Latin with
    /// those of Chinese, Japanese or Korean.
    static func mixesScripts(_ name: Text) -> Bool {
        guard !name.utf8.allSatisfy({ $0 < 0x80 }) else { return false }
        var scripts: Set<Substring> = []
        for scalar in name.string.unicodeScalars {
            let properties = scalar.properties
            switch properties.generalCategory {
            case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber: continue
            default: break
            }
            guard properties.isAlphabetic else {
                scripts = []
                continue
            }
            guard let script = script(of: scalar) else { continue }
            scripts.insert(script)
            if scripts.count > 1, !together.contains(where: { scripts.isSubset(of: $0) }) {
                return true
            }
        }
        return false
    }

    private static let together: [Set<Substring>] = [
        ["LATIN", "CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"],
        ["LATIN", "CJK", "BOPOMOFO"],
        ["LATIN", "CJK", "HANGUL"],
    ]

    /// The script of a letter, by the first word of its name.
    ///
    /// Names of characters never change (Unicode stability policy), and the standard library has no
    /// property for scripts. Signs such as `µ` belong to all scripts.
    private static func script(of scalar: Unicode.Scalar) -> Substring? {
        if scalar.isASCII { return "LATIN" }
        guard let name = scalar.properties.name else { return "CJK" }
        let words = name.split(separator: " ")
        guard let first = words.first, words.last != "SIGN" else { return nil }
        return first.hasPrefix("CJK") ? "CJK" : first
    }
}
