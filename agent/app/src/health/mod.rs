//! Who answers: pings the members, listens to who complains, and says so at once ([`Health::view`]).
//!
//! A member that speaks is not pinged; so each pair exchanges one ping in two seconds, which also carries what each
//! has room for. Whoever waits for an agent has it asked whether it lives ([`Health::probe`]): an agent that hangs is
//! found out within a second, one that is only slow is not.

mod facts;
pub(crate) mod report;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dci_proto::AgentId;
use shoal_care::{Patience, PresenceCore, PresenceEvent, Standing};
use shoal_ledger::{AgentRecord, AgentState};
use shoal_net::{Lane, Network, PeerStatus};
use shoal_placement::Candidate;
use shoal_store::{ShardStore, StoreSpace};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Timing;

pub use shoal_care::{AgentHealth, HealthView, Presence, Room, SelfReport, Suspicions};

/// Pings under way at once.
const PINGS_AT_ONCE: usize = 32;

/// Who answers.
pub struct Health {
    local: AgentId,
    store: Option<Arc<dyn ShardStore>>,
    timing: Timing,
    started: Instant,
    position: AtomicU64,
    state: Mutex<State>,
    view: watch::Sender<Arc<HealthView>>,
    work: Notify,
}

struct State {
    core: PresenceCore,
    members: Arc<Vec<AgentRecord>>,
    probing: BTreeSet<AgentId>,
    /// What this agent owes its owner, and how far it can be relied on.
    own: (u64, Standing),
    /// How busy this agent's processors are, 0 to 1000.
    own_busy_permille: Option<u16>,
    /// Since when this agent's own store is not there, or not all of it.
    unplugged_since: Option<Duration>,
}

impl Health {
    /// Of an agent; `store` is its own.
    #[must_use]
    pub fn new(local: AgentId, store: Option<Arc<dyn ShardStore>>, timing: Timing) -> Self {
        let patience = Patience { ping_interval: timing.ping_interval, absent_after: timing.absent_after };
        let state = State {
            core: PresenceCore::new(patience),
            members: Arc::default(),
            probing: BTreeSet::new(),
            own: (0, Standing::default()),
            own_busy_permille: None,
            unplugged_since: None,
        };
        Self {
            local,
            store,
            timing,
            started: Instant::now(),
            position: AtomicU64::new(0),
            state: Mutex::new(state),
            view: watch::Sender::new(Arc::default()),
            work: Notify::new(),
        }
    }

    /// What is known of everyone now.
    #[must_use]
    pub fn view(&self) -> Arc<HealthView> {
        Arc::new(self.state().core.view())
    }

    /// What is known of everyone now, this agent among them.
    #[must_use]
    pub fn view_with_own(&self) -> HealthView {
        let SelfReport { position, room, owed_bytes, standing, busy_permille } = self.self_report();
        let state = self.state();
        let (presence, since, unplugged_since) = (Presence::Up, Duration::ZERO, state.unplugged_since);
        // An agent without a store has nothing to say of room.
        let room = self.store.is_some().then_some(room);
        let own = AgentHealth { presence, room, position, owed_bytes, standing, busy_permille, since, unplugged_since };
        state.core.view().with(self.local, own)
    }

    /// What is known of an agent now.
    #[must_use]
    pub fn view_of(&self, agent: AgentId) -> AgentHealth {
        self.state().core.of(agent).cloned().unwrap_or_default()
    }

    /// How long an agent that does not answer has been silent, as far as this one can know since it started.
    #[must_use]
    pub fn silent_for(&self, agent: AgentId) -> Option<Duration> {
        self.state().core.silent_for(self.now(), agent)
    }

    /// Whether an agent answers; this one does.
    #[must_use]
    pub fn answers(&self, agent: AgentId) -> bool {
        agent == self.local || self.state().core.of(agent).is_some_and(|health| health.answers())
    }

    /// Whether the shards of an agent can be had: it answers, and its store is there.
    #[must_use]
    pub fn gives(&self, agent: AgentId) -> bool {
        let state = self.state();
        if agent == self.local {
            state.unplugged_since.is_none()
        } else {
            state.core.of(agent).is_some_and(AgentHealth::gives)
        }
    }

    /// Wakes when the presence of an agent changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<HealthView>> {
        self.view.subscribe()
    }

    /// Sets who is watched.
    pub fn set_members(&self, members: &[AgentRecord]) {
        let mut state = self.state();
        let others = members.iter().map(|member| member.id).filter(|agent| *agent != self.local);
        state.core.set_members(self.now(), others);
        state.members = Arc::new(members.to_vec());
        drop(state);
        self.publish();
        self.work.notify_one();
    }

    /// Sets how long an agent may be silent before it counts as absent.
    pub fn set_absent_after(&self, absent_after: Duration) {
        let now = self.now();
        if self.state().core.set_absent_after(now, absent_after) {
            self.publish();
        }
    }

    /// This agent slept or hung: nobody is declared absent for what it did not hear meanwhile.
    pub fn begin_anew(&self) {
        let now = self.now();
        self.state().core.begin_anew(now);
        self.work.notify_one();
    }

    /// This agent does not hang. From the first time on it must be said every few seconds.
    pub fn still_awake(&self) {
        let now = self.now();
        self.state().core.still_awake(now);
    }

    /// How often agents were suspected since this one started.
    #[must_use]
    pub fn suspicions(&self) -> Suspicions {
        self.state().core.suspicions()
    }

    /// Sets how far this agent's copy of the ledger is, for it to say so.
    pub fn set_position(&self, position: u64) {
        self.position.store(position, Ordering::Relaxed);
    }

    /// Sets what this agent owes its owner and how far it can be relied on, for it to say so.
    pub fn set_own(&self, owed_bytes: u64, standing: Standing) {
        let mut state = self.state();
        if state.own.1.failing != standing.failing {
            tracing::warn!(failing = standing.failing, reasons = ?standing.reasons, "how far this agent can be relied on");
        }
        state.own = (owed_bytes, standing);
    }

    /// Sets how busy this agent's processors are, 0 to 1000, for it to say so.
    pub fn set_busy(&self, busy_permille: Option<u16>) {
        self.state().own_busy_permille = busy_permille;
    }

    /// How busy an agent's processors are, 0 to 1000; `None` where it does not answer or does not tell.
    #[must_use]
    pub fn busy_permille_of(&self, agent: AgentId) -> Option<u16> {
        let state = self.state();
        if agent == self.local {
            return state.own_busy_permille;
        }
        state.core.of(agent).filter(|health| health.answers()).and_then(|health| health.busy_permille)
    }

    /// What this agent says of itself.
    #[must_use]
    pub fn self_report(&self) -> SelfReport {
        let room = self.store.as_ref().map(|store| room(store.space())).unwrap_or_default();
        let (now, mut state) = (self.now(), self.state());
        if room.unplugged && state.unplugged_since.is_none() {
            tracing::warn!("a store of this agent is not there: its shards are made up for by others until it is back");
        }
        state.unplugged_since = room.unplugged.then_some(state.unplugged_since.unwrap_or(now));
        let (owed_bytes, standing) = state.own.clone();
        let busy_permille = state.own_busy_permille;
        drop(state);
        SelfReport { position: self.position.load(Ordering::Relaxed), room, owed_bytes, standing, busy_permille }
    }

    /// An agent answered, or asked something itself.
    pub fn heard(&self, agent: AgentId, report: Option<SelfReport>) {
        self.apply(PresenceEvent::Heard(agent, report));
    }

    /// An agent let someone wait or failed: it is asked last for a while, and whether it lives.
    pub fn suspect(self: &Arc<Self>, network: &Arc<dyn Network>, agent: AgentId, reason: &str) {
        if agent == self.local {
            return;
        }
        tracing::debug!(%agent, reason, "an agent let someone wait");
        self.apply(PresenceEvent::LetWait(agent));
        self.probe(network, agent);
    }

    /// Asks an agent whether it lives, now; it is a suspect when it does not say so. One question at a time.
    pub fn probe(self: &Arc<Self>, network: &Arc<dyn Network>, agent: AgentId) {
        if agent == self.local || !self.state().probing.insert(agent) {
            return;
        }
        let (health, network) = (self.clone(), network.clone());
        tokio::spawn(async move {
            let answer = health.ask(&network, agent, health.timing.probe_timeout).await;
            health.state().probing.remove(&agent);
            health.apply(match answer {
                Some(report) => PresenceEvent::Heard(agent, Some(report)),
                None => PresenceEvent::ProbeFailed(agent),
            });
        });
    }

    /// Waits until an agent does not answer (any more).
    pub async fn gone(&self, agent: AgentId) {
        let mut changes = self.changes();
        loop {
            let presence = self.state().core.of(agent).map(|health| health.presence);
            if !matches!(presence, Some(Presence::Up | Presence::Unheard)) {
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Members that hold shards, with what is known of each now. Those that an admin has given nothing new for now have
    /// no capacity; those that do not answer have one, and no room. Those likely to fail are used where there is no other.
    #[must_use]
    pub fn candidates(&self, network: &dyn Network) -> Vec<Candidate> {
        let now = self.now();
        let own = self.self_report();
        let (members, known) = {
            let state = self.state();
            let known = |member: &AgentRecord| {
                let health = state.core.of(member.id).cloned().unwrap_or_default();
                (health, state.core.avoided(now, member.id))
            };
            let known: Vec<(AgentHealth, bool)> = state.members.iter().map(known).collect();
            (state.members.clone(), known)
        };
        let candidate = |(member, (health, avoided)): (&AgentRecord, (AgentHealth, bool))| {
            let local = member.id == self.local;
            let room = if local { own.room } else { health.room.unwrap_or_default() };
            let standing = if local { &own.standing } else { &health.standing };
            let capacity_bytes = if room.capacity_bytes > 0 { room.capacity_bytes } else { member.capacity_bytes };
            let active = member.state == AgentState::Active;
            let status = if local { PeerStatus::default() } else { network.status(member.id) };
            Candidate {
                agent: member.id,
                local,
                site: member.site.clone(),
                free_bytes: if active && (local || health.answers()) && !room.unplugged { room.free_bytes } else { 0 },
                capacity_bytes: if active { capacity_bytes } else { 0 },
                suspect: (!local && avoided) || standing.failing,
                latency_us: status.round_trip_us,
                in_flight: status.in_flight,
                standing: standing.score,
            }
        };
        members.iter().zip(known).filter(|(member, _)| member.roles.store).map(candidate).collect()
    }

    /// Pings who is due until `shutdown`.
    pub async fn run(self: Arc<Self>, network: Arc<dyn Network>, shutdown: CancellationToken) {
        loop {
            for agent in self.due() {
                let (health, network) = (self.clone(), network.clone());
                tokio::spawn(async move {
                    let answer = health.ask(&network, agent, health.timing.ping_timeout).await;
                    health.apply(match answer {
                        Some(report) => PresenceEvent::Heard(agent, Some(report)),
                        None => PresenceEvent::Missed(agent),
                    });
                    health.work.notify_one();
                });
            }
            let next = self.state().core.next_due();
            let wait = next.map_or(self.timing.ping_interval, |at| at.saturating_sub(self.now()));
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.work.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn due(&self) -> Vec<AgentId> {
        let now = self.now();
        self.state().core.due(now, PINGS_AT_ONCE)
    }

    async fn ask(&self, network: &Arc<dyn Network>, agent: AgentId, timeout: Duration) -> Option<SelfReport> {
        let request = report::request(&self.self_report()).ok()?;
        let response = network.call(agent, Lane::Control, request, timeout).await.ok()?;
        report::read(&response).ok()
    }

    fn apply(&self, event: PresenceEvent) {
        let now = self.now();
        let changed = self.state().core.apply(now, event);
        if changed {
            self.publish();
        }
    }

    fn publish(&self) {
        self.view.send_replace(self.view());
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a store has room for, as agents tell it each other.
fn room(space: StoreSpace) -> Room {
    let StoreSpace { capacity_bytes, used_bytes, free_bytes, shards, unplugged } = space;
    Room { capacity_bytes, used_bytes, free_bytes, shards, unplugged }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use shoal_ledger::AgentRoles;
    use shoal_net::{NetworkError, Peer, PeerStatus, Request, Response};
    use shoal_store::MemoryStore;

    use super::*;

    /// A network nobody is on.
    struct Nobody;

    #[async_trait]
    impl Network for Nobody {
        fn local(&self) -> AgentId {
            AgentId([1; 32])
        }

        async fn call(&self, to: AgentId, _: Lane, _: Request, _: Duration) -> Result<Response, NetworkError> {
            Err(NetworkError::UnknownPeer(to))
        }

        fn set_peers(&self, _: Vec<Peer>) {}

        fn status(&self, _: AgentId) -> PeerStatus {
            PeerStatus::default()
        }
    }

    fn member(number: u8, state: AgentState) -> AgentRecord {
        AgentRecord {
            id: AgentId([number; 32]),
            name: number.to_string(),
            control_addresses: vec![],
            data_addresses: vec![],
            roles: AgentRoles::default(),
            state,
            site: String::new(),
            capacity_bytes: 1000,
            version: String::new(),
            joined_ms: 0,
        }
    }

    #[tokio::test]
    async fn the_paused_and_draining_take_no_part_and_the_silent_have_no_room() {
        let health = Health::new(AgentId([1; 32]), Some(Arc::new(MemoryStore::new(1000))), Timing::default());
        let (active, paused, draining) = (AgentState::Active, AgentState::Paused, AgentState::Draining);
        health.set_members(&[
            member(1, active),
            member(2, active),
            member(3, paused),
            member(4, draining),
            member(5, active),
        ]);
        let room = Room { capacity_bytes: 900, free_bytes: 500, ..Room::default() };
        for number in 2..=4 {
            health.heard(AgentId([number; 32]), Some(SelfReport { position: 1, room, ..SelfReport::default() }));
        }
        let candidates = health.candidates(&Nobody);
        let known = |number: u8| {
            let candidate = candidates.iter().find(|candidate| candidate.agent == AgentId([number; 32]));
            candidate.map(|candidate| (candidate.capacity_bytes, candidate.free_bytes, candidate.suspect))
        };
        assert_eq!(known(1), Some((1000, 1000, false)), "this agent");
        assert_eq!(known(2), Some((900, 500, false)), "active");
        assert_eq!(known(3), Some((0, 0, false)), "paused: it is read from");
        assert_eq!(known(4), Some((0, 0, false)), "draining: it is read from");
        assert_eq!(known(5), Some((1000, 0, true)), "never heard");
    }
}
