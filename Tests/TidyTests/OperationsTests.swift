import Foundation
import ServiceRuntime
import Testing

/// What operators read, held against the code: settings, limits, metrics, keys of log lines.
@Suite struct OperationsTests {
    // MARK: Metrics

    @Test func `every metric in the code is in the catalogue, and the other way`() throws {
        var used: Set<String> = []
        for file in try SourceTree().swiftFiles(below: "Sources")
        where !file.path.hasSuffix("MetricCatalogue.swift") {
            let text = file.code.map(\.text).joined(separator: "\n")
            for match in text.matches(
                of:
                    /(?:Counter|Gauge|Meter|Timer)\(\s*label: "([^"]+)"|metric: "([^"]+)"|exporter\.gauge\("([^"]+)"/
            ) {
                let name = match.output.1 ?? match.output.2 ?? match.output.3
                used.insert(String(name ?? ""))
            }
        }
        let known = Set(MetricCatalogue.all.map(\.name))
        #expect(used.subtracting(known).isEmpty, "add them to MetricCatalogue")
        #expect(known.subtracting(used).isEmpty, "nothing counts these")
    }

    @Test func `every metric is documented with its name, its name in Prometheus, kind and unit`()
        throws
    {
        let rows = try table(of: "docs/reference/metrics.md")
        for metric in MetricCatalogue.all {
            let row = try #require(
                rows.first { $0.first == "`\(metric.name)`" },
                "docs/reference/metrics.md has no row for \(metric.name)"
            )
            #expect(row[1] == "`\(PrometheusExporter.exportedName(metric))`")
            #expect(row[2] == "\(metric.kind.rawValue), \(metric.unit)", "\(metric.name)")
        }
        let documented = rows.compactMap(\.first).filter { $0.hasPrefix("`") && $0.contains(".") }
        #expect(documented.count == MetricCatalogue.all.count, "a row without a metric")
    }

    // MARK: Limits

    @Test func `every limit that is counted is documented, and the other way`() throws {
        let text = try SourceTree().text(of: "docs/reference/limits.md")
        let documented = Set(
            text.matches(of: /`([a-z_]+)`/).map { String($0.output.1) }
        )
        for limit in Limit.allCases {
            #expect(
                documented.contains(limit.rawValue),
                "limits.md does not name \(limit.rawValue)"
            )
        }
        // A row says what counts it, or why nothing does.
        for row in try table(of: "docs/reference/limits.md") where row.count > 3 {
            #expect(!row[3].isEmpty, "\(row[0]) has no metric")
        }
    }

    @Test func `every limit is counted somewhere`() throws {
        var counted: Set<String> = []
        for file in try SourceTree().swiftFiles(below: "Sources") {
            let text = file.code.map(\.text).joined(separator: "\n")
            for match in text.matches(of: /LimitCounter\.make\("([a-z_]+)"\)/) {
                counted.insert(String(match.output.1))
            }
            for line in file.code.map(\.text)
            where line.contains(".reached()") || line.contains("limit: .") {
                for word in line.matches(of: /\.(\w+)/).map(\.output.1) {
                    counted.formUnion(
                        Limit.allCases.filter { "\($0)" == word }.map(\.rawValue)
                    )
                }
            }
        }
        let known = Set(Limit.allCases.map(\.rawValue))
        #expect(counted.subtracting(known).isEmpty, "add them to Limit")
        // The exporter's own.
        #expect(known.subtracting(counted) == ["metric_series"])
    }

    // MARK: Settings

    @Test(arguments: [("ostiary-proxy", "DataPlane"), ("ostiary-control", "ControlPlane")])
    func `every setting that is read is documented, and the other way`(
        process: String,
        target: String
    ) throws {
        let files = try SourceTree().swiftFiles(below: "Sources")
        let own = files.filter { $0.target == target }.map { $0.code.map(\.text) }.joined()
            .joined(separator: "\n")
        var keys = Self.keys(in: own)
        // Settings that several processes read are types of ServiceRuntime.
        for file in files where file.target == "ServiceRuntime" {
            let text = file.code.map(\.text).joined(separator: "\n")
            let types = text.matches(of: /struct (\w+)/).map { String($0.output.1) }
            if types.contains(where: { own.contains("\($0)(reader") }) {
                keys.formUnion(Self.keys(in: text))
            }
        }
        let variables = Set(keys.map(SettingsReader.variable))
        var documented: Set<String> = []
        let text = try SourceTree().text(of: "docs/reference/settings.md")
        let section = try #require(
            text.components(separatedBy: "\n## ").first { $0.hasPrefix(process + "\n") }
        )
        for row in Self.rows(of: section) {
            for match in (row.first ?? "").matches(of: /OSTIARY_[A-Z_0-9]+/) {
                documented.insert(String(match.output))
            }
        }
        #expect(variables.subtracting(documented).isEmpty, "not in settings.md")
        #expect(documented.subtracting(variables).isEmpty, "nothing reads them")
    }

    private static func keys(in text: String) -> Set<String> {
        var keys = Set(
            text.matches(of: /\breader\.\w+\(\s*"([a-z0-9.]+)"/).map { String($0.output.1) }
        )
        // Or a file that holds it.
        for match in text.matches(of: /\burl\("([a-z.]+)"\)/) {
            keys.formUnion([String(match.output.1), match.output.1 + ".file"])
        }
        return keys
    }

    // MARK: Logs

    @Test func `keys of log lines are attributes: OpenTelemetry's, or ours under ostiary`() throws {
        let foreign: Set = [
            "error.type", "error.message", "server.address", "server.port", "mcp.method.name",
            "gen_ai.tool.name", "jsonrpc.request.id", "http.response.status_code",
            "db.response.status_code",
        ]
        for file in try SourceTree().swiftFiles(below: "Sources") {
            let text = file.code.map(\.text).joined(separator: "\n")
            for block in text.matches(of: /metadata: (\[[^\]]*\])|metadataKey: ("[^"]+")/) {
                let list = block.output.1 ?? block.output.2 ?? ""
                for match in list.matches(of: /"([A-Za-z0-9_.]+)"(?::|$)/) {
                    let key = String(match.output.1)
                    #expect(
                        key.hasPrefix("ostiary.") || foreign.contains(key),
                        "\(file.path) logs under \(key)"
                    )
                }
            }
        }
    }

    // MARK: Tables

    private func table(of path: String) throws -> [[String]] {
        Self.rows(of: try SourceTree().text(of: path))
    }

    private static func rows(of text: String) -> [[String]] {
        text.split(separator: "\n").filter { $0.hasPrefix("| ") && !$0.hasPrefix("|--") }.map {
            $0.dropFirst().dropLast().components(separatedBy: " | ").map {
                $0.trimmingCharacters(in: .whitespaces)
            }
        }
    }
}
