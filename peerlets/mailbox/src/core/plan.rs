//! Changes of one transaction: what calls do to the rows, and the facts that follow. Here: what this agent posts.

use std::collections::BTreeSet;
use std::sync::Arc;

use dci_proto::AgentId;
use dci_proto::message::{Envelope, Recipient};

use super::rows::{Direction, MulticastRow, Record, Rows, SentRow, WaitingRow};
use super::{Attempts, Core, Fact, Note, Now, Place};

/// Why a message is not posted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostRefused {
    /// Its time is over.
    #[error("the message has expired already; is the clock of this machine right?")]
    Expired,
    /// A message with this id was posted before.
    #[error("a message with this id was posted before; each needs an id of its own")]
    Known,
    /// Over [`super::Limits::recipients`].
    #[error("the message has {found} recipients, {limit} are allowed")]
    Recipients {
        /// How many it has.
        found: usize,
        /// How many it may have.
        limit: usize,
    },
    /// Over [`super::Limits::waiting`].
    #[error(
        "{waiting} messages wait for recipients that do not answer, which is as many as are kept; wait until some are back, \
         or let messages expire sooner"
    )]
    Full {
        /// How many wait.
        waiting: usize,
    },
}

/// Changes of one transaction. What is asked of the core is as before the transaction.
pub(crate) struct Plan<'a, R> {
    pub(super) core: &'a Core,
    pub(crate) rows: &'a mut R,
    pub(super) now: Now,
    /// Messages that may be handed out at once.
    pub(super) handouts: usize,
    next: Place,
    pub(crate) facts: Vec<Fact>,
    pub(crate) notes: Vec<Note>,
}

/// What is left of a [`Plan`]: to be told once it is durable.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) facts: Vec<Fact>,
    pub(crate) notes: Vec<Note>,
    pub(crate) next: Place,
}

impl<'a, R: Rows> Plan<'a, R> {
    /// `handouts`: how many messages may be handed out at once.
    pub(crate) fn new(core: &'a Core, rows: &'a mut R, now: Now, handouts: usize) -> Self {
        let handouts = if core.inbox.is_idle() { handouts } else { 0 };
        Self { core, rows, now, handouts, next: core.next_place(), facts: Vec::new(), notes: Vec::new() }
    }

    pub(crate) fn finish(self) -> Outcome {
        Outcome { facts: self.facts, notes: self.notes, next: self.next }
    }

    /// Keeps a message of this agent for its recipients.
    pub(crate) fn post(
        &mut self,
        envelope: &Arc<Envelope>,
        recipients: &[AgentId],
    ) -> Result<Result<Place, PostRefused>, R::Error> {
        let message = &envelope.message;
        let recipients: BTreeSet<AgentId> = recipients.iter().copied().collect();
        if let Some(refused) = self.refuse_post(message.expires_ms, recipients.len()) {
            return Ok(Err(refused));
        }
        if self.rows.sent(message.id)?.is_some() {
            return Ok(Err(PostRefused::Known));
        }
        let place = self.log(Direction::Sent, envelope, recipients.iter().copied().collect())?;
        let many = !matches!(message.to, Recipient::Agent(_));
        self.rows.put_sent(message.id, SentRow { place, many })?;
        if many {
            let (id, to, session) = (message.id, message.to.clone(), message.session);
            let row = MulticastRow { id, to, session, expires_ms: message.expires_ms, attempts: 1 };
            self.rows.put_multicast(place, &row)?;
        }
        let mut noted = 0;
        for agent in &recipients {
            let attempts = u32::from(self.core.outbox.is_free(*agent, message.session));
            noted = noted.max(attempts);
            let row = WaitingRow {
                id: message.id,
                session: message.session,
                expires_ms: message.expires_ms,
                since_ms: self.now.wall_ms,
                attempts,
                dropped: None,
            };
            self.rows.put_waiting(place, *agent, &row)?;
        }
        self.wait(
            place,
            &message.session,
            message.expires_ms,
            recipients.into_iter().collect(),
            Attempts { made: 0, noted },
        );
        Ok(Ok(place))
    }

    fn refuse_post(&self, expires_ms: u64, recipients: usize) -> Option<PostRefused> {
        let (limits, waiting) = (&self.core.limits, self.core.outbox.waiting());
        if expires_ms <= self.now.wall_ms {
            Some(PostRefused::Expired)
        } else if recipients > limits.recipients {
            Some(PostRefused::Recipients { found: recipients, limit: limits.recipients })
        } else if waiting + recipients > limits.waiting {
            Some(PostRefused::Full { waiting })
        } else {
            None
        }
    }

    /// Agents are in a group, or in the pool: valid messages to it are for them too. Answers how many more now wait.
    pub(crate) fn joined(&mut self, to: &Recipient, agents: &[AgentId]) -> Result<usize, R::Error> {
        let mut added = 0;
        for (place, row) in self.rows.multicasts(Place::default(), usize::MAX)? {
            if row.expires_ms <= self.now.wall_ms || row.to != *to {
                continue;
            }
            let mut recipients = Vec::new();
            for agent in agents {
                let known = self.rows.waiting(place, *agent)?.is_some() || self.rows.ended(place, *agent)?.is_some();
                if known || recipients.contains(agent) {
                    continue;
                }
                if self.core.outbox.waiting() + added >= self.core.limits.waiting {
                    return Ok(added);
                }
                let row = WaitingRow {
                    id: row.id,
                    session: row.session,
                    expires_ms: row.expires_ms,
                    since_ms: self.now.wall_ms,
                    attempts: 0,
                    dropped: None,
                };
                self.rows.put_waiting(place, *agent, &row)?;
                recipients.push(*agent);
                added += 1;
            }
            if !recipients.is_empty() {
                let attempts = Attempts { made: row.attempts, noted: row.attempts };
                self.wait(place, &row.session, row.expires_ms, recipients, attempts);
            }
        }
        Ok(added)
    }

    pub(super) fn log(
        &mut self,
        direction: Direction,
        envelope: &Arc<Envelope>,
        recipients: Vec<AgentId>,
    ) -> Result<Place, R::Error> {
        let place = self.take_place();
        self.rows.append(place, Record::Message { direction, at_ms: self.now.wall_ms, envelope })?;
        self.notes.push(Note::Logged { place, direction, envelope: Arc::clone(envelope), recipients });
        Ok(place)
    }

    fn wait(
        &mut self,
        place: Place,
        session: &Option<dci_proto::SessionId>,
        expires_ms: u64,
        recipients: Vec<AgentId>,
        attempts: Attempts,
    ) {
        self.facts.push(Fact::Waits { place, session: *session, expires_ms, recipients, attempts });
    }

    pub(super) fn take_place(&mut self) -> Place {
        let place = self.next;
        self.next = place.next();
        place
    }
}
