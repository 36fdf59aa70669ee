//! Messages that arrive, processes that are started and end, peerlets that come and go.

use dci_proto::SessionId;
use dci_proto::message::MessageType;

use super::instance::{Instance, Open};
use super::peerlet::{Peerlet, Place, backoff_ms};
use super::{Core, Drain, Effect, End, Policy, ProcessId, STARTS_LIMIT, Settles, Ticket, Verdict, Work};
use crate::manifest::Mode;

/// Characters of a reason that come from what a program printed.
const SAID_LIMIT_CHARS: usize = 300;

impl Core {
    pub(super) fn arrived(&mut self, work: Work, effects: &mut Vec<Effect>) {
        if self.shutting_down {
            effects.push(Effect::Settle(work.ticket, Verdict::GivenBack));
            return;
        }
        let why = match self.peerlets.get_mut(&work.kind).filter(|peerlet| !peerlet.forgotten) {
            None => format!("there is no peerlet for messages of type {} here", work.kind),
            Some(peerlet) if peerlet.waiting >= peerlet.policy.queue => {
                format!("{} messages wait for {} already (limits.queue)", peerlet.waiting, work.kind)
            }
            Some(peerlet) => return peerlet.push(work),
        };
        refuse(work.ticket, why, effects);
    }

    /// Starts processes for messages that have none, the oldest first, while the limits let it.
    pub(super) fn start_all(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        while !self.shutting_down {
            let hungry = self.peerlets.iter().filter_map(|(kind, peerlet)| {
                let (ticket, place) = peerlet.hungriest(now_ms)?;
                (peerlet.live < peerlet.policy.instances).then(|| (ticket, place, kind.clone()))
            });
            let next = hungry.min();
            let Some((_, place, kind)) = next.filter(|_| self.instances.len() < self.instances_limit) else { break };
            self.start(now_ms, place, &kind, effects);
        }
        self.make_room(now_ms, effects);
    }

    fn start(&mut self, now_ms: u64, place: Place, kind: &MessageType, effects: &mut Vec<Effect>) {
        let Some(peerlet) = self.peerlets.get_mut(kind) else { return };
        let process = ProcessId(self.next_process);
        self.next_process += 1;
        peerlet.live += 1;
        peerlet.slots.entry(place).or_default().process = Some(process);
        self.instances.insert(process, Instance::new(now_ms, kind.clone(), place, peerlet.policy.clone()));
        let (session, ticket): (Option<SessionId>, Option<Ticket>) = match place {
            Place::Service => (None, None),
            Place::Session(session) => (Some(session), None),
            Place::Message(ticket) => (None, Some(ticket)),
        };
        effects.push(Effect::Start { process, kind: kind.clone(), session, ticket });
    }

    /// Ends the instance that has been idle longest where messages wait for a process and there is no room for one.
    fn make_room(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        let full = self.instances.len() >= self.instances_limit;
        for (kind, peerlet) in &self.peerlets {
            let at_limit = peerlet.live >= peerlet.policy.instances;
            if peerlet.hungriest(now_ms).is_none() || !(full || at_limit) {
                continue;
            }
            let candidates = |instance: &&mut Instance| !at_limit || &instance.kind == kind;
            // One on its way out is enough.
            if self.instances.values_mut().filter(candidates).any(|instance| instance.ending.is_some()) {
                continue;
            }
            let idle = self.instances.iter_mut().filter(|(_, instance)| {
                (!at_limit || &instance.kind == kind) && instance.is_idle() && instance.open.is_empty()
            });
            if let Some((process, instance)) = idle.min_by_key(|(_, instance)| instance.active_ms) {
                instance.end_gently(now_ms, *process, effects);
            }
        }
    }

    pub(super) fn exited(&mut self, now_ms: u64, process: ProcessId, end: &End, effects: &mut Vec<Effect>) {
        let Some(mut instance) = self.instances.remove(&process) else { return };
        let ending = instance.ending.take();
        let wanted = ending.as_ref().is_some_and(|ending| ending.wanted);
        let forced = ending.as_ref().is_some_and(|ending| ending.drain != Drain::InputClosed);
        let fault = ending.and_then(|ending| ending.fault).or_else(|| end.fault.clone());
        let fault = fault.or_else(|| forced.then(|| "the program was ended before it had dealt with it".to_owned()));
        for open in std::mem::take(&mut instance.open) {
            let verdict = verdict(&instance, &open, fault.as_deref(), end);
            instance.useful |= matches!(verdict, Verdict::Handled { .. });
            effects.push(Effect::Settle(open.ticket, verdict));
        }
        let why = fault.unwrap_or_else(|| ended(end));
        self.after_end(now_ms, &instance, wanted, &why, effects);
    }

    /// What becomes of the messages that wait for the instance that has ended.
    fn after_end(&mut self, now_ms: u64, instance: &Instance, wanted: bool, why: &str, effects: &mut Vec<Effect>) {
        let Some(peerlet) = self.peerlets.get_mut(&instance.kind) else { return };
        peerlet.live -= 1;
        let mut gives_up = false;
        if let Some(slot) = peerlet.slots.get_mut(&instance.place) {
            slot.process = None;
            if instance.useful {
                slot.failures = 0;
            } else if !wanted {
                slot.failures += 1;
                slot.retry_at_ms = now_ms.saturating_add(backoff_ms(slot.failures));
                gives_up = slot.failures >= STARTS_LIMIT || instance.policy.mode == Mode::Oneshot;
            }
        }
        if gives_up {
            for work in peerlet.take_queue(instance.place) {
                refuse(work.ticket, format!("the program could not be had: {why}"), effects);
            }
        }
        peerlet.forget_empty();
        if peerlet.forgotten && peerlet.live == 0 {
            self.peerlets.remove(&instance.kind);
        }
    }

    pub(super) fn learnt(&mut self, now_ms: u64, kind: &MessageType, policy: Policy, effects: &mut Vec<Effect>) {
        let peerlet = self.peerlets.entry(kind.clone()).or_insert_with(|| Peerlet::new(policy.clone()));
        peerlet.policy = policy;
        peerlet.forgotten = false;
        for work in peerlet.take_waiting() {
            peerlet.push(work);
        }
        self.end_kind(now_ms, kind, effects);
    }

    pub(super) fn forgotten(&mut self, now_ms: u64, kind: &MessageType, effects: &mut Vec<Effect>) {
        let Some(peerlet) = self.peerlets.get_mut(kind) else { return };
        peerlet.forgotten = true;
        for work in peerlet.take_waiting() {
            refuse(work.ticket, format!("the peerlet {kind} was removed"), effects);
        }
        if peerlet.live == 0 {
            self.peerlets.remove(kind);
        }
        self.end_kind(now_ms, kind, effects);
    }

    /// Ends the lasting instances of a peerlet; oneshots finish what they have.
    fn end_kind(&mut self, now_ms: u64, kind: &MessageType, effects: &mut Vec<Effect>) {
        for (process, instance) in self.instances.iter_mut().filter(|(_, instance)| &instance.kind == kind) {
            if instance.policy.settles != Settles::AtExit {
                instance.end_gently(now_ms, *process, effects);
            }
        }
    }

    pub(super) fn shut_down(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        self.shutting_down = true;
        for peerlet in self.peerlets.values_mut() {
            let waiting = peerlet.take_waiting();
            effects.extend(waiting.iter().map(|work| Effect::Settle(work.ticket, Verdict::GivenBack)));
        }
        for (process, instance) in &mut self.instances {
            instance.end_gently(now_ms, *process, effects);
        }
    }
}

fn refuse(ticket: Ticket, why: String, effects: &mut Vec<Effect>) {
    effects.push(Effect::Settle(ticket, Verdict::Refused { why }));
}

/// What became of a message that a program had when it ended.
fn verdict(instance: &Instance, open: &Open, fault: Option<&str>, end: &End) -> Verdict {
    let at_exit = instance.policy.settles == Settles::AtExit;
    match fault {
        Some(why) => Verdict::Refused { why: why.to_owned() },
        None if at_exit => Verdict::Handled { status: end.status, said: end.said.clone() },
        // It had said something and was waiting for more to say.
        None if open.answered && end.status == 0 => Verdict::Handled { status: 0, said: String::new() },
        None => Verdict::Refused { why: format!("{} before it had answered", ended(end)) },
    }
}

fn ended(end: &End) -> String {
    let said: String = end.said.chars().take(SAID_LIMIT_CHARS).collect();
    let said = said.trim();
    let saying = if said.is_empty() { String::new() } else { format!(" saying {said:?}") };
    format!("the program ended with status {}{saying}", end.status)
}
