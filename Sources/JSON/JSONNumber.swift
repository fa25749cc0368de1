extension JSONValue {
    /// The number exactly as it was written, `1.0` and `1e400` included.
    public var numberLexeme: Text? {
        let node = node
        guard node.kind == .number else { return nil }
        return Text(String(decoding: storage.bytes[node.range], as: UTF8.self))
    }

    /// The number, if it is mathematically an integer within the 64-bit range.
    ///
    /// Decided on the decimal digits, never through floating point: `1.0`, `1e3`, `-0` and `100e-2` are integers,
    /// `1.5`, `1e-1` and `9223372036854775808` are not.
    public var int64: Int64? {
        let node = node
        guard node.kind == .number else { return nil }
        let source = storage.bytes
        return DecimalLexeme(source.span, node.range).int64
    }

    /// The nearest binary64, or nothing if the number is beyond its range.
    public var double: Double? {
        guard let lexeme = numberLexeme, let value = Double(lexeme.string), value.isFinite else {
            return nil
        }
        return value
    }
}

/// A number as sign, integer of significant digits, and power of ten.
private struct DecimalLexeme {
    private var isNegative = false
    private var magnitude: UInt64 = 0
    /// More significant digits than 64 bits can hold.
    private var overflowed = false
    /// The power of ten that `magnitude` is to be multiplied with.
    private var exponent = 0
    /// Zeros seen after the last significant digit, not yet part of `magnitude`.
    private var pendingZeros = 0

    init(_ bytes: Span<UInt8>, _ range: Range<Int>) {
        var at = range.lowerBound
        if bytes[at] == UInt8(ascii: "-") {
            isNegative = true
            at += 1
        }
        var isFraction = false
        while at < range.upperBound {
            let byte = bytes[at]
            if byte | 0x20 == UInt8(ascii: "e") { break }
            at += 1
            if byte == UInt8(ascii: ".") {
                isFraction = true
                continue
            }
            if isFraction { exponent -= 1 }
            append(digit: UInt64(byte - UInt8(ascii: "0")))
        }
        exponent += pendingZeros
        if at < range.upperBound {
            exponent += Self.exponent(bytes, at + 1..<range.upperBound)
        }
    }

    var int64: Int64? {
        if magnitude == 0, !overflowed { return 0 }
        guard !overflowed, (0...19).contains(exponent) else { return nil }
        var value = magnitude
        for _ in 0..<exponent {
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            guard !overflow else { return nil }
            value = product
        }
        if !isNegative { return Int64(exactly: value) }
        if value == Int64.min.magnitude { return .min }
        return Int64(exactly: value).map { -$0 }
    }

    private mutating func append(digit: UInt64) {
        guard digit != 0 else {
            if magnitude != 0 { pendingZeros += 1 }
            return
        }
        for _ in 0..<pendingZeros where !overflowed { multiply(adding: 0) }
        pendingZeros = 0
        if !overflowed { multiply(adding: digit) }
    }

    private mutating func multiply(adding digit: UInt64) {
        let (product, overflow) = magnitude.multipliedReportingOverflow(by: 10)
        let (sum, carry) = product.addingReportingOverflow(digit)
        overflowed = overflow || carry
        if !overflowed { magnitude = sum }
    }

    /// The exponent part, held at a bound that no lexeme can make up for with digits.
    private static func exponent(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Int {
        var value = 0
        var sign = 1
        for index in range {
            switch bytes[index] {
            case UInt8(ascii: "-"): sign = -1
            case UInt8(ascii: "+"): break
            case let digit: value = min(value * 10 + Int(digit - UInt8(ascii: "0")), 1 << 40)
            }
        }
        return sign * value
    }
}
