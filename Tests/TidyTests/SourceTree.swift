import Foundation

/// The project's own files, as text: what the tidy rules read.
struct SourceTree {
    /// The folder that holds Package.swift.
    let root: URL

    init() {
        // Tests/TidyTests/SourceTree.swift → three steps up.
        root = URL(filePath: #filePath).resolvingSymlinksInPath()
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    }

    /// One file, with its path from the root.
    struct File {
        let path: String
        let lines: [Substring]

        /// The folder below `Sources` or `Tests`: the target's name.
        var target: String {
            String(path.split(separator: "/")[1])
        }
    }

    func text(of path: String) throws -> String {
        try String(contentsOf: root.appending(path: path), encoding: .utf8)
    }

    /// The Swift files below a folder, generated ones left out.
    func swiftFiles(below folder: String) throws -> [File] {
        try files(below: folder, withExtension: "swift").filter { !$0.path.contains("/Generated/") }
    }

    func files(below folder: String, withExtension kind: String) throws -> [File] {
        let base = root.appending(path: folder)
        guard
            let walker = FileManager.default.enumerator(
                at: base,
                includingPropertiesForKeys: nil,
                options: [.skipsHiddenFiles]
            )
        else {
            return []
        }
        var found: [File] = []
        for case let url as URL in walker where url.pathExtension == kind {
            let path = String(url.path.dropFirst(root.path.count + 1))
            let text = try String(contentsOf: url, encoding: .utf8)
            found.append(
                File(
                    path: path,
                    lines: text.split(separator: "\n", omittingEmptySubsequences: false)
                )
            )
        }
        return found.sorted { $0.path < $1.path }
    }
}

extension SourceTree.File {
    /// The module names that the file imports.
    var imports: Set<String> {
        var modules: Set<String> = []
        for line in lines {
            let words = line.split(separator: " ")
            guard let at = words.firstIndex(of: "import"), at <= 2, at + 1 < words.count,
                words[..<at].allSatisfy({
                    ["public", "internal", "package", "private", "@preconcurrency", "@testable"]
                        .contains($0)
                })
            else {
                continue
            }
            let named = words[(at + 1)...].first {
                !["struct", "class", "enum", "func", "protocol", "var", "let", "typealias"]
                    .contains($0)
            }
            if let named, let module = named.split(separator: ".").first {
                modules.insert(String(module))
            }
        }
        return modules
    }

    /// The lines without comments, with their numbers.
    var code: [(number: Int, text: Substring)] {
        lines.enumerated().compactMap { index, line in
            let text = line.drop { $0 == " " }
            return text.hasPrefix("//") ? nil : (index + 1, line)
        }
    }
}
