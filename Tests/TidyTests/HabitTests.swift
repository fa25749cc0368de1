import Foundation
import Testing

/// Habits that the compiler does not keep.
///
/// Each message names what to do instead.
@Suite struct HabitTests {
    struct Ban: CustomStringConvertible {
        let pattern: String
        let instead: String
        var except: Set<String> = []
        var description: String { pattern }
    }

    static let bans: [Ban] = [
        Ban(pattern: "try!", instead: "throw, or state the invariant with precondition"),
        Ban(pattern: "FIXME", instead: "an issue"),
        Ban(pattern: "TODO", instead: "an issue"),
        Ban(pattern: "Task.detached", instead: "a child task of a service's run()"),
        Ban(pattern: "fatalError(", instead: "precondition with a sentence"),
        Ban(
            pattern: " print(",
            instead: "the logger, or standard output through the command's writer",
            except: ["ostiary"]
        ),
    ]

    @Test(arguments: bans)
    func `no banned call stands in Sources`(ban: Ban) throws {
        for file in try SourceTree().swiftFiles(below: "Sources")
        where !ban.except.contains(file.target) {
            for line in file.code where line.text.contains(ban.pattern) {
                Issue.record("\(file.path):\(line.number) uses \(ban.pattern): use \(ban.instead)")
            }
        }
    }

    @Test func `each @unchecked Sendable names its guard`() throws {
        for file in try SourceTree().swiftFiles(below: "Sources") {
            for (index, line) in file.lines.enumerated()
            where line.contains("@unchecked Sendable")
                && !line.drop(while: { $0 == " " }).hasPrefix("//")
            {
                let around = file.lines[max(0, index - 14)..<min(file.lines.count, index + 5)]
                    .joined(separator: "\n").lowercased()
                let named = [
                    "guard", "owned by", "lock", "confined", "event loop", "immutable", "thread",
                    "never changed", "stays with", "read-only",
                ]
                .contains { around.contains($0) }
                #expect(
                    named,
                    "\(file.path):\(index + 1): say in a comment what guards the state"
                )
            }
        }
    }

    @Test func `every migration follows the one before and says why`() throws {
        // Below it, roles/ holds what is no step.
        let files = try SourceTree().files(below: "migrations", withExtension: "sql")
            .filter { !$0.path.contains("/roles/") }
        for (index, file) in files.enumerated() {
            let name = file.path.split(separator: "/").last.map(String.init) ?? ""
            let number = String(index + 1)
            let expected = String(repeating: "0", count: 4 - number.count) + number + "_"
            #expect(name.hasPrefix(expected), "\(file.path) should start with \(expected)")
            #expect(file.lines.first?.hasPrefix("--") == true, "\(file.path) has no head comment")
        }
    }

    @Test func `every ADR has a status and a number of its own`() throws {
        let records = try SourceTree().files(below: "docs/adr", withExtension: "md")
            .filter { !$0.path.hasSuffix("README.md") }
        var taken: [Substring: String] = [:]
        for file in records {
            let status = file.lines.contains { $0.hasPrefix("Status: ") }
            #expect(status, "\(file.path) has no line that starts with 'Status: '")
            let number = (file.path.split(separator: "/").last ?? "").prefix(4)
            #expect(
                file.lines.first?.hasPrefix("# \(number) ") == true,
                "\(file.path) has another number in its title"
            )
            let other = taken.updateValue(file.path, forKey: number)
            #expect(other == nil, "\(file.path) has the number of \(other ?? "")")
        }
    }

    @Test func `every rejection code is documented`() throws {
        let tree = SourceTree()
        let documented = try tree.text(of: "docs/reference/rejections.md")
        for code in RejectionCodes.all {
            #expect(
                documented.contains("`\(code)`"),
                "docs/reference/rejections.md does not name \(code)"
            )
        }
    }

    @Test func `nothing of one machine stands in the tree`() throws {
        let tree = SourceTree()
        let home = tree.root.deletingLastPathComponent().path + "/"
        guard home.count > 5 else {
            return
        }
        for folder in ["Sources", "Tests", "docs", "scripts", "migrations"] {
            for kind in ["swift", "md", "sql", "sh", "py", "proto"] {
                for file in try tree.files(below: folder, withExtension: kind) {
                    for (index, line) in file.lines.enumerated() where line.contains(home) {
                        Issue.record("\(file.path):\(index + 1) names a path of this machine")
                    }
                }
            }
        }
    }
}
