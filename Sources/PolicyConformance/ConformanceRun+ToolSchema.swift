import Cedar
import GatewayPolicy
import JSON

// Schemas made from lists of tools, as the published generator makes them.

extension ConformanceRun {
    /// The schemas that are made from the record's stub and tools mean what the published ones do.
    ///
    /// A set lists the results of its neighbours too. Its own are called after it, with a word for how they were made;
    /// each of the others is checked under the record that it is called after.
    mutating func toolSchemas(_ record: JSONValue, _ name: String) {
        let own = name.split(separator: "/").last.map(String.init) ?? name
        var count = 0
        for (key, golden) in record["expectedSchemas"].map({ $0.members.map(\.self) }) ?? [] {
            let file = key.text.string
            guard var options = Self.options(of: file, made: own) else { continue }
            // Of the folders, only one was made by a generator that declares equal types once.
            options.declaresEqualTypesOnce = name.hasPrefix("dedup/")
            count += 1
            do {
                let generator = try CompatibilitySchemaGenerator(
                    stub: record["stub"]?.string ?? "",
                    options: options
                )
                let text = try generator.generate(record["tools"] ?? record)
                let differences = Self.differences(
                    try Schema(parsing: text.string),
                    try Schema(parsing: golden.string?.string ?? "")
                )
                report.check(
                    .toolSchema,
                    differences.isEmpty,
                    in: name,
                    "\(file): \(differences.joined(separator: ", "))\n\(text)"
                )
            } catch {
                report.check(.toolSchema, false, in: name, "\(file): \(error)")
            }
        }
        if count == 0 { report.leaveOut(.toolSchema) }
    }

    /// How a published result was made, by its name; nothing for one of another set.
    private static func options(
        of file: String,
        made set: String
    ) -> CompatibilitySchemaGenerator.Options? {
        let ending = ".cedarschema"
        guard file.hasPrefix(set), file.hasSuffix(ending) else { return nil }
        var options = CompatibilitySchemaGenerator.Options()
        // One set is about what its tools give back.
        options.includesOutputs = set.hasSuffix("_in_output")
        switch file.dropFirst(set.count).dropLast(ending.count) {
        // Annotations mean nothing, so it does not matter that they are kept.
        case "", "_default", "_keep_annotations": break
        case "_flat", "_flattened_namespace": options.flattensNamespaces = true
        case "_encode_numbers_as_decimal": options.encodesNumbersAsDecimals = true
        case "_include_outputs": options.includesOutputs = true
        case "_objects_as_records": options.encodesObjectsAsRecords = true
        default: return nil
        }
        return options
    }

    /// The names of what differs between two resolved schemas.
    private static func differences(_ left: Schema, _ right: Schema) -> [String] {
        let types = Set(left.entityTypes.keys).union(right.entityTypes.keys)
            .filter { left.entityTypes[$0] != right.entityTypes[$0] }
            .map { "entity \($0)" }
        let actions = Set(left.actions.keys).union(right.actions.keys)
            .filter { left.actions[$0] != right.actions[$0] }
            .map { "action \($0.type)::\"\($0.id)\"" }
        return types.sorted() + actions.sorted()
    }
}
