//! Raises that overtook the copy they are about.

use std::collections::VecDeque;

use super::Passing;

/// The last of them.
#[derive(Debug, Clone)]
pub(super) struct EarlyRaises {
    limit: usize,
    raises: VecDeque<(Passing, u8)>,
}

impl EarlyRaises {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, raises: VecDeque::new() }
    }

    pub(super) fn note(&mut self, passing: Passing, ttl: u8) {
        if self.limit == 0 {
            return;
        }
        if self.raises.len() >= self.limit {
            self.raises.pop_front();
        }
        self.raises.push_back((passing, ttl));
    }

    /// The most hops that were told of a message, by anyone: all of them are next to this agent.
    pub(super) fn take(&mut self, passing: Passing) -> Option<u8> {
        let most = self.raises.iter().filter(|raise| raise.0 == passing).map(|raise| raise.1).max();
        self.raises.retain(|raise| raise.0 != passing);
        most
    }
}
