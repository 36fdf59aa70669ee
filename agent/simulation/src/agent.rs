//! One agent: what it has durable, and what it knows only while it runs.

use std::time::Duration;

use dci_proto::{AgentId, ShardKey};
use shoal_care::{OrphanBook, Patience, PresenceCore};
use shoal_ledger::{AgentRoles, LedgerClock};

use crate::disk::Disk;
use crate::exec::{Locks, Slot};
use crate::world::{OnWake, agent_id};

/// How often an agent pings another.
const PING_INTERVAL: Duration = Duration::from_secs(4);
/// The pool's patience in a run, in seconds: who is silent for longer is absent.
pub(crate) const ABSENT_AFTER_S: u64 = 40;

/// An agent.
pub(crate) struct Agent {
    pub(crate) id: AgentId,
    pub(crate) roles: AgentRoles,
    /// Its process runs.
    pub(crate) up: bool,
    /// Which run of its process this is.
    pub(crate) run: u32,
    /// The computer sleeps.
    pub(crate) asleep: bool,
    pub(crate) asleep_since_us: u64,
    /// How long it slept in all.
    pub(crate) slept_us: u64,
    pub(crate) on_wake: OnWake,
    /// Gone for good: its disk counts as lost.
    pub(crate) gone: bool,
    /// How far its wall clock is off.
    pub(crate) wall_offset_ms: i64,
    /// The ledger's time as it has seen it pass.
    pub(crate) clock: LedgerClock,
    pub(crate) disk: Disk,
    pub(crate) locks: Locks<ShardKey>,
    /// How far its copy of the ledger is.
    pub(crate) applied: u64,
    pub(crate) waiting: Vec<(u64, Slot<()>)>,
    /// Its copy is held up, though the network is well.
    pub(crate) lags_until_us: u64,
    /// The term it believes to lead.
    pub(crate) leads: Option<u64>,
    pub(crate) presence: PresenceCore,
    /// Shards nobody names, as its sweep has seen them; kept over restarts.
    pub(crate) book: OrphanBook,
}

impl Agent {
    pub(crate) fn new(number: usize, roles: AgentRoles, disk: Disk) -> Self {
        Self {
            id: agent_id(number),
            roles,
            up: true,
            run: 0,
            asleep: false,
            asleep_since_us: 0,
            slept_us: 0,
            on_wake: Vec::new(),
            gone: false,
            wall_offset_ms: 0,
            clock: LedgerClock::default(),
            disk,
            locks: Locks::default(),
            applied: 0,
            waiting: Vec::new(),
            lags_until_us: 0,
            leads: None,
            presence: presence(),
            book: OrphanBook::default(),
        }
    }

    /// Whether it has a copy of the ledger.
    pub(crate) fn holds_ledger(&self) -> bool {
        self.roles.mount || self.roles.vote
    }

    /// Forgets everything that was only in memory.
    pub(crate) fn forget(&mut self) {
        self.locks = Locks::default();
        self.waiting.clear();
        self.on_wake.clear();
        self.leads = None;
        self.clock = LedgerClock::default();
        self.presence = presence();
    }
}

fn presence() -> PresenceCore {
    let absent_after = Duration::from_secs(ABSENT_AFTER_S);
    PresenceCore::new(Patience { ping_interval: PING_INTERVAL, absent_after })
}
