//! The ledger's clock at this agent: what an entry is stamped with when it leads, and what time it takes it to be when it
//! does not. What time it is, given what was seen, is decided by [`LedgerClock`]; here the clocks are looked at.
//!
//! Whoever leads, or is about to, asks the others what their wall clocks show; only what more than half of those that answer
//! have reached pushes the ledger's time on. So a leader whose clock leaps does not empty the trash of the pool.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dci_proto::AgentId;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use shoal_ledger::{KvError, LedgerClock, agreed_ms, query};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::consensus::Shared;
use crate::message::{Message, Reply};

/// How often a leader asks for the others' clocks,
const ASK_EVERY: Duration = Duration::from_secs(10);
/// and as long as it is not known who answers.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Who has had no answer for this long is on its own and believes its clock. Right after a start or a sleep there may be no
/// network yet.
const ALONE_AFTER: Duration = Duration::from_secs(20);
/// Time for another agent to say what its clock shows.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// A new leader's first entry waits at most this long for them.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// What a clock showed counts for this long: it may be set right meanwhile.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// Others that are asked, at most; voters first.
const ASKED_LIMIT: usize = 8;

/// Tells the time of day, in ms since 1970 UTC. Anybody may set it to anything.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl WallClock {
    /// A clock that shows what `shows` returns, in ms since 1970 UTC.
    #[must_use]
    pub fn new(shows: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(shows))
    }

    /// This computer's.
    #[must_use]
    pub fn of_this_computer() -> Self {
        Self::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }

    pub(crate) fn now_ms(&self) -> u64 {
        (self.0)()
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WallClock({})", self.now_ms())
    }
}

/// What this agent knows of the time.
pub(crate) struct Timekeeper {
    wall: WallClock,
    /// The steady clock counts from here.
    origin: Instant,
    known: Mutex<Known>,
    /// Tells that others have been asked.
    asked: watch::Sender<()>,
    /// Whether an entry has waited for that, in vain or not, since this agent leads.
    waited: AtomicBool,
    ask: Notify,
}

impl Timekeeper {
    pub(crate) fn new(wall: WallClock) -> Self {
        let (known, ask) = (Mutex::default(), Notify::new());
        let (asked, waited) = (watch::Sender::new(()), AtomicBool::new(false));
        Self { wall, origin: Instant::now(), known, asked, waited, ask }
    }

    /// What this computer's wall clock shows.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.wall.now_ms()
    }

    /// Has the others asked now.
    pub(crate) fn ask_now(&self) {
        self.ask.notify_one();
    }

    /// The ledger's time now; `seen_ms`: as it was last applied here.
    fn now_ms(&self, seen_ms: u64) -> u64 {
        let (steady_ms, mut known) = self.known();
        known.ledger.see(seen_ms, steady_ms);
        let agreed_ms = known.agreed_ms(self.wall_ms(), steady_ms);
        known.ledger.now_ms(steady_ms, agreed_ms)
    }

    /// Whether it is known what the clocks agree on.
    fn is_known(&self) -> bool {
        let (steady_ms, known) = self.known();
        known.agreed_ms(0, steady_ms).is_some()
    }

    fn begin(&self) {
        let (steady_ms, mut known) = self.known();
        known.begin(steady_ms);
    }

    fn heard(&self, agent: AgentId, wall_ms: u64) {
        let (steady_ms, mut known) = self.known();
        known.heard(agent, wall_ms, steady_ms);
    }

    fn end(&self, members: &BTreeSet<AgentId>, answered: bool) {
        let (steady_ms, mut known) = self.known();
        known.end(members, answered, steady_ms);
        drop(known);
        self.asked.send_replace(());
    }

    /// What is known, and what the steady clock shows.
    fn known(&self) -> (u64, MutexGuard<'_, Known>) {
        (millis(self.origin.elapsed()), self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is known of the ledger's time and of others' wall clocks. `steady_ms` is what the steady clock shows.
#[derive(Default)]
struct Known {
    ledger: LedgerClock,
    /// What others' wall clocks showed, and when.
    others: BTreeMap<AgentId, (u64, u64)>,
    /// When others were last asked.
    asked_ms: u64,
    /// Since when nobody has answered.
    alone_since_ms: u64,
    /// When it was last known who answers, so that what the clocks show counts.
    known_ms: Option<u64>,
}

impl Known {
    fn begin(&mut self, steady_ms: u64) {
        // Who did not ask has not been left alone.
        if steady_ms.saturating_sub(self.asked_ms) > millis(KEPT_FOR) {
            self.alone_since_ms = steady_ms;
        }
        self.asked_ms = steady_ms;
    }

    fn heard(&mut self, agent: AgentId, wall_ms: u64, steady_ms: u64) {
        self.others.insert(agent, (wall_ms, steady_ms));
        self.alone_since_ms = steady_ms;
    }

    /// Enough of those asked have answered, or all have had their time. `answered`: some have.
    fn end(&mut self, members: &BTreeSet<AgentId>, answered: bool, steady_ms: u64) {
        self.others.retain(|agent, _| members.contains(agent));
        let is_alone = members.len() <= 1 || steady_ms.saturating_sub(self.alone_since_ms) >= millis(ALONE_AFTER);
        if answered || is_alone {
            self.known_ms = Some(steady_ms);
        }
    }

    /// What the wall clocks have reached; `None` until it is known who answers.
    fn agreed_ms(&self, wall_ms: u64, steady_ms: u64) -> Option<u64> {
        let is_kept = |at_ms: u64| steady_ms.saturating_sub(at_ms) <= millis(KEPT_FOR);
        self.known_ms.filter(|at_ms| is_kept(*at_ms))?;
        let others = self.others.values().filter(|(_, at_ms)| is_kept(*at_ms));
        let others = others.map(|(showed_ms, at_ms)| showed_ms.saturating_add(steady_ms.saturating_sub(*at_ms)));
        agreed_ms(others.chain([wall_ms]))
    }
}

impl Shared {
    /// The ledger's time now, as far as this agent can tell, in ms since 1970 UTC.
    pub(crate) fn time_ms(&self) -> Result<u64, KvError> {
        Ok(self.clock.now_ms(query::time_ms(&*self.state.view())?))
    }

    /// What an entry is stamped with now. A new leader lets the others tell the time first, so that what is written to a
    /// pool that was off does not seem old; it waits for them once.
    pub(crate) async fn stamp_ms(&self) -> Result<u64, KvError> {
        if !self.clock.is_known() && !self.clock.waited.swap(true, Ordering::Relaxed) {
            let mut asked = self.clock.asked.subscribe();
            let _ = timeout(FIRST_WAIT, asked.wait_for(|()| self.clock.is_known())).await;
        }
        self.time_ms()
    }
}

/// Asks the others for their clocks whenever this agent leads or is about to, until the task is ended.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut leadership = shared.raft.server_metrics();
    let (mut wanted, mut led) = (false, false);
    loop {
        let leads = leadership.borrow_and_update().current_leader == Some(shared.agent);
        if !std::mem::replace(&mut led, leads) {
            shared.clock.waited.store(false, Ordering::Relaxed);
        }
        if leads || wanted {
            ask(&shared).await;
        }
        let pause = if leads && !shared.clock.is_known() { ASK_AGAIN_AFTER } else { ASK_EVERY };
        wanted = tokio::select! {
            () = sleep(pause) => false,
            () = shared.clock.ask.notified() => true,
            changed = leadership.changed() => match changed {
                Ok(()) => false,
                Err(_) => return,
            },
        };
    }
}

/// Asks once, all at the same time.
async fn ask(shared: &Shared) {
    let clock = &shared.clock;
    clock.begin();
    let membership = Arc::clone(&shared.raft_metrics.borrow().membership_config);
    let membership = membership.membership();
    let members: BTreeSet<AgentId> = membership.nodes().map(|(agent, _)| *agent).collect();
    let others = membership.voter_ids().chain(membership.learner_ids());
    let others = others.filter(|other| *other != shared.agent && shared.peers.may_answer(*other));
    let asked = others.take(ASKED_LIMIT).map(|other| async move {
        let answer = shared.peers.call(other, &Message::Clock, ANSWER_TIMEOUT).await;
        (other, answer)
    });
    let mut asked: FuturesUnordered<_> = asked.collect();
    let enough = asked.len().div_ceil(2);
    let mut answers = 0;
    while let Some((other, answer)) = asked.next().await {
        let Ok(Reply::Clock { wall_ms }) = answer else { continue };
        clock.heard(other, wall_ms);
        answers += 1;
        // With more than half of them one wrong clock decides nothing: nobody need wait for the rest.
        if answers >= enough {
            clock.end(&members, answers > 0);
        }
    }
    clock.end(&members, answers > 0);
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT_MS: u64 = 1_800_000_000_000;
    const WRONG_MS: u64 = RIGHT_MS + 30 * 86_400_000;

    fn members(count: u8) -> BTreeSet<AgentId> {
        (1..=count).map(|number| AgentId([number; 32])).collect()
    }

    #[test]
    fn an_agent_without_others_believes_its_clock_at_once_and_one_with_others_when_they_stay_away() {
        let mut known = Known::default();
        assert_eq!(known.agreed_ms(RIGHT_MS, 0), None, "nobody was asked");
        known.begin(10);
        known.end(&members(1), false, 10);
        assert_eq!(known.agreed_ms(RIGHT_MS, 10), Some(RIGHT_MS));

        let mut known = Known::default();
        for at_ms in (0..20_000).step_by(1_000) {
            known.begin(at_ms);
            known.end(&members(2), false, at_ms);
            assert_eq!(known.agreed_ms(WRONG_MS, at_ms), None, "there may be no network yet");
        }
        known.end(&members(2), false, 20_000);
        assert_eq!(known.agreed_ms(RIGHT_MS, 20_000), Some(RIGHT_MS));
    }

    #[test]
    fn who_has_not_asked_for_long_has_not_been_left_alone() {
        let mut known = Known::default();
        known.begin(500_000);
        known.end(&members(3), false, 500_500);
        assert_eq!(known.agreed_ms(WRONG_MS, 500_500), None);
    }

    #[test]
    fn what_others_showed_goes_on_by_the_steady_clock_and_is_forgotten_after_a_minute() {
        let mut known = Known::default();
        known.begin(0);
        known.heard(AgentId([2; 32]), RIGHT_MS, 100);
        known.end(&members(2), true, 100);
        assert_eq!(known.agreed_ms(WRONG_MS, 5_100), Some(RIGHT_MS + 5_000));
        assert_eq!(known.agreed_ms(WRONG_MS, 60_101), None, "what it shows now is not known");
        known.begin(60_101);
        known.heard(AgentId([2; 32]), RIGHT_MS + 60_001, 60_101);
        known.end(&members(1), true, 60_101);
        assert_eq!(known.agreed_ms(WRONG_MS, 60_101), Some(WRONG_MS), "it is no member any more");
    }
}
