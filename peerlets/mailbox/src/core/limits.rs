//! How much a mailbox keeps waiting.

/// How much a mailbox keeps waiting, at most. What is over a limit is refused with a sentence, or waits its turn. A group
/// of calls that share a sync may go over by what is in that group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages waiting, counted once for each recipient: about 200 bytes of memory each.
    pub waiting: usize,
    /// Recipients of one message.
    pub recipients: usize,
    /// Messages on their way to one recipient at once: enough for 5,000 a second at 50 ms there and back.
    pub on_the_way: usize,
    /// The same for a recipient that does not answer: enough to notice that it does again.
    pub on_the_way_unanswered: usize,
    /// Sendings again without an answer after which a recipient counts as one that does not answer.
    pub unanswered: u32,
    /// Messages received and not dealt with.
    pub pending: usize,
    /// The same of one sender, so that one that floods leaves room for others.
    pub pending_of_sender: usize,
    /// Messages of one sender that are handed out and not dealt with; further ones wait while those of others go on.
    pub handed_of_sender: usize,
    /// How long ids are remembered after their message expired, in ms, so that a clock set back by less takes nothing twice.
    pub remember_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            waiting: 131_072,
            recipients: 10_000,
            on_the_way: 256,
            on_the_way_unanswered: 4,
            unanswered: 8,
            pending: 65_536,
            pending_of_sender: 8_192,
            handed_of_sender: 512,
            remember_ms: 60 * 60 * 1_000,
        }
    }
}
