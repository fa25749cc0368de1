internal import Glibc

/// One step of the schema: a file `migrations/NNNN_verb_noun.sql`.
public struct Migration: Sendable, Equatable {
    /// Its place, from 1, without gaps.
    public let number: Int
    /// The file's name without `.sql`: `0001_create_namespace`.
    public let name: String
    /// The file's text.
    public let sql: String

    /// Checks the name and the text.
    public init(name: String, sql: [UInt8]) throws(MigrationError) {
        guard let number = Self.number(of: name) else { throw .badName(name) }
        guard !sql.contains(0), let text = String(validating: sql, as: UTF8.self) else {
            throw .notText(name)
        }
        self.number = number
        self.name = name
        self.sql = text
    }

    /// Reads a folder's migrations, in order.
    ///
    /// Every `.sql` file must be one, so that a misnamed step is not silently left out; other files are not looked at.
    public static func load(folder: String) throws(MigrationError) -> [Migration] {
        guard let directory = opendir(folder) else { throw .unreadable(folder) }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            // d_name is a C array, which Swift sees as a tuple.
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name.hasSuffix(".sql") { names.append(name) }
        }
        var migrations: [Migration] = []
        for name in names.sorted() {
            let sql = try read(folder + "/" + name)
            migrations.append(try Migration(name: String(name.dropLast(4)), sql: sql))
        }
        return migrations
    }

    /// `NNNN_verb_noun…`: lower-case ASCII words.
    private static func number(of name: String) -> Int? {
        let words = name.split(separator: "_", omittingEmptySubsequences: false)
        guard words.count >= 3, words[0].utf8.count == 4,
            words[0].utf8.allSatisfy({ (48...57).contains($0) }),
            let number = Int(words[0]), number > 0,
            words.dropFirst().allSatisfy({ word in
                !word.isEmpty
                    && word.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) }
            })
        else { return nil }
        return number
    }

    /// Reads a file that belongs to the migrations.
    public static func read(_ path: String) throws(MigrationError) -> [UInt8] {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw .unreadable(path) }
        defer { close(file) }
        var bytes: [UInt8] = []
        var chunk: [UInt8] = Array(repeating: 0, count: 64 << 10)
        while true {
            let count = Glibc.read(file, &chunk, chunk.count)
            if count == 0 { return bytes }
            guard count > 0 else { throw .unreadable(path) }
            bytes += chunk[..<count]
        }
    }
}

/// Why migrations were not applied.
public enum MigrationError: Error, Sendable, Equatable {
    /// The folder or file cannot be read.
    case unreadable(String)
    /// The name is not `NNNN_verb_noun`.
    case badName(String)
    /// The text is not UTF-8, or has a NUL byte.
    case notText(String)
    /// A number is missing, or there twice.
    case gap(expected: Int, found: String)
    /// A migration that this database has applied was changed or renamed since.
    case changed(String)
    /// The database has applied a migration this program does not know: it belongs to a newer one.
    case newerDatabase(String)
    /// The migration ended the transaction it runs in, so that it may be half applied.
    case transactionEnded(String)
    /// The statement that failed; the database is as before this migration.
    case failed(String, PostgresError)
    /// Another starter held the lock for longer than allowed.
    case lockTimeout
    /// The roles are not as they must be, and this user may not make them so: an administrator has to.
    case rolesMissing(PostgresError?)
    /// Something is pending, and the database takes no writes.
    case notWritable(WritabilityCheck.Refusal)
    /// There is a table `schema_migration`, and it is not ours: the database belongs to another program.
    case foreignTable
    /// The database could not be asked.
    case database(PostgresError)
}

extension MigrationError: CustomStringConvertible {
    /// What is wrong, in lower case.
    public var description: String {
        switch self {
        case .unreadable(let path): "cannot read \(path)"
        case .badName(let name): "migration \(name) is not named NNNN_verb_noun"
        case .notText(let name): "migration \(name) is not text"
        case .gap(let expected, let found): "migration \(expected) expected, found \(found)"
        case .changed(let name): "migration \(name) was applied with other content"
        case .newerDatabase(let name): "the database is newer than this program: it has \(name)"
        case .transactionEnded(let name): "migration \(name) ends its own transaction"
        case .failed(let name, let error): "migration \(name) failed: \(error)"
        case .lockTimeout: "another process has been migrating for too long"
        case .rolesMissing(let error):
            "the roles of this installation are not all there, and this user may not make them: "
                + "have an administrator of the database run migrations/roles/prepare.sql"
                + (error.map { " (\($0))" } ?? "")
        case .notWritable(let refusal): refusal.description
        case .foreignTable:
            "schema_migration is not a table of this program: the database belongs to another one"
        case .database(let error): error.description
        }
    }
}
