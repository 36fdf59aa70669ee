//! The continuous mode: changed files begin a run within seconds.
//!
//! The system says what changed in the folders that are kept. When it has been quiet for a moment, or has not for long, a delta
//! is made. What it says may be incomplete (its queue runs over, there are too many folders): then everything is looked at again,
//! which is what a delta does anyway; so nothing here decides what is kept, only when that is looked at.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use notify::{Event, EventKind, RecursiveMode, Watcher};
use shoal_backup::plan::{PathBytes, Plan, Selection};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Owner, blocking};

/// However busy, a run begins after so many times the time that is waited for quiet.
const SETTLE_LIMIT: u32 = 10;
/// Where folders cannot be watched, all of them are looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// Whether files changed.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    is_due: AtomicBool,
    events: AtomicU64,
    event: Notify,
    plan: Notify,
}

impl Dirty {
    /// Files changed and it has been quiet since.
    pub(super) fn is_due(&self) -> bool {
        self.is_due.load(Ordering::Relaxed)
    }

    /// A run looks at everything from now on.
    pub(super) fn taken(&self) {
        self.is_due.store(false, Ordering::Relaxed);
    }

    /// Other folders may be kept.
    pub(super) fn plan_changed(&self) {
        self.plan.notify_one();
    }

    fn touch(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
        self.event.notify_one();
    }
}

impl Owner {
    pub(super) async fn run_watching(self: Arc<Self>, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let plan = self.plan().ok().filter(|plan| plan.continuous);
            let Some(plan) = plan else {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = self.dirty.plan.notified() => {}
                }
                continue;
            };
            let owner = Arc::clone(&self);
            // It watches as long as it is held.
            let watcher = blocking(move || Ok(owner.watch(plan))).await.ok().flatten();
            // What changed before is not known.
            self.dirty.touch();
            self.watch_on(watcher.is_some(), &shutdown).await;
            // It may take long to end: it has a thread.
            let let_go = move || {
                drop(watcher);
                Ok(())
            };
            let _ = blocking(let_go).await;
        }
    }

    /// Until there is another plan.
    async fn watch_on(&self, is_watched: bool, shutdown: &CancellationToken) {
        // Events up to here have led to a run.
        let mut handled = None;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.dirty.plan.notified() => return,
                // That of an event which came while others settled is stored.
                () = self.dirty.event.notified() => {
                    if handled == Some(self.dirty.events.load(Ordering::Relaxed)) {
                        continue;
                    }
                }
                () = tokio::time::sleep(LOOK_AGAIN), if !is_watched => {}
            }
            for _ in 0..SETTLE_LIMIT {
                let before = self.dirty.events.load(Ordering::Relaxed);
                handled = Some(before);
                tokio::time::sleep(self.parts.pace.settle).await;
                if self.dirty.events.load(Ordering::Relaxed) == before {
                    break;
                }
            }
            self.dirty.is_due.store(true, Ordering::Relaxed);
            self.wake_schedule.notify_one();
        }
    }

    /// `None`: not all folders can be watched.
    fn watch(self: &Arc<Self>, plan: Arc<Plan>) -> Option<notify::RecommendedWatcher> {
        let (owner, kept) = (Arc::downgrade(self), Arc::clone(&plan));
        let told = move |event: notify::Result<Event>| {
            if let Some(owner) = owner.upgrade()
                && event.map_or(true, |event| matters(&kept, &event))
            {
                owner.dirty.touch();
            }
        };
        let roots: Vec<PathBuf> =
            Selection::of(&plan).roots().into_iter().map(|root| path_of(root.as_bytes())).collect();
        let watched = notify::recommended_watcher(told).and_then(|mut watcher| {
            for root in roots.iter().filter(|root| root.exists()) {
                watcher.watch(root, RecursiveMode::Recursive)?;
            }
            Ok(watcher)
        });
        match watched {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "not all folders can be watched: they are looked at every {LOOK_AGAIN:?}");
                None
            }
        }
    }
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// Whether what happened may have changed something that is kept.
fn matters(plan: &Plan, event: &Event) -> bool {
    if event.need_rescan() {
        return true;
    }
    !matches!(event.kind, EventKind::Access(_)) && event.paths.iter().any(|path| is_kept(plan, path))
}

fn is_kept(plan: &Plan, path: &Path) -> bool {
    let selection = Selection::of(plan);
    let bytes = PathBytes::new(path.as_os_str().as_bytes());
    let Some(root) = selection.roots().into_iter().find(|root| bytes.is_within(root)) else { return false };
    let root = path_of(root.as_bytes());
    let mut folders = path.ancestors().skip(1).take_while(|folder| *folder != root && folder.starts_with(&root));
    let folders_kept = folders.all(|folder| selection.keeps(&PathBytes::new(folder.as_os_str().as_bytes()), true));
    folders_kept && (path == root || selection.keeps(&bytes, false))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test says what failed")]
mod tests {
    use notify::event::{AccessKind, Flag, ModifyKind};
    use shoal_backup::plan::Pattern;

    use super::*;

    #[test]
    fn only_changes_of_what_is_kept_matter() {
        let mut plan = Plan { roots: vec!["/home/ana".into()], ..Plan::default() };
        plan.excluded.directories = vec!["/home/ana/.shoal".into()];
        plan.excluded.patterns = vec![Pattern::new(b"**/target").unwrap()];
        let changed = |path: &str| Event::new(EventKind::Modify(ModifyKind::Any)).add_path(path.into());
        assert!(matters(&plan, &changed("/home/ana/letter")) && matters(&plan, &changed("/home/ana")));
        for path in ["/home/bob/x", "/home/ana/.shoal/own/state.json", "/home/ana/a/target/debug/x", "/home/ana/x.tmp"]
        {
            assert!(!matters(&plan, &changed(path)), "{path}");
        }
        let read = Event::new(EventKind::Access(AccessKind::Any)).add_path("/home/ana/letter".into());
        assert!(!matters(&plan, &read));
        assert!(matters(&plan, &Event::new(EventKind::Other).set_flag(Flag::Rescan)));
    }
}
