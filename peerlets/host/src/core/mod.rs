//! Which process gets which message, and when processes are started and ended.
//!
//! Pure: what happened and the time go in, effects come out. The shell starts programs, feeds them and tells what they print;
//! it decides nothing. What always holds, whatever programs do:
//!
//! - every message is settled exactly once, and replies to it come before that;
//! - no more processes than a peerlet's limit, or the host's, are there at once;
//! - an instance is fed the messages of its session in the order in which they came, each once, to one process only: what a
//!   program may have begun is never begun again;
//! - a reply goes to the sender of a message that this very process was fed and that is not settled.
//!
//! The shell promises: for each [`Effect::Start`] it says [`Event::StartFailed`] or, once the program is gone and all it printed
//! was told, [`Event::Exited`]; for each [`Effect::Feed`] at most one [`Event::Fed`].

mod feeding;
mod instance;
mod passing;
mod peerlet;
#[cfg(test)]
mod tests;
mod types;

use std::collections::BTreeMap;

use dci_proto::message::MessageType;

use instance::Instance;
use peerlet::Peerlet;
pub use types::{
    Drain, Effect, End, Event, Pace, Policy, ProcessId, ReplyLine, Settles, Standing, Ticket, Verdict, Work,
};

/// Messages one program may have unanswered at once.
pub const OPEN_LIMIT: usize = 1_024;
/// Messages on their way into one program's standard input.
pub const UNWRITTEN_LIMIT: usize = 4;
/// Starts without success after which the messages that wait are refused.
pub const STARTS_LIMIT: u32 = 5;
/// The wait after the first start that failed; it doubles each time.
pub const BACKOFF_FIRST_MS: u64 = 200;
/// No wait is longer.
pub const BACKOFF_LIMIT_MS: u64 = 30_000;

/// The instances of one host.
#[derive(Debug)]
pub struct Core {
    peerlets: BTreeMap<MessageType, Peerlet>,
    instances: BTreeMap<ProcessId, Instance>,
    instances_limit: usize,
    next_process: u64,
    shutting_down: bool,
}

impl Core {
    /// A core that knows no peerlet yet and has so many processes at once, at most.
    #[must_use]
    pub fn new(instances_limit: usize) -> Self {
        Self {
            peerlets: BTreeMap::new(),
            instances: BTreeMap::new(),
            instances_limit,
            next_process: 1,
            shutting_down: false,
        }
    }

    /// Takes in what happened at a time (ms of a steady clock); answers what to do, in order.
    pub fn handle(&mut self, now_ms: u64, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Learnt(kind, policy) => self.learnt(now_ms, &kind, policy, &mut effects),
            Event::Forgotten(kind) => self.forgotten(now_ms, &kind, &mut effects),
            Event::Arrived(work) => self.arrived(work, &mut effects),
            Event::StartFailed(process, why) => {
                let end = End { status: 0, fault: Some(why), said: String::new() };
                self.exited(now_ms, process, &end, &mut effects);
            }
            Event::Ready(process) => self.ready(now_ms, process),
            Event::Fed(process, ticket) => self.fed(now_ms, process, ticket, &mut effects),
            Event::Reply(process, line) => self.reply(now_ms, process, line, &mut effects),
            Event::OutputClosed(process) => self.output_closed(now_ms, process, &mut effects),
            Event::Broke(process, why) => self.broke(now_ms, process, why, &mut effects),
            Event::Exited(process, end) => self.exited(now_ms, process, &end, &mut effects),
            Event::Tick => self.tick(now_ms, &mut effects),
            Event::ShutDown => self.shut_down(now_ms, &mut effects),
        }
        self.feed_all(now_ms, &mut effects);
        self.start_all(now_ms, &mut effects);
        effects
    }

    /// How often [`Event::Tick`] is wanted.
    #[must_use]
    pub fn pace(&self) -> Pace {
        let waiting = self.peerlets.values().any(|peerlet| peerlet.waiting > 0);
        if waiting || self.instances.values().any(Instance::has_deadline) {
            Pace::Soon
        } else if self.instances.is_empty() {
            Pace::Never
        } else {
            Pace::Seldom
        }
    }

    /// What is under way for a type.
    #[must_use]
    pub fn standing(&self, kind: &MessageType) -> Standing {
        let instances = self.instances.values().filter(|instance| &instance.kind == kind);
        let (processes, open) = instances.fold((0, 0), |(count, open), one| (count + 1, open + one.open.len()));
        let waiting = self.peerlets.get(kind).map_or(0, |peerlet| peerlet.waiting);
        Standing { processes, waiting, open }
    }

    /// Processes, and messages that are not settled.
    #[must_use]
    pub fn totals(&self) -> (usize, usize) {
        let waiting: usize = self.peerlets.values().map(|peerlet| peerlet.waiting).sum();
        (self.instances.len(), waiting + self.instances.values().map(|one| one.open.len()).sum::<usize>())
    }
}
