//! What the writer is asked, how much of it may wait, and how it is put together into one transaction.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use dci_proto::AgentId;
use dci_proto::message::{Envelope, Receipt, ReceiptState, Recipient};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::core::{Accepted, Plan, PostRefused, ReceiptOutcome, Rows, Settlement};
use crate::{MailboxError, Place};

/// Calls that wait for the writer are counted in these units; each is at least one.
pub(crate) const UNIT_BYTES: usize = 1024;
/// Units that may wait for the writer, in all 16 MiB; further calls wait for a place.
const QUEUE_LIMIT_UNITS: usize = 16 * 1024;
/// Calls written with one sync, at most.
const BATCH_LIMIT: usize = 1_024;
/// Units written with one sync, at most (and one call more).
const BATCH_LIMIT_UNITS: usize = 8 * 1024;
/// Calls of one transaction from which on the mailbox is busy: the next transaction waits a little, so that it carries more.
const BUSY_CALLS: usize = 8;
/// How long after one transaction of a busy mailbox was begun the next begins, at the soonest: each costs about as much as ten
/// messages do, whatever it carries.
const BUSY_PAUSE: Duration = Duration::from_millis(3);

/// Where a call is answered.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, MailboxError>>;

/// What the writer is asked.
pub(crate) enum Command {
    Post { envelope: Arc<Envelope>, recipients: Vec<AgentId>, reply: Reply<Place> },
    Joined { to: Recipient, agents: Vec<AgentId>, reply: Reply<usize> },
    Receipts { from: AgentId, receipts: Vec<Receipt>, reply: Reply<Vec<ReceiptOutcome>> },
    Accept { envelope: Arc<Envelope>, refused: Option<String>, reply: Reply<Accepted> },
    Settle { place: Place, settlement: Settlement, reply: Reply<ReceiptState> },
    Seen(AgentId),
    Wake,
    Stop,
}

/// A call with its place among those that wait.
type Queued = (Command, Option<OwnedSemaphorePermit>);

/// The callers' end.
#[derive(Clone)]
pub(crate) struct Commands {
    sender: Sender<Queued>,
    room: Arc<Semaphore>,
}

/// The writer's end.
pub(super) struct Queue {
    receiver: Receiver<Queued>,
    stopped: bool,
    /// When the next transaction may begin.
    not_before: Option<Instant>,
}

pub(super) fn queue() -> (Commands, Queue) {
    let (sender, receiver) = channel();
    let commands = Commands { sender, room: Arc::new(Semaphore::new(QUEUE_LIMIT_UNITS)) };
    (commands, Queue { receiver, stopped: false, not_before: None })
}

impl Commands {
    /// Asks, when there is room. `None` if the writer has ended.
    pub(crate) async fn send(&self, bytes: usize, command: Command) -> Option<()> {
        let units = bytes.div_ceil(UNIT_BYTES).clamp(1, QUEUE_LIMIT_UNITS);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.room).acquire_many_owned(units).await.ok()?;
        self.sender.send((command, Some(permit))).ok()
    }

    /// Says what needs no room and no answer.
    pub(crate) fn send_now(&self, command: Command) {
        if self.sender.send((command, None)).is_err() {
            tracing::debug!("the writer of the mailbox has ended");
        }
    }
}

impl Queue {
    /// Waits for calls, at most so long; then takes all that wait, within limits. `None` when it is time to end.
    pub(super) fn next(&mut self, patience: Duration) -> Option<Batch> {
        let mut batch = Batch::default();
        if self.stopped {
            return None;
        }
        match self.receiver.recv_timeout(patience) {
            Ok(first) => self.take(&mut batch, first),
            Err(RecvTimeoutError::Timeout) => return Some(batch),
            Err(RecvTimeoutError::Disconnected) => return None,
        }
        if let Some(not_before) = self.not_before.filter(|_| !self.stopped) {
            std::thread::sleep(not_before.saturating_duration_since(Instant::now()));
        }
        while batch.commands.len() < BATCH_LIMIT && batch.units < BATCH_LIMIT_UNITS && !self.stopped {
            let Ok(next) = self.receiver.try_recv() else { break };
            self.take(&mut batch, next);
        }
        self.not_before = (batch.commands.len() >= BUSY_CALLS).then(|| Instant::now() + BUSY_PAUSE);
        Some(batch)
    }

    fn take(&mut self, batch: &mut Batch, (command, permit): Queued) {
        match command {
            Command::Seen(agent) => batch.seen.push(agent),
            Command::Wake => {}
            Command::Stop => self.stopped = true,
            command => {
                batch.units += permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
                batch.commands.push((command, permit));
            }
        }
    }
}

/// Calls of one transaction.
#[derive(Default)]
pub(super) struct Batch {
    commands: Vec<Queued>,
    units: usize,
    /// Agents that came back.
    pub(super) seen: Vec<AgentId>,
}

/// What a call is answered.
pub(super) enum Answer {
    Post(Result<Place, PostRefused>),
    Joined(usize),
    Receipts(Vec<ReceiptOutcome>),
    Accept(Accepted),
    Settle(Place, Option<ReceiptState>),
    Nothing,
}

/// One for each call.
pub(super) type Answers = Vec<Answer>;

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    /// Each call by itself.
    pub(super) fn into_single(self) -> impl Iterator<Item = Self> {
        self.commands.into_iter().map(|command| Self { commands: vec![command], ..Self::default() })
    }

    /// Changes the rows as the calls ask.
    pub(super) fn apply<R: Rows>(&self, plan: &mut Plan<'_, R>) -> Result<Answers, R::Error> {
        let apply = |(command, _): &Queued| {
            Ok(match command {
                Command::Post { envelope, recipients, .. } => Answer::Post(plan.post(envelope, recipients)?),
                Command::Joined { to, agents, .. } => Answer::Joined(plan.joined(to, agents)?),
                Command::Receipts { from, receipts, .. } => {
                    let outcomes = receipts.iter().map(|receipt| plan.receipt(*from, receipt));
                    Answer::Receipts(outcomes.collect::<Result<_, _>>()?)
                }
                Command::Accept { envelope, refused, .. } => Answer::Accept(plan.accept(envelope, refused.as_deref())?),
                Command::Settle { place, settlement, .. } => Answer::Settle(*place, plan.settle(*place, settlement)?),
                Command::Seen(_) | Command::Wake | Command::Stop => Answer::Nothing,
            })
        };
        self.commands.iter().map(apply).collect()
    }

    /// Tells each caller.
    pub(super) fn answer(self, answers: Answers, path: &Path) {
        for ((command, _), answer) in self.commands.into_iter().zip(answers) {
            // A caller that is gone does not want to know.
            let _ = match (command, answer) {
                (Command::Post { reply, .. }, Answer::Post(posted)) => reply.send(posted.map_err(Into::into)).is_ok(),
                (Command::Joined { reply, .. }, Answer::Joined(added)) => reply.send(Ok(added)).is_ok(),
                (Command::Receipts { reply, .. }, Answer::Receipts(outcomes)) => reply.send(Ok(outcomes)).is_ok(),
                (Command::Accept { reply, .. }, Answer::Accept(accepted)) => reply.send(Ok(accepted)).is_ok(),
                (Command::Settle { reply, .. }, Answer::Settle(place, state)) => {
                    reply.send(state.ok_or(MailboxError::NotPending(place))).is_ok()
                }
                _ => {
                    tracing::error!(path = %path.display(), "a call got another's answer");
                    false
                }
            };
        }
    }

    /// Tells each caller that it failed.
    pub(super) fn fail(self, error: &MailboxError) {
        for (command, _) in self.commands {
            let error = error.clone();
            let _ = match command {
                Command::Post { reply, .. } => reply.send(Err(error)).is_ok(),
                Command::Joined { reply, .. } => reply.send(Err(error)).is_ok(),
                Command::Receipts { reply, .. } => reply.send(Err(error)).is_ok(),
                Command::Accept { reply, .. } => reply.send(Err(error)).is_ok(),
                Command::Settle { reply, .. } => reply.send(Err(error)).is_ok(),
                Command::Seen(_) | Command::Wake | Command::Stop => false,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle() -> Command {
        Command::Settle { place: Place(1), settlement: Settlement::Expired, reply: oneshot::channel().0 }
    }

    #[test]
    fn a_busy_queue_gathers_for_a_moment_and_a_quiet_one_does_not() {
        let (commands, mut queue) = queue();
        let calls = |queue: &mut Queue, count: usize| {
            (0..count).for_each(|_| commands.send_now(settle()));
            queue.next(Duration::ZERO).map(|batch| batch.len())
        };
        assert_eq!(calls(&mut queue, BUSY_CALLS - 1), Some(BUSY_CALLS - 1));
        assert_eq!(queue.not_before, None, "that was little");
        let began = Instant::now();
        assert_eq!(calls(&mut queue, BUSY_CALLS), Some(BUSY_CALLS));
        assert_eq!(calls(&mut queue, 1), Some(1));
        assert!(began.elapsed() >= BUSY_PAUSE, "the next waits, so that others come along");
        assert_eq!(queue.not_before, None, "it was little again");
    }
}
