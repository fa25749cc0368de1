import ArgumentParser
import Cedar
import GatewayPolicy
import JSON

/// The files of a release as they lie in a repository: policies, the facts they may read, and their tests.
///
/// A folder stands for its `*.cedar`, its `facts.json` and its `*.cases.json`. Beside a file `x.cedar` that is named by itself,
/// `facts.json` and `x.cases.json` are found. Whose each file is says the `layers.json` beside it.
struct ReleaseFiles {
    private var documents: [PolicyRelease.Document] = []
    private var layers = LayerFiles()
    /// The tests beside the policies.
    private(set) var cases: [InputFile] = []

    /// Gathers and reads the files.
    init(_ paths: [String]) throws(InputFile.Failure) {
        var facts: InputFile?
        var beside: [InputFile] = []
        func addFacts(_ file: InputFile) throws(InputFile.Failure) {
            guard facts == nil || facts?.path == file.path else {
                throw InputFile.Failure(description: "\(file.name): there are two facts.json")
            }
            facts = file
        }
        for path in paths {
            let file = InputFile(path: path)
            if let children = try file.children() {
                for child in children {
                    if child.path.hasSuffix(".cedar") {
                        try add(child)
                    } else if child.path.hasSuffix(".cases.json") {
                        cases.append(child)
                    } else if child.lastComponent == Self.factsName {
                        try addFacts(child)
                    }
                }
            } else if file.path.hasSuffix(".cases.json") {
                cases.append(file)
            } else if file.lastComponent == Self.factsName {
                try addFacts(file)
            } else if !LayerFiles.isOne(file) {
                try add(file)
                guard path.hasSuffix(".cedar") else { continue }
                let tests = InputFile(path: String(path.dropLast(6)) + ".cases.json")
                if tests.exists { cases.append(tests) }
                beside.append(file.sibling(Self.factsName))
            }
        }
        if facts == nil {
            for file in beside where file.exists { try addFacts(file) }
        }
        guard !documents.isEmpty else {
            throw InputFile.Failure(
                description: "no policies: name *.cedar files, or a folder of them"
            )
        }
        if let facts {
            documents.append(
                .init(
                    name: FactDeclarations.documentName,
                    source: try Self.text(of: facts),
                    layer: try layers.layer(of: facts)
                )
            )
        }
        var seen: Set<String> = []
        cases = cases.filter { seen.insert($0.path).inserted }
    }

    private static let factsName = FactDeclarations.documentName.string

    private mutating func add(_ file: InputFile) throws(InputFile.Failure) {
        documents.append(
            .init(
                name: Text(file.name),
                source: try Self.text(of: file),
                layer: try layers.layer(of: file)
            )
        )
    }

    private static func text(of file: InputFile) throws(InputFile.Failure) -> Text {
        guard let text = Text(validating: try file.read()) else {
            throw InputFile.Failure(description: "\(file.name): not UTF-8")
        }
        return text
    }

    /// Compiles the release; it has no number.
    func release() throws(PolicyRelease.Failure) -> PolicyRelease {
        try PolicyRelease(number: 0, documents: documents)
    }
}

extension ParsableCommand {
    /// Runs `body`, and tells what is wrong with files the way all commands do: exit code 1.
    func tellingFailures<R>(_ body: () async throws -> R) async throws -> R {
        do {
            return try await body()
        } catch let failure as PolicyRelease.Failure {
            for finding in failure.findings {
                Console.words(
                    "\(finding.document):\(finding.line):\(finding.column): error: \(finding.message)"
                )
            }
        } catch let failure as InputFile.Failure {
            Console.words("ostiary: \(failure)")
        }
        throw ExitCode.failure
    }
}

extension InputFile {
    /// The JSON in the file.
    func json() throws(Failure) -> JSONValue {
        let bytes = try read()
        do throws(JSONError) {
            return try JSONDocument(
                parsing: bytes,
                limits: JSONLimits(bytesMax: Self.bytesMax, depthMax: 512, valuesMax: 1 << 24)
            ).root
        } catch {
            let (line, column) = error.position(in: bytes)
            throw Failure(
                description: "\(name):\(line):\(column): not JSON: \(error.code.rawValue)"
            )
        }
    }

    /// The entities that the file lists in Cedar's form.
    func entities() throws(Failure) -> [Entity] {
        let json = try json()
        // A file of cases lists its own.
        do throws(ValueReadingError) {
            return try Entity.list(cedarJSON: json["entities"] ?? json)
        } catch { throw Failure(description: "\(name): entities: \(error)") }
    }

    /// The cases in the file.
    func policyCases() throws(Failure) -> PolicyCases {
        let json = try json()
        do throws(PolicyCases.ReadingError) {
            return try PolicyCases(json)
        } catch { throw Failure(description: "\(name): \(error)") }
    }

    /// The actions that a schema in the file declares, as entities.
    func actions() throws(Failure) -> [Entity] {
        let bytes = try read()
        let json = PolicyFile.isJSON(bytes) ? try? JSONDocument(parsing: bytes) : nil
        do throws(SchemaFailure) {
            let schema =
                if let json {
                    try Schema(json: json)
                } else {
                    try Schema(parsing: String(decoding: bytes, as: UTF8.self))
                }
            return schema.actionEntities
        } catch {
            let first = error.diagnostics.first
            throw Failure(
                description: "\(name):\(first?.line ?? 1):\(first?.column ?? 1): not a schema; "
                    + "ostiary policy check --schema shows all that is wrong"
            )
        }
    }
}

extension [Entity] {
    /// These, and those of `others` that are not among them.
    func adding(_ others: [Entity]) -> [Entity] {
        let listed = Set(map(\.uid))
        return self + others.filter { !listed.contains($0.uid) }
    }
}
