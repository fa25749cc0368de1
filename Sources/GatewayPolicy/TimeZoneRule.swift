public import GatewayModel
public import JSON

/// The hour and weekday that a clock on a namespace's wall shows.
public struct LocalTime: Hashable, Sendable {
    /// 0 to 23.
    public var hour: Int
    /// 1 to 7, Monday first (ISO 8601).
    public var weekday: Int

    /// What a clock shows.
    public init(hour: Int, weekday: Int) {
        self.hour = hour
        self.weekday = weekday
    }
}

/// How local time follows from UTC: a fixed offset, or the rule of a `TZ` variable (POSIX.1-2024 §8.3).
///
/// A value, so that a decision made again tomorrow on another machine sees the same hour; a zone's name would make it
/// depend on the time zone database that happens to be installed. `tail -1 /usr/share/zoneinfo/Europe/Berlin` prints
/// the rule of a zone.
public struct TimeZoneRule: Hashable, Sendable {
    /// A day of the year on which the clock changes: `M3.5.0/2`.
    struct Change: Hashable, Sendable {
        var month: Int64
        /// 1 to 5, 5 being the last.
        var week: Int64
        /// 0 is Sunday.
        var weekday: Int64
        /// Seconds after local midnight.
        var time: Int64
    }

    /// Seconds east of Greenwich, when there is no daylight saving time.
    let standardOffset: Int64
    /// Seconds east of Greenwich in daylight saving time, and when it begins and ends.
    let daylight: Daylight?

    struct Daylight: Hashable, Sendable {
        var offset: Int64
        var begins: Change
        var ends: Change
    }

    /// No offset.
    public static let utc = TimeZoneRule(standardOffset: 0, daylight: nil)

    private init(standardOffset: Int64, daylight: Daylight?) {
        self.standardOffset = standardOffset
        self.daylight = daylight
    }

    /// Reads `UTC`, `+01:00`, `EST5`, or `CET-1CEST,M3.5.0,M10.5.0/3`.
    ///
    /// - Returns: `nil` for anything else; of the POSIX forms for the days of change only `M` is taken, since the others
    ///   are used by no zone of today.
    public init?(_ text: Text) {
        if text == "UTC" || text == "Z" {
            self = .utc
            return
        }
        var reader = Reader(Array(text.utf8)[...])
        if let fixed = reader.isoOffset() {
            guard reader.isAtEnd else { return nil }
            self.init(standardOffset: fixed, daylight: nil)
            return
        }
        guard reader.name(), let west = reader.offset(hoursMax: 24) else { return nil }
        guard !reader.isAtEnd else {
            self.init(standardOffset: -west, daylight: nil)
            return
        }
        guard reader.name() else { return nil }
        var daylightOffset = -west + 3600
        if !reader.accept(",") {
            guard let given = reader.offset(hoursMax: 24), reader.accept(",") else { return nil }
            daylightOffset = -given
        }
        guard let begins = reader.change(), reader.accept(","), let ends = reader.change(),
            reader.isAtEnd
        else { return nil }
        self.init(
            standardOffset: -west,
            daylight: Daylight(offset: daylightOffset, begins: begins, ends: ends)
        )
    }

    /// Seconds east of Greenwich at `time`.
    public func offsetSeconds(at time: Timestamp) -> Int64 {
        guard let daylight else { return standardOffset }
        // The year that the standard clock shows: changes lie far from its ends.
        let days = (time.seconds + standardOffset).flooringQuotient(by: 86_400)
        let year = Civil.date(days: days).year
        // The clock's own time at a change is that of the rule in force before it.
        let begins = daylight.begins.seconds(in: year) - standardOffset
        let ends = daylight.ends.seconds(in: year) - daylight.offset
        let isDaylight =
            begins < ends
            ? (begins..<ends).contains(time.seconds)
            : !(ends..<begins).contains(time.seconds)
        return isDaylight ? daylight.offset : standardOffset
    }

    /// What a clock there shows at `time`.
    public func localTime(at time: Timestamp) -> LocalTime {
        let local = time.seconds + offsetSeconds(at: time)
        let days = local.flooringQuotient(by: 86_400)
        let hour = (local - days * 86_400) / 3600
        // Day 0 was a Thursday.
        let weekday = (days + 3) - (days + 3).flooringQuotient(by: 7) * 7 + 1
        return LocalTime(hour: Int(hour), weekday: Int(weekday))
    }
}

extension TimeZoneRule.Change {
    /// When the clock changes, in seconds since the epoch as the clock counts them.
    fileprivate func seconds(in year: Int64) -> Int64 {
        let first = Civil.days(year: year, month: month, day: 1)
        // Day 0 was a Thursday; 0 is Sunday here.
        let weekdayOfFirst = (first + 4) - (first + 4).flooringQuotient(by: 7) * 7
        var day = first + (weekday - weekdayOfFirst + 7) % 7 + (week - 1) * 7
        let next =
            month == 12
            ? Civil.days(year: year + 1, month: 1, day: 1)
            : Civil.days(year: year, month: month + 1, day: 1)
        while day >= next { day -= 7 }
        return day * 86_400 + time
    }
}

/// Days and dates of the Gregorian calendar.
private enum Civil {
    static func days(year: Int64, month: Int64, day: Int64) -> Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let era = shifted.flooringQuotient(by: 400)
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    static func date(days: Int64) -> (year: Int64, month: Int64) {
        let shifted = days + 719_468
        let era = shifted.flooringQuotient(by: 146_097)
        let dayOfEra = shifted - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let month = (5 * dayOfYear + 2) / 153
        let year = yearOfEra + era * 400 + (month >= 10 ? 1 : 0)
        return (year, month < 10 ? month + 3 : month - 9)
    }
}

extension Int64 {
    fileprivate func flooringQuotient(by divisor: Int64) -> Int64 {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? quotient - 1 : quotient
    }
}

private struct Reader {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) {
        rest = bytes
    }

    var isAtEnd: Bool { rest.isEmpty }

    mutating func accept(_ byte: Unicode.Scalar) -> Bool {
        guard rest.first == UInt8(ascii: byte) else { return false }
        rest.removeFirst()
        return true
    }

    /// `+01:00`, with its sign and two digits each.
    mutating func isoOffset() -> Int64? {
        let saved = rest
        let isWest = accept("-")
        if isWest || accept("+"), let hours = number(digits: 2...2), hours <= 14, accept(":"),
            let minutes = number(digits: 2...2), minutes < 60
        {
            return (isWest ? -1 : 1) * (hours * 3600 + minutes * 60)
        }
        rest = saved
        return nil
    }

    /// `CET`, or `<+03>`.
    mutating func name() -> Bool {
        let isQuoted = accept("<")
        let start = rest.count
        while let byte = rest.first,
            isLetter(byte) || isQuoted && (isDigit(byte) || byte == 0x2B || byte == 0x2D)
        {
            rest.removeFirst()
        }
        return start - rest.count >= 3 && (!isQuoted || accept(">"))
    }

    /// `[+-]h[h[h]][:mm[:ss]]` in seconds.
    mutating func offset(hoursMax: Int64) -> Int64? {
        let isNegative = accept("-")
        if !isNegative { _ = accept("+") }
        guard let hours = number(digits: 1...3), hours <= hoursMax else { return nil }
        var seconds = hours * 3600
        for unit: Int64 in [60, 1] where accept(":") {
            guard let part = number(digits: 2...2), part < 60 else { return nil }
            seconds += part * unit
        }
        return isNegative ? -seconds : seconds
    }

    /// `Mm.w.d[/time]`.
    mutating func change() -> TimeZoneRule.Change? {
        guard accept("M"), let month = number(digits: 1...2), (1...12).contains(month),
            accept("."), let week = number(digits: 1...1), (1...5).contains(week),
            accept("."), let weekday = number(digits: 1...1), weekday <= 6
        else { return nil }
        var time: Int64 = 7200
        if accept("/") {
            guard let given = offset(hoursMax: 167) else { return nil }
            time = given
        }
        return TimeZoneRule.Change(month: month, week: week, weekday: weekday, time: time)
    }

    private mutating func number(digits: ClosedRange<Int>) -> Int64? {
        let text = rest.prefix { isDigit($0) }.prefix(digits.upperBound)
        guard digits.contains(text.count) else { return nil }
        rest = rest.dropFirst(text.count)
        return text.reduce(0) { $0 * 10 + Int64($1 & 0xF) }
    }

    private func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
    private func isLetter(_ byte: UInt8) -> Bool {
        (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
    }
}
