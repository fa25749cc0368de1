/// A decimal number with four places, as Cedar has it: a 64-bit count of ten-thousandths.
public struct CedarDecimal: Hashable, Comparable, Sendable {
    /// The value times 10,000.
    public let tenThousandths: Int64

    /// Makes a decimal from ten-thousandths.
    public init(tenThousandths: Int64) {
        self.tenThousandths = tenThousandths
    }

    /// Reads `-?d+.d{1,4}`; nothing else is a decimal.
    public init?(_ text: some Collection<UInt8>) {
        var digits = text[...]
        let isNegative = digits.first == UInt8(ascii: "-")
        if isNegative { digits = digits.dropFirst() }
        guard let point = digits.firstIndex(of: UInt8(ascii: ".")) else { return nil }
        let whole = digits[..<point]
        let fraction = digits[digits.index(after: point)...]
        guard !whole.isEmpty, (1...4).contains(fraction.count),
            whole.allSatisfy(isDigit), fraction.allSatisfy(isDigit)
        else { return nil }
        // Counted downwards, because the range reaches one further below zero.
        var value: Int64 = 0
        for position in 0..<4 {
            let digit = fraction.dropFirst(position).first.map { Int64($0 & 0xF) } ?? 0
            value = value * 10 - digit
        }
        var integer: Int64 = 0
        for byte in whole {
            let (product, overflow) = integer.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.subtractingReportingOverflow(Int64(byte & 0xF))
            guard !overflow, !carry else { return nil }
            integer = sum
        }
        let (scaled, overflow) = integer.multipliedReportingOverflow(by: 10_000)
        let (sum, carry) = scaled.addingReportingOverflow(value)
        guard !overflow, !carry else { return nil }
        if isNegative {
            tenThousandths = sum
        } else {
            guard sum != .min else { return nil }
            tenThousandths = -sum
        }
    }

    /// Whether the left is smaller.
    public static func < (left: CedarDecimal, right: CedarDecimal) -> Bool {
        left.tenThousandths < right.tenThousandths
    }
}

extension CedarDecimal: CustomStringConvertible {
    /// The number with all four places.
    public var description: String {
        let magnitude = tenThousandths.magnitude
        let fraction = String(magnitude % 10_000)
        let zeros = String(repeating: "0", count: 4 - fraction.count)
        return "\(tenThousandths < 0 ? "-" : "")\(magnitude / 10_000).\(zeros)\(fraction)"
    }
}
