//! A pool in memory, with faults, for tests of this crate: agents that call each other without a network.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::AgentId;
use shoal_backup::catalogue::{Signature, Signer, Verifier};
use shoal_backup::plan::Conditions;
use shoal_backup::{Now, Zone, sha256};

use crate::call::{Ask, CallError, Reply};
use crate::network::{Answers, Machine, Member, Network};

/// Changes what an agent answers, or how.
pub type Twist = Arc<dyn Fn(AgentId, &Ask, Reply) -> Reply + Send + Sync>;

#[derive(Default)]
struct State {
    agents: BTreeMap<AgentId, Weak<dyn Answers>>,
    away: BTreeSet<AgentId>,
    twists: BTreeMap<AgentId, Twist>,
    calls: Vec<(AgentId, AgentId, Ask)>,
}

/// All agents of a pool.
#[derive(Clone, Default)]
pub struct Hub {
    state: Arc<Mutex<State>>,
}

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An agent answers from now on, in the place of what answered under this id before.
    pub fn join(&self, agent: AgentId, answers: &Arc<dyn Answers>) {
        self.state().agents.insert(agent, Arc::downgrade(answers));
    }

    /// An agent is away, or is back.
    pub fn set_away(&self, agent: AgentId, away: bool) {
        let mut state = self.state();
        if away {
            state.away.insert(agent)
        } else {
            state.away.remove(&agent)
        };
    }

    /// From now on what this agent answers goes through here.
    pub fn twist(&self, agent: AgentId, twist: Twist) {
        self.state().twists.insert(agent, twist);
    }

    /// From now on it answers as it is.
    pub fn untwist(&self, agent: AgentId) {
        self.state().twists.remove(&agent);
    }

    /// Calls so far: who asked whom what.
    #[must_use]
    pub fn calls(&self) -> Vec<(AgentId, AgentId, Ask)> {
        self.state().calls.clone()
    }

    /// The pool as this agent sees it.
    #[must_use]
    pub fn seen_by(&self, agent: AgentId) -> Arc<dyn Network> {
        Arc::new(Seen { hub: self.clone(), own: agent })
    }
}

struct Seen {
    hub: Hub,
    own: AgentId,
}

#[async_trait]
impl Network for Seen {
    fn own(&self) -> AgentId {
        self.own
    }

    fn members(&self) -> Vec<Member> {
        let state = self.hub.state();
        let others = state.agents.keys().filter(|agent| **agent != self.own);
        let member = |agent: &AgentId| Member {
            agent: *agent,
            name: format!("pc-{}", agent.0[0]),
            site: None,
            away_ms: state.away.contains(agent).then_some(60_000),
            distance_ms: u64::from(agent.0[0]),
            addresses: Vec::new(),
        };
        others.map(member).collect()
    }

    async fn call(&self, to: AgentId, ask: Ask, body: Bytes, _patience: Duration) -> Reply {
        let (answers, twist) = {
            let mut state = self.hub.state();
            state.calls.push((self.own, to, ask.clone()));
            let away = state.away.contains(&to) || state.away.contains(&self.own);
            let answers = state.agents.get(&to).and_then(Weak::upgrade).filter(|_| !away);
            (answers, state.twists.get(&to).cloned())
        };
        let answers = answers.ok_or_else(|| CallError::Unreachable("it is away".into()))?;
        let reply = answers.answer(self.own, ask.clone(), body).await;
        match twist {
            Some(twist) => twist(self.own, &ask, reply),
            None => reply,
        }
    }
}

/// A machine whose clocks are set by hand.
#[derive(Default)]
pub struct TestMachine {
    state: Mutex<(Now, Conditions)>,
    free_bytes: Mutex<Option<u64>>,
    when_asked: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
}

impl TestMachine {
    /// Time passes, on both clocks.
    pub fn pass(&self, ms: u64) {
        let now = &mut self.state.lock().unwrap_or_else(PoisonError::into_inner).0;
        (now.steady_ms, now.wall_ms) = (now.steady_ms + ms, now.wall_ms + ms);
    }

    /// So much is free on its disks, whatever the system says; `None`: what the system says.
    pub fn set_free_bytes(&self, free_bytes: Option<u64>) {
        *self.free_bytes.lock().unwrap_or_else(PoisonError::into_inner) = free_bytes;
    }

    /// Called each time before it says how much is free.
    pub fn on_free_bytes(&self, call: impl Fn() + Send + Sync + 'static) {
        *self.when_asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(call));
    }

    /// It is plugged out, or what else there is.
    pub fn set_conditions(&self, conditions: Conditions) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = conditions;
    }
}

impl Machine for TestMachine {
    fn now(&self) -> Now {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn zone(&self) -> Zone {
        Zone::UTC
    }

    fn conditions(&self) -> Conditions {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    fn free_bytes(&self, folder: &Path) -> Option<u64> {
        if let Some(call) = &*self.when_asked.lock().unwrap_or_else(PoisonError::into_inner) {
            call();
        }
        let said = *self.free_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        said.or_else(|| Some(rustix::fs::statvfs(folder).ok()?).map(|disk| disk.f_bavail * disk.f_frsize))
    }
}

/// Signs for an owner in tests: the signature follows from the bytes, and anybody could make it.
pub struct TestSigner(pub AgentId);

impl Signer for TestSigner {
    fn owner(&self) -> AgentId {
        self.0
    }

    fn sign(&self, bytes: &[u8]) -> Signature {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&sha256(&[&self.0.0, bytes]));
        signature
    }
}

/// Checks what [`TestSigner`] signed.
pub struct TestVerifier;

impl Verifier for TestVerifier {
    fn verify(&self, owner: AgentId, bytes: &[u8], signature: &Signature) -> bool {
        TestSigner(owner).sign(bytes) == *signature
    }
}
