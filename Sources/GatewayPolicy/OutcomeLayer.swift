public import Cedar
public import GatewayModel
public import JSON

/// Turns what Cedar answers into what happens (policy.md §3.5).
///
/// Pure. Four rules. Only Cedar allows: a request goes on if and only if Cedar says so on the facts as they are. A guard is
/// a forbid with a cure, which its annotation names and its condition requires. Where every determining forbid has a
/// cure, the request is asked once more as if they had worked, and only if that is allowed is the answer to wait, to step
/// up, or to come back; a wrong annotation can at worst ask for an approval that is of no use. When the cure has worked
/// everything is asked again from the beginning.
///
/// Whatever fails to evaluate closes the gateway (§3.10): Cedar would skip the policy, and a forbid that is skipped is
/// a door left open.
public struct OutcomeLayer: Sendable {
    let release: PolicyRelease
    let entities: EntitySnapshot
    private let authorizer: Authorizer

    /// How long to wait when nothing but calls in flight is in the way, in milliseconds: nobody knows when they end.
    static let inFlightRetryMilliseconds: Int64 = 1000

    /// A question to policy.
    public struct Question: Sendable {
        /// Who.
        public var principal: EntityUID
        /// Does what.
        public var action: EntityUID
        /// To what.
        public var resource: EntityUID
        /// What the context holds besides `system` and `facts`: `input`, or `direction` and `server`.
        public var particulars: [Text: Value]
        /// Arguments that are laid out as `input` as JSON says them, without values in between; then `particulars` has none.
        ///
        /// Where something of them is left out policies are told, whatever the facts say.
        var arguments: JSONValue?

        /// A question.
        public init(
            principal: EntityUID,
            action: EntityUID,
            resource: EntityUID,
            particulars: [Text: Value] = [:]
        ) {
            self.principal = principal
            self.action = action
            self.resource = resource
            self.particulars = particulars
        }
    }

    /// Whether somebody may know of something.
    public enum Visibility: Hashable, Sendable {
        /// Every use is refused, whatever the arguments.
        case hidden
        /// Some use may be allowed once these have worked.
        case curable([GatewayModel.Decision.Cure])
        /// Some use may be allowed.
        case visible
    }

    /// Binds a release to entities.
    public init(release: PolicyRelease, entities: EntitySnapshot) {
        self.release = release
        self.entities = entities
        authorizer = Authorizer(policies: release.compiled, entities: entities)
    }

    /// Decides one question.
    public func decide(_ question: Question, facts: PolicyFacts) -> GatewayModel.Decision {
        decide(question, facts: facts, laidOut: nil)
    }

    /// Decides one question that may have been laid out already, by ``request(_:_:client:)``.
    func decide(
        _ question: Question,
        facts: PolicyFacts,
        laidOut request: Request?
    ) -> GatewayModel.Decision {
        guard entities.contains(question.principal) else {
            return decision(.deny, .subjectUnknown, [])
        }
        guard entities.contains(question.resource) else {
            return decision(.deny, .resourceUnknown, [])
        }
        let response = request.map(authorizer.decide) ?? ask(question, facts)
        guard response.errors.isEmpty else {
            return decision(.deny, .policyError, response.errors.map(\.policy))
        }
        guard response.decision == .deny else {
            let duties = response.determining.flatMap { release.rules[$0]?.duties ?? [] }
            return decision(.permit, .policy, response.determining, duties: duties)
        }
        guard !response.determining.isEmpty else {
            return decision(.deny, .noGrant, [])
        }
        guard let cures = cures(of: response.determining) else {
            return decision(.deny, .policy, response.determining)
        }
        let cured = ask(question, facts.cured(by: cures))
        guard cured.errors.isEmpty else {
            let culprits = response.determining + cured.errors.map(\.policy)
            return decision(.deny, .policyError, culprits)
        }
        guard cured.decision == .allow else {
            return decision(.deny, .policy, response.determining + cured.determining)
        }
        let answer = Self.strongest(of: cures)
        return decision(
            answer,
            .policy,
            response.determining,
            cures: cures,
            retryAfterMilliseconds: answer == .rateLimited
                ? retryAfterMilliseconds(question, facts, cures) : nil
        )
    }

    /// Whether `question` could be allowed with some `input`; the question has none (policy.md §3.7).
    ///
    /// It is asked as it stands first. A policy that answers without its arguments answers the same with any, so only
    /// those that want them are evaluated in part, with the arguments open; one that looks at the context as a whole makes
    /// all be evaluated so.
    ///
    /// - Parameter arguments: What the tool's arguments can be; without it a policy that wants them might go either way: a
    ///   permit might permit, a forbid might not forbid.
    public func visibility(
        of question: Question,
        facts: PolicyFacts,
        arguments: OpenArguments? = nil
    ) -> Visibility {
        guard entities.contains(question.principal), entities.contains(question.resource) else {
            return .hidden
        }
        let asked = standing(of: question, facts, arguments)
        // What fails whatever the arguments are closes the gateway whatever they are.
        guard !asked.fails else { return .hidden }
        guard !asked.forbids.isEmpty else { return asked.mayPermit ? .visible : .hidden }
        guard let cures = cures(of: asked.forbids) else { return .hidden }
        let cured = standing(of: question, facts.cured(by: cures), arguments)
        guard !cured.fails, cured.forbids.isEmpty, cured.mayPermit else { return .hidden }
        return .curable(Array(Set(cures)).sorted())
    }

    /// What is certain of a question whose arguments are open.
    private struct Standing {
        /// The forbids that apply, whatever the arguments.
        var forbids: [PolicyID]
        /// Whether some permit may apply; not known while a forbid does.
        var mayPermit: Bool
        /// Whether some policy fails, whatever the arguments.
        var fails: Bool
    }

    private func standing(
        of question: Question,
        _ facts: PolicyFacts,
        _ arguments: OpenArguments?
    ) -> Standing {
        let request = request(question, facts)
        if let arguments, release.looksAtWholeContext {
            return standing(arguments.evaluate(request, entities))
        }
        let response = authorizer.decide(request)
        let wanting = response.errors.map(\.policy)
        var standing = Standing(
            forbids: response.decision == .deny ? response.determining : [],
            mayPermit: response.decision == .allow,
            fails: false
        )
        guard !wanting.isEmpty else { return standing }
        guard let arguments else {
            let isOpen = wanting.contains { release.rules[$0]?.permits == true }
            standing.mayPermit = standing.mayPermit || isOpen
            return standing
        }
        let rest = self.standing(arguments.evaluate(request, entities, only: Set(wanting)))
        standing.forbids += rest.forbids
        standing.mayPermit = standing.mayPermit || rest.mayPermit
        standing.fails = rest.fails
        return standing
    }

    private func standing(_ response: PartialResponse) -> Standing {
        var standing = Standing(forbids: [], mayPermit: false, fails: false)
        for result in response.results {
            switch (result.effect, result.outcome) {
            case (_, .fails): standing.fails = true
            case (.forbid, .applies): standing.forbids.append(result.policy)
            case (.permit, .applies), (.permit, .residual): standing.mayPermit = true
            case (_, .doesNotApply), (.forbid, .residual): break
            }
        }
        return standing
    }

    // MARK: - Cures

    /// The cures of forbids, if each of them has one.
    func cures(of forbids: [PolicyID]) -> [GatewayModel.Decision.Cure]? {
        var cures: [GatewayModel.Decision.Cure] = []
        for forbid in forbids {
            guard let its = release.rules[forbid]?.cures, !its.isEmpty else { return nil }
            cures += its
        }
        return cures
    }

    /// What has to happen that only other people can do comes first, then what the subject can, then what time does.
    private static func strongest(
        of cures: [GatewayModel.Decision.Cure]
    ) -> GatewayModel.Decision.Answer {
        var answer = GatewayModel.Decision.Answer.rateLimited
        for cure in cures {
            switch cure {
            case .approval: return .requireApproval
            case .stepUp: answer = .stepUp
            case .limit: break
            }
        }
        return answer
    }

    /// When the counters will have fallen far enough, if nothing else happens.
    ///
    /// The bound stands in a condition, not in the counter: the policies are asked at the counts to come, by bisection.
    private func retryAfterMilliseconds(
        _ question: Question,
        _ facts: PolicyFacts,
        _ cures: [GatewayModel.Decision.Cure]
    ) -> Int64 {
        var times: Set<Int64> = []
        for case .limit(let counter) in cures {
            for fall in facts.rates[counter]?.falls ?? [] { times.insert(fall.afterMilliseconds) }
        }
        let steps = times.sorted()
        let isAllowed = { (time: Int64) in
            var later = facts
            for (name, reading) in later.rates {
                let fallen = reading.falls.last { $0.afterMilliseconds <= time }
                later.rates[name] = RateReading(count: fallen?.count ?? reading.count)
            }
            return ask(question, later).decision == .allow
        }
        var (low, high) = (0, steps.count)
        while low < high {
            let middle = (low + high) / 2
            if isAllowed(steps[middle]) { high = middle } else { low = middle + 1 }
        }
        return low < steps.count ? steps[low] : Self.inFlightRetryMilliseconds
    }

    // MARK: - Cedar

    private func ask(_ question: Question, _ facts: PolicyFacts) -> Response {
        authorizer.decide(request(question, facts))
    }

    /// What Cedar is asked.
    func request(_ question: Question, _ facts: PolicyFacts) -> Request {
        request(question, facts, client: client(facts.client))
    }

    /// What Cedar is asked, by every release that declares the same facts.
    func request(_ question: Question, _ facts: PolicyFacts, client: EntityUID) -> Request {
        Request(
            principal: question.principal,
            action: question.action,
            resource: question.resource
        ) { context in
            for (name, value) in question.particulars where name != "system" && name != "facts" {
                context.add(name, value)
            }
            var facts = facts
            if let arguments = question.arguments {
                let isFaithful = context.add("input", json: arguments)
                facts.inputFaithful = facts.inputFaithful && isFaithful
            }
            facts.write(to: &context, release.facts, client: client)
        }
    }

    /// A client that nobody has registered has no name that policies could trust.
    func client(_ name: Text?) -> EntityUID {
        guard let name else { return MCPEntities.unregisteredClient }
        let uid = MCPEntities.client(name)
        return entities.contains(uid) ? uid : MCPEntities.unregisteredClient
    }

    func decision(
        _ answer: GatewayModel.Decision.Answer,
        _ ground: GatewayModel.Decision.Ground,
        _ determining: [PolicyID],
        cures: [GatewayModel.Decision.Cure] = [],
        duties: [GatewayModel.Decision.Duty] = [],
        retryAfterMilliseconds: Int64? = nil
    ) -> GatewayModel.Decision {
        GatewayModel.Decision(
            answer: answer,
            ground: ground,
            determining: determining.map { release.rules[$0]?.name ?? $0.text },
            release: release.number,
            cures: cures,
            duties: duties,
            retryAfterMilliseconds: retryAfterMilliseconds
        )
    }
}
