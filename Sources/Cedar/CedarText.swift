import JSON

/// Writes strings as Cedar literals.
enum CedarText {
    /// The literal, in quotes, that reads as these bytes.
    ///
    /// Control characters, also those that change the direction of text or show nothing, are
    /// written as escapes: a reviewer sees what is there.
    static func quoted(_ text: Text) -> String {
        var out = "\""
        for scalar in text.string.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            case "\0": out += "\\0"
            default:
                if isHidden(scalar) {
                    out += "\\u{\(String(scalar.value, radix: 16))}"
                } else {
                    out.unicodeScalars.append(scalar)
                }
            }
        }
        return out + "\""
    }

    private static func isHidden(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator: true
        default: false
        }
    }
}
