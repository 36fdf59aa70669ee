//! Lets the ledger's time pass when something's time is over: locks, tickets, requests to join, garbage, trash. Run by the
//! ledger's leader.
//!
//! A pool in which nothing expires writes nothing and is not even looked at: after each look this sleeps until the next
//! time it saw, or until the ledger changes.

use std::sync::Arc;
use std::time::Duration;

use dci_proto::AgentId;
use shoal_consensus::Consensus;
use shoal_ledger::{Command, KvError, KvRead, LedgerClient, NodePath, query};
use tokio_util::sync::CancellationToken;

use crate::config::Timing;
use crate::membership::is_leader;

/// A request to join is forgotten after this long, as the ledger has it: seven days.
const JOIN_REQUEST_KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
/// Looked at again after this long whatever was seen: clocks may be set meanwhile.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(60);

pub(crate) struct Expiry {
    pub(crate) agent: AgentId,
    pub(crate) consensus: Consensus,
    pub(crate) ledger: Arc<dyn LedgerClient>,
    pub(crate) timing: Timing,
}

impl Expiry {
    /// Lets time pass until `shutdown`, whenever this agent leads.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let _ = shutdown.run_until_cancelled(self.run_forever()).await;
    }

    async fn run_forever(self) {
        let mut leading = self.consensus.status_changes();
        let mut position = 0;
        loop {
            let leads = is_leader(&self.consensus, self.agent);
            let wait = if leads { self.look().await } else { LOOK_AGAIN_AFTER };
            tokio::time::sleep(self.timing.tick_interval).await;
            tokio::select! {
                () = tokio::time::sleep(wait.saturating_sub(self.timing.tick_interval)) => {}
                changed = self.ledger.changed(position), if leads => position = changed,
                _ = leading.changed() => {}
            }
        }
    }

    /// Has time pass if something waits for it; returns after how long something will.
    async fn look(&self) -> Duration {
        let wait = match next_expiry_in(&*self.ledger, &self.timing) {
            Ok(wait) => wait.unwrap_or(LOOK_AGAIN_AFTER),
            Err(error) => {
                tracing::warn!(%error, "what expires cannot be read");
                LOOK_AGAIN_AFTER
            }
        };
        if wait.is_zero()
            && let Err(error) = self.ledger.submit(Command::Tick).await
        {
            tracing::debug!(%error, "time could not pass");
        }
        wait.min(LOOK_AGAIN_AFTER)
    }
}

/// After how long the first thing expires; `None` if nothing will.
fn next_expiry_in(ledger: &dyn LedgerClient, timing: &Timing) -> Result<Option<Duration>, KvError> {
    let next_ms = next_expiry_ms(&*ledger.view()?, timing)?;
    let now_ms = ledger.time_ms()?;
    Ok(next_ms.map(|at_ms| Duration::from_millis(at_ms.saturating_sub(now_ms))))
}

/// When the first thing expires that has not expired by the ledger's clock.
fn next_expiry_ms(view: &dyn KvRead, timing: &Timing) -> Result<Option<u64>, KvError> {
    let mut next: Option<u64> = None;
    let mut note = |at_ms: u64| next = Some(next.map_or(at_ms, |earlier| earlier.min(at_ms)));
    query::tickets(view)?.iter().for_each(|ticket| note(ticket.expires_ms));
    let forgotten = |asked_ms: u64| asked_ms.saturating_add(JOIN_REQUEST_KEPT_MS);
    query::join_requests(view)?.iter().for_each(|request| note(forgotten(request.asked_ms)));
    for volume in query::volumes(view)? {
        query::locks_below(view, &NodePath::root(volume.id))?.iter().for_each(|lock| note(lock.expires_ms));
    }
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (garbage_ms, surplus_ms) = (ms(timing.garbage_grace), ms(timing.surplus_grace));
    let ledger_ms = query::time_ms(view)?;
    let keep_ms = query::care_policy(view)?.trash_keep_s.saturating_mul(1_000);
    let trash = query::trash_oldest(view, 0, 1)?;
    let over = |since_ms: u64| since_ms.saturating_add(keep_ms);
    trash.iter().map(|oldest| over(oldest.since_ms)).filter(|at_ms| *at_ms > ledger_ms).for_each(&mut note);
    // What is past its grace and still there waits for its holders, not for time.
    let (garbage, _) = query::next_useless(view, ledger_ms.saturating_sub(garbage_ms))?;
    let (_, surplus) = query::next_useless(view, ledger_ms.saturating_sub(surplus_ms))?;
    garbage.iter().for_each(|since_ms| note(since_ms.saturating_add(garbage_ms)));
    surplus.iter().for_each(|since_ms| note(since_ms.saturating_add(surplus_ms)));
    Ok(next)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use dci_proto::PoolId;
    use shoal_ledger::{AgentRecord, AgentRoles, AgentState, Guard, LocalLedger, LockRequest, LockScope, TicketRecord};

    use super::*;

    fn next(ledger: &LocalLedger) -> Option<u64> {
        next_expiry_ms(&*ledger.view().expect("a view"), &Timing::default()).expect("reads")
    }

    fn member() -> AgentRecord {
        AgentRecord {
            id: AgentId([1; 32]),
            name: "a".into(),
            control_addresses: Vec::new(),
            data_addresses: Vec::new(),
            roles: AgentRoles::default(),
            state: AgentState::Active,
            site: String::new(),
            capacity_bytes: 0,
            version: String::new(),
            joined_ms: 0,
        }
    }

    #[tokio::test]
    async fn time_passes_only_for_what_waits_for_it() {
        let ledger = LocalLedger::with_pool(&[AgentId([1; 32])], "pool").expect("a pool");
        assert_eq!(next(&ledger), None, "nothing is there");
        let roles = AgentRoles::default();
        let ticket = TicketRecord { secret_hash: [1; 32], expires_ms: 2_000_000_000_000, roles, issued_by: "a".into() };
        ledger.submit(Command::CreateTicket(ticket)).await.expect("a ticket");
        assert_eq!(next(&ledger), Some(2_000_000_000_000));
    }

    #[tokio::test]
    async fn what_expires_is_waited_for_by_the_ledgers_time_not_by_the_wall_clock() {
        let (years_ahead_ms, now_ms) = (2_500_000_000_000, Arc::new(AtomicU64::new(2_500_000_000_000)));
        let clock = now_ms.clone();
        let ledger = LocalLedger::with_clock(move || clock.load(Ordering::SeqCst));
        let (id, first) = (PoolId([1; 16]), member());
        ledger.submit(Command::CreatePool { id, name: "p".into(), survive: 1, first }).await.expect("a pool");
        let (secret_hash, expires_ms, roles) = ([1; 32], years_ahead_ms + 60_000, AgentRoles::default());
        let ticket = TicketRecord { secret_hash, expires_ms, roles, issued_by: "a".into() };
        ledger.submit(Command::CreateTicket(ticket)).await.expect("a ticket");
        let next_in = || next_expiry_in(&ledger, &Timing::default()).expect("reads");
        assert_eq!(next_in(), Some(Duration::from_secs(60)));
        now_ms.store(years_ahead_ms + 61_000, Ordering::SeqCst);
        assert_eq!(next_in(), Some(Duration::ZERO), "it is over: time is to pass");
        ledger.submit(Command::Tick).await.expect("time passes");
        assert_eq!(next_in(), None, "and has passed");
    }

    #[tokio::test]
    async fn a_lock_is_waited_for_until_it_is_given_back() {
        let ledger = LocalLedger::with_pool(&[AgentId([1; 32])], "pool").expect("a pool");
        let volume = query::volumes(&*ledger.view().expect("a view")).expect("reads")[0].id;
        let path = NodePath::new(volume, vec!["file".into()]).expect("a path");
        let request = LockRequest {
            token: "opaquelocktoken:1".into(),
            path: path.clone(),
            deep: false,
            scope: LockScope::Exclusive,
            owner_xml: bytes::Bytes::new(),
            timeout_s: 100,
        };
        let guard = Guard { user: "ana".into(), ..Guard::default() };
        ledger.submit(Command::Lock { request, guard }).await.expect("a lock");
        let ledger_ms = query::time_ms(&*ledger.view().expect("a view")).expect("reads");
        assert_eq!(next(&ledger), Some(ledger_ms + 100_000));
        let unlock = Command::Unlock { token: "opaquelocktoken:1".into(), path, user: "ana".into() };
        ledger.submit(unlock).await.expect("given back");
        assert_eq!(next(&ledger), None);
    }
}
