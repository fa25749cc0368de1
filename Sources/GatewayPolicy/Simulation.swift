import Cedar
public import JSON

/// What one configuration lets recorded inputs be asked: both releases, bound to its entities, and what its tools said of
/// their arguments.
///
/// Made once for each configuration that inputs name, never for an input: binding costs time in proportion to the entities.
public struct ReplayConfiguration: Sendable {
    /// What is compared with; `nil` for what was recorded.
    public let baseline: PolicyDecisionPoint?
    /// What is tried.
    public let candidate: PolicyDecisionPoint
    /// What tools say their arguments are, by the id of the action (``MCPEntities/action(_:_:)``); arguments of tools that
    /// are not here are read as JSON says them.
    public let schemas: [Text: ToolInputSchema]
    /// Whether both releases are told the same of a question, so that it is laid out once for both.
    private let sharesFacts: Bool
    /// Sees what the candidate's rules do, where that is wanted.
    fileprivate let tracer: Coverage.Tracer?

    /// Two releases over one configuration.
    ///
    /// - Parameter tracesCandidate: Whether a simulation that counts coverage will use this.
    public init(
        baseline: PolicyDecisionPoint?,
        candidate: PolicyDecisionPoint,
        schemas: [Text: ToolInputSchema] = [:],
        tracesCandidate: Bool = false
    ) {
        self.baseline = baseline
        self.candidate = candidate
        self.schemas = schemas
        sharesFacts = baseline.map { $0.declaredFacts == candidate.declaredFacts } ?? false
        tracer = tracesCandidate ? Coverage.Tracer(candidate.outcomes) : nil
    }

    /// The question laid out for both releases; `nil` if they are not told the same.
    fileprivate func request(for question: DecisionInput.Question) -> Request? {
        guard sharesFacts, let baseline else { return nil }
        let client = candidate.outcomes.client(question.facts.client)
        guard baseline.outcomes.client(question.facts.client) == client else { return nil }
        return candidate.outcomes.request(question.asked, question.facts, client: client)
    }
}

/// Recorded inputs asked again under two releases (policy.md §4).
///
/// A pure fold: the caller feeds inputs in any number and reads ``diff`` whenever it likes. Parts that were fed apart, on
/// several cores, are ``merge(_:)``d in the order of their inputs.
public struct Simulation: Sendable {
    /// What changes.
    public private(set) var diff = DecisionDiff()
    /// What the rules of the candidate did; `nil` where nobody asked.
    public private(set) var coverage: Coverage?

    /// Nothing replayed yet.
    ///
    /// - Parameter coverage: Where to count what the candidate's rules do, ``Coverage/init(of:)`` of it. This evaluates
    ///   each input once more, by a way that shows every rule; configurations must trace.
    public init(coverage: Coverage? = nil) {
        self.coverage = coverage
    }

    /// Asks one input, and counts what comes out.
    public mutating func replay(_ input: DecisionInput, in configuration: ReplayConfiguration) {
        let schema = configuration.schemas.isEmpty ? nil : configuration.schemas[input.action.id]
        let question = DecisionInput.Question(input, schema: schema)
        let request = configuration.request(for: question)
        let decision = configuration.candidate.decide(question, laidOut: request)
        if let tracer = configuration.tracer {
            coverage?.note(question.asked, facts: question.facts, decision: decision, by: tracer)
        }
        let candidate = DecisionSummary(decision)
        if let point = configuration.baseline {
            let baseline = DecisionSummary(point.decide(question, laidOut: request))
            compare(baseline, of: point, withRecordOf: input)
            diff.count(input, baseline: baseline, candidate: candidate)
        } else if let recorded = input.recorded {
            diff.count(input, baseline: recorded, candidate: candidate)
        } else {
            diff.count(undecided: .nothingRecorded)
        }
    }

    /// Counts an input that a release in shadow answered when it was recorded: compares two records and asks nothing.
    public mutating func compare(_ input: DecisionInput, withShadow shadow: DecisionSummary) {
        if let recorded = input.recorded {
            diff.count(input, baseline: recorded, candidate: shadow)
        } else {
            diff.count(undecided: .nothingRecorded)
        }
    }

    /// Asks the inputs of whole lines; empty lines are passed over.
    ///
    /// A line that is no input is counted as unreadable, and `refuse` is told its number within `lines`, from 0.
    public mutating func replay(
        lines: [UInt8],
        in configuration: ReplayConfiguration,
        refuse: (Int, DecisionInput.ReadingError) -> Void
    ) {
        var (start, number) = (0, 0)
        while start < lines.count {
            let end = lines[start...].firstIndex(of: UInt8(ascii: "\n")) ?? lines.count
            if start < end {
                do throws(DecisionInput.ReadingError) {
                    let input = try DecisionInput(parsing: Array(lines[start..<end]))
                    replay(input, in: configuration)
                } catch {
                    refuse(number, error)
                    leaveOut(.unreadable)
                }
            }
            start = end + 1
            number += 1
        }
    }

    /// Counts an input that the caller could not put together.
    public mutating func leaveOut(_ obstacle: DecisionInput.Obstacle) {
        diff.count(undecided: obstacle)
    }

    /// Adds what was replayed of the inputs that follow.
    public mutating func merge(_ later: Simulation) {
        diff.merge(later.diff)
        if let its = later.coverage { coverage?.merge(its) }
    }

    /// A release without a number, of files, is compared with whatever was recorded.
    private mutating func compare(
        _ baseline: DecisionSummary,
        of point: PolicyDecisionPoint,
        withRecordOf input: DecisionInput
    ) {
        var fidelity = diff.fidelity ?? DecisionDiff.Fidelity()
        diff.fidelity = nil
        defer { diff.fidelity = fidelity }
        guard let recorded = input.recorded,
            point.releaseNumber == 0 || recorded.release == point.releaseNumber
        else {
            fidelity.incomparable += 1
            return
        }
        guard recorded.answer != baseline.answer else {
            fidelity.agreed += 1
            return
        }
        fidelity.differed += 1
        if fidelity.examples.count < DecisionDiff.examplesMax {
            fidelity.examples.append(DecisionDiff.Example(input, recorded, baseline))
        }
    }
}

extension Simulation: JSONWritable {
    /// Writes the report: the members of ``diff``, and `coverage` where it was counted.
    public func write(to writer: inout JSONWriter) {
        writer.object { writer in
            diff.writeMembers(to: &writer)
            writer.member("coverage", ifPresent: coverage)
        }
    }
}
