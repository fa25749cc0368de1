import JSON

/// What in the text of policies is legal and would deceive the person who approves them.
///
/// Source: Unicode Technical Standard #39; policy.md §2.2 and §2.11.
struct TextWarnings {
    struct Warning {
        let code: ValidationFinding.Code
        /// Nothing between policies.
        let policy: PolicyID?
        let span: SourceSpan
        let message: String
        let hint: String?
    }

    private let set: PolicySet
    private var warnings: [Warning] = []

    static func find(in set: PolicySet) -> [Warning] {
        var search = TextWarnings(set: set)
        search.searchText()
        for source in set.sources { search.search(source) }
        return search.warnings
    }

    private init(set: PolicySet) {
        self.set = set
    }

    /// Comments count: they are where a reviewer reads what is not there.
    private mutating func searchText() {
        for range in TextHazards.bidirectionalControls(in: set.text) {
            let span = SourceSpan(range)
            addBidirectionalControl(owner(of: span), span)
        }
        for range in TextHazards.bareCarriageReturns(in: set.text) {
            let span = SourceSpan(range)
            warnings.append(
                Warning(
                    code: .bareCarriageReturn,
                    policy: owner(of: span),
                    span: span,
                    message: "a carriage return without a line feed ends a comment unseen",
                    hint: "end lines with a line feed"
                )
            )
        }
    }

    private func owner(of span: SourceSpan) -> PolicyID? {
        set.sources.first {
            $0.syntax.span.start <= span.start && span.end <= $0.syntax.span.end
        }?.id
    }

    private mutating func search(_ source: PolicySet.Source) {
        let policy = source.syntax
        for annotation in policy.annotations {
            if let value = annotation.value { check(value, source.id, policy.span) }
        }
        let constraints = [policy.principal, policy.action, policy.resource]
        for (index, constraint) in constraints.enumerated() {
            let span = policy.scopeSpans.isEmpty ? policy.span : policy.scopeSpans[index]
            if case .inSet(let entities) = constraint {
                for entity in entities { check(set.syntax[entity].id, source.id, span) }
            }
            if case .entity(let entity)? = constraint.operand {
                check(set.syntax[entity].id, source.id, span)
            }
        }
        var pending = policy.conditions.map(\.body)
        while let id = pending.popLast() {
            let span = set.syntax.span(id)
            switch set.syntax[id] {
            case .string(let symbol), .attribute(_, let symbol), .like(_, let symbol):
                check(symbol, source.id, span)
            case .entity(let entity): check(set.syntax[entity].id, source.id, span)
            case .has(_, let path):
                for symbol in set.syntax[path] { check(Symbol(index: symbol), source.id, span) }
            case .record(let list):
                let members = set.syntax[list]
                for index in stride(from: members.startIndex, to: members.endIndex, by: 2) {
                    check(Symbol(index: members[index]), source.id, span)
                }
            default: break
            }
            set.syntax.forEachChild(of: id) { pending.append($0) }
        }
    }

    private mutating func check(_ symbol: Symbol, _ policy: PolicyID, _ span: SourceSpan) {
        let bytes = set.syntax.symbols[symbol]
        guard !bytes.allSatisfy({ $0 < 0x80 || $0 == Escapes.wildcard }) else { return }
        let text = Text(
            String(decoding: bytes.map { $0 == Escapes.wildcard ? 0x2A : $0 }, as: UTF8.self)
        )
        // In a text the control itself has been found already.
        if set.text.isEmpty, TextHazards.hasBidirectionalControl(text) {
            addBidirectionalControl(policy, span)
        }
        if TextHazards.mixesScripts(text) {
            warnings.append(
                Warning(
                    code: .mixedScripts,
                    policy: policy,
                    span: span,
                    message: "a word has letters of several scripts",
                    hint: "write it with the letters of one script"
                )
            )
        } else if !TextHazards.hasBidirectionalControl(text),
            let plain = TextHazards.confusedWithASCII(text)
        {
            warnings.append(
                Warning(
                    code: .confusableCharacter,
                    policy: policy,
                    span: span,
                    message: "a text reads as `\(plain)` and is another",
                    hint: "write it with Latin letters, or as escapes"
                )
            )
        }
    }

    private mutating func addBidirectionalControl(_ policy: PolicyID?, _ span: SourceSpan) {
        warnings.append(
            Warning(
                code: .bidirectionalControl,
                policy: policy,
                span: span,
                message: "a control character changes the order in which text is shown",
                hint: "write it as an escape, `\\u{…}`"
            )
        )
    }
}

extension TextHazards {
    /// What a text would be taken for, if all its letters look like letters of ASCII and some are
    /// not, or if characters that show nothing are in it.
    static func confusedWithASCII(_ text: Text) -> String? {
        var plain = ""
        var isConfusing = false
        for scalar in text.string.unicodeScalars {
            if scalar.isASCII {
                plain.unicodeScalars.append(scalar)
            } else if let double = asciiDouble(of: scalar) {
                plain.unicodeScalars.append(double)
                isConfusing = true
            } else if scalar.properties.isDefaultIgnorableCodePoint {
                isConfusing = true
            } else {
                return nil
            }
        }
        return isConfusing ? plain : nil
    }

    /// The letter of ASCII that a letter looks like in common fonts.
    private static func asciiDouble(of scalar: Unicode.Scalar) -> Unicode.Scalar? {
        // Full-width forms are ASCII at another place.
        if (0xFF01...0xFF5E).contains(scalar.value) {
            return Unicode.Scalar(scalar.value - 0xFEE0)
        }
        return doubles[scalar]
    }

    private static let doubles: [Unicode.Scalar: Unicode.Scalar] = {
        let pairs: [(String, String)] = [
            // Cyrillic.
            ("АВЕЗКМНОРСТУХЅІЈԌԚԜ", "ABE3KMHOPCTYXSIJGQW"),
            ("аеорсухѕіјһԁԛԝ", "aeopcyxsijhdqw"),
            // Greek.
            ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEZHIKMNOPTYX"), ("ονγι", "ovyi"),
        ]
        var doubles: [Unicode.Scalar: Unicode.Scalar] = [:]
        for (letters, plain) in pairs {
            for (letter, double) in zip(letters.unicodeScalars, plain.unicodeScalars) {
                doubles[letter] = double
            }
        }
        return doubles
    }()
}
