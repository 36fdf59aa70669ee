//! Messages that come to this agent, until they are dealt with.

use std::sync::Arc;

use dci_proto::message::{Envelope, ReceiptState, Recipient};

use super::inbox::Sender;
use super::rows::{Direction, PendingRow, ReceivedRow, Record, Rows};
use super::status::{Status, cut, state_of};
use super::{Fact, Note, Place, Plan};

/// What becomes of a message that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// It is kept, or kept as refused.
    New(Place),
    /// It came before; this is what there is to say of it.
    Known(ReceiptState),
    /// Its time is over: it is not kept.
    Expired,
    /// Too many messages, or too many of this sender, are not dealt with yet: it is not kept, and should come again later.
    Full,
}

/// How a message was dealt with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// Its peerlet has dealt with it.
    Handled {
        /// 0 for success, as programs have it.
        exit_status: i32,
    },
    /// As [`Self::Handled`], with what it said of its failure.
    Failed {
        /// Not 0.
        exit_status: i32,
        /// The end of what it printed on standard error.
        said: String,
    },
    /// It is not taken.
    Refused {
        /// Why, for people.
        reason: String,
    },
    /// Its time was over before its peerlet had it.
    Expired,
}

impl<R: Rows> Plan<'_, R> {
    /// Keeps a message that came, to be handed out; or, refused, to be remembered with the reason.
    pub(crate) fn accept(&mut self, envelope: &Arc<Envelope>, refused: Option<&str>) -> Result<Accepted, R::Error> {
        let message = &envelope.message;
        let (sender, id, expires_ms) = (message.from.agent, message.id, message.expires_ms);
        if let Some(row) = self.rows.received(sender, id)? {
            return Ok(Accepted::Known(row.state));
        }
        if expires_ms <= self.now.wall_ms {
            return Ok(Accepted::Expired);
        }
        if refused.is_none() && !self.core.inbox.has_room(sender, &self.core.limits) {
            return Ok(Accepted::Full);
        }
        let place = self.log(Direction::Received, envelope, Vec::new())?;
        if let Some(reason) = refused {
            let state = ReceiptState::Refused { reason: cut(reason) };
            self.end_received(place, &state)?;
            self.rows.put_received(sender, id, &ReceivedRow { place, expires_ms, state })?;
            return Ok(Accepted::New(place));
        }
        let handed = self.handouts > 0 && self.core.inbox.is_free(&Sender::of(message));
        let state = ReceiptState::Delivered;
        self.rows.put_received(sender, id, &ReceivedRow { place, expires_ms, state })?;
        let many = !matches!(message.to, Recipient::Agent(_));
        self.rows.put_pending(place, &PendingRow { id, sender, many, attempts: u32::from(handed) })?;
        if handed {
            self.relay(place, 1)?;
        }
        // In order: once one waits, those after it wait too.
        self.handouts = if handed { self.handouts.saturating_sub(1) } else { 0 };
        self.facts.push(Fact::Accepted { place, sender: Sender::of(message), handed });
        Ok(Accepted::New(place))
    }

    /// A message was dealt with. Answers what is to be told its sender; `None` if it was dealt with before or never came.
    pub(crate) fn settle(&mut self, place: Place, settlement: &Settlement) -> Result<Option<ReceiptState>, R::Error> {
        let Some(pending) = self.rows.pending(place)? else { return Ok(None) };
        let state = match settlement {
            Settlement::Handled { exit_status } => ReceiptState::Handled { exit_status: *exit_status },
            Settlement::Failed { exit_status, said } => {
                ReceiptState::Failed { exit_status: *exit_status, said: cut(said) }
            }
            Settlement::Refused { reason } => ReceiptState::Refused { reason: cut(reason) },
            Settlement::Expired => {
                let reason = "it expired before its peerlet had it".to_owned();
                // Of a message to many, that would say that a copy of it was not passed on.
                if pending.many {
                    ReceiptState::Refused { reason }
                } else {
                    ReceiptState::Expired { hop: self.core.agent, reason }
                }
            }
        };
        self.rows.remove_pending(place)?;
        self.end_received(place, &state)?;
        // An id whose time is long over is forgotten already.
        if let Some(mut row) = self.rows.received(pending.sender, pending.id)? {
            row.state = state.clone();
            self.rows.put_received(pending.sender, pending.id, &row)?;
        }
        self.facts.push(Fact::Settled(place));
        let status = Status { state: state_of(&state), since_ms: self.now.wall_ms, attempts: pending.attempts };
        self.notes.push(Note::Changed { place, id: pending.id, agent: self.core.agent, status });
        Ok(Some(state))
    }

    /// A message was handed out, for the n-th time.
    pub(super) fn relay(&mut self, of: Place, attempt: u32) -> Result<(), R::Error> {
        let place = self.take_place();
        self.rows.append(place, Record::Relayed { at_ms: self.now.wall_ms, of, attempt })?;
        self.notes.push(Note::Relayed { place, of, attempt });
        Ok(())
    }

    fn end_received(&mut self, place: Place, state: &ReceiptState) -> Result<(), R::Error> {
        let attempts = self.rows.pending(place)?.map_or(0, |pending| pending.attempts);
        let status = Status { state: state_of(state), since_ms: self.now.wall_ms, attempts };
        self.rows.put_ended(place, self.core.agent, &status)
    }
}
