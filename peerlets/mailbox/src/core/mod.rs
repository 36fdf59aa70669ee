//! What a mailbox decides: what becomes of each message at each recipient, when it is sent again, what is handed out.
//!
//! Pure: the time and what happened go in, rows and effects come out. What is known lies in rows ([`Rows`]: tables on disk,
//! or maps in tests); only what waits is in memory ([`outbox`], [`inbox`]). Changes go in three steps, so that memory never
//! runs ahead of the disk: a [`Plan`] changes rows and notes facts; the caller makes the rows durable; then
//! [`Core::committed`] takes the facts in. If the second step fails, the facts are dropped and nothing has happened.

mod arrivals;
mod backoff;
mod inbox;
mod lane;
mod limits;
mod outbox;
mod plan;
mod receipts;
mod retention;
mod rows;
mod status;
mod upkeep;

#[cfg(test)]
mod memory;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

use std::sync::Arc;

use dci_proto::message::Envelope;
use dci_proto::{AgentId, MessageId, SessionId};
use serde::{Deserialize, Serialize};

pub use arrivals::{Accepted, Settlement};
pub use limits::Limits;
pub use plan::PostRefused;
pub use receipts::ReceiptOutcome;
pub use retention::Retention;
pub use status::{State, Status};

pub(crate) use inbox::Inbox;
pub(crate) use outbox::{Outbox, Sendable};
pub(crate) use plan::{Outcome, Plan};
pub(crate) use retention::Sweep;
pub use rows::Direction;
pub(crate) use rows::{Head, MulticastRow, PendingRow, ReceivedRow, Record, Rows, SentRow, WaitingRow};
pub(crate) use upkeep::Upkeep;

/// The time, by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// ms of a clock that only goes forward: for waiting.
    pub steady_ms: u64,
    /// ms since 1970: for when messages were sent and expire.
    pub wall_ms: u64,
}

/// Where an entry stands in the log. Messages are kept, sent and handed out in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Place(pub u64);

impl Place {
    fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// What a plan changed, for the memory to follow once it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fact {
    /// Recipients wait for a message. `attempts`: sendings there were or, as the rows say, may have been.
    Waits { place: Place, session: Option<SessionId>, expires_ms: u64, recipients: Vec<AgentId>, attempts: Attempts },
    /// A recipient waits no more, because it answered. The rows allow a first sending of the next message in its line.
    Answered { place: Place, agent: AgentId, next: Option<Place> },
    /// A message was accepted; `handed`: and is handed out at once.
    Accepted { place: Place, sender: inbox::Sender, handed: bool },
    /// A message was dealt with.
    Settled(Place),
}

/// How often a message was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Attempts {
    /// Sendings there were.
    pub(crate) made: u32,
    /// Sendings the rows tell of; never less than were made when one goes out.
    pub(crate) noted: u32,
}

/// What others may want to hear of, once it is durable.
#[derive(Debug, Clone)]
pub(crate) enum Note {
    /// A message was sent or received and is in the log.
    Logged { place: Place, direction: Direction, envelope: Arc<Envelope>, recipients: Vec<AgentId> },
    /// A message was handed to its peerlet.
    Relayed { place: Place, of: Place, attempt: u32 },
    /// A message has another state at a recipient.
    Changed { place: Place, id: MessageId, agent: AgentId, status: Status },
}

/// What a mailbox has in memory.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) agent: AgentId,
    pub(crate) limits: Limits,
    pub(crate) outbox: Outbox,
    pub(crate) inbox: Inbox,
    /// The place of the next entry.
    next: Place,
}

impl Core {
    /// A core as the rows have it.
    pub(crate) fn recover<R: Rows>(agent: AgentId, limits: Limits, now: Now, rows: &R) -> Result<Self, R::Error> {
        let mut core = Self { agent, limits, outbox: Outbox::new(limits), inbox: Inbox::new(limits), next: Place(1) };
        if let Some(last) = rows.last_place()? {
            core.next = last.next();
        }
        for (place, recipient, row) in rows.all_waiting()? {
            // A place's recipients stand together, so the attempts of all are known with the last.
            let attempts = Attempts { made: row.attempts, noted: row.attempts };
            core.outbox.add(now, place, (row.session, row.expires_ms, attempts), [recipient]);
        }
        for (place, row) in rows.multicasts(Place::default(), usize::MAX)? {
            core.outbox.note_attempts(place, row.attempts);
        }
        for (place, row) in rows.all_pending()? {
            // Of whom they are on that agent the rows do not tell; in the order they came is fair enough after a start.
            core.inbox.add(place, row.sender.into(), row.attempts, false);
        }
        Ok(core)
    }

    /// Takes in what has become durable.
    pub(crate) fn committed(&mut self, now: Now, facts: Vec<Fact>, next: Place) {
        self.next = self.next.max(next);
        for fact in facts {
            match fact {
                Fact::Waits { place, session, expires_ms, recipients, attempts } => {
                    self.outbox.add(now, place, (session, expires_ms, attempts), recipients);
                }
                Fact::Answered { place, agent, next } => {
                    if let Some(next) = next {
                        self.outbox.note_first(next);
                    }
                    self.outbox.answered(now, place, agent);
                }
                Fact::Accepted { place, sender, handed } => self.inbox.add(place, sender, u32::from(handed), handed),
                Fact::Settled(place) => self.inbox.settled(place),
            }
        }
    }

    /// An agent was seen to come back: what waits for it is due.
    pub(crate) fn seen(&mut self, now: Now, agent: AgentId) {
        self.outbox.seen(now, agent);
    }

    /// What is due: at most so many sendings and so many messages for peerlets.
    pub(crate) fn step(&mut self, now: Now, sendings: usize, handouts: usize) -> Upkeep {
        let expired = self.outbox.expire(now);
        let sendings = self.outbox.due(now, sendings);
        Upkeep { expired, sendings, handouts: self.inbox.hand_out(handouts) }
    }

    /// How long from now until something is due by itself, in ms.
    pub(crate) fn idle_ms(&self, now: Now) -> Option<u64> {
        self.outbox.idle_ms(now)
    }

    pub(crate) fn next_place(&self) -> Place {
        self.next
    }
}
