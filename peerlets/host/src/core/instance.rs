//! One process: what it was fed and has not answered, and how its end goes.

use std::collections::VecDeque;

use dci_proto::MessageId;
use dci_proto::message::MessageType;

use super::peerlet::Place;
use super::{Drain, Effect, OPEN_LIMIT, Policy, ProcessId, Settles, Ticket, UNWRITTEN_LIMIT};

/// A message that a program has.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) ticket: Ticket,
    pub(super) id: MessageId,
    /// It is in the program's standard input.
    pub(super) written: bool,
    /// Something came back about it.
    pub(super) answered: bool,
    /// When it must have been answered.
    pub(super) due_ms: Option<u64>,
}

/// How the end of a program goes.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) drain: Drain,
    /// When the next, harder step is due.
    pub(super) next_ms: u64,
    /// What was wrong; `None`: what it still says counts.
    pub(super) fault: Option<String>,
    /// It is only not needed any more, or its host ends.
    pub(super) wanted: bool,
}

/// One process.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) kind: MessageType,
    pub(super) place: Place,
    /// The rules it was started under.
    pub(super) policy: Policy,
    pub(super) ready: bool,
    pub(super) started_ms: u64,
    pub(super) active_ms: u64,
    pub(super) open: VecDeque<Open>,
    /// It has handled a message.
    pub(super) useful: bool,
    pub(super) ending: Option<Ending>,
}

impl Instance {
    pub(super) fn new(now_ms: u64, kind: MessageType, place: Place, policy: Policy) -> Self {
        Self {
            kind,
            place,
            policy,
            ready: false,
            started_ms: now_ms,
            active_ms: now_ms,
            open: VecDeque::new(),
            useful: false,
            ending: None,
        }
    }

    /// Whether another message may be written to it.
    pub(super) fn has_appetite(&self) -> bool {
        if !self.ready || self.ending.is_some() {
            return false;
        }
        let open_limit = match self.policy.settles {
            Settles::AtExit | Settles::WithItsLine => 1,
            Settles::WhenFed | Settles::WithItsReply => OPEN_LIMIT,
        };
        self.open.len() < open_limit && self.open.iter().filter(|open| !open.written).count() < UNWRITTEN_LIMIT
    }

    /// Whether it has nothing to do and nobody waits for it. A oneshot always has: it ends by itself.
    pub(super) fn is_idle(&self) -> bool {
        let owes_nothing = self.open.iter().all(|open| open.answered && open.due_ms.is_none());
        self.ready && self.ending.is_none() && self.policy.settles != Settles::AtExit && owes_nothing
    }

    /// Whether something may have to be done soon because time passes.
    pub(super) fn has_deadline(&self) -> bool {
        !self.ready || self.ending.is_some() || self.open.iter().any(|open| open.due_ms.is_some())
    }

    /// Which message a reply is about.
    pub(super) fn position(&self, about: Option<MessageId>) -> Option<usize> {
        match about {
            Some(id) => self.open.iter().position(|open| open.id == id),
            None => Some(0).filter(|_| self.open.len() == 1),
        }
    }

    /// Begins its end because it is not needed: closes its input, and asks and forces it later.
    pub(super) fn end_gently(&mut self, now_ms: u64, process: ProcessId, effects: &mut Vec<Effect>) {
        self.close(now_ms, process, true, effects);
    }

    /// Begins its end because it has begun it itself, by closing its output.
    pub(super) fn end_with_its_output(&mut self, now_ms: u64, process: ProcessId, effects: &mut Vec<Effect>) {
        self.close(now_ms, process, false, effects);
    }

    fn close(&mut self, now_ms: u64, process: ProcessId, wanted: bool, effects: &mut Vec<Effect>) {
        if self.ending.is_none() {
            let next_ms = now_ms.saturating_add(self.policy.grace_ms);
            self.ending = Some(Ending { drain: Drain::InputClosed, next_ms, fault: None, wanted });
            effects.push(Effect::CloseInput(process));
        }
    }

    /// Begins its end at once, for a fault.
    pub(super) fn end_for(
        &mut self,
        now_ms: u64,
        process: ProcessId,
        drain: Drain,
        fault: String,
        effects: &mut Vec<Effect>,
    ) {
        let fault = self.ending.take().and_then(|ending| ending.fault).or(Some(fault));
        let next_ms = now_ms.saturating_add(self.policy.grace_ms);
        self.ending = Some(Ending { drain, next_ms, fault, wanted: false });
        effects.push(if drain == Drain::Killed { Effect::Kill(process) } else { Effect::Terminate(process) });
    }

    /// The next step of its end, when that is due.
    pub(super) fn end_harder(&mut self, now_ms: u64, process: ProcessId, effects: &mut Vec<Effect>) {
        let grace_ms = self.policy.grace_ms;
        let Some(ending) = self.ending.as_mut().filter(|ending| ending.next_ms <= now_ms) else { return };
        ending.next_ms = now_ms.saturating_add(grace_ms);
        match ending.drain {
            Drain::InputClosed => {
                ending.drain = Drain::Terminated;
                effects.push(Effect::Terminate(process));
            }
            Drain::Terminated => {
                ending.drain = Drain::Killed;
                effects.push(Effect::Kill(process));
            }
            Drain::Killed => {}
        }
    }
}
