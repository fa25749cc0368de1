import JSON

/// The `Host` values of an endpoint: the authority that clients type, and the machine's own names for itself.
enum PublicHosts {
    static func names(publicURL: String, port: Int) -> Set<Text> {
        var names: Set<Text> = [
            Text("127.0.0.1:\(port)"), Text("localhost:\(port)"), Text("[::1]:\(port)"),
        ]
        for scheme in ["http://", "https://"] where publicURL.hasPrefix(scheme) {
            let authority = publicURL.dropFirst(scheme.count).prefix { $0 != "/" }
            names.insert(Text(authority))
        }
        return names
    }
}
