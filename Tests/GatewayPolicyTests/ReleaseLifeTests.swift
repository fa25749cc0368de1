import GatewayPolicy
import Testing

@Suite struct ReleaseLifeTests {
    struct Row: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let life: ReleaseLife
        let state: ReleaseLife.State
        /// In the order of ``ReleaseLife/Step``: approve, reject, shadow, activate.
        let refusals: [ReleaseLife.Refusal?]

        init(
            _ name: String,
            _ life: ReleaseLife,
            _ state: ReleaseLife.State,
            _ refusals: [ReleaseLife.Refusal?]
        ) {
            (testDescription, self.life, self.state, self.refusals) = (name, life, state, refusals)
        }
    }

    static let rows: [Row] = [
        Row("a draft where nobody else has to look", .init(), .draft, [nil, nil, nil, nil]),
        Row(
            "a draft that another person must see",
            .init(reviewersRequired: 1),
            .draft,
            [nil, nil, nil, .reviewsMissing(approvals: 0, required: 1)]
        ),
        Row(
            "a draft with errors is only good for rejecting",
            .init(hasErrors: true),
            .draft,
            [.checksFailed, nil, .checksFailed, .checksFailed]
        ),
        Row(
            "errors come before missing reviews",
            .init(reviewersRequired: 2, hasErrors: true),
            .draft,
            [.checksFailed, nil, .checksFailed, .checksFailed]
        ),
        Row(
            "a shadow is not approved by running",
            .init(reviewersRequired: 1, isShadow: true),
            .shadow,
            [nil, nil, nil, .reviewsMissing(approvals: 0, required: 1)]
        ),
        Row(
            "one of two reviews",
            .init(approvals: 1, reviewersRequired: 2),
            .draft,
            [nil, nil, nil, .reviewsMissing(approvals: 1, required: 2)]
        ),
        Row(
            "two of two reviews",
            .init(approvals: 2, reviewersRequired: 2),
            .approved,
            [nil, nil, nil, nil]
        ),
        Row(
            "approved although nobody had to look",
            .init(approvals: 1),
            .approved,
            [nil, nil, nil, nil]
        ),
        Row(
            "approved while it is a shadow",
            .init(approvals: 1, reviewersRequired: 1, isShadow: true),
            .approved,
            [nil, nil, nil, nil]
        ),
        Row(
            "an approved release that a changed tool breaks",
            .init(approvals: 1, reviewersRequired: 1, hasErrors: true),
            .approved,
            [.checksFailed, nil, .checksFailed, .checksFailed]
        ),
        Row(
            "required reviewers became more after the approval",
            .init(approvals: 1, reviewersRequired: 3),
            .draft,
            [nil, nil, nil, .reviewsMissing(approvals: 1, required: 3)]
        ),
        Row(
            "one rejection outweighs approvals",
            .init(approvals: 3, rejections: 1, reviewersRequired: 1),
            .rejected,
            [.rejected, .rejected, .rejected, .rejected]
        ),
        Row(
            "in force",
            .init(approvals: 1, reviewersRequired: 1, isActive: true),
            .active,
            [.active, .active, .active, .active]
        ),
        Row(
            "a way back needs no review, whatever is required by now",
            .init(reviewersRequired: 5, wasActivated: true),
            .retired,
            [.retired, .retired, .retired, nil]
        ),
        Row(
            "a way back is open although today's checks find errors",
            .init(hasErrors: true, wasActivated: true),
            .retired,
            [.retired, .retired, .retired, nil]
        ),
    ]

    @Test(arguments: rows) func `state and steps follow from what happened`(row: Row) {
        #expect(row.life.state == row.state)
        #expect(ReleaseLife.Step.allCases.map(row.life.refusal) == row.refusals)
        #expect(row.life.isRollback == (row.state == .retired))
    }

    @Test func `no row of what can happen lets a rejected or failing draft come into force`() {
        for approvals in 0...3 {
            for rejections in 0...1 {
                for required in 0...3 {
                    for bits in 0..<4 {
                        let life = ReleaseLife(
                            approvals: approvals,
                            rejections: rejections,
                            reviewersRequired: required,
                            hasErrors: bits & 1 != 0,
                            isShadow: bits & 2 != 0
                        )
                        let mayStart = life.refusal(of: .activate) == nil
                        #expect(
                            mayStart
                                == (rejections == 0 && approvals >= required && bits & 1 == 0)
                        )
                    }
                }
            }
        }
    }
}
