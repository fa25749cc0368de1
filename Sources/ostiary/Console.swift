import ArgumentParser
import Glibc
import JSON

/// Standard output for data, standard error for words.
enum Console {
    static func data(_ text: String) { write(shown(text), to: STDOUT_FILENO) }

    static func data(_ bytes: [UInt8]) { write(bytes, to: STDOUT_FILENO) }

    static func data(json: some JSONWritable) {
        var writer = JSONWriter()
        writer.value(json)
        write(writer.finish() + [0x0A], to: STDOUT_FILENO)
    }

    static func words(_ text: String) { write(shown(text), to: STDERR_FILENO) }

    /// A number with what it counts: `1 call`, `2 calls`.
    static func count(_ number: some BinaryInteger, _ one: String, _ many: String) -> String {
        "\(number) \(number == 1 ? one : many)"
    }

    /// Lines for people: whoever chose the words, a server the names of its tools perhaps, none of them steers the terminal.
    private static func shown(_ text: String) -> [UInt8] {
        var shown = ""
        for scalar in text.unicodeScalars {
            switch scalar.properties.generalCategory {
            case .control where scalar != "\n" && scalar != "\t",
                .format, .lineSeparator, .paragraphSeparator:
                shown += "\\u{\(String(scalar.value, radix: 16))}"
            default: shown.unicodeScalars.append(scalar)
            }
        }
        return Array(shown.utf8) + [0x0A]
    }

    private static func write(_ bytes: [UInt8], to descriptor: Int32) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return }
            rest.removeFirst(count)
        }
    }

    /// Columns padded to their widest cell; numbers lean to the right.
    static func table(_ rows: [[String]]) {
        let columns = rows.map(\.count).max() ?? 0
        let widths = (0..<columns).map { column in
            rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0
        }
        for row in rows {
            let cells = row.enumerated().map { column, cell in
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                return column == 0 ? cell + padding : padding + cell
            }
            var line = cells.joined(separator: "  ")
            while line.last == " " { line.removeLast() }
            data(line)
        }
    }
}

extension ExitCode {
    /// Something was checked and does not hold.
    static let verificationFailed = ExitCode(2)
}
