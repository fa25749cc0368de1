/// One token of a policy or schema text.
struct Token: Sendable {
    enum Kind: UInt8, Sendable {
        case identifier, integer, string, slot
        case at, leftParenthesis, rightParenthesis, leftBrace, rightBrace, leftBracket, rightBracket
        case comma, semicolon, colon, doubleColon, dot, question
        case equal, notEqual, less, lessOrEqual, greater, greaterOrEqual, assign
        case and, or, not, plus, minus, times, slash, percent
        /// Already reported by the lexer.
        case invalid
        case end
    }

    var kind: Kind
    var span: SourceSpan
}

/// Turns policy or schema text into tokens, in one pass, and goes on after bytes it does not know.
///
/// White space is Unicode's White_Space without byte order marks; a comment ends at CR or LF, so
/// that a bare CR cannot hide a line.
struct Lexer {
    private let text: [UInt8]
    private var at: Int
    private(set) var tokens: [Token] = []
    private(set) var invalid: [SourceSpan] = []
    /// A string had no end, so that no later one has: the search for it is not repeated.
    private var hasOpenString = false
    /// Whether `?principal` is a token; a schema has `?` alone, behind optional attributes.
    private let hasSlots: Bool

    /// Begins at an offset that is outside of strings and comments.
    init(_ text: [UInt8], from offset: Int = 0, hasSlots: Bool = true) {
        self.text = text
        self.hasSlots = hasSlots
        at = offset
    }

    mutating func run() {
        tokens.reserveCapacity(text.count / 4)
        while true {
            skipBlanks()
            guard at < text.count else { break }
            let start = at
            let kind = next()
            let span = SourceSpan(start, at)
            guard kind == .invalid else {
                tokens.append(Token(kind: kind, span: span))
                continue
            }
            // What is foreign and stands together is one finding.
            if let last = invalid.last, last.end == span.start, tokens.last?.kind == .invalid {
                let joined = SourceSpan(from: last, through: span)
                invalid[invalid.count - 1] = joined
                tokens[tokens.count - 1].span = joined
            } else {
                invalid.append(span)
                tokens.append(Token(kind: .invalid, span: span))
            }
        }
        tokens.append(Token(kind: .end, span: SourceSpan(text.count, text.count)))
    }

    private mutating func next() -> Token.Kind {
        let byte = text[at]
        at += 1
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "_"):
            skipIdentifier()
            return .identifier
        case UInt8(ascii: "0")...UInt8(ascii: "9"):
            while at < text.count, isDigit(text[at]) { at += 1 }
            return .integer
        case UInt8(ascii: "\""): return string()
        case UInt8(ascii: "'"):
            // Not a string here, but what was meant as one is one finding.
            let end = text[at...].firstIndex { $0 == UInt8(ascii: "'") || $0 == 0x0A || $0 == 0x0D }
            if let end, text[end] == UInt8(ascii: "'") { at = end + 1 }
            return .invalid
        case UInt8(ascii: "?"):
            guard hasSlots else { return .question }
            guard at < text.count, isIdentifierStart(text[at]) else { return .invalid }
            skipIdentifier()
            return .slot
        case UInt8(ascii: "@"): return .at
        case UInt8(ascii: "("): return .leftParenthesis
        case UInt8(ascii: ")"): return .rightParenthesis
        case UInt8(ascii: "{"): return .leftBrace
        case UInt8(ascii: "}"): return .rightBrace
        case UInt8(ascii: "["): return .leftBracket
        case UInt8(ascii: "]"): return .rightBracket
        case UInt8(ascii: ","): return .comma
        case UInt8(ascii: ";"): return .semicolon
        case UInt8(ascii: ":"): return accept(":") ? .doubleColon : .colon
        case UInt8(ascii: "."): return .dot
        case UInt8(ascii: "="): return accept("=") ? .equal : .assign
        case UInt8(ascii: "!"): return accept("=") ? .notEqual : .not
        case UInt8(ascii: "<"): return accept("=") ? .lessOrEqual : .less
        case UInt8(ascii: ">"): return accept("=") ? .greaterOrEqual : .greater
        case UInt8(ascii: "&"): return accept("&") ? .and : .invalid
        case UInt8(ascii: "|"): return accept("|") ? .or : .invalid
        case UInt8(ascii: "+"): return .plus
        case UInt8(ascii: "-"): return .minus
        case UInt8(ascii: "*"): return .times
        case UInt8(ascii: "/"): return .slash
        case UInt8(ascii: "%"): return .percent
        default:
            // One finding per scalar, not one per byte.
            while at < text.count, text[at] & 0xC0 == 0x80 { at += 1 }
            return .invalid
        }
    }

    /// Finds the closing quote.
    ///
    /// Escapes are decoded when the parser needs the value.
    private mutating func string() -> Token.Kind {
        let start = at
        while at < text.count, !hasOpenString {
            switch text[at] {
            case UInt8(ascii: "\""):
                at += 1
                return .string
            case UInt8(ascii: "\\"):
                // A backslash before a line feed is reported when the value is decoded.
                at += 2
            default: at += 1
            }
        }
        // No quote follows in the whole text: the rest of the line was meant as the string.
        hasOpenString = true
        at = start
        while at < text.count, text[at] != 0x0A, text[at] != 0x0D { at += 1 }
        return .invalid
    }

    private mutating func skipBlanks() {
        while at < text.count {
            let byte = text[at]
            if byte == 0x20 || (0x09...0x0D).contains(byte) {
                at += 1
            } else if byte == UInt8(ascii: "/"), at + 1 < text.count,
                text[at + 1] == UInt8(ascii: "/")
            {
                while at < text.count, text[at] != 0x0A, text[at] != 0x0D { at += 1 }
            } else if byte >= 0x80, let length = blankLength() {
                at += length
            } else {
                return
            }
        }
    }

    /// The length of a blank beyond ASCII: U+0085, U+00A0, U+1680, U+2000…200A, 2028, 2029, 202F,
    /// 205F, 3000.
    private func blankLength() -> Int? {
        func byte(_ offset: Int) -> UInt8 { at + offset < text.count ? text[at + offset] : 0 }
        switch (byte(0), byte(1), byte(2)) {
        case (0xC2, 0x85, _), (0xC2, 0xA0, _): return 2
        case (0xE1, 0x9A, 0x80), (0xE3, 0x80, 0x80), (0xE2, 0x81, 0x9F): return 3
        case (0xE2, 0x80, 0x80...0x8A), (0xE2, 0x80, 0xA8), (0xE2, 0x80, 0xA9), (0xE2, 0x80, 0xAF):
            return 3
        default: return nil
        }
    }

    private mutating func skipIdentifier() {
        while at < text.count, isIdentifierStart(text[at]) || isDigit(text[at]) { at += 1 }
    }

    private mutating func accept(_ scalar: Unicode.Scalar) -> Bool {
        guard at < text.count, text[at] == UInt8(ascii: scalar) else { return false }
        at += 1
        return true
    }
}

func isDigit(_ byte: UInt8) -> Bool { byte &- UInt8(ascii: "0") < 10 }

func isIdentifierStart(_ byte: UInt8) -> Bool {
    (byte | 0x20) &- UInt8(ascii: "a") < 26 || byte == UInt8(ascii: "_")
}

/// Decodes the escapes of string literals and patterns.
enum Escapes {
    /// Stands for `*` in a pattern: a byte that UTF-8 never contains.
    static let wildcard: UInt8 = 0xFF

    /// The bytes of a literal, or nothing if an escape is wrong or a bare CR is inside.
    ///
    /// In a pattern a bare `*` becomes ``wildcard`` and `\*` a star; elsewhere `\*` does not exist.
    static func decode(_ source: ArraySlice<UInt8>, asPattern: Bool) -> [UInt8]? {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(source.count)
        var at = source.startIndex
        while at < source.endIndex {
            let byte = source[at]
            at += 1
            guard byte == UInt8(ascii: "\\") else {
                if byte == 0x0D { return nil }
                bytes.append(asPattern && byte == UInt8(ascii: "*") ? wildcard : byte)
                continue
            }
            guard at < source.endIndex else { return nil }
            let escape = source[at]
            at += 1
            switch escape {
            case UInt8(ascii: "\""), UInt8(ascii: "'"), UInt8(ascii: "\\"): bytes.append(escape)
            case UInt8(ascii: "n"): bytes.append(0x0A)
            case UInt8(ascii: "r"): bytes.append(0x0D)
            case UInt8(ascii: "t"): bytes.append(0x09)
            case UInt8(ascii: "0"): bytes.append(0)
            case UInt8(ascii: "*") where asPattern: bytes.append(escape)
            case UInt8(ascii: "x"):
                guard at + 1 < source.endIndex, let high = hexadecimal(source[at]), high < 8,
                    let low = hexadecimal(source[at + 1])
                else { return nil }
                bytes.append(high << 4 | low)
                at += 2
            case UInt8(ascii: "u"):
                guard let scalar = scalar(source, &at) else { return nil }
                bytes.append(contentsOf: String(scalar).utf8)
            default: return nil
            }
        }
        return bytes
    }

    /// `{1–6 hex digits}`, underscores allowed between and after digits.
    private static func scalar(_ source: ArraySlice<UInt8>, _ at: inout Int) -> Unicode.Scalar? {
        guard at < source.endIndex, source[at] == UInt8(ascii: "{") else { return nil }
        at += 1
        var value: UInt32 = 0
        var digits = 0
        while at < source.endIndex, source[at] != UInt8(ascii: "}") {
            if source[at] == UInt8(ascii: "_"), digits > 0 {
                at += 1
                continue
            }
            guard digits < 6, let digit = hexadecimal(source[at]) else { return nil }
            value = value << 4 | UInt32(digit)
            digits += 1
            at += 1
        }
        guard digits > 0, at < source.endIndex else { return nil }
        at += 1
        return Unicode.Scalar(value)
    }

    static func hexadecimal(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
