/// An instant, as Cedar's `datetime` has it: milliseconds since 1970-01-01T00:00:00Z.
public struct CedarDatetime: Hashable, Comparable, Sendable {
    /// Milliseconds since the epoch, without leap seconds.
    public let milliseconds: Int64

    static let day: Int64 = 86_400_000

    /// Makes an instant from milliseconds since the epoch.
    public init(milliseconds: Int64) {
        self.milliseconds = milliseconds
    }

    /// Reads `YYYY-MM-DD` or `YYYY-MM-DDThh:mm:ss[.SSS](Z|±hhmm)`; nothing else is an instant.
    public init?(_ text: some Collection<UInt8>) {
        var reader = DigitReader(Array(text))
        guard let year = reader.number(4), reader.accept("-"), let month = reader.number(2),
            reader.accept("-"), let day = reader.number(2),
            (1...12).contains(month), day >= 1, day <= Self.days(in: month, of: year)
        else { return nil }
        var value = Self.daysSinceEpoch(year, month, day) * Self.day
        guard !reader.isAtEnd else {
            milliseconds = value
            return
        }
        guard reader.accept("T"), let hour = reader.number(2), reader.accept(":"),
            let minute = reader.number(2), reader.accept(":"), let second = reader.number(2),
            hour < 24, minute < 60, second < 60
        else { return nil }
        value += ((hour * 60 + minute) * 60 + second) * 1000
        if reader.accept(".") {
            guard let fraction = reader.number(3) else { return nil }
            value += fraction
        }
        if !reader.accept("Z") {
            let isEast = reader.accept("+")
            guard isEast || reader.accept("-"), let hours = reader.number(2),
                let minutes = reader.number(2), hours < 24, minutes < 60
            else { return nil }
            value += (isEast ? -1 : 1) * (hours * 60 + minutes) * 60_000
        }
        guard reader.isAtEnd else { return nil }
        milliseconds = value
    }

    private static func days(in month: Int64, of year: Int64) -> Int64 {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    /// Days from the epoch in the proleptic Gregorian calendar, counting years from March.
    private static func daysSinceEpoch(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let era = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    /// Whether the left is earlier.
    public static func < (left: CedarDatetime, right: CedarDatetime) -> Bool {
        left.milliseconds < right.milliseconds
    }

    /// The milliseconds since midnight, also before 1970.
    var timeOfDay: Int64 {
        let remainder = milliseconds % Self.day
        return remainder < 0 ? remainder + Self.day : remainder
    }

    /// The text that reads as this instant, or nothing if its year has not four digits.
    var text: String? {
        // The inverse of `daysSinceEpoch`.
        guard let startOfDay else { return nil }
        let days = startOfDay / Self.day + 719_468
        let era = (days >= 0 ? days : days - 146_096) / 146_097
        let dayOfEra = days - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shifted = (5 * dayOfYear + 2) / 153
        let month = shifted + (shifted < 10 ? 3 : -9)
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        guard (0...9999).contains(year) else { return nil }
        let day = dayOfYear - (153 * shifted + 2) / 5 + 1
        func padded(_ value: Int64, _ width: Int) -> String {
            let digits = String(value)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        let date = "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))"
        guard timeOfDay != 0 else { return date }
        let (hour, minute) = (timeOfDay / 3_600_000, timeOfDay / 60_000 % 60)
        let (second, fraction) = (timeOfDay / 1000 % 60, timeOfDay % 1000)
        let time = "\(padded(hour, 2)):\(padded(minute, 2)):\(padded(second, 2))"
        return date + "T" + time + (fraction == 0 ? "" : ".\(padded(fraction, 3))") + "Z"
    }

    /// Midnight of the same day, or nothing where that is out of range.
    var startOfDay: Int64? {
        let (value, overflow) = milliseconds.subtractingReportingOverflow(timeOfDay)
        return overflow ? nil : value
    }
}

/// A span of time, as Cedar's `duration` has it: signed milliseconds.
public struct CedarDuration: Hashable, Comparable, Sendable {
    /// The length in milliseconds.
    public let milliseconds: Int64

    /// Makes a duration from milliseconds.
    public init(milliseconds: Int64) {
        self.milliseconds = milliseconds
    }

    /// Reads `-?(nd)?(nh)?(nm)?(ns)?(nms)?` with at least one part; nothing else is a duration.
    public init?(_ text: some Collection<UInt8>) {
        var reader = DigitReader(Array(text))
        let isNegative = reader.accept("-")
        let units: [(name: StaticString, milliseconds: Int64)] = [
            ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1),
        ]
        // Counted downwards, because the range reaches one further below zero.
        var value: Int64 = 0
        var next = 0
        guard !reader.isAtEnd else { return nil }
        while !reader.isAtEnd {
            guard let digits = reader.digits() else { return nil }
            guard let unit = units[next...].firstIndex(where: { reader.acceptUnit($0.name) }) else {
                return nil
            }
            next = unit + 1
            var part: Int64 = 0
            for digit in digits {
                let (product, overflow) = part.multipliedReportingOverflow(by: 10)
                let (sum, carry) = product.subtractingReportingOverflow(Int64(digit & 0xF))
                guard !overflow, !carry else { return nil }
                part = sum
            }
            let (scaled, overflow) = part.multipliedReportingOverflow(by: units[unit].milliseconds)
            let (sum, carry) = value.addingReportingOverflow(scaled)
            guard !overflow, !carry else { return nil }
            value = sum
        }
        if isNegative {
            milliseconds = value
        } else {
            guard value != .min else { return nil }
            milliseconds = -value
        }
    }

    /// Whether the left is shorter.
    public static func < (left: CedarDuration, right: CedarDuration) -> Bool {
        left.milliseconds < right.milliseconds
    }
}

/// Reads numbers of fixed width, and letters, from the front of a text.
private struct DigitReader {
    private let bytes: [UInt8]
    private var at = 0

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    var isAtEnd: Bool { at == bytes.count }

    mutating func number(_ width: Int) -> Int64? {
        guard at + width <= bytes.count else { return nil }
        var value: Int64 = 0
        for byte in bytes[at..<at + width] {
            guard isDigit(byte) else { return nil }
            value = value * 10 + Int64(byte & 0xF)
        }
        at += width
        return value
    }

    mutating func digits() -> ArraySlice<UInt8>? {
        let start = at
        while at < bytes.count, isDigit(bytes[at]) { at += 1 }
        return at > start ? bytes[start..<at] : nil
    }

    mutating func accept(_ text: StaticString) -> Bool {
        let matches = text.withUTF8Buffer { bytes[at...].starts(with: $0) }
        if matches { at += text.utf8CodeUnitCount }
        return matches
    }

    /// Like ``accept(_:)``, but `m` is not the beginning of `ms`.
    mutating func acceptUnit(_ name: StaticString) -> Bool {
        let end = at + name.utf8CodeUnitCount
        if end < bytes.count, !isDigit(bytes[end]) { return false }
        return accept(name)
    }
}
