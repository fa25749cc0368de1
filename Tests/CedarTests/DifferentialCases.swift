/// Cases of ``DifferentialTests`` that once differed, with the answer of the independent engine.
enum DifferentialCases {
    static let rows: [(test: String, answer: String)] = []
}
