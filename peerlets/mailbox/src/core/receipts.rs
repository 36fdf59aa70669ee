//! Receipts: what is heard of messages of this agent.

use dci_proto::message::{Receipt, ReceiptState};
use dci_proto::{AgentId, MessageId};

use super::rows::{Rows, SentRow, WaitingRow};
use super::status::{State, Status, cut, state_of};
use super::{Fact, Note, Place, Plan};

/// What a receipt did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptOutcome {
    /// A state is another one.
    Changed,
    /// It says nothing new, or nothing that its sender may say.
    Nothing,
    /// It is of no message that is known here.
    Unknown,
}

impl<R: Rows> Plan<'_, R> {
    /// Takes in a receipt that `from` has signed. Only a recipient says what became of the message there; any agent may
    /// say that a copy got no further than to it, a recipient of a message to many too.
    pub(crate) fn receipt(&mut self, from: AgentId, receipt: &Receipt) -> Result<ReceiptOutcome, R::Error> {
        let Some(SentRow { place, many }) = self.rows.sent(receipt.of)? else { return Ok(ReceiptOutcome::Unknown) };
        let waiting = self.rows.waiting(place, from)?;
        let ended = self.rows.ended(place, from)?;
        let recipient = waiting.is_some() || ended.is_some();
        match &receipt.state {
            ReceiptState::Expired { hop, .. } if *hop != from => Ok(ReceiptOutcome::Nothing),
            // It never left: no other copy is on its way.
            ReceiptState::Expired { reason, .. } if from == self.core.agent && (many || !recipient) => {
                self.never_left(place, reason)
            }
            ReceiptState::Expired { reason, .. } if many || !recipient => {
                self.dropped_on_the_way(place, (receipt.of, from), reason)
            }
            state => match (waiting, ended) {
                (Some(row), _) => self.answered(place, from, row, state_of(state)),
                (None, Some(before)) => self.answered_again(place, (receipt.of, from), &before, state_of(state)),
                (None, None) => Ok(ReceiptOutcome::Nothing),
            },
        }
    }

    fn answered(
        &mut self,
        place: Place,
        from: AgentId,
        row: WaitingRow,
        state: State,
    ) -> Result<ReceiptOutcome, R::Error> {
        // What has expired stays so, even where the step that says it is still to come.
        if row.expires_ms <= self.now.wall_ms {
            return Ok(ReceiptOutcome::Nothing);
        }
        let status = Status { state, since_ms: self.now.wall_ms, attempts: row.attempts };
        self.rows.remove_waiting(place, from)?;
        self.rows.put_ended(place, from, &status)?;
        let next = self.core.outbox.behind(place, from);
        if let Some(next) = next
            && let Some(mut behind) = self.rows.waiting(next, from)?
        {
            behind.attempts = behind.attempts.max(1);
            self.rows.put_waiting(next, from, &behind)?;
        }
        self.facts.push(Fact::Answered { place, agent: from, next });
        self.changed(place, row.id, from, status);
        Ok(ReceiptOutcome::Changed)
    }

    fn answered_again(
        &mut self,
        place: Place,
        (id, from): (MessageId, AgentId),
        before: &Status,
        state: State,
    ) -> Result<ReceiptOutcome, R::Error> {
        let Some(state) = before.state.then(state) else { return Ok(ReceiptOutcome::Nothing) };
        let status = Status { state, since_ms: self.now.wall_ms, attempts: before.attempts };
        self.rows.put_ended(place, from, &status)?;
        self.changed(place, id, from, status);
        Ok(ReceiptOutcome::Changed)
    }

    /// No copy goes to anybody else: all others that wait will not get it.
    fn never_left(&mut self, place: Place, reason: &str) -> Result<ReceiptOutcome, R::Error> {
        let mut outcome = ReceiptOutcome::Nothing;
        for (agent, row) in self.rows.waiting_of(place)? {
            if agent != self.core.agent {
                outcome = self.answered(place, agent, row, State::Expired { reason: cut(reason) })?;
            }
        }
        Ok(outcome)
    }

    /// A copy got no further than to an agent. Where there are several recipients nobody knows for whom that copy was, so
    /// it is noted for all others that wait and have no such note.
    fn dropped_on_the_way(
        &mut self,
        place: Place,
        (id, hop): (MessageId, AgentId),
        reason: &str,
    ) -> Result<ReceiptOutcome, R::Error> {
        let mut outcome = ReceiptOutcome::Nothing;
        for (agent, mut row) in self.rows.waiting_of(place)? {
            if agent == hop || row.dropped.is_some() {
                continue;
            }
            row.dropped = Some((hop, self.now.wall_ms, cut(reason)));
            self.rows.put_waiting(place, agent, &row)?;
            self.changed(place, id, agent, row.status());
            outcome = ReceiptOutcome::Changed;
        }
        Ok(outcome)
    }

    fn changed(&mut self, place: Place, id: MessageId, agent: AgentId, status: Status) {
        self.notes.push(Note::Changed { place, id, agent, status });
    }
}

impl WaitingRow {
    /// The state it stands for.
    pub(crate) fn state(&self) -> State {
        match &self.dropped {
            Some((hop, _, reason)) => State::ExpiredOnTheWay { hop: *hop, reason: reason.clone() },
            None => State::Waiting,
        }
    }

    /// The state it stands for, with its history.
    pub(crate) fn status(&self) -> Status {
        let since_ms = self.dropped.as_ref().map_or(self.since_ms, |(_, at_ms, _)| *at_ms);
        Status { state: self.state(), since_ms, attempts: self.attempts }
    }
}
