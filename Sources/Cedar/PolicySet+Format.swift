/// Policy text laid out anew, with its comments.
public struct FormattedPolicies: Hashable, Sendable {
    /// The text; formatting it again changes nothing.
    public let text: String
    /// The policies that stand as they were written, because a comment is inside of them.
    public let keptAsWritten: [PolicyID]
}

extension PolicySet {
    /// Lays a text out anew and keeps every comment.
    ///
    /// Policies get one fixed layout with an empty line between them. Comments between policies, and behind the `;` of
    /// one, stay where they are. A policy with a comment inside keeps its text: no layout is worth a lost word.
    public static func formatted(
        text: String
    ) throws(PolicyParseFailure) -> FormattedPolicies {
        let policies = try parse(text)
        var layout = Layout(Array(text.utf8))
        var kept: [PolicyID] = []
        for source in policies.sources {
            layout.copyComments(before: Int(source.syntax.span.start))
            if layout.hasComment(in: source.syntax.span) {
                kept.append(source.id)
                layout.copy(source.syntax.span)
            } else {
                let printed = Printer.text([source.syntax], of: policies.syntax)
                layout.write(printed, for: source.syntax.span)
            }
        }
        layout.copyComments(before: text.utf8.count)
        return FormattedPolicies(
            text: String(decoding: layout.out, as: UTF8.self),
            keptAsWritten: kept
        )
    }
}

/// The text being laid out, and how far the old one is read.
private struct Layout {
    private let text: [UInt8]
    /// Where each comment starts and ends, without its line's end.
    private let comments: [Range<Int>]
    private var nextComment = 0
    private var read = 0
    private(set) var out: [UInt8] = []

    init(_ text: [UInt8]) {
        self.text = text
        var lexer = Lexer(text)
        lexer.run()
        var comments: [Range<Int>] = []
        var end = 0
        for token in lexer.tokens {
            comments += Self.comments(in: end..<Int(token.span.start), of: text)
            end = Int(token.span.end)
        }
        self.comments = comments
    }

    private static func comments(in gap: Range<Int>, of text: [UInt8]) -> [Range<Int>] {
        var found: [Range<Int>] = []
        var at = gap.lowerBound
        while at < gap.upperBound {
            guard text[at] == UInt8(ascii: "/") else {
                at += 1
                continue
            }
            let end = text[at..<gap.upperBound].firstIndex { $0 == 0x0A || $0 == 0x0D }
            found.append(at..<(end ?? gap.upperBound))
            at = end ?? gap.upperBound
        }
        return found
    }

    func hasComment(in span: SourceSpan) -> Bool {
        nextComment < comments.count && comments[nextComment].lowerBound < Int(span.end)
    }

    /// The comments up to a place, each on its line; one that began behind a policy goes back there.
    mutating func copyComments(before place: Int) {
        var isFirst = true
        while nextComment < comments.count, comments[nextComment].lowerBound < place {
            let comment = comments[nextComment]
            nextComment += 1
            let gap = text[read..<comment.lowerBound]
            let startsLine = gap.contains { $0 == 0x0A || $0 == 0x0D }
            let isTrailing = isFirst && !startsLine && !out.isEmpty
            if isTrailing {
                out.removeLast()
                out += [0x20, 0x20]
            } else if !out.isEmpty, isFirst || gap.count(where: { $0 == 0x0A }) > 1 {
                // An empty line stays one; a policy is always followed by one.
                out.append(0x0A)
            }
            isFirst = isTrailing
            out += text[comment].trimmed
            out.append(0x0A)
            read = comment.upperBound
        }
        // What explains a policy stands on top of it, what does not is set apart as it was.
        let gap = text[read..<place]
        let isApart = isFirst || gap.count(where: { $0 == 0x0A }) > 1
        if !out.isEmpty, place < text.count, isApart { out.append(0x0A) }
    }

    mutating func copy(_ span: SourceSpan) {
        out += text[Int(span.start)..<Int(span.end)]
        out.append(0x0A)
        advance(past: span)
    }

    mutating func write(_ printed: String, for span: SourceSpan) {
        out += Array(printed.utf8)
        advance(past: span)
    }

    private mutating func advance(past span: SourceSpan) {
        while nextComment < comments.count, comments[nextComment].lowerBound < Int(span.end) {
            nextComment += 1
        }
        read = Int(span.end)
    }
}

extension ArraySlice<UInt8> {
    /// Without blanks at the end.
    fileprivate var trimmed: ArraySlice<UInt8> {
        var end = endIndex
        while end > startIndex, self[end - 1] == 0x20 || self[end - 1] == 0x09 { end -= 1 }
        return self[startIndex..<end]
    }
}
