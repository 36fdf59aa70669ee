//! How far an agent can be relied on.

use serde::{Deserialize, Serialize};

/// Reasons told of one agent, at most.
pub const REASONS_LIMIT: usize = 8;
/// Characters of one reason, at most.
pub const REASON_CHARACTERS_LIMIT: usize = 200;

/// How far an agent can be relied on, by its own account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// 100 where nothing speaks against it, 0 at worst. New shards rather go where it is high.
    pub score: u8,
    /// Whether it is likely to fail soon: it is emptied while it can be read.
    pub failing: bool,
    /// What speaks against it, as sentences for people.
    pub reasons: Vec<String>,
}

impl Default for Standing {
    fn default() -> Self {
        Self { score: 100, failing: false, reasons: Vec::new() }
    }
}

impl Standing {
    /// The same within the limits: what comes from another agent may be of any length.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.score = self.score.min(100);
        self.reasons.truncate(REASONS_LIMIT);
        for reason in &mut self.reasons {
            *reason =
                reason.chars().filter(|character| !character.is_control()).take(REASON_CHARACTERS_LIMIT).collect();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_agent_says_of_itself_is_cut_to_the_limits() {
        let told = Standing { score: 255, failing: false, reasons: vec!["\u{1b}[31mx".repeat(1000); 1000] }.bounded();
        assert_eq!((told.score, told.reasons.len()), (100, REASONS_LIMIT));
        let within = |reason: &String| {
            reason.chars().count() == REASON_CHARACTERS_LIMIT && !reason.chars().any(char::is_control)
        };
        assert!(told.reasons.iter().all(within), "{:?}", told.reasons);
    }
}
