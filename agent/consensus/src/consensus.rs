//! Starting and stopping, and what the parts share.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dci_proto::AgentId;
use openraft::error::{InitializeError, RaftError};
use openraft::{Config, EmptyNode, SnapshotPolicy};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::barrier::Questions;
use crate::clock::Timekeeper;
use crate::elections::Timeouts;
use crate::files::lock_directory;
use crate::group::GroupBook;
use crate::handle::Receiving;
use crate::log::{LogShared, LogStore};
use crate::network::Links;
use crate::peers::Peers;
use crate::propose::{Batches, Pending};
use crate::state::{StateDump, StateMachine, StateStore};
use crate::status::Hearing;
use crate::types::{Metrics, RaftNode};
use crate::{
    ConsensusConfig, ConsensusError, ConsensusStatus, ConsensusTransport, Group, Headroom, barrier, clock, elections,
    forward, propose, upkeep,
};

/// One member of the group that agrees on the ledger. Clones are the same member.
#[derive(Clone)]
pub struct Consensus {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<()>>,
}

/// What the parts share.
pub(crate) struct Shared {
    pub(crate) agent: AgentId,
    pub(crate) raft: RaftNode,
    pub(crate) raft_metrics: watch::Receiver<Metrics>,
    pub(crate) peers: Peers,
    pub(crate) state: Arc<StateStore>,
    pub(crate) log: Arc<LogShared>,
    pub(crate) log_store: LogStore,
    pub(crate) propose: mpsc::Sender<Pending>,
    pub(crate) forward: mpsc::Sender<Pending>,
    pub(crate) questions: Questions,
    pub(crate) hearing: Hearing,
    /// Without a quorum for longer than this, no election is going to help.
    pub(crate) election_limit: Duration,
    /// A leader heard within this time is not missed.
    pub(crate) content_for: Duration,
    pub(crate) status: watch::Sender<ConsensusStatus>,
    pub(crate) receiving: tokio::sync::Mutex<Option<Receiving>>,
    /// Bytes appended to the log when the state was last made durable.
    pub(crate) checkpoint_bytes: AtomicU64,
    pub(crate) headroom: Arc<Headroom>,
    pub(crate) clock: Timekeeper,
    _lock: File,
}

/// Heartbeats missed before a silence counts.
const HEARTBEATS_MISSED: u32 = 4;
/// How long an election takes once it is called, on a busy machine.
const ELECTION: Duration = Duration::from_millis(800);

impl Consensus {
    /// Opens log and state, or makes empty ones, and takes part from now on.
    ///
    /// # Errors
    /// If the directory is in use, another agent's, damaged, or of a newer version; nothing is changed then.
    pub async fn start(
        config: ConsensusConfig,
        transport: Arc<dyn ConsensusTransport>,
    ) -> Result<Self, ConsensusError> {
        let raft_config = Arc::new(raft_config(&config)?);
        let opening = config.clone();
        let open = move || {
            let lock = lock_directory(&opening.directory)?;
            let state = Arc::new(StateStore::open(&opening.directory, opening.cache_bytes, opening.headroom.clone())?);
            opening.headroom.tend();
            let log_store =
                LogStore::open(&opening.directory, opening.agent, state.durable(), opening.headroom.clone())?;
            let group = Group::read(&opening.directory)?;
            Ok::<_, ConsensusError>((lock, state, log_store, group))
        };
        let opened = tokio::task::spawn_blocking(open).await;
        let (lock, state, log_store, group) = opened.map_err(|error| ConsensusError::Stopped(error.to_string()))??;
        let peers = Peers::new(transport, GroupBook::new(&config.directory, group));
        let machine = StateMachine::new(Arc::clone(&state));
        let raft = RaftNode::new(config.agent, raft_config, Links(peers.clone()), log_store.clone(), machine)
            .await
            .map_err(|error| ConsensusError::Stopped(error.to_string()))?;
        let (propose, proposals) = Batches::new();
        let (forward, forwards) = Batches::new();
        let shared = Arc::new(Shared {
            agent: config.agent,
            raft_metrics: raft.metrics(),
            raft,
            peers,
            state,
            log: log_store.shared(),
            log_store,
            propose,
            forward,
            questions: Questions::default(),
            hearing: Hearing::new(config.heartbeat * HEARTBEATS_MISSED),
            election_limit: config.election_timeout.1 + ELECTION,
            content_for: lease(&config),
            status: watch::Sender::new(ConsensusStatus::default()),
            receiving: tokio::sync::Mutex::new(None),
            checkpoint_bytes: AtomicU64::new(0),
            headroom: config.headroom.clone(),
            clock: Timekeeper::new(config.wall.clone()),
            _lock: lock,
        });
        shared.refresh_status();
        let mut tasks = JoinSet::new();
        tasks.spawn(propose::run(Arc::clone(&shared), proposals));
        tasks.spawn(clock::run(Arc::clone(&shared)));
        tasks.spawn(forward::run(Arc::clone(&shared), forwards));
        tasks.spawn(barrier::run(Arc::clone(&shared)));
        tasks.spawn(upkeep::run(Arc::clone(&shared)));
        tasks.spawn(elections::run(Arc::clone(&shared), election_timeouts(&config)));
        let this = Self { inner: Arc::new(Inner { shared, tasks: Mutex::new(tasks) }) };
        this.elect_if_alone().await?;
        Ok(this)
    }

    /// Begins an empty ledger whose only voter is this agent.
    ///
    /// # Errors
    /// If this ledger is not empty.
    pub async fn initialize(&self) -> Result<(), ConsensusError> {
        let members = BTreeMap::from([(self.shared().agent, EmptyNode {})]);
        self.shared().raft.initialize(members).await.map_err(|error| match error {
            RaftError::APIError(InitializeError::NotAllowed(_) | InitializeError::NotInMembers(_)) => {
                ConsensusError::NotEmpty
            }
            RaftError::Fatal(error) => ConsensusError::Stopped(error.to_string()),
        })
    }

    /// Answers a message of another member, whose identity the caller has proved.
    pub async fn handle(&self, from: AgentId, message: Bytes) -> Bytes {
        self.shared().handle(from, &message).await
    }

    /// How consensus stands now.
    #[must_use]
    pub fn status(&self) -> ConsensusStatus {
        self.shared().refresh_status();
        self.shared().status.borrow().clone()
    }

    /// Tells of changes of leader, members, term and quorum. How far the log has got is not told of by itself.
    #[must_use]
    pub fn status_changes(&self) -> watch::Receiver<ConsensusStatus> {
        self.shared().status.subscribe()
    }

    /// The whole state as it is now, to be copied elsewhere. Costs nothing until it is read.
    #[must_use]
    pub fn snapshot_state(&self) -> StateDump {
        StateDump::new(self.shared().state.view())
    }

    /// Makes the state durable and drops the log it covers. Happens by itself in time.
    ///
    /// # Errors
    /// If consensus has stopped.
    pub async fn compact(&self) -> Result<(), ConsensusError> {
        let shared = self.shared();
        let stopped = |error: openraft::error::Fatal<AgentId>| ConsensusError::Stopped(error.to_string());
        let applied = *shared.state.applied_next().borrow();
        let Some(upto) = applied.checked_sub(1) else { return Ok(()) };
        shared.raft.trigger().snapshot().await.map_err(stopped)?;
        let mut metrics = shared.raft.metrics();
        let covered = |now: &Metrics| now.running_state.is_err() || now.snapshot.is_some_and(|id| id.index >= upto);
        if metrics.wait_for(covered).await.is_err() {
            return Err(ConsensusError::Stopped("the agent stops".to_owned()));
        }
        shared.raft.trigger().purge_log(upto).await.map_err(stopped)
    }

    /// Waits until consensus can go on no more by itself, because log or state could not be written or read; answers why.
    /// What was acknowledged is safe; the agent must be started anew when the disk is well.
    pub async fn failure(&self) -> String {
        let mut metrics = self.shared().raft.metrics();
        let failed = |now: &Metrics| now.running_state.is_err();
        match metrics.wait_for(failed).await {
            Ok(now) => now.running_state.as_ref().err().map_or_else(String::new, ToString::to_string),
            Err(_) => "it has stopped".to_owned(),
        }
    }

    /// The group this member belongs to.
    #[must_use]
    pub fn group(&self) -> Group {
        self.shared().peers.groups().own()
    }

    /// Another group of the same generation, where one was heard of: the pool was recovered twice.
    #[must_use]
    pub fn twin(&self) -> Option<Group> {
        self.shared().peers.groups().twin()
    }

    /// Waits until a member of a newer generation was heard: the pool was recovered, and this member's ledger counts no
    /// more. It goes on until it is shut down, which should be at once.
    pub async fn overtaken(&self) -> Group {
        let mut newer = self.shared().peers.groups().newer();
        loop {
            if let Some(group) = *newer.borrow_and_update() {
                return group;
            }
            if newer.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Stops taking part and makes the state durable. What is submitted later fails. The directory is free for another
    /// start once all clones and views are dropped.
    pub async fn shutdown(&self) {
        let tasks = std::mem::take(&mut *self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let shared = Arc::clone(self.shared());
        if let Err(error) = shared.raft.shutdown().await {
            tracing::warn!(%error, "Raft did not stop cleanly");
        }
        let mut tasks = tasks;
        tasks.shutdown().await;
        let state = Arc::clone(&shared.state);
        match tokio::task::spawn_blocking(move || state.checkpoint()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the ledger's state was not made durable; its log has it all"),
            Err(error) => tracing::warn!(%error, "the ledger's state was not made durable; its log has it all"),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// A lone voter need not wait for anybody.
    async fn elect_if_alone(&self) -> Result<(), ConsensusError> {
        let alone = self.status().voters.iter().eq([&self.shared().agent]);
        if alone {
            let elected = self.shared().raft.trigger().elect().await;
            elected.map_err(|error| ConsensusError::Stopped(error.to_string()))?;
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // openraft's own tasks go on until they are told to stop.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let raft = self.shared.raft.clone();
            runtime.spawn(async move { raft.shutdown().await });
        }
    }
}

/// How long a voter that has heard a leader votes for nobody else.
fn lease(config: &ConsensusConfig) -> Duration {
    config.election_timeout.1 / 2
}

fn election_timeouts(config: &ConsensusConfig) -> Timeouts {
    let (shortest, longest) = config.election_timeout;
    Timeouts { leader: shortest..longest, again: shortest.saturating_sub(lease(config))..lease(config) }
}

/// openraft's settings for ours. When to stand for election is decided in [`elections`]. It looks at its clock every 1.5
/// `heartbeat_interval`s, which is also how often it then sends heartbeats.
fn raft_config(config: &ConsensusConfig) -> Result<Config, ConsensusError> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let timeouts = election_timeouts(config);
    let raft_config = Config {
        cluster_name: "ledger".to_owned(),
        heartbeat_interval: millis(config.heartbeat) * 2 / 3,
        enable_elect: false,
        election_timeout_min: millis(timeouts.again.start),
        // Also its lease.
        election_timeout_max: millis(timeouts.again.end),
        max_payload_entries: 256,
        // A newcomer this far behind may already be told apart from one that is up to date.
        replication_lag_threshold: 20_000,
        // Checkpoints and purging go by bytes, see `upkeep`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        ..Config::default()
    };
    raft_config.validate().map_err(|error| ConsensusError::Config(error.to_string()))
}
