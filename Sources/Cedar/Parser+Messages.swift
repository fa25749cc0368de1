import JSON

// What is said about a mistake, and what might have been meant.

extension Parser {
    /// The text of a span in backquotes, cut where it is long; without control characters.
    func quoted(_ span: SourceSpan) -> String {
        "`\(spelling(span))`"
    }

    func spelling(_ span: SourceSpan) -> String {
        let scalars = String(decoding: bytes(span), as: UTF8.self).unicodeScalars
        var word = ""
        for scalar in scalars.prefix(40) {
            // Controls, format characters and separators of lines are shown by number.
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned:
                word += "\\u{\(String(scalar.value, radix: 16))}"
            default: word.unicodeScalars.append(scalar)
            }
        }
        return scalars.count > 40 ? word + "…" : word
    }

    /// The name that was probably meant.
    func nearest(to word: String, among names: some Sequence<String>) -> String? {
        Suggestion.nearest(to: Text(word), among: names.map { Text($0) })?.string
    }

    /// What the current token is in Cedar, if it comes from elsewhere.
    var foreignWordHint: String? {
        switch current.kind {
        case .identifier:
            switch spelling(current.span).lowercased() {
            case "and": "did you mean `&&`?"
            case "or": "did you mean `||`?"
            case "not": "did you mean `!`?"
            case "equals", "eq": "did you mean `==`?"
            case "matches": "did you mean `like`, with `*` for any text?"
            default: nil
            }
        case .assign: "did you mean `==`?"
        case .slash where peek(1) == .slash || peek(1) == .times: "a comment begins with `//`"
        case .string: "two values need an operator or a comma between them"
        default: nil
        }
    }

    /// Reports bytes that are no token, with what they may have been meant as.
    mutating func reportForeign(_ span: SourceSpan) {
        let text = bytes(span)
        func begins(_ prefix: String) -> Bool { text.starts(with: prefix.utf8) }
        switch text.first {
        case UInt8(ascii: "\""):
            report(.unterminatedString, span, hint: "close it with `\"` on this line")
        case UInt8(ascii: "'"):
            report(
                .invalidToken,
                span,
                "\(quoted(span)) is no part of the language",
                hint: "strings are written in double quotes"
            )
        case UInt8(ascii: "#"):
            report(
                .invalidToken,
                span,
                "`#` is no part of the language",
                hint: "a comment begins with `//`"
            )
        case UInt8(ascii: "&"): report(.invalidToken, span, hint: "did you mean `&&`?")
        case UInt8(ascii: "|"): report(.invalidToken, span, hint: "did you mean `||`?")
        case UInt8(ascii: "?"):
            report(.invalidToken, span, hint: "the slots are `?principal` and `?resource`")
        default:
            let isQuote = ["\u{201C}", "\u{201D}", "\u{2018}", "\u{2019}"].contains { begins($0) }
            report(
                .invalidToken,
                span,
                begins("\u{FEFF}")
                    ? "a byte order mark is no part of the language"
                    : "\(quoted(span)) is no part of the language",
                hint: isQuote
                    ? "use straight quotes, `\"`"
                    : begins("\u{FEFF}") ? "save the text as UTF-8 without it" : nil
            )
        }
    }

    /// A name that is no variable.
    mutating func reportVariable(_ path: SourceSpan) {
        let word = spelling(path)
        let names = Variable.allCases.map(\.name.description) + ["true", "false"]
        let hint: String? =
            if bytes(path).contains(UInt8(ascii: ":")) {
                "an entity is written with its id in quotes: \(word)::\"…\""
            } else if ["user", "subject", "actor"].contains(word.lowercased()) {
                "did you mean `principal`?"
            } else if let name = nearest(to: word, among: names) {
                "did you mean `\(name)`?"
            } else {
                "the variables are principal, action, resource and context; text is written in quotes"
            }
        report(.unknownVariable, path, "there is no variable `\(word)`", hint: hint)
    }

    mutating func reportMethod(_ name: SourceSpan) {
        let word = spelling(name)
        let methods =
            ["isEmpty"] + Array(BinaryOperator.methods.keys)
            + ExtensionFunction.allCases.filter { !$0.isConstructor }.map(\.name)
        let foreign = [
            "startsWith": "use `like \"…*\"`", "endsWith": "use `like \"*…\"`",
            "matches": "use `like`, with `*` for any text", "equals": "use `==`",
            "has": "use the operator `has`", "hasAttr": "use the operator `has`",
            "size": "use `isEmpty()`", "length": "there is no length; use `like` or a fact",
        ]
        let hint =
            foreign[word]
            ?? nearest(to: word, among: methods).map { "did you mean `\($0)`?" }
        report(.unknownMethod, name, "there is no method `\(word)`", hint: hint)
    }

    mutating func reportFunction(_ name: SourceSpan, isMethod: Bool) {
        let word = spelling(name)
        if isMethod {
            report(
                .methodCalledAsFunction,
                name,
                "`\(word)` is a method",
                hint: "write it behind a value: x.\(word)(…)"
            )
            return
        }
        let constructors = ExtensionFunction.allCases.filter(\.isConstructor).map(\.name)
        report(
            .unknownFunction,
            name,
            "there is no function `\(word)`",
            hint: nearest(to: word, among: constructors).map { "did you mean `\($0)`?" }
                ?? "the functions are \(constructors.joined(separator: ", "))"
        )
    }
}

extension Finding {
    /// Whether it is about the bytes of a token, and would be made again when they are cut anew.
    var isLexical: Bool { code == .invalidToken || code == .unterminatedString }
}
