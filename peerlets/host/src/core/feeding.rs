//! Messages on their way into programs, and what comes back.

use super::instance::Open;
use super::{Core, Drain, Effect, ProcessId, ReplyLine, Settles, Ticket, Verdict};

impl Core {
    pub(super) fn ready(&mut self, now_ms: u64, process: ProcessId) {
        if let Some(instance) = self.instances.get_mut(&process) {
            instance.ready = true;
            instance.active_ms = now_ms;
        }
    }

    /// Gives every program that can take more the messages that wait for it.
    pub(super) fn feed_all(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        for (process, instance) in &mut self.instances {
            let Some(peerlet) = self.peerlets.get_mut(&instance.kind) else { continue };
            while instance.has_appetite() {
                let Some(work) = peerlet.pop(instance.place) else { break };
                let due_ms = Some(now_ms.saturating_add(instance.policy.time_ms));
                let open = Open { ticket: work.ticket, id: work.id, written: false, answered: false, due_ms };
                instance.open.push_back(open);
                instance.active_ms = now_ms;
                effects.push(Effect::Feed(*process, work.ticket));
                if instance.policy.settles == Settles::AtExit {
                    effects.push(Effect::CloseInput(*process));
                }
            }
        }
    }

    pub(super) fn fed(&mut self, now_ms: u64, process: ProcessId, ticket: Ticket, effects: &mut Vec<Effect>) {
        let Some(instance) = self.instances.get_mut(&process) else { return };
        let Some(at) = instance.open.iter().position(|open| open.ticket == ticket) else { return };
        instance.active_ms = now_ms;
        if instance.policy.settles == Settles::WhenFed {
            self.settle_open(process, at, 0, effects);
        } else if let Some(open) = instance.open.get_mut(at) {
            open.written = true;
        }
    }

    pub(super) fn reply(&mut self, now_ms: u64, process: ProcessId, line: ReplyLine, effects: &mut Vec<Effect>) {
        let Some(instance) = self.instances.get_mut(&process) else { return };
        let listens = instance.ending.as_ref().is_none_or(|ending| ending.fault.is_none());
        let at = instance.position(line.about).filter(|_| listens && instance.policy.settles != Settles::WhenFed);
        let Some((at, open)) = at.and_then(|at| instance.open.get_mut(at).map(|open| (at, open))) else {
            effects.push(Effect::Stray(process));
            return;
        };
        open.answered = true;
        instance.active_ms = now_ms;
        if let Some(body) = line.body {
            effects.push(Effect::Reply(open.ticket, body));
        }
        match instance.policy.settles {
            Settles::WithItsReply if line.more => open.due_ms = None,
            Settles::WithItsReply | Settles::WithItsLine => self.settle_open(process, at, line.status, effects),
            Settles::AtExit | Settles::WhenFed => {}
        }
    }

    /// A program that was to answer and will not is of no more use.
    pub(super) fn output_closed(&mut self, now_ms: u64, process: ProcessId, effects: &mut Vec<Effect>) {
        let Some(instance) = self.instances.get_mut(&process) else { return };
        if matches!(instance.policy.settles, Settles::WithItsLine | Settles::WithItsReply) {
            instance.end_with_its_output(now_ms, process, effects);
        }
    }

    pub(super) fn broke(&mut self, now_ms: u64, process: ProcessId, why: String, effects: &mut Vec<Effect>) {
        if let Some(instance) = self.instances.get_mut(&process) {
            instance.end_for(now_ms, process, Drain::Killed, why, effects);
        }
    }

    /// Time has passed: what waits too long, is late, idle, or does not end.
    pub(super) fn tick(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        for peerlet in self.peerlets.values_mut().filter(|peerlet| peerlet.waiting > 0) {
            for slot in peerlet.slots.values_mut() {
                let before = slot.queue.len();
                slot.queue.retain(|work| {
                    let void = work.void_ms <= now_ms;
                    if void {
                        let why = "it expired while it waited for its peerlet".to_owned();
                        effects.push(Effect::Settle(work.ticket, Verdict::Refused { why }));
                    }
                    !void
                });
                peerlet.waiting -= before - slot.queue.len();
            }
            peerlet.forget_empty();
        }
        for (process, instance) in &mut self.instances {
            instance.end_harder(now_ms, *process, effects);
            if instance.ending.is_some() {
                continue;
            }
            let policy = &instance.policy;
            let seconds = policy.time_ms.div_ceil(1_000);
            let late = instance.open.iter().any(|open| open.due_ms.is_some_and(|due_ms| due_ms <= now_ms));
            if !instance.ready && now_ms.saturating_sub(instance.started_ms) >= policy.time_ms {
                let why = format!("the program was not ready within {seconds} s (limits.time_s)");
                instance.end_for(now_ms, *process, Drain::Terminated, why, effects);
            } else if late {
                let why = format!("the program took longer than {seconds} s (limits.time_s)");
                instance.end_for(now_ms, *process, Drain::Terminated, why, effects);
            } else if instance.is_idle() && now_ms.saturating_sub(instance.active_ms) >= policy.idle_ms {
                instance.end_gently(now_ms, *process, effects);
            }
        }
    }

    /// A message that a program has is dealt with.
    fn settle_open(&mut self, process: ProcessId, at: usize, status: i32, effects: &mut Vec<Effect>) {
        let Some(instance) = self.instances.get_mut(&process) else { return };
        if let Some(open) = instance.open.remove(at) {
            instance.useful = true;
            effects.push(Effect::Settle(open.ticket, Verdict::Handled { status, said: String::new() }));
        }
    }
}
