import Glibc

/// Standard output: data only, words go to standard error.
enum Output {
    static func line(_ text: String) {
        line(Array(text.utf8))
    }

    static func line(_ bytes: some Collection<UInt8>) {
        var rest = ArraySlice(Array(bytes) + [0x0A])
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { write(1, $0.baseAddress, $0.count) }
            guard count > 0 else { return }
            rest.removeFirst(count)
        }
    }
}
