import Cedar
import GatewayModel
public import JSON

/// The policies of one numbered release, compiled.
///
/// Immutable; a decision names the release by its number. Everything that can be wrong with the text of a release
/// is found here, so that a release that was published can be enforced.
public struct PolicyRelease: Sendable {
    /// One file of a release.
    public struct Document: Hashable, Sendable {
        /// What people call it: `sre.cedar`.
        public var name: Text
        /// Cedar text.
        public var source: Text

        /// A file of policies.
        public init(name: Text, source: Text) {
            self.name = name
            self.source = source
        }
    }

    /// Why documents do not make a release: everything that is wrong, with places.
    public struct Failure: Error, Sendable, CustomStringConvertible {
        /// One finding.
        public struct Finding: Hashable, Sendable {
            /// In which document.
            public var document: Text
            /// The line, from 1.
            public var line: Int
            /// The column, from 1.
            public var column: Int
            /// What is wrong.
            public var message: String
        }

        /// All findings in the order of the documents.
        public let findings: [Finding]

        /// One line a finding.
        public var description: String {
            findings.map { "\($0.document.string):\($0.line):\($0.column): \($0.message)" }
                .joined(separator: "\n")
        }
    }

    /// The number; 0 for the empty release that permits nothing.
    public let number: UInt64
    let compiled: CompiledPolicySet
    /// By policy id: what people call it, and whether it permits.
    let policies: [PolicyID: Facts]

    struct Facts: Sendable {
        var name: Text
        var permits: Bool
        var asksForApproval: Bool
    }

    /// The release of a namespace that has none: it permits nothing.
    public static let empty: PolicyRelease = {
        do {
            return try PolicyRelease(number: 0, documents: [])
        } catch {
            preconditionFailure("a release without documents has nothing to be wrong")
        }
    }()

    /// Compiles a release.
    ///
    /// - Throws: ``Failure`` with everything that is wrong; trying again does not help.
    public init(number: UInt64, documents: [Document]) throws(Failure) {
        var findings: [Failure.Finding] = []
        for document in documents {
            do {
                _ = try PolicySet.parse(document.source.string)
            } catch {
                findings += error.diagnostics.map { diagnostic in
                    Failure.Finding(
                        document: document.name,
                        line: diagnostic.line,
                        column: diagnostic.column,
                        message: "\(diagnostic)"
                    )
                }
            }
        }
        guard findings.isEmpty else {
            throw Failure(findings: findings)
        }
        let whole = documents.map(\.source.string).joined(separator: "\n")
        let set: PolicySet
        do {
            set = try PolicySet.parse(whole)
        } catch {
            // Each document parsed, so only a bound of the whole can be broken: too many policies.
            throw Failure(
                findings: error.diagnostics.map {
                    Failure.Finding(
                        document: "*",
                        line: $0.line,
                        column: $0.column,
                        message: "\($0)"
                    )
                }
            )
        }
        self.number = number
        compiled = CompiledPolicySet(set)
        var facts: [PolicyID: Facts] = [:]
        var names: Set<Text> = []
        for policy in set.policies {
            let name = policy.annotation("id")
            if let name, !names.insert(name).inserted {
                findings.append(
                    .init(
                        document: "*",
                        line: 1,
                        column: 1,
                        message: "two policies have the id \(name)"
                    )
                )
            }
            facts[policy.id] = Facts(
                name: name ?? policy.id.text,
                permits: policy.effect == .permit,
                asksForApproval: policy.annotation("approval") != nil
            )
        }
        guard findings.isEmpty else {
            throw Failure(findings: findings)
        }
        policies = facts
    }
}
