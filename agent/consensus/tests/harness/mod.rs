//! Several members in this process, joined by a network that can be cut.

// Each test file uses its part; a test that cannot get ready is to stop.
#![allow(dead_code, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::{AgentId, PoolId, VolumeId};
use shoal_consensus::{Consensus, ConsensusConfig, ConsensusStatus, ConsensusTransport, WallClock};
use shoal_ledger::{
    AgentRecord, AgentRoles, AgentState, Command, Guard, LedgerClient, NodePath, Outcome, Rejection, SubmitError,
    VolumePolicy, query,
};
use tempfile::TempDir;

/// What any condition may take to come true on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn agent(number: u8) -> AgentId {
    AgentId([number; 32])
}

#[derive(Default)]
struct Wires {
    members: BTreeMap<AgentId, Consensus>,
    /// One way each.
    cut: BTreeSet<(AgentId, AgentId)>,
    hung: BTreeSet<AgentId>,
}

#[derive(Clone, Default)]
pub(crate) struct Net(Arc<Mutex<Wires>>);

impl Net {
    pub(crate) fn transport(&self, from: AgentId) -> Arc<dyn ConsensusTransport> {
        Arc::new(Wire { net: self.clone(), from })
    }

    pub(crate) fn plug(&self, who: AgentId, consensus: Consensus) {
        self.0.lock().expect("wires").members.insert(who, consensus);
    }

    pub(crate) fn unplug(&self, who: AgentId) {
        self.0.lock().expect("wires").members.remove(&who);
    }

    /// Nothing goes from one to the other any more; the way back stays.
    pub(crate) fn cut_one_way(&self, from: AgentId, to: AgentId) {
        self.0.lock().expect("wires").cut.insert((from, to));
    }

    /// Calls to it get no answer and no error, as if its process were stopped.
    pub(crate) fn hang(&self, who: AgentId) {
        self.0.lock().expect("wires").hung.insert(who);
    }

    pub(crate) fn mend(&self) {
        let mut wires = self.0.lock().expect("wires");
        wires.cut.clear();
        wires.hung.clear();
    }

    fn way(&self, from: AgentId, to: AgentId) -> Way {
        let wires = self.0.lock().expect("wires");
        if wires.hung.contains(&to) || wires.hung.contains(&from) {
            return Way::Hangs;
        }
        match wires.members.get(&to) {
            Some(member) if !wires.cut.contains(&(from, to)) => Way::Open(member.clone()),
            _ => Way::Shut,
        }
    }
}

enum Way {
    Open(Consensus),
    Shut,
    Hangs,
}

struct Wire {
    net: Net,
    from: AgentId,
}

#[async_trait]
impl ConsensusTransport for Wire {
    async fn call(&self, to: AgentId, message: Bytes, timeout: Duration) -> Result<Bytes, String> {
        let shut = || format!("{to} cannot be reached");
        match self.net.way(self.from, to) {
            Way::Open(member) => {
                let answer = tokio::time::timeout(timeout, member.handle(self.from, message)).await;
                match self.net.way(to, self.from) {
                    Way::Shut => Err(shut()),
                    _ => answer.map_err(|_| "no answer in time".to_owned()),
                }
            }
            Way::Shut => Err(shut()),
            Way::Hangs => {
                tokio::time::sleep(timeout).await;
                Err("no answer in time".to_owned())
            }
        }
    }
}

pub(crate) fn config(who: AgentId, directory: &Path) -> ConsensusConfig {
    ConsensusConfig {
        cache_bytes: 4 * 1024 * 1024,
        heartbeat: Duration::from_millis(150),
        election_timeout: (Duration::from_millis(750), Duration::from_millis(1100)),
        ..ConsensusConfig::new(who, directory.to_owned())
    }
}

/// The right time of day, in ms since 1970 UTC.
pub(crate) fn right_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set");
    u64::try_from(since.as_millis()).expect("a time")
}

/// How far a member's wall clock is off, in ms.
#[derive(Clone, Default)]
pub(crate) struct Wall(Arc<AtomicI64>);

impl Wall {
    pub(crate) fn set_ahead_ms(&self, ms: i64) {
        self.0.store(ms, Ordering::SeqCst);
    }

    fn clock(&self) -> WallClock {
        let off_ms = Arc::clone(&self.0);
        WallClock::new(move || right_ms().saturating_add_signed(off_ms.load(Ordering::SeqCst)))
    }
}

/// A pool of members; number 1 began it.
pub(crate) struct Pool {
    pub(crate) net: Net,
    pub(crate) directories: BTreeMap<u8, TempDir>,
    pub(crate) members: BTreeMap<u8, Consensus>,
    pub(crate) walls: BTreeMap<u8, Wall>,
}

impl Pool {
    /// Members 1 to `count`, all of them voters, with a pool and a volume in the ledger.
    pub(crate) async fn of(count: u8) -> Self {
        Self::with_clocks_ahead(count, 0).await
    }

    /// The same, with wall clocks that are all ahead by so much.
    pub(crate) async fn with_clocks_ahead(count: u8, ms: i64) -> Self {
        let (net, directories, members, walls) = Default::default();
        let mut pool = Self { net, directories, members, walls };
        for number in 1..=count {
            pool.wall(number).set_ahead_ms(ms);
        }
        pool.start(1).await;
        let first = &pool.members[&1];
        first.initialize().await.expect("a new ledger begins");
        pool.until_leader(&[1]).await;
        make_pool(first).await;
        for number in 2..=count {
            pool.start(number).await;
            pool.members[&1].add_learner(agent(number)).await.expect("the leader adds a learner");
        }
        pool.members[&1].set_voters((1..=count).map(agent).collect()).await.expect("the leader sets the voters");
        pool
    }

    pub(crate) async fn start(&mut self, number: u8) {
        let directory = self.directories.entry(number).or_insert_with(|| TempDir::new().expect("a directory"));
        let wall = self.walls.entry(number).or_default().clock();
        let config = ConsensusConfig { wall, ..config(agent(number), directory.path()) };
        let consensus = Consensus::start(config, self.net.transport(agent(number))).await.expect("the member starts");
        self.net.plug(agent(number), consensus.clone());
        self.members.insert(number, consensus);
    }

    /// A member's wall clock, whether or not it runs.
    pub(crate) fn wall(&mut self, number: u8) -> &Wall {
        self.walls.entry(number).or_default()
    }

    /// Cuts a member off and stops it.
    pub(crate) async fn kill(&mut self, number: u8) {
        self.net.unplug(agent(number));
        let consensus = self.members.remove(&number).expect("it runs");
        consensus.shutdown().await;
    }

    /// Waits until all of these agree that one of them leads a quorum; answers its number.
    pub(crate) async fn until_leader(&self, numbers: &[u8]) -> u8 {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let statuses: Vec<_> = numbers.iter().map(|number| self.members[number].status()).collect();
            let leader = statuses[0].leader;
            if let Some(leader) = leader
                && statuses.iter().all(|status| status.leader == Some(leader) && status.quorum)
                && let Some(number) = numbers.iter().find(|number| agent(**number) == leader)
            {
                return *number;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "no leader of {numbers:?} within {PATIENCE:?}: {statuses:?}"
            );
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Waits until a member's status is as wanted.
pub(crate) async fn until(
    consensus: &Consensus,
    what: &str,
    wanted: impl Fn(&ConsensusStatus) -> bool,
) -> ConsensusStatus {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let status = consensus.status();
        if wanted(&status) {
            return status;
        }
        assert!(tokio::time::Instant::now() < deadline, "{what}: not within {PATIENCE:?}: {status:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn make_pool(consensus: &Consensus) {
    let first = AgentRecord {
        id: agent(1),
        name: "first".to_owned(),
        control_addresses: Vec::new(),
        data_addresses: Vec::new(),
        roles: AgentRoles::default(),
        state: AgentState::Active,
        site: String::new(),
        capacity_bytes: 1 << 40,
        version: "test".to_owned(),
        joined_ms: 0,
    };
    let pool = Command::CreatePool { id: PoolId([1; 16]), name: "test".to_owned(), survive: 2, first };
    consensus.submit(pool).await.expect("the pool is made");
    let volume = Command::CreateVolume { name: "v".to_owned(), policy: VolumePolicy::default() };
    let made = consensus.submit(volume).await.expect("the volume is made");
    assert!(matches!(made, Outcome::Volume(record) if record.id == volume_id(consensus)));
}

pub(crate) fn volume_id(consensus: &Consensus) -> VolumeId {
    let view = consensus.view().expect("a view");
    query::volume_by_name(&*view, "v").expect("the state reads").expect("the volume is there").id
}

pub(crate) fn path(consensus: &Consensus, name: &str) -> NodePath {
    NodePath::new(volume_id(consensus), vec![name.to_owned()]).expect("a path")
}

/// Makes a folder; true unless it was there.
pub(crate) async fn make_folder(consensus: &Consensus, name: &str) -> Result<bool, SubmitError> {
    let command = Command::MakeFolder { path: path(consensus, name), guard: Guard::default(), modified_ms: None };
    match consensus.submit(command).await {
        Ok(_) => Ok(true),
        Err(SubmitError::Rejected(Rejection::Exists(_))) => Ok(false),
        Err(error) => Err(error),
    }
}

pub(crate) fn has_folder(consensus: &Consensus, name: &str) -> bool {
    let view = consensus.view().expect("a view");
    query::node(&*view, &path(consensus, name)).expect("the state reads").is_some()
}
