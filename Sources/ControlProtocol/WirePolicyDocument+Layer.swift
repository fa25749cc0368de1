extension WirePolicyDocument {
    /// What stands in `text` of a document that names a layer.
    ///
    /// Neither Cedar nor JSON, so that a build which does not know layers, and would read nothing else, cannot compile the
    /// release.
    public static let textOfLayered = "this document is of a layer, which this build does not know"
}
