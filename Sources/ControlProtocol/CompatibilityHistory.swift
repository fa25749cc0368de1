/// The dated list of link revisions.
///
/// Both sides refuse a peer whose revision they do not know.
///
/// - 1 (2026-11-22): first revision. Session, Enrol, Renew; lanes; leases counted from the heartbeat.
public enum CompatibilityHistory {
    /// What this build speaks.
    public static let current: UInt32 = 1
}
