//! A ledger of one copy in memory, in this process: what tests of other crates run against.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use async_trait::async_trait;
use dci_proto::{AgentId, CommandId, PoolId};

use crate::{
    AgentRecord, AgentRoles, AgentState, Batch, Command, KvError, KvRead, LedgerClient, MemoryKv, Outcome, Submission,
    SubmitError, VolumePolicy, apply, query,
};

/// Where the built-in clock starts, in ms since 1970 UTC.
const CLOCK_START_MS: u64 = 1_700_000_000_000;

/// Tells the time, in ms since 1970 UTC.
type Clock = Box<dyn Fn() -> u64 + Send + Sync>;

/// The ledger without replication. Command ids come from a counter and the built-in clock moves one millisecond with
/// every command, so a run repeats itself exactly.
pub struct LocalLedger {
    state: Mutex<State>,
    quorum: AtomicBool,
    clock: Option<Clock>,
}

#[derive(Default)]
struct State {
    kv: Arc<MemoryKv>,
    position: u64,
    waiting: Vec<Waker>,
}

impl Default for LocalLedger {
    fn default() -> Self {
        Self::new()
    }
}

impl LocalLedger {
    /// An empty ledger: the first command must make the pool.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Mutex::default(), quorum: AtomicBool::new(true), clock: None }
    }

    /// An empty ledger whose batches are stamped by `clock`.
    #[must_use]
    pub fn with_clock(clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { clock: Some(Box::new(clock)), ..Self::new() }
    }

    /// A ledger with a pool of these agents (the first one made it, the others joined by approval), named `agent-1`
    /// and so on, and one volume.
    ///
    /// # Errors
    /// If `agents` is empty or the names cannot be taken.
    pub fn with_pool(agents: &[AgentId], volume: &str) -> Result<Self, SubmitError> {
        let ledger = Self::new();
        for (index, agent) in agents.iter().enumerate() {
            let record = member(*agent, index + 1);
            if index == 0 {
                let (id, name) = (PoolId([1; 16]), "test".to_owned());
                ledger.submit_now(Command::CreatePool { id, name, survive: 2, first: record })?;
            } else {
                ledger.submit_now(Command::RequestJoin { agent: record })?;
                ledger.submit_now(Command::ApproveJoin { agent: *agent })?;
            }
        }
        ledger.submit_now(Command::CreateVolume { name: volume.to_owned(), policy: VolumePolicy::default() })?;
        Ok(ledger)
    }

    /// Takes the quorum away, or gives it back: without it, changes and barriers fail and views go on.
    pub fn set_quorum(&self, quorum: bool) {
        self.quorum.store(quorum, Ordering::SeqCst);
    }

    /// Applies a command at once.
    ///
    /// # Errors
    /// As [`LedgerClient::submit`].
    pub fn submit_now(&self, command: Command) -> Result<Outcome, SubmitError> {
        self.check_quorum()?;
        let mut state = self.lock();
        let position = state.position + 1;
        let mut id = [0; 16];
        id[8..].copy_from_slice(&position.to_be_bytes());
        let time_ms = self.clock.as_ref().map_or(CLOCK_START_MS + position, |clock| clock());
        let batch = Batch { time_ms, submissions: vec![Submission { id: CommandId(id), command }] };
        let kv: &mut MemoryKv = Arc::make_mut(&mut state.kv);
        let results = apply(kv, position, &batch)?;
        state.position = position;
        state.waiting.drain(..).for_each(Waker::wake);
        drop(state);
        match results.into_iter().next() {
            Some(result) => Ok(result?),
            None => Err(SubmitError::NoQuorum("the batch was not answered".to_owned())),
        }
    }

    /// A copy of the whole state, for tests that look at every row.
    #[must_use]
    pub fn snapshot(&self) -> Arc<MemoryKv> {
        Arc::clone(&self.lock().kv)
    }

    fn check_quorum(&self) -> Result<(), SubmitError> {
        if self.quorum.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err(SubmitError::NoQuorum("the test has taken the quorum away".to_owned()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl LedgerClient for LocalLedger {
    async fn submit(&self, command: Command) -> Result<Outcome, SubmitError> {
        self.submit_now(command)
    }

    async fn barrier(&self) -> Result<(), SubmitError> {
        self.check_quorum()
    }

    fn view(&self) -> Result<Arc<dyn KvRead + Send + Sync>, KvError> {
        Ok(self.snapshot())
    }

    fn time_ms(&self) -> Result<u64, KvError> {
        let ledger_ms = query::time_ms(&*self.snapshot())?;
        Ok(ledger_ms.max(self.clock.as_ref().map_or(0, |clock| clock())))
    }

    async fn changed(&self, after: u64) -> u64 {
        poll_fn(|context| {
            let mut state = self.lock();
            if state.position > after {
                return Poll::Ready(state.position);
            }
            if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                state.waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

fn member(id: AgentId, number: usize) -> AgentRecord {
    AgentRecord {
        id,
        name: format!("agent-{number}"),
        control_addresses: Vec::new(),
        data_addresses: Vec::new(),
        roles: AgentRoles::default(),
        state: AgentState::Active,
        site: String::new(),
        capacity_bytes: 1 << 40,
        version: "test".to_owned(),
        joined_ms: 0,
    }
}
