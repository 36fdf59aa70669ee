//! After this machine slept or hung: nobody is blamed for the silence, and what the agent held is checked anew.
//!
//! Reads and writes of the drive need no word from here: each asks a quorum for a fresh read point anyway. What acts on
//! its own account listens ([`Wake::subscribe`]): it stops while the ledger here may be stale, and the scrub looks at
//! this agent's shards again.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use shoal_care::sleep::{Clocks, SleepWatch};
use shoal_ledger::LedgerClient;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::health::Health;

/// Time between two looks at the clocks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time between two tries to get a fresh read point.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// How often this machine was away, and whether the agent is in step again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Woken {
    /// Times it slept or hung since the agent started. Each asks for an audit of this agent's shards.
    pub times: u64,
    /// Whether the ledger here has been confirmed since the last time. While it is not, nothing is to be decided from it.
    pub fresh: bool,
}

/// Tells of sleeps.
#[derive(Debug, Clone)]
pub struct Wake(Arc<watch::Sender<Woken>>);

impl Default for Wake {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Woken { times: 0, fresh: true })))
    }
}

impl Wake {
    /// As it is now, and as it changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Woken> {
        self.0.subscribe()
    }

    /// As it is now.
    #[must_use]
    pub fn now(&self) -> Woken {
        *self.0.borrow()
    }
}

/// Looks at the clocks and does what is to be done after a sleep.
pub(crate) struct WakeWatch {
    pub(crate) wake: Wake,
    pub(crate) health: Arc<Health>,
    /// `None` on an agent that holds no ledger: it has nothing to be stale.
    pub(crate) ledger: Option<Arc<dyn LedgerClient>>,
}

impl WakeWatch {
    /// Looks until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let started = Instant::now();
        self.follow(|| system_clocks(started), shutdown).await;
    }

    async fn follow(self, clocks: impl Fn() -> Clocks, shutdown: CancellationToken) {
        let mut watch = SleepWatch::new(LOOK_EVERY, clocks());
        // At most one: each sleep begins it anew.
        let mut confirming = FuturesUnordered::new();
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(()) = confirming.next(), if !confirming.is_empty() => {
                    self.wake.0.send_modify(|woken| woken.fresh = true);
                }
                _ = looks.tick() => {
                    self.health.still_awake();
                    if let Some(away) = watch.look(clocks()) {
                        self.awoke(away);
                        confirming.clear();
                        confirming.push(self.confirm_ledger());
                    }
                }
            }
        }
    }

    fn awoke(&self, away: Duration) {
        tracing::warn!(away_s = away.as_secs(), "this machine slept or hung; what it held is checked anew");
        self.health.begin_anew();
        self.wake.0.send_modify(|woken| *woken = Woken { times: woken.times + 1, fresh: false });
    }

    /// Until a quorum has said what the ledger here must hold.
    async fn confirm_ledger(&self) {
        let Some(ledger) = &self.ledger else { return };
        while let Err(error) = ledger.barrier().await {
            tracing::debug!(%error, "the ledger here is not confirmed yet");
            tokio::time::sleep(ASK_AGAIN_AFTER).await;
        }
    }
}

fn system_clocks(started: Instant) -> Clocks {
    let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let positive = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Clocks {
        monotonic: started.elapsed(),
        since_boot: Some(positive(since_boot.tv_sec)),
        wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use dci_proto::AgentId;
    use shoal_ledger::LocalLedger;

    use super::*;
    use crate::config::Timing;

    #[tokio::test(start_paused = true)]
    async fn after_a_sleep_the_ledger_is_confirmed_before_the_agent_is_in_step_again() {
        let started = Instant::now();
        let slept = Arc::new(Mutex::new(Duration::ZERO));
        let ledger = Arc::new(LocalLedger::with_clock(|| 1));
        ledger.set_quorum(false);
        let wake = Wake::default();
        let health = Arc::new(Health::new(AgentId([1; 32]), None, Timing::default()));
        let watch = WakeWatch { wake: wake.clone(), health, ledger: Some(ledger.clone()) };
        let asleep = slept.clone();
        let clocks = move || {
            let monotonic = started.elapsed();
            let with_sleep = monotonic + *asleep.lock().expect("unpoisoned");
            Clocks { monotonic, since_boot: Some(with_sleep), wall: with_sleep }
        };
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(watch.follow(clocks, shutdown.clone()));
        let mut changes = wake.subscribe();

        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(wake.now(), Woken { times: 0, fresh: true }, "a quiet minute");
        *slept.lock().expect("unpoisoned") = Duration::from_secs(3600);
        changes.changed().await.expect("watched");
        assert_eq!(*changes.borrow_and_update(), Woken { times: 1, fresh: false });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!wake.now().fresh, "no quorum has confirmed the ledger");
        ledger.set_quorum(true);
        changes.changed().await.expect("watched");
        assert_eq!(wake.now(), Woken { times: 1, fresh: true });
        shutdown.cancel();
        running.await.expect("ends");
    }
}
