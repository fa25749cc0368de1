/// A point in time as microseconds since 1970-01-01T00:00:00Z, the precision PostgreSQL keeps.
///
/// There is no `now` here: whoever needs the time is given it.
public struct Timestamp: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// Microseconds since the Unix epoch, UTC, without leap seconds.
    public let microseconds: Int64

    /// A point in time from microseconds since the Unix epoch.
    public init(microseconds: Int64) {
        self.microseconds = microseconds
    }

    /// A point in time from whole seconds since the Unix epoch.
    public init(seconds: Int64) {
        microseconds = seconds &* 1_000_000
    }

    /// Whole seconds since the Unix epoch, rounded towards the past.
    public var seconds: Int64 {
        microseconds.flooringDivision(by: 1_000_000).quotient
    }

    /// Earlier is less.
    public static func < (left: Self, right: Self) -> Bool {
        left.microseconds < right.microseconds
    }

    /// RFC 3339 in UTC with six digits: `2026-11-22T17:00:00.000000Z`.
    public var description: String {
        String(unsafeUninitializedCapacity: 27) { output in
            write(to: output)
            return 27
        }
    }

    /// The RFC 3339 form as 27 ASCII bytes (years 0000 to 9999).
    public func rfc3339() -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 27) { output, count in
            write(to: output)
            count = 27
        }
    }

    private func write(to output: UnsafeMutableBufferPointer<UInt8>) {
        let (days, withinDay) = microseconds.flooringDivision(by: 86_400_000_000)
        let date = CivilDate(daysSinceEpoch: days)
        let seconds = withinDay / 1_000_000
        var at = 0
        func write(_ value: Int64, digits: Int, then separator: UInt8) {
            var rest = value
            for index in stride(from: at + digits - 1, through: at, by: -1) {
                output[index] = UInt8(truncatingIfNeeded: 0x30 + rest % 10)
                rest /= 10
            }
            output[at + digits] = separator
            at += digits + 1
        }
        write(date.year, digits: 4, then: 0x2D)
        write(date.month, digits: 2, then: 0x2D)
        write(date.day, digits: 2, then: 0x54)
        write(seconds / 3600, digits: 2, then: 0x3A)
        write(seconds / 60 % 60, digits: 2, then: 0x3A)
        write(seconds % 60, digits: 2, then: 0x2E)
        write(withinDay % 1_000_000, digits: 6, then: 0x5A)
    }

    /// Reads exactly the form that ``rfc3339()`` writes; anything else is `nil`.
    public init?(rfc3339 bytes: some Sequence<UInt8>) {
        let text = Array(bytes)
        let pattern: [UInt8] = Array("0000-00-00T00:00:00.000000Z".utf8)
        guard text.count == pattern.count else {
            return nil
        }
        var fields: [Int64] = []
        var value: Int64 = 0
        for (byte, expected) in zip(text, pattern) {
            if expected == 0x30 {
                guard (0x30...0x39).contains(byte) else {
                    return nil
                }
                value = value * 10 + Int64(byte - 0x30)
            } else {
                guard byte == expected else {
                    return nil
                }
                fields.append(value)
                value = 0
            }
        }
        guard (1...12).contains(fields[1]), (1...31).contains(fields[2]), fields[3] < 24,
            fields[4] < 60, fields[5] < 60
        else {
            return nil
        }
        let days = CivilDate.daysSinceEpoch(year: fields[0], month: fields[1], day: fields[2])
        let date = CivilDate(daysSinceEpoch: days)
        guard date.day == fields[2], date.month == fields[1] else {
            return nil
        }
        let seconds = fields[3] * 3600 + fields[4] * 60 + fields[5]
        microseconds = (days * 86_400 + seconds) * 1_000_000 + fields[6]
    }
}

extension Int64 {
    fileprivate func flooringDivision(by divisor: Int64) -> (quotient: Int64, remainder: Int64) {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }
}

/// The proleptic Gregorian calendar in closed form, years counted from March so that the leap day comes last.
private struct CivilDate {
    var year: Int64
    var month: Int64
    var day: Int64

    init(daysSinceEpoch: Int64) {
        // 719468 days lie between 0000-03-01 and 1970-01-01; 146097 days make 400 years.
        let (era, dayOfEra) = (daysSinceEpoch + 719_468).flooringDivision(by: 146_097)
        let yearOfEra =
            (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    }

    static func daysSinceEpoch(year: Int64, month: Int64, day: Int64) -> Int64 {
        let (era, yearOfEra) = (month <= 2 ? year - 1 : year).flooringDivision(by: 400)
        let shiftedMonth = month > 2 ? month - 3 : month + 9
        let dayOfYear = (153 * shiftedMonth + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }
}
