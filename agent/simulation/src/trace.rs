//! What happened, as one number, and as lines for people who ask for them.

use crate::rng::mix;

/// The trace of a run.
pub(crate) struct Trace {
    hash: u64,
    print: bool,
}

impl Trace {
    pub(crate) fn new(print: bool) -> Self {
        Self { hash: 0, print }
    }

    pub(crate) fn note(
        &mut self,
        now_us: u64,
        who: Option<usize>,
        what: &'static str,
        detail: u64,
        text: impl FnOnce() -> String,
    ) {
        let words = what.bytes().fold(who.map_or(99, |who| who as u64), |hash, byte| hash * 31 + u64::from(byte));
        self.hash = mix(mix(self.hash ^ now_us) ^ mix(words) ^ detail);
        if self.print {
            let who = who.map_or_else(|| "  ".to_owned(), |who| format!("a{}", who + 1));
            println!("{:>4}.{:06} {who} {what:<14} {}", now_us / 1_000_000, now_us % 1_000_000, text());
        }
    }

    /// The same for the same history, and for hardly any other.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}
