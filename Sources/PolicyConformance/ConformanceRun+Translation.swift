import Cedar
import JSON

// Policies from text to text, to JSON and back.

extension ConformanceRun {
    /// What is printed reads as the same and prints the same; so does what went through JSON.
    mutating func roundTrip(_ policies: PolicySet, _ name: String) {
        let printed = policies.formatted()
        do throws(PolicyParseFailure) {
            let again = try PolicySet.parse(printed).formatted()
            report.check(.policyText, again == printed, in: name, "\(printed)\nbecomes\n\(again)")
        } catch {
            report.check(.policyText, false, in: name, "\(error)\n\(printed)")
        }
        let json = Self.bytes(of: policies)
        do {
            let document = try JSONDocument(parsing: json, limits: Self.limits)
            let again = try PolicySet(json: document)
            report.check(
                .policyJSON,
                Self.texts(again) == Self.texts(policies) && Self.bytes(of: again) == json,
                in: name,
                "\(printed)\nbecomes\n\(again.formatted())"
            )
        } catch {
            report.check(.policyJSON, false, in: name, "\(error)\n\(printed)")
        }
    }

    /// Text and JSON of the same policies, from somebody else.
    mutating func policyTranslation(_ record: JSONValue, _ name: String) {
        do {
            let policies = try PolicySet.parse(record["policies"]?.string?.string ?? "")
            roundTrip(policies, name)
            var writer = JSONWriter()
            writer.value(record["policiesJSON"] ?? record)
            let theirs = try PolicySet(
                json: JSONDocument(parsing: writer.finish(), limits: Self.limits)
            )
            report.check(
                .policyTranslation,
                Self.texts(theirs) == Self.texts(policies),
                in: name,
                "\(policies.formatted())\nis not\n\(theirs.formatted())"
            )
        } catch {
            report.check(.policyTranslation, false, in: name, "\(error)")
        }
    }

    /// Each policy by its id; JSON keeps static policies and templates apart, and so another order.
    private static func texts(_ policies: PolicySet) -> [PolicyID: String] {
        Dictionary(
            policies.policies.map { ($0.id, $0.formatted()) },
            uniquingKeysWith: { first, _ in first }
        )
    }

    /// The set as it comes out of its JSON form, templates and links included.
    static func throughJSON(_ policies: PolicySet) throws -> PolicySet {
        try PolicySet(json: JSONDocument(parsing: bytes(of: policies), limits: limits))
    }

    private static func bytes(of policies: PolicySet) -> [UInt8] {
        var writer = JSONWriter()
        policies.write(to: &writer)
        return writer.finish()
    }
}
