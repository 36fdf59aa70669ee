//! When a run begins: by the schedules, because its owner asks, or because files changed.

use std::sync::Arc;

use shoal_backup::plan::{Conditions, Pause};
use shoal_backup::schedule::{Decision, Mode};
use tokio_util::sync::CancellationToken;

use super::books::Books;
use super::{Owner, Setup};

/// Bytes that may wait for a peer before runs wait too.
pub(super) const OUTBOX_LIMIT_BYTES: u64 = 64 << 30;

impl Owner {
    pub(super) async fn run_schedule(self: Arc<Self>, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            if let Ok(setup) = self.setup() {
                self.step(&setup, &shutdown).await;
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.wake_schedule.notified() => {}
                () = tokio::time::sleep(self.parts.pace.tick) => {}
            }
        }
    }

    /// What is due now, if anything is.
    async fn step(self: &Arc<Self>, setup: &Arc<Setup>, shutdown: &CancellationToken) {
        let now = self.now();
        let conditions = self.parts.machine.conditions();
        let is_changed = self.dirty.is_due() && self.pause_of(setup).is_none();
        let (decision, lacks_room, begins_beside) = {
            let mut books = setup.books();
            let conditions = books.conditions(conditions);
            let limits = books.plan.limits;
            let lacks_room = [false, true].map(|asked| self.lack_of_room(&books, now, asked).is_some());
            let decision = books.scheduler.decide(now, &self.parts.machine.zone(), |asked| {
                Conditions { no_room: lacks_room[usize::from(asked)], ..conditions }.pause(&limits, now, asked)
            });
            let history = books.scheduler.history();
            if history != books.state.history {
                books.state.history = history;
                books.save_or_warn();
            }
            let is_changed = is_changed && books.plan.continuous && matches!(decision, Decision::Wait { .. });
            books.waits_for = match decision {
                Decision::Paused { pause, .. } => Some(pause),
                _ => (is_changed && lacks_room[0]).then_some(Pause::NoRoom),
            };
            // What failed is tried again first: it would fail again.
            let begins_beside = is_changed && !lacks_room[0] && books.scheduler.retry_ms(now).is_none();
            (decision, books.waits_for == Some(Pause::NoRoom), begins_beside)
        };
        match decision {
            _ if lacks_room => self.without_room(setup).await,
            Decision::Run { mode, .. } => self.make_archive(setup, mode, false, shutdown).await,
            Decision::Wait { .. } if begins_beside => {
                self.dirty.taken();
                self.make_archive(setup, Mode::Delta, true, shutdown).await;
            }
            Decision::Wait { .. } | Decision::Paused { .. } | Decision::Running => {}
        }
    }

    /// Why nothing goes on right now that nobody asked for.
    pub(super) fn pause_of(&self, setup: &Setup) -> Option<Pause> {
        let conditions = self.parts.machine.conditions();
        let books = setup.books();
        let conditions = Conditions { nowhere_to_go: false, ..books.conditions(conditions) };
        conditions.pause(&books.plan.limits, self.now(), false)
    }
}

impl Books {
    /// What the machine says, and what is known here.
    fn conditions(&self, machine: Conditions) -> Conditions {
        let unsent_bytes = self.unsent_bytes();
        let is_reachable = |agent| self.peers.get(&agent).is_some_and(|peer| peer.is_reachable);
        let nobody = !self.replication.peers().any(is_reachable);
        Conditions {
            paused_until_steady_ms: machine.paused_until_steady_ms.max(self.paused_until_ms),
            nowhere_to_go: machine.nowhere_to_go || (nobody && unsent_bytes > OUTBOX_LIMIT_BYTES),
            ..machine
        }
    }

    /// Bytes that the peer which lacks most lacks.
    pub(super) fn unsent_bytes(&self) -> u64 {
        let peers = self.replication.peers().filter_map(|agent| self.replication.progress(agent));
        peers.map(|progress| progress.lacks_bytes).max().unwrap_or(0)
    }
}
