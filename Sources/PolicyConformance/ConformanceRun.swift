public import JSON

/// Why a file is no conformance data.
public enum ConformanceFileError: Error, Hashable, Sendable {
    /// A line, from 1, is no JSON or beyond the limits of the reader.
    case invalidJSON(line: Int, JSONError)
    /// A record, from 1, that has the form of no known kind.
    case unknownRecord(number: Int)
    /// There is no record at all, or none that was asked for.
    case noRecords
}

extension ConformanceFileError: CustomStringConvertible {
    /// The kind of the error and its line.
    public var description: String {
        switch self {
        case .invalidJSON(let line, let error): "line \(line): \(error)"
        case .unknownRecord(let number): "record \(number) is of no known kind"
        case .noRecords: "there is no record"
        }
    }
}

/// Runs the engine over published conformance data and counts what agrees.
///
/// The data is one JSON object, or one on each line: Cedar's corpus and handwritten tests, validator cases, entity
/// parsing, templates, translations, edge cases. What a record is shows in its members, never in a file's name. The
/// messages of other engines are not compared, only kinds. Pure: bytes in, counts out; the command
/// `ostiary policy conformance` and the tests call the same.
public struct ConformanceRun: Sendable {
    /// What was found so far.
    public internal(set) var report: ConformanceReport

    private let only: Text?
    private let step: Int

    /// Starts a run.
    ///
    /// - Parameters:
    ///   - only: The name of the one record to run; nothing for all.
    ///   - step: Every how manieth record is run, from the first; default 1.
    ///   - differencesMax: How many differences are kept; default 10.
    public init(only: Text? = nil, every step: Int = 1, differencesMax: Int = 10) {
        precondition(step > 0, "a step goes forward")
        self.only = only
        self.step = step
        report = ConformanceReport(differencesMax: differencesMax)
    }

    /// Runs all records of a file, unpacked.
    ///
    /// - Throws: a ``ConformanceFileError``; what was counted until then stays counted.
    public mutating func run(_ bytes: [UInt8]) throws(ConformanceFileError) {
        var count = 0
        for record in try Self.records(bytes, every: step) {
            if let only, record.value["name"]?.string != only { continue }
            count += 1
            try run(record.value, number: record.number)
        }
        guard count > 0 else { throw .noRecords }
    }

    /// Recognises a record by what it holds.
    private mutating func run(_ record: JSONValue, number: Int) throws(ConformanceFileError) {
        let name = record["name"]?.string?.string ?? "record \(number)"
        func has(_ keys: StaticString...) -> Bool { keys.allSatisfy { record[$0] != nil } }
        if has("policies", "requests", "entities") {
            authorization(record, name)
            translations(record, name)
            if let schema = Self.schema(record) {
                entityValidation(record, schema, name)
                requestValidation(record, schema, name)
                validation(record, schema, name)
            }
        } else if has("expressions", "parsing", "entities", "request") {
            edgeCases(record)
        } else if has("policies", "policiesJSON") {
            policyTranslation(record, name)
        } else if has("schema", "schemaJSON") {
            translations(record, name)
        } else if has("schema", "entitiesText", "expected") {
            translations(record, name)
            entityParsing(record, name)
        } else if has("policies", "schema", "level") {
            translations(record, name)
            level(record, name)
        } else if has("policies", "schema", "entities", "request") {
            translations(record, name)
            partialEvaluation(record, name)
        } else if has("stub", "tools") {
            translations(record, name)
            toolSchemas(record, name)
        } else {
            throw .unknownRecord(number: number)
        }
    }

    /// The limits for published data: it nests deep, and its files are long.
    static let limits = JSONLimits(bytesMax: 256 << 20, depthMax: 512, valuesMax: 1 << 24)

    /// The records of a file: lines, or the one value that the whole file is.
    private static func records(
        _ bytes: [UInt8],
        every step: Int
    ) throws(ConformanceFileError) -> [(number: Int, value: JSONValue)] {
        let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            .enumerated()
            .filter { !$0.element.allSatisfy { $0 == 0x20 || $0 == 0x0D || $0 == 0x09 } }
        guard let first = lines.first else { return [] }
        // A value that is laid out over many lines is not complete in its first.
        guard (try? JSONDocument(parsing: Array(first.element), limits: limits)) != nil else {
            do throws(JSONError) {
                return [(1, try JSONDocument(parsing: bytes, limits: limits).root)]
            } catch { throw .invalidJSON(line: first.offset + 1, error) }
        }
        var records: [(number: Int, value: JSONValue)] = []
        for index in stride(from: 0, to: lines.count, by: step) {
            let line = lines[index]
            do throws(JSONError) {
                let document = try JSONDocument(parsing: Array(line.element), limits: limits)
                records.append((index + 1, document.root))
            } catch { throw .invalidJSON(line: line.offset + 1, error) }
        }
        return records
    }
}
