//! What is due by itself, and what the rows must tell of it before it is done.

use dci_proto::AgentId;

use super::outbox::Sendable;
use super::rows::Rows;
use super::status::{State, Status};
use super::{Note, Place, Plan};

/// A message to be handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HandOut {
    pub(crate) place: Place,
    /// 1 for the first time.
    pub(crate) attempt: u32,
}

/// What is due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Upkeep {
    pub(crate) expired: Vec<(Place, AgentId)>,
    pub(crate) sendings: Vec<Sendable>,
    pub(crate) handouts: Vec<HandOut>,
}

impl Upkeep {
    pub(crate) fn is_empty(&self) -> bool {
        self.expired.is_empty() && self.sendings.is_empty() && self.handouts.is_empty()
    }
}

impl<R: Rows> Plan<'_, R> {
    /// Writes what the rows must tell of what is due. May be done again after it failed.
    pub(crate) fn upkeep(&mut self, upkeep: &Upkeep) -> Result<(), R::Error> {
        for (place, agent) in &upkeep.expired {
            self.expired(*place, *agent)?;
        }
        for sending in upkeep.sendings.iter().filter(|sending| sending.to_note) {
            self.sent(sending)?;
        }
        for HandOut { place, attempt } in &upkeep.handouts {
            if let Some(mut pending) = self.rows.pending(*place)? {
                pending.attempts = *attempt;
                self.rows.put_pending(*place, &pending)?;
                self.relay(*place, *attempt)?;
            }
        }
        Ok(())
    }

    fn expired(&mut self, place: Place, agent: AgentId) -> Result<(), R::Error> {
        let Some(row) = self.rows.waiting(place, agent)? else { return Ok(()) };
        let reason = match &row.dropped {
            Some((hop, _, reason)) => format!("it was not acknowledged in time; a copy got as far as {hop}: {reason}"),
            None => "it was not acknowledged in time".to_owned(),
        };
        let state = State::Expired { reason: super::status::cut(&reason) };
        let status = Status { state, since_ms: self.now.wall_ms, attempts: row.attempts };
        self.rows.remove_waiting(place, agent)?;
        self.rows.put_ended(place, agent, &status)?;
        self.notes.push(Note::Changed { place, id: row.id, agent, status });
        Ok(())
    }

    fn sent(&mut self, sending: &Sendable) -> Result<(), R::Error> {
        for agent in &sending.recipients {
            if let Some(mut row) = self.rows.waiting(sending.place, *agent)? {
                row.attempts = sending.attempts;
                self.rows.put_waiting(sending.place, *agent, &row)?;
            }
        }
        if let Some(mut row) = self.rows.multicast(sending.place)? {
            row.attempts = sending.attempts;
            self.rows.put_multicast(sending.place, &row)?;
        }
        Ok(())
    }
}
