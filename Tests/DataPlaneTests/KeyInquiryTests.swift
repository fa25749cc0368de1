import GatewayModel
import JSON
import Testing

@testable import DataPlane

@Suite struct KeyInquiryTests {
    private func at(_ milliseconds: Int64) -> MonotonicInstant {
        MonotonicInstant(nanoseconds: 0).adding(milliseconds: milliseconds)
    }

    @Test func `one question for an issuer in 30 seconds, and all that come soon hear its answer`()
    {
        var rules = KeyInquiryRules()
        #expect(rules.unknownKey(of: "a", at: at(0)) == .ask(until: at(2_000)))
        #expect(rules.unknownKey(of: "a", at: at(0)) == .join(until: at(2_000)))
        #expect(rules.unknownKey(of: "a", at: at(1_999)) == .join(until: at(2_000)))
        #expect(rules.unknownKey(of: "a", at: at(2_000)) == .refuse)
        #expect(rules.unknownKey(of: "a", at: at(29_999)) == .refuse)
        #expect(rules.unknownKey(of: "b", at: at(2_000)) == .ask(until: at(4_000)))
        #expect(rules.unknownKey(of: "a", at: at(30_000)) == .ask(until: at(32_000)))
    }

    @Test func `a flood of unknown keys keeps few callers waiting`() {
        var rules = KeyInquiryRules()
        let answers = (0..<1_000).map { _ in rules.unknownKey(of: "a", at: at(1)) }
        #expect(answers.filter { $0 != .refuse }.count == KeyInquiryRules.waitingMax)
        #expect(rules.waiting == KeyInquiryRules.waitingMax)
        #expect(rules.unknownKey(of: "b", at: at(1)) == .refuse)
        rules.done()
        #expect(rules.unknownKey(of: "b", at: at(1)) == .ask(until: at(2_001)))
    }
}
