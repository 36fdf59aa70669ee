//! What became of a message at one recipient, and how that changes: only ever forward.

use dci_proto::AgentId;
use dci_proto::message::ReceiptState;
use serde::{Deserialize, Serialize};

/// Characters of a reason that are kept.
const REASON_LIMIT_CHARS: usize = 500;

/// What became of a message at one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Nothing was heard of it yet; it is sent again until it expires.
    Waiting,
    /// A copy of it could go no further. Others may arrive, and it is sent again, so this is provisional.
    ExpiredOnTheWay {
        /// Who dropped the copy.
        hop: AgentId,
        /// Why, for people.
        reason: String,
    },
    /// It is on the recipient's disk and waits for its peerlet.
    Delivered,
    /// The peerlet has dealt with it.
    Handled {
        /// 0 for success, as programs have it.
        exit_status: i32,
    },
    /// It was not taken.
    Refused {
        /// Why, for people.
        reason: String,
    },
    /// Its time was used up before it was acknowledged, or before its peerlet had it, or its hops before it left.
    Expired {
        /// Why, for people.
        reason: String,
    },
    /// As [`Self::Handled`], with what the peerlet said of its failure.
    Failed {
        /// Not 0.
        exit_status: i32,
        /// The end of what it printed on standard error.
        said: String,
    },
}

/// A state with its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What became of it.
    pub state: State,
    /// Since when, in ms since 1970.
    pub since_ms: u64,
    /// How often the message was sent, up to the last sending meant for this recipient.
    pub attempts: u32,
}

impl State {
    /// States of a higher rank replace those of a lower one; among equals the first stays.
    #[must_use]
    pub fn rank(&self) -> u8 {
        match self {
            Self::Waiting => 0,
            Self::ExpiredOnTheWay { .. } => 1,
            Self::Delivered => 2,
            Self::Handled { .. } | Self::Failed { .. } | Self::Refused { .. } | Self::Expired { .. } => 3,
        }
    }

    /// Whether the recipient is still waited for.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.rank() < 2
    }

    /// Whether nothing changes it any more.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.rank() == 3
    }

    /// The state after another became known, if that is not what it was.
    pub(crate) fn then(&self, next: Self) -> Option<Self> {
        (next.rank() > self.rank()).then_some(next)
    }
}

impl Status {
    /// Why it is so, for people; `None` where the state says it all.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        match &self.state {
            State::Waiting if self.attempts == 0 => {
                Some("its turn has not come: others are to be acknowledged first".into())
            }
            State::Waiting => Some(format!("sent, not acknowledged (sendings: {})", self.attempts)),
            State::ExpiredOnTheWay { hop, reason } => Some(format!("a copy got no further than to {hop}: {reason}")),
            State::Refused { reason } | State::Expired { reason } => Some(reason.clone()),
            State::Failed { said, .. } => Some(said.clone()),
            State::Delivered | State::Handled { .. } => None,
        }
    }
}

/// What a recipient's own receipt says.
pub(crate) fn state_of(receipt: &ReceiptState) -> State {
    match receipt {
        ReceiptState::Delivered => State::Delivered,
        ReceiptState::Handled { exit_status } => State::Handled { exit_status: *exit_status },
        ReceiptState::Failed { exit_status, said } => State::Failed { exit_status: *exit_status, said: cut(said) },
        ReceiptState::Refused { reason } => State::Refused { reason: cut(reason) },
        ReceiptState::Expired { reason, .. } => State::Expired { reason: cut(reason) },
    }
}

/// A reason no longer than is kept.
pub(crate) fn cut(reason: &str) -> String {
    reason.chars().take(REASON_LIMIT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> [State; 7] {
        let reason = String::new();
        [
            State::Waiting,
            State::ExpiredOnTheWay { hop: AgentId([2; 32]), reason: reason.clone() },
            State::Delivered,
            State::Handled { exit_status: 3 },
            State::Refused { reason: reason.clone() },
            State::Expired { reason: reason.clone() },
            State::Failed { exit_status: 3, said: reason },
        ]
    }

    #[test]
    fn who_waits_is_told_why() {
        let why = |attempts| Status { state: State::Waiting, since_ms: 0, attempts }.why().expect("a reason");
        assert!(why(0).contains("turn") && why(3).contains("sendings: 3"));
        let status = Status { state: State::Refused { reason: "you may not".into() }, since_ms: 0, attempts: 1 };
        assert_eq!(status.why().as_deref(), Some("you may not"));
        let state = State::Failed { exit_status: 3, said: "no such table".into() };
        assert_eq!(Status { state, since_ms: 0, attempts: 1 }.why().as_deref(), Some("no such table"));
    }

    #[test]
    fn states_only_go_forward_and_what_is_final_stays() {
        for (before, next) in all().iter().flat_map(|before| all().map(|next| (before.clone(), next))) {
            let changed = before.then(next.clone());
            assert_eq!(changed.is_some(), next.rank() > before.rank(), "{before:?} then {next:?}");
            assert!(!before.is_final() || changed.is_none());
        }
        assert_eq!(all()[1].then(State::Delivered), Some(State::Delivered), "a later copy may arrive");
    }
}
