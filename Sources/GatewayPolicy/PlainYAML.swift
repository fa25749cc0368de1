import JSON

/// A plain part of YAML, read so that nothing in it can mean two things.
///
/// Block and flow mappings and lists, scalars in quotes or plain, comments: whatever is accepted here every YAML reader
/// understands alike. Refused, with line and column: anchors, aliases, tags, directives, several documents, text over
/// several lines, tabs in the indentation, keys given twice, and plain scalars that versions of YAML read differently
/// (`yes`, `0123`, `1.5`, `2026-01-01`). Policies come from people, and a word that one reader takes for a truth value is
/// no base for a decision. JSON is understood too. Source: YAML 1.2.2; the bounds are SP 800-53 SC-5.
struct PlainYAML {
    /// The longest document, in bytes.
    static let bytesMax = 256 << 10
    /// How deep it nests.
    static let depthMax = 16

    /// Why a document is not read, and where.
    struct Failure: Error, Hashable {
        let line: Int
        let column: Int
        let reason: String
    }

    /// A value with its place.
    struct Node {
        enum Value {
            case null
            case bool(Bool)
            case long(Int64)
            case text(Text)
            case list([Node])
            case map([(key: Text, place: DocumentPosition, node: Node)])
        }

        let value: Value
        let place: DocumentPosition
    }

    /// A line that says something.
    private struct Line {
        let number: Int
        let start: Int
        let end: Int
        var indent: Int
    }

    private typealias Scalar = Unicode.Scalar

    private let scalars: [Scalar]
    /// Where each line begins, those that say nothing included.
    private let starts: [Int]
    private var lines: [Line] = []
    private var current = 0
    private var depth = 0

    /// Reads a document.
    static func read(_ source: Text) throws(Failure) -> Node {
        guard source.byteCount <= bytesMax else {
            throw Failure(line: 1, column: 1, reason: "longer than \(bytesMax) bytes")
        }
        var reader = PlainYAML(Array(source.string.unicodeScalars))
        return try reader.document()
    }

    private init(_ scalars: [Scalar]) {
        self.scalars = scalars
        var starts = [0]
        for (index, scalar) in scalars.enumerated() where scalar == "\n" {
            starts.append(index + 1)
        }
        self.starts = starts
    }

    // MARK: - Lines

    private mutating func document() throws(Failure) -> Node {
        for (index, scalar) in scalars.enumerated() where !isAllowed(scalar, at: index) {
            throw failure(
                index,
                scalar == "\t"
                    ? "a tab; use spaces, or \\t in double quotes"
                    : "a control character; write it as an escape in double quotes"
            )
        }
        var hasBegun = false
        for (number, start) in starts.enumerated() {
            var end = number + 1 < starts.count ? starts[number + 1] - 1 : scalars.count
            if end > start, scalars[end - 1] == "\r" { end -= 1 }
            var indent = 0
            while start + indent < end, scalars[start + indent] == " " { indent += 1 }
            let first = start + indent
            guard first < end, scalars[first] != "#" else { continue }
            let text = scalars[start..<end]
            if text.starts(with: "---".unicodeScalars) || text.starts(with: "...".unicodeScalars) {
                guard text.count == 3, lines.isEmpty, !hasBegun, scalars[first] == "-" else {
                    throw failure(start, "one document only")
                }
                hasBegun = true
                continue
            }
            lines.append(Line(number: number + 1, start: start, end: end, indent: indent))
        }
        guard !lines.isEmpty else { throw failure(0, "nothing is said") }
        let root = try block()
        guard current == lines.count else {
            throw failure(content(lines[current]), "does not belong to what stands above")
        }
        return root
    }

    private func isAllowed(_ scalar: Scalar, at index: Int) -> Bool {
        switch scalar {
        case "\n": return true
        case "\r": return index + 1 < scalars.count && scalars[index + 1] == "\n"
        // Some readers take a tab for a blank between parts, some for an error.
        case "\t": return false
        // Line breaks of some versions only, and what nobody sees.
        case "\u{85}", "\u{2028}", "\u{2029}", "\u{FEFF}": return false
        default:
            return scalar.value >= 0x20 && scalar.value != 0x7F
                && scalar.properties.generalCategory != .format
        }
    }

    private func content(_ line: Line) -> Int { line.start + line.indent }

    private func place(_ index: Int) -> DocumentPosition {
        var (low, high) = (0, starts.count)
        while high - low > 1 {
            let middle = (low + high) / 2
            if starts[middle] <= index { low = middle } else { high = middle }
        }
        return DocumentPosition(line: low + 1, column: index - starts[low] + 1)
    }

    /// Where the line of a scalar ends, its line feed left out.
    private func lineEnd(_ index: Int) -> Int {
        let line = place(index).line
        return line < starts.count ? starts[line] - 1 : scalars.count
    }

    private func failure(_ index: Int, _ reason: String) -> Failure {
        let place = place(index)
        return Failure(line: place.line, column: place.column, reason: reason)
    }

    // MARK: - Blocks

    private mutating func block() throws(Failure) -> Node {
        let line = lines[current]
        let at = content(line)
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.depthMax else {
            throw failure(at, "nested deeper than \(Self.depthMax)")
        }
        if isItem(line) { return try list(line.indent, place(at)) }
        if try key(line) != nil { return try map(line.indent, place(at)) }
        return try inline(at, line)
    }

    /// Whether a line is an item of a list.
    private func isItem(_ line: Line) -> Bool {
        let at = content(line)
        return scalars[at] == "-" && (at + 1 >= line.end || scalars[at + 1] == " ")
    }

    private mutating func list(_ indent: Int, _ place: DocumentPosition) throws(Failure) -> Node {
        var items: [Node] = []
        while current < lines.count, lines[current].indent == indent, isItem(lines[current]) {
            let line = lines[current]
            let dash = content(line)
            let next = skipSpaces(dash + 1, line.end)
            if isEnd(next, line.end) {
                current += 1
                guard current < lines.count, lines[current].indent > indent else {
                    throw failure(dash, "an item that says nothing")
                }
            } else {
                // What follows the dash is a block of its own that begins here.
                lines[current].indent = next - line.start
            }
            items.append(try block())
        }
        try checkIndent(indent)
        return Node(value: .list(items), place: place)
    }

    private mutating func map(_ indent: Int, _ place: DocumentPosition) throws(Failure) -> Node {
        var members: [(key: Text, place: DocumentPosition, node: Node)] = []
        var names: Set<Text> = []
        while current < lines.count, lines[current].indent == indent, !isItem(lines[current]) {
            let line = lines[current]
            let at = content(line)
            guard let (name, colon) = try key(line) else {
                throw failure(at, "no key: a name, a colon and a blank")
            }
            guard names.insert(name).inserted else { throw failure(at, "\(name) is said twice") }
            let next = skipSpaces(colon + 1, line.end)
            let value: Node
            if isEnd(next, line.end) {
                current += 1
                guard current < lines.count,
                    lines[current].indent > indent
                        || lines[current].indent == indent && isItem(lines[current])
                else { throw failure(at, "\(name) has no value") }
                value = try block()
            } else {
                value = try inline(next, line)
            }
            members.append((name, self.place(at), value))
        }
        try checkIndent(indent)
        return Node(value: .map(members), place: place)
    }

    private func checkIndent(_ indent: Int) throws(Failure) {
        guard current < lines.count, lines[current].indent > indent else { return }
        throw failure(content(lines[current]), "indented unlike what stands above")
    }

    /// The key that a line begins with, and where its colon is.
    private func key(_ line: Line) throws(Failure) -> (name: Text, colon: Int)? {
        let at = content(line)
        if scalars[at] == "\"" || scalars[at] == "'" {
            let (text, after) = try quoted(at, line.end)
            let colon = skipSpaces(after, line.end)
            guard colon < line.end, scalars[colon] == ":", isEnd(colon + 1, line.end, orBlank: true)
            else { return nil }
            return (text, colon)
        }
        guard !"[{".unicodeScalars.contains(scalars[at]) else { return nil }
        var index = at
        while index < line.end {
            if scalars[index] == "#", index > at, isBlank(scalars[index - 1]) { return nil }
            if scalars[index] == ":", isEnd(index + 1, line.end, orBlank: true) {
                try checkStart(at, line.end)
                return (try name(plain(at, index), at), index)
            }
            index += 1
        }
        return nil
    }

    /// A key is text: `yes` or `1` before a colon is another key to some readers.
    private func name(_ key: Node, _ at: Int) throws(Failure) -> Text {
        guard case .text(let name) = key.value else {
            throw failure(at, "a key that is no text; put it in quotes")
        }
        return name
    }

    // MARK: - Values on a line

    /// A value that begins on a line; what follows it is the next line.
    private mutating func inline(_ at: Int, _ line: Line) throws(Failure) -> Node {
        var index = at
        let node: Node
        switch scalars[at] {
        case "[", "{": node = try flow(&index, line.indent)
        case "\"", "'":
            let (text, after) = try quoted(at, line.end)
            node = Node(value: .text(text), place: place(at))
            index = after
        default:
            try checkStart(at, line.end)
            while index < line.end, !(scalars[index] == "#" && isBlank(scalars[index - 1])) {
                if scalars[index] == ":", isEnd(index + 1, line.end, orBlank: true) {
                    throw failure(index, "a colon within a value; put the value in quotes")
                }
                index += 1
            }
            node = try plain(at, index)
        }
        let endLine = place(max(index - 1, at)).line
        while current < lines.count, lines[current].number <= endLine {
            let end = lines[current].end
            if lines[current].number == endLine, !isEnd(skipSpaces(index, end), end) {
                throw failure(skipSpaces(index, end), "more than one value")
            }
            current += 1
        }
        return node
    }

    private mutating func flow(_ index: inout Int, _ indent: Int) throws(Failure) -> Node {
        let start = index
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.depthMax else {
            throw failure(start, "nested deeper than \(Self.depthMax)")
        }
        let isMap = scalars[start] == "{"
        let closing: Scalar = isMap ? "}" : "]"
        var items: [Node] = []
        var members: [(key: Text, place: DocumentPosition, node: Node)] = []
        var names: Set<Text> = []
        index += 1
        while true {
            try skipBreaks(&index, indent, start)
            if scalars[index] == closing { break }
            let at = index
            if isMap {
                let name = try name(flowScalar(&index), at)
                try skipBreaks(&index, indent, start)
                guard scalars[index] == ":" else { throw failure(index, "no colon after \(name)") }
                guard names.insert(name).inserted else {
                    throw failure(at, "\(name) is said twice")
                }
                index += 1
                try skipBreaks(&index, indent, start)
                members.append((name, place(at), try flowValue(&index, indent)))
            } else {
                items.append(try flowValue(&index, indent))
            }
            try skipBreaks(&index, indent, start)
            if scalars[index] == "," {
                index += 1
            } else if scalars[index] != closing {
                throw failure(index, "neither a comma nor \(closing)")
            }
        }
        index += 1
        return Node(value: isMap ? .map(members) : .list(items), place: place(start))
    }

    private mutating func flowValue(_ index: inout Int, _ indent: Int) throws(Failure) -> Node {
        "[{".unicodeScalars.contains(scalars[index])
            ? try flow(&index, indent) : try flowScalar(&index)
    }

    private func flowScalar(_ index: inout Int) throws(Failure) -> Node {
        let at = index
        let end = lineEnd(at)
        if scalars[at] == "\"" || scalars[at] == "'" {
            let (text, after) = try quoted(at, end)
            index = after
            return Node(value: .text(text), place: place(at))
        }
        // Within brackets some readers take these for the marks of keys and values, whatever stands around them.
        guard scalars[at] != ":" else { throw failure(at, "put it in quotes") }
        try checkStart(at, end)
        while index < end, !",[]{}\r".unicodeScalars.contains(scalars[index]),
            !(scalars[index] == "#" && isBlank(scalars[index - 1]))
        {
            guard scalars[index] != "?" else { throw failure(at, "put it in quotes") }
            if scalars[index] == ":",
                index + 1 >= end || isBlank(scalars[index + 1])
                    || ",[]{}".unicodeScalars.contains(scalars[index + 1])
            {
                break
            }
            index += 1
        }
        return try plain(at, index)
    }

    /// Goes on to the next thing within brackets, over lines and comments.
    private func skipBreaks(
        _ index: inout Int,
        _ indent: Int,
        _ start: Int
    ) throws(Failure) {
        while index < scalars.count {
            switch scalars[index] {
            case " ", "\r": index += 1
            case "#" where isBlank(scalars[index - 1]) || scalars[index - 1] == "\n":
                index = scalars[index...].firstIndex(of: "\n") ?? scalars.count
            case "\n":
                index += 1
                let next = skipSpaces(index, scalars.count)
                if next < scalars.count, !"\r\n#".unicodeScalars.contains(scalars[next]),
                    next - index <= indent,
                    indent > 0 || !"]}".unicodeScalars.contains(scalars[next])
                {
                    throw failure(next, "indented less than the bracket that is open")
                }
            default: return
            }
        }
        throw failure(start, "the bracket is not closed")
    }

    // MARK: - Scalars

    /// Refuses what plain scalars must not begin with.
    private func checkStart(_ at: Int, _ end: Int) throws(Failure) {
        guard at < end else { throw failure(at, "no value") }
        switch scalars[at] {
        case "&": throw failure(at, "anchors are not read")
        case "*": throw failure(at, "aliases are not read")
        case "!": throw failure(at, "tags are not read")
        case "|", ">": throw failure(at, "text over several lines is not read; put it in quotes")
        case "%", "@", "`", ",", "]", "}", "#": throw failure(at, "put it in quotes")
        case "-", "?", ":":
            if at + 1 >= end || isBlank(scalars[at + 1]) {
                throw failure(at, "put it in quotes, or on a line of its own")
            }
        default: break
        }
    }

    /// A scalar without quotes.
    private func plain(_ start: Int, _ end: Int) throws(Failure) -> Node {
        let text = text(start, end)
        let place = place(start)
        func node(_ value: Node.Value) -> Node { Node(value: value, place: place) }
        switch text {
        case "true": return node(.bool(true))
        case "false": return node(.bool(false))
        case "null": return node(.null)
        default: break
        }
        // YAML 1.1 takes these for truth values, and some of its readers other spellings.
        let lower = text.string.lowercased()
        // A lone `=` and `<<` are the default value and the merge key there.
        if ["true", "false", "null", "~", "yes", "no", "on", "off", "y", "n", "=", "<<"]
            .contains(lower)
        {
            throw failure(
                start,
                "\(text) means different things to different readers; put it in quotes"
            )
        }
        let bytes = Array(text.utf8)
        let digits = bytes.first == UInt8(ascii: "-") ? bytes.dropFirst() : bytes[...]
        if !digits.isEmpty, digits.allSatisfy({ (0x30...0x39).contains($0) }),
            digits.first != UInt8(ascii: "0") || digits.count == 1, let number = Int64(text.string)
        {
            return node(.long(number))
        }
        // Fractions, other bases, dates, times, infinities.
        if let first = bytes.first, "0123456789+-.".utf8.contains(first),
            bytes.allSatisfy({ "0123456789abcdefxointABCDEFXOINTZ_.:+- ".utf8.contains($0) })
        {
            throw failure(start, "\(text) could be taken for a number or a date; put it in quotes")
        }
        return node(.text(text))
    }

    private func text(_ start: Int, _ end: Int) -> Text {
        var end = end
        while end > start, isBlank(scalars[end - 1]) || scalars[end - 1] == "\r" { end -= 1 }
        return Self.text(scalars[start..<end])
    }

    private static func text(_ scalars: some Sequence<Scalar>) -> Text {
        var string = ""
        string.unicodeScalars.append(contentsOf: scalars)
        return Text(string)
    }

    /// A scalar in quotes, which end on the same line, and where it ends.
    private func quoted(_ start: Int, _ end: Int) throws(Failure) -> (text: Text, after: Int) {
        let quote = scalars[start]
        var content: [Scalar] = []
        var index = start + 1
        while index < end {
            let scalar = scalars[index]
            if scalar == quote {
                if quote == "'", index + 1 < end, scalars[index + 1] == "'" {
                    content.append("'")
                    index += 2
                    continue
                }
                return (Self.text(content), index + 1)
            }
            if scalar == "\\", quote == "\"" {
                content.append(try escape(&index, end))
            } else {
                content.append(scalar)
                index += 1
            }
        }
        throw failure(start, "the quote does not end on this line")
    }

    private func escape(_ index: inout Int, _ end: Int) throws(Failure) -> Scalar {
        let start = index
        index += 2
        guard start + 1 < end else { throw failure(start, "half an escape") }
        let simple: [Scalar: Scalar] = [
            "\"": "\"", "\\": "\\", "/": "/", "n": "\n", "t": "\t", "r": "\r", "0": "\0",
        ]
        if let scalar = simple[scalars[start + 1]] { return scalar }
        let lengths: [Scalar: Int] = ["x": 2, "u": 4, "U": 8]
        guard let length = lengths[scalars[start + 1]], index + length <= end,
            let value = UInt32(Self.text(scalars[index..<(index + length)]).string, radix: 16),
            scalars[index] != "+", scalars[index] != "-", let scalar = Scalar(value)
        else { throw failure(start, "no such escape") }
        index += length
        return scalar
    }

    private func isBlank(_ scalar: Scalar) -> Bool { scalar == " " }

    private func skipSpaces(_ index: Int, _ end: Int) -> Int {
        var index = index
        while index < end, isBlank(scalars[index]) { index += 1 }
        return index
    }

    /// Whether nothing but a comment follows.
    private func isEnd(_ index: Int, _ end: Int, orBlank: Bool = false) -> Bool {
        index >= end || orBlank && isBlank(scalars[index])
            || scalars[index] == "#" && index > 0 && isBlank(scalars[index - 1])
    }
}

extension PlainYAML.Node: JSONWritable {
    func write(to writer: inout JSONWriter) {
        switch value {
        case .null: writer.null()
        case .bool(let value): writer.value(value)
        case .long(let value): writer.value(value)
        case .text(let value): writer.value(value)
        case .list(let items): writer.array { writer in items.forEach { writer.value($0) } }
        case .map(let members):
            writer.object { writer in
                for (key, _, node) in members {
                    writer.key(key)
                    writer.value(node)
                }
            }
        }
    }

    /// The place of what a path of names and positions leads to, or of the last thing on the way.
    func place(of pointer: String) -> DocumentPosition {
        var (node, place) = (self, self.place)
        for step in pointer.split(separator: "/") {
            switch node.value {
            case .list(let items):
                guard let position = Int(step), items.indices.contains(position) else {
                    return place
                }
                (node, place) = (items[position], items[position].place)
            case .map(let members):
                guard let member = members.first(where: { $0.key == Text(step) }) else {
                    return place
                }
                (node, place) = (member.node, member.place)
            default: return place
            }
        }
        return place
    }
}
