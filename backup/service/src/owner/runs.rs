//! A run: the engine makes an archive on a thread of its own; meanwhile its packs are said, so that they travel; then index
//! and snapshot are.
//!
//! A run that a crash or the end of the agent cuts short goes on after the next start, under the same number: what it packed is in the
//! repository, and the engine finds it there. The thread that reads files is slowed down so that a run takes no more of the
//! processors than the plan says, and stands still while the PC is on battery, if the plan says so.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use shoal_archive::{ArchiveError, BackUp, BackedUp, Progress, Repository, Watch};
use shoal_backup::plan::Pause;
use shoal_backup::schedule::Mode;
use shoal_backup::{ArchiveId, ObjectName};
use tokio_util::sync::CancellationToken;

use super::books::Books;
use super::error::OwnerError;
use super::status::LastRun;
use super::{Owner, Setup, blocking};

/// Problems of the last run that are kept.
const PROBLEMS_LIMIT: usize = 1_000;
/// Packs are looked for this much longer than that took: a folder of many takes its time.
const TELL_WAITS: u32 = 20;
const TELL_LEAST: Duration = Duration::from_secs(2);
/// The reading threads stand still for this time before they look again.
const STILL: Duration = Duration::from_millis(100);

/// A run that is on.
pub(super) struct Running {
    pub(super) mode: Mode,
    pub(super) is_continuous: bool,
    /// Its owner asked for it: it waits for nothing.
    pub(super) is_asked: bool,
    /// Who asked for it, by number.
    pub(super) requests: Vec<u64>,
    pub(super) archive: ArchiveId,
    pub(super) began_ms: u64,
    pub(super) watch: Arc<Watch>,
    pub(super) reins: Arc<Reins>,
}

impl Running {
    pub(super) fn cancel(&self) {
        self.reins.by_owner.store(true, Ordering::Relaxed);
        self.reins.cancelled.store(true, Ordering::Relaxed);
    }
}

/// Holds a run back, or ends it.
pub(super) struct Reins {
    cancelled: Arc<AtomicBool>,
    by_owner: AtomicBool,
    has_room: Box<dyn Fn() -> bool + Send + Sync>,
    /// It ended because there was no room any more.
    room_ended: AtomicBool,
    /// Why it stands still: a [`Pause`] and 1; 0: it does not.
    still: AtomicU8,
    cpu_percent: u8,
    begun: Instant,
    cpu_begun: Duration,
}

impl Reins {
    fn new(cpu_percent: u8, has_room: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            has_room: Box::new(has_room),
            room_ended: AtomicBool::new(false),
            cancelled: Arc::default(),
            by_owner: AtomicBool::new(false),
            still: AtomicU8::new(0),
            cpu_percent,
            begun: Instant::now(),
            cpu_begun: cpu_time(),
        }
    }

    fn set_still(&self, pause: Option<Pause>) {
        self.still.store(pause.map_or(0, |pause| pause as u8 + 1), Ordering::Relaxed);
    }

    pub(super) fn still(&self) -> Option<Pause> {
        let pauses = [Pause::Asked, Pause::Battery, Pause::Metered, Pause::NoPeers, Pause::NoRoom];
        pauses.into_iter().find(|pause| *pause as u8 + 1 == self.still.load(Ordering::Relaxed))
    }

    /// Called by the reading threads now and then.
    fn hold(&self) {
        if !(self.has_room)() {
            self.room_ended.store(true, Ordering::Relaxed);
            self.cancelled.store(true, Ordering::Relaxed);
        }
        while self.still.load(Ordering::Relaxed) != 0 && !self.cancelled.load(Ordering::Relaxed) {
            std::thread::sleep(STILL);
        }
        std::thread::sleep(over(cpu_time().saturating_sub(self.cpu_begun), self.begun.elapsed(), self.cpu_percent));
    }
}

/// How long to stand still for, so that a share of the processors is not exceeded.
fn over(used: Duration, elapsed: Duration, percent: u8) -> Duration {
    let processors = std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1));
    if percent >= 100 {
        return Duration::ZERO;
    }
    let share = processors * u32::from(percent.max(1));
    // So long the time that was used should have taken.
    (used * 100 / share).saturating_sub(elapsed).min(STILL)
}

/// Time of the processors that this process used.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

impl Owner {
    pub(super) async fn make_archive(
        self: &Arc<Self>,
        setup: &Arc<Setup>,
        mode: Mode,
        is_continuous: bool,
        shutdown: &CancellationToken,
    ) {
        let made = {
            let _work = setup.work.lock().await;
            self.run_once(setup, mode, is_continuous, shutdown).await
        };
        self.wake_copies.notify_one();
        if made && !shutdown.is_cancelled() {
            if let Err(error) = self.age(setup).await {
                tracing::warn!(%error, "old archives were not let go: this is tried again after the next backup");
            }
            self.wake_copies.notify_one();
        }
    }

    /// True if there is a new archive.
    async fn run_once(
        self: &Arc<Self>,
        setup: &Arc<Setup>,
        mode: Mode,
        is_continuous: bool,
        shutdown: &CancellationToken,
    ) -> bool {
        let begun = Instant::now();
        let (request, watch, reins) = match self.begin_run(setup, mode, is_continuous) {
            Ok(begun) => begun,
            Err(error) => {
                tracing::warn!(%error, "a backup could not begin");
                let (mut books, now) = (setup.books(), self.now());
                books.note_trouble(&error);
                books.scheduler.ended(false, now);
                let archive = ArchiveId(books.state.next_archive);
                let (began_ms, error) = (now.wall_ms, Some(error.to_string()));
                let last = LastRun { mode, is_continuous, archive, began_ms, error, ..LastRun::default() };
                let requests = books.requests.take();
                books.requests.end(requests, &last);
                books.state.last_run = Some(last);
                return false;
            }
        };
        let number = request.number;
        let missing_before: BTreeSet<ObjectName> = setup.books().missing.keys().copied().collect();
        tracing::info!(archive = number.0, %mode, is_continuous, "a backup begins");
        let work = {
            let setup = Arc::clone(setup);
            blocking(move || Ok(setup.engine.back_up(&request, &watch)?))
        };
        let made = self.while_it_runs(setup, &reins, shutdown, work).await;
        let ended_for_room = made.is_err() && reins.room_ended.load(Ordering::Relaxed);
        let made =
            if ended_for_room { Err(ArchiveError::Full(setup.objects.folder().to_owned()).into()) } else { made };
        let by_owner = reins.by_owner.load(Ordering::Relaxed);
        let cut_short = shutdown.is_cancelled() && made.is_err() && !by_owner;
        let last = self.last_run(setup, begun.elapsed(), &made);
        let is_new = made.as_ref().is_ok_and(|made| made.is_new);
        if is_new {
            let mut books = setup.books();
            books.state.next_archive = number.0.saturating_add(1);
            if is_continuous {
                books.state.continuous.insert(number);
            }
        }
        let is_full = made.as_ref().is_err_and(OwnerError::is_full);
        let has_looked = made.is_ok();
        // Also after a run that failed: what it packed is there. If there was no room for it, it goes before anybody is told.
        let together = {
            let (owner, setup) = (Arc::clone(self), Arc::clone(setup));
            blocking(move || {
                let given_up = if is_full { owner.give_up(&setup) } else { Ok(None) };
                let given_up = given_up.unwrap_or_else(|error| {
                    tracing::warn!(%error, "what a backup wrote for which there was no room is not given up yet");
                    None
                });
                owner.bring_together(&setup)?;
                if has_looked && !missing_before.is_empty() {
                    owner.let_go_what_is_gone(&setup, &missing_before)?;
                }
                Ok(given_up)
            })
            .await
        };
        let now = self.now();
        let mut books = setup.books();
        books.is_full = is_full;
        if is_full {
            let given_up = *together.as_ref().unwrap_or(&None);
            books.gave_up_ms = given_up.map(|_| now.steady_ms);
            books.room.failed(given_up.unwrap_or(0), now.steady_ms);
        } else if made.is_ok() {
            books.room.forget();
        }
        let run = books.run.take();
        let asked = run.as_ref().is_some_and(|run| run.is_asked);
        if let (Some(run), Some(last)) = (run, &last) {
            books.requests.end(run.requests, last);
        }
        if asked && made.is_ok() {
            books.asked_archive = Some(number);
        }
        if let Err(error) = together {
            tracing::error!(%error, "what a backup made could not be noted");
            books.note_trouble(&error);
        } else {
            books.trouble = None;
        }
        if !is_continuous && !cut_short {
            // One that its owner ended is not tried again by itself.
            books.scheduler.ended(made.is_ok() || by_owner, now);
            books.state.history = books.scheduler.history();
        } else if made.is_err() && !cut_short && !by_owner {
            books.scheduler.failed_beside(mode, now);
        }
        if made.is_ok() && !is_continuous {
            (0..=mode as usize).for_each(|index| books.state.ended_well_ms[index] = Some(now.wall_ms));
        }
        if is_new || made.is_err() {
            books.state.last_run = last.or(books.state.last_run.take());
        }
        books.save_or_warn();
        is_new
    }

    fn begin_run(
        &self,
        setup: &Setup,
        mode: Mode,
        is_continuous: bool,
    ) -> Result<(BackUp, Arc<Watch>, Arc<Reins>), OwnerError> {
        let now = self.now();
        let mut books = setup.books();
        let is_asked = !is_continuous && books.asked_run.take_if(|asked| *asked <= mode).is_some();
        if !is_continuous {
            books.began(mode, now)?;
        }
        let number = ArchiveId(books.state.next_archive);
        let (machine, folder, room) = (Arc::clone(&self.parts.machine), self.parts.folder.clone(), books.room);
        let has_room = move || machine.free_bytes(&folder).is_none_or(|free_bytes| !room.is_used_up(free_bytes));
        let reins = Arc::new(Reins::new(books.plan.limits.cpu_percent, has_room));
        let watch = {
            let held = Arc::clone(&reins);
            Arc::new(Watch::new(Arc::clone(&reins.cancelled), move |_: Progress| held.hold()))
        };
        let requests = if is_asked { books.requests.take() } else { Vec::new() };
        books.run = Some(Running {
            requests,
            mode,
            is_continuous,
            is_asked,
            archive: number,
            began_ms: now.wall_ms,
            watch: Arc::clone(&watch),
            reins: Arc::clone(&reins),
        });
        let plan = Arc::clone(&books.plan);
        let host = self.parts.host.clone();
        // A snapshot takes nothing from the archive before but what it finds again: times and inodes say nothing of what a failing disk changed.
        let reread = mode == Mode::Snapshot;
        Ok((BackUp { plan, host, number, mode, parent: None, reread, only_changes: is_continuous }, watch, reins))
    }

    /// Looks after a run until it ends: says its packs, has it stand still or end.
    async fn while_it_runs(
        self: &Arc<Self>,
        setup: &Arc<Setup>,
        reins: &Reins,
        shutdown: &CancellationToken,
        work: impl Future<Output = Result<BackedUp, OwnerError>>,
    ) -> Result<BackedUp, OwnerError> {
        let mut work = std::pin::pin!(work);
        let mut tell_at = Instant::now() + TELL_LEAST;
        loop {
            tokio::select! {
                made = &mut work => return made,
                () = shutdown.cancelled() => {
                    reins.cancelled.store(true, Ordering::Relaxed);
                    return work.await;
                }
                () = tokio::time::sleep(self.parts.pace.tick) => {}
            }
            let is_asked = setup.books().run.as_ref().is_some_and(|run| run.is_asked);
            reins.set_still(self.pause_of(setup).filter(|_| !is_asked));
            if Instant::now() < tell_at {
                continue;
            }
            let begun = Instant::now();
            let told = {
                let (owner, setup) = (Arc::clone(self), Arc::clone(setup));
                blocking(move || owner.tell_packs(&setup)).await
            };
            match told {
                Ok(()) => self.wake_copies.notify_one(),
                Err(error) => tracing::debug!(%error, "packs are said when the backup has ended"),
            }
            tell_at = Instant::now() + (begun.elapsed() * TELL_WAITS).max(TELL_LEAST);
        }
    }

    fn last_run(&self, setup: &Setup, took: Duration, made: &Result<BackedUp, OwnerError>) -> Option<LastRun> {
        let books = setup.books();
        let run = books.run.as_ref()?;
        let mut last = LastRun {
            mode: run.mode,
            is_continuous: run.is_continuous,
            archive: run.archive,
            began_ms: run.began_ms,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            ..LastRun::default()
        };
        match made {
            Ok(made) if !made.is_new => {
                tracing::debug!("a backup found nothing that changed");
                // Who asked meanwhile has what there is in the archive before.
                last.archive = made.archive.number.unwrap_or_default();
                last.files = made.archive.files;
                last.bytes = made.archive.bytes;
            }
            Ok(made) => {
                last.files = made.archive.files;
                last.bytes = made.archive.bytes;
                last.added_bytes = made.archive.added_bytes;
                last.unreadable = made.problems.count;
                let named = made.problems.named.iter().take(PROBLEMS_LIMIT);
                last.problems = named.map(|problem| format!("{} {}", problem.path, problem.kind)).collect();
                tracing::info!(archive = run.archive.0, unreadable = last.unreadable, "a backup was made");
            }
            Err(error) => {
                match error {
                    OwnerError::Archive(ArchiveError::Cancelled) => tracing::info!("a backup was ended"),
                    error => tracing::error!(%error, "a backup failed"),
                }
                last.error = Some(match error.is_full() {
                    true => self.ran_full(),
                    false => error.to_string(),
                });
            }
        }
        Some(last)
    }
}

impl Books {
    /// A run whose process was killed after it made its archive noted nothing: what is known of it is in the archive.
    pub(super) fn note_run_of_newest(&mut self) {
        let Some((newest, archive)) = self.newest().and_then(|newest| Some((newest, newest.number?))) else { return };
        let is_noted = |last: &LastRun| last.archive > archive || last.archive == archive && last.error.is_none();
        if self.state.last_run.as_ref().is_some_and(is_noted) {
            return;
        }
        self.state.last_run = Some(LastRun {
            mode: newest.mode.unwrap_or(Mode::Delta),
            is_continuous: self.state.continuous.contains(&archive),
            archive,
            began_ms: u64::try_from(newest.made_ms).unwrap_or(0),
            files: newest.files,
            bytes: newest.bytes,
            added_bytes: newest.added_bytes,
            unreadable: u64::from(!newest.is_complete),
            ..LastRun::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_used_too_much_stands_still_and_no_longer_than_a_moment() {
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
        let second = Duration::from_secs(1);
        assert_eq!(over(second * processors / 2, second, 50), Duration::ZERO);
        assert_eq!(over(second * processors, second, 50), STILL);
        assert_eq!(over(second * processors, Duration::ZERO, 100), Duration::ZERO);
    }

    #[test]
    fn a_run_stands_still_until_it_may_go_on_or_ends() {
        let reins = Arc::new(Reins::new(100, || true));
        reins.set_still(Some(Pause::Battery));
        assert_eq!(reins.still(), Some(Pause::Battery));
        let held = Arc::clone(&reins);
        let thread = std::thread::spawn(move || held.hold());
        assert!(!thread.is_finished());
        reins.cancelled.store(true, Ordering::Relaxed);
        assert!(thread.join().is_ok());
        reins.set_still(None);
        assert_eq!(reins.still(), None);
    }
}
