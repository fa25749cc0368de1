/// What the transport below HTTP/2 proved about the peer.
///
/// The TLS handler fills it in: whoever sets up the channel passes a closure that reads it after
/// the handshake. Plain TCP has none.
public struct TransportSecurity: Sendable {
    /// The protocol ALPN agreed on.
    ///
    /// Anything but `h2` closes the connection.
    public var applicationProtocol: [UInt8]?

    /// The peer's verified certificate in DER, if it presented one.
    public var peerCertificate: [UInt8]?

    /// The parsed identity the certificate stands for, if the TLS handler made one; handlers cast
    /// it back.
    public var peerIdentity: (any Sendable)?

    /// The facts of a finished handshake.
    public init(
        applicationProtocol: [UInt8]?,
        peerCertificate: [UInt8]? = nil,
        peerIdentity: (any Sendable)? = nil
    ) {
        self.applicationProtocol = applicationProtocol
        self.peerCertificate = peerCertificate
        self.peerIdentity = peerIdentity
    }

    var isHTTP2: Bool { applicationProtocol.map { $0.elementsEqual("h2".utf8) } ?? false }
}
