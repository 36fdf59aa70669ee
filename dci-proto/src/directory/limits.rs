//! How much a directory holds and sends.

/// How much a directory holds and sends, at most, and how often. What is over a limit is left for later, or is found again by
/// the next comparison: nothing grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryLimits {
    /// Agents of the directory; of more members those with the lowest ids, which all agree on.
    pub entries: usize,
    /// Neighbours; further ones are not spoken to until one goes.
    pub links: usize,
    /// Versions noted of one neighbour that are to be asked for.
    pub pending: usize,
    /// Versions in one message.
    pub page_versions: usize,
    /// Offers asked for at once, of one neighbour.
    pub want_agents: usize,
    /// Bytes of offers in one message, roughly; one offer always goes.
    pub offers_bytes: usize,
    /// Bytes that one neighbour may have as answers at once, and how many more a second: what a hostile one can make an agent
    /// send.
    pub answer_burst_bytes: u64,
    /// See there.
    pub answer_bytes_per_s: u64,
    /// Between two announcements, in ms: the first goes at once, what comes soon after goes together.
    pub announce_gap_ms: u64,
    /// Between two comparisons, each with another neighbour, in ms.
    pub compare_every_ms: u64,
    /// A digest is not answered with another one where one was sent to that neighbour within this, in ms: when a link comes up
    /// both send one.
    pub settle_ms: u64,
    /// How long a neighbour may take to answer with what it said it has, in ms; then others are asked.
    pub patience_ms: u64,
}

impl Default for DirectoryLimits {
    fn default() -> Self {
        Self {
            entries: 4_096,
            links: 512,
            pending: 512,
            page_versions: 256,
            want_agents: 64,
            offers_bytes: 128 * 1024,
            answer_burst_bytes: 4 * 1024 * 1024,
            answer_bytes_per_s: 1024 * 1024,
            announce_gap_ms: 100,
            compare_every_ms: 30_000,
            settle_ms: 1_000,
            patience_ms: 10_000,
        }
    }
}
