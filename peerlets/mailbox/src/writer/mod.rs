//! The one thread that changes a mailbox: it takes all that waits, writes it in one transaction with one sync, then tells
//! callers, consumers and followers.

mod commands;
mod notes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use dci_proto::AgentId;
use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::core::{Core, Now, Outcome, Plan, Sendable, Sweep, Upkeep};
use crate::disk::{Disk, Tables, WriteFailed};
use crate::envelopes::{Envelopes, size_bytes};
use crate::error::DiskError;
use crate::log::{Happening, Observer};
use crate::mailbox::MailboxConfig;
use crate::outlets::{Inlet, Outlet, Received, Sending, queue};
use crate::{MailboxError, Place, Retention};

use commands::{Answers, Batch, Queue};
pub(crate) use commands::{Command, Commands, Reply, UNIT_BYTES};

/// Sendings that wait to be taken.
const OUTGOING_LIMIT: usize = 1_024;
/// Messages for peerlets that wait to be taken.
const INCOMING_LIMIT: usize = 256;
/// Things that followers may be behind; each may be of a message of the largest size.
const FOLLOW_LIMIT: usize = 256;
/// How long to wait before what could not be written is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// What callers get of a new writer.
pub(crate) struct Parts {
    pub(crate) commands: Commands,
    pub(crate) outgoing: Outlet<Sending>,
    pub(crate) incoming: Outlet<Received>,
    pub(crate) happenings: broadcast::Sender<Arc<Happening>>,
}

pub(crate) struct Writer {
    disk: Arc<Disk>,
    clock: Arc<dyn Clock>,
    retention: Retention,
    core: Core,
    queue: Queue,
    envelopes: Envelopes,
    /// What is due and must be told of in the rows first.
    unsaved: Upkeep,
    sweep: Sweep,
    /// The transaction that failed, and may have become durable all the same.
    in_doubt: Option<(u64, Outcome)>,
    /// The last write failed: why, and when the next is tried. Until then calls fail at once.
    failing: Option<(MailboxError, Instant)>,
    outgoing: Inlet<Sending>,
    incoming: Inlet<Received>,
    happenings: broadcast::Sender<Arc<Happening>>,
    observer: Option<Arc<dyn Observer>>,
}

impl Writer {
    /// Takes up what waits in the file.
    pub(crate) fn new(disk: Arc<Disk>, config: MailboxConfig) -> Result<(Self, Parts), MailboxError> {
        let now = config.clock.now();
        let core = disk.write(|tables| Core::recover(config.agent, config.limits, now, tables));
        let core = core.map_err(|failed| failed.error)?;
        let (waiting, pending) = (core.outbox.waiting(), core.inbox.len());
        tracing::debug!(path = %disk.path().display(), waiting, pending, "mailbox opened");
        let (commands, queue) = commands::queue();
        let (outgoing, outgoing_taken) = self::queue(OUTGOING_LIMIT, &commands);
        let (incoming, incoming_taken) = self::queue(INCOMING_LIMIT, &commands);
        let happenings = broadcast::Sender::new(FOLLOW_LIMIT);
        let parts =
            Parts { commands, outgoing: outgoing_taken, incoming: incoming_taken, happenings: happenings.clone() };
        let writer = Self {
            disk,
            clock: config.clock,
            retention: config.retention,
            core,
            queue,
            envelopes: Envelopes::default(),
            unsaved: Upkeep::default(),
            sweep: Sweep::default(),
            in_doubt: None,
            failing: None,
            outgoing,
            incoming,
            happenings,
            observer: config.observer,
        };
        Ok((writer, parts))
    }

    /// Works until the mailbox is dropped.
    pub(crate) fn run(mut self) {
        self.step();
        while let Some(batch) = self.queue.next(self.patience()) {
            self.round(batch);
        }
    }

    /// How long to wait for calls: until something is due by itself.
    fn patience(&self) -> Duration {
        if let Some((_, again)) = &self.failing {
            return again.saturating_duration_since(Instant::now());
        }
        if !self.unsaved.is_empty() || (!self.core.inbox.is_idle() && !self.incoming.is_starving()) {
            return Duration::ZERO;
        }
        let now = self.clock.now();
        let due = self.core.idle_ms(now).filter(|_| !self.outgoing.is_starving());
        Duration::from_millis(due.into_iter().chain([self.sweep.idle_ms(now)]).min().unwrap_or_default())
    }

    /// One transaction, if there is something to write, and what follows from it.
    fn round(&mut self, mut batch: Batch) {
        for agent in std::mem::take(&mut batch.seen) {
            self.core.seen(self.clock.now(), agent);
        }
        if let Some((error, _)) = self.failing.as_ref().filter(|(_, again)| *again > Instant::now()) {
            return batch.fail(error);
        }
        if let Err(error) = self.mend() {
            return self.fail(error, batch);
        }
        let now = self.clock.now();
        if !batch.is_empty() || !self.unsaved.is_empty() || self.sweep.is_due(now) {
            self.write(now, batch);
        } else {
            self.failing = None;
        }
        self.step();
    }

    fn fail(&mut self, error: MailboxError, batch: Batch) {
        batch.fail(&error);
        self.failing = Some((error, Instant::now() + RETRY));
    }

    fn write(&mut self, now: Now, batch: Batch) {
        let mut outcome = None;
        let written = self.disk.write(|tables| {
            let (answers, done, sweep) = self.plan(now, tables, &batch)?;
            outcome = Some(done);
            Ok((answers, sweep))
        });
        match (written, outcome) {
            (Ok((answers, sweep)), Some(outcome)) => {
                self.failing = None;
                self.sweep = sweep;
                self.committed(now, outcome);
                batch.answer(answers, self.disk.path());
            }
            (Err(failed), outcome) => self.failed(failed, outcome, batch),
            // A plan that was written has an outcome.
            (Ok(_), None) => {}
        }
    }

    /// All changes of one transaction.
    fn plan(&self, now: Now, tables: &mut Tables<'_>, batch: &Batch) -> Result<(Answers, Outcome, Sweep), DiskError> {
        let room = self.incoming.room().saturating_sub(self.unsaved.handouts.len());
        let mut plan = Plan::new(&self.core, tables, now, room);
        plan.upkeep(&self.unsaved)?;
        let answers = batch.apply(&mut plan)?;
        let outcome = plan.finish();
        let sweep = if self.sweep.is_due(now) { self.sweep(now, tables)? } else { self.sweep };
        Ok((answers, outcome, sweep))
    }

    /// Drops what the log need not keep. Damage there is no reason to keep calls from being written.
    fn sweep(&self, now: Now, tables: &mut Tables<'_>) -> Result<Sweep, DiskError> {
        match self.sweep.step(&self.core, tables, now, self.retention) {
            Err(DiskError::Row { table, reason }) => {
                tracing::error!(path = %self.disk.path().display(), table, reason, "old messages cannot be dropped");
                Ok(Sweep::rest(now))
            }
            swept => swept,
        }
    }

    fn failed(&mut self, failed: WriteFailed, outcome: Option<Outcome>, batch: Batch) {
        let WriteFailed { error, in_doubt } = failed;
        let damaged_row = in_doubt.is_none() && matches!(error, MailboxError::Damaged { .. });
        if damaged_row && self.unsaved.is_empty() {
            // One call's damaged row is not the others' fault.
            if batch.len() > 1 {
                return batch.into_single().for_each(|single| self.round(single));
            }
            return batch.fail(&error);
        }
        if self.failing.is_none() {
            tracing::error!(%error, "the mailbox cannot be written");
        }
        self.in_doubt = in_doubt.zip(outcome);
        self.fail(error, batch);
    }

    /// Goes on after a write that failed: opens the file anew and looks whether it became durable.
    fn mend(&mut self) -> Result<(), MailboxError> {
        let Some(last) = self.disk.mend()? else { return Ok(()) };
        tracing::info!(path = %self.disk.path().display(), "the mailbox was opened anew after a write that failed");
        if let Some((number, outcome)) = self.in_doubt.take().filter(|(number, _)| *number <= last) {
            tracing::info!(number, "what was being written is durable");
            self.committed(self.clock.now(), outcome);
        }
        Ok(())
    }

    /// What was written is durable: memory follows, and what waited for that goes out.
    fn committed(&mut self, now: Now, outcome: Outcome) {
        let noted = std::mem::take(&mut self.unsaved);
        self.core.committed(now, outcome.facts, outcome.next);
        self.tell(now, outcome.notes);
        for sending in noted.sendings {
            self.send(sending);
        }
    }

    /// Looks what is due.
    fn step(&mut self) {
        if !self.unsaved.is_empty() || self.failing.is_some() {
            return;
        }
        let now = self.clock.now();
        let mut due = self.core.step(now, self.outgoing.room(), self.incoming.room());
        let (noted, at_once) = due.sendings.into_iter().partition(|sending| sending.to_note);
        due.sendings = noted;
        self.unsaved = due;
        Vec::into_iter(at_once).for_each(|sending| self.send(sending));
        if self.core.idle_ms(now) == Some(0) {
            self.outgoing.starve();
        }
        if !self.core.inbox.is_idle() {
            self.incoming.starve();
        }
    }

    /// Puts out a sending, for those who still wait.
    fn send(&mut self, sending: Sendable) {
        let Sendable { place, attempt, mut recipients, not_yet, .. } = sending;
        recipients.retain(|agent| self.core.outbox.is_on_the_way(place, *agent));
        if recipients.is_empty() {
            return;
        }
        if let Some(envelope) = self.envelope(place) {
            let bytes = size_bytes(&envelope) + size_of::<AgentId>() * (recipients.len() + not_yet.len());
            self.outgoing.push(Sending { envelope, attempt, recipients, not_yet }, bytes);
        }
    }

    /// A message that is in the log.
    fn envelope(&mut self, place: Place) -> Option<Arc<dci_proto::message::Envelope>> {
        if let Some(envelope) = self.envelopes.get(place) {
            return Some(envelope);
        }
        match crate::log::envelope(&self.disk, place) {
            Ok(Some(envelope)) => {
                let envelope = Arc::new(envelope);
                self.envelopes.keep(place, Arc::clone(&envelope));
                Some(envelope)
            }
            Ok(None) => {
                tracing::error!(place = place.0, "a message that waits is not in the log");
                None
            }
            Err(error) => {
                tracing::error!(place = place.0, %error, "a message that waits cannot be read");
                None
            }
        }
    }
}
