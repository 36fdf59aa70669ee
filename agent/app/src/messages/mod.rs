//! The message plane: envelopes between agents, over agents in between, to peerlets and to those who wait at a door.
//!
//! ```text
//!  door ─ Draft ─► outgoing ─ sign ─► mailbox (disk) ─ Sending ─┐        ┌─► couriers ─► neighbours
//!                                                              ▼        │
//!  neighbours ─► arriving ─ decode, check, verify ─────────► router (pure)
//!                                                              │ Deliver
//!                                                              ▼
//!              receipts ◄─ rights (ledger) ─ taking ─► mailbox ─► handling ─► host ─► peerlet
//! ```
//!
//! - [`Messages::send`] answers when a message is on this disk; what became of it at each recipient is in the mailbox.
//! - A message that answers another is never given to a peerlet: it is in the log, and [`Messages::follow`] tells it.
//! - Nothing is taken unless its signature is right and its agent a member; the recipient also asks the ledger whether
//!   the user may send that.
//!
//! What decides is pure and elsewhere: the router in `dci-proto`, the mailbox's and the host's cores. `docs/decisions/0008-messages.md`
//! says who does what.

mod arriving;
mod asking;
mod auditing;
mod clock;
mod courier;
mod crowd;
mod directory;
mod draft;
mod frames;
mod full_disk;
mod handling;
mod interests;
mod links;
mod outgoing;
mod passed;
mod past;
mod peerlets;
pub(crate) mod permission;
mod receipts;
mod taking;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use dci_proto::AgentId;
use dci_proto::message::GroupName;
use dci_proto::router::{Router, RouterLimits};
use shoal_ledger::LedgerClient;
use shoal_mailbox::{Follower, Mailbox, MailboxConfig, MailboxError, Opened, Retention};
use shoal_net::{Network, Signer};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::AgentError;
use crate::audit::AuditLog;
use crate::health::Health;
use crate::members::MemberBook;

use asking::Asking;
use clock::PoolClock;
use courier::Couriers;
use crowd::Crowd;
use directory::DirectoryDesk;
pub(crate) use directory::Listed;
use full_disk::FullDisk;
use interests::Interests;
use passed::PassedLately;
use past::PastOfLog;
use permission::Permissions;
use receipts::Receipts;

pub(crate) use draft::{Draft, SendError, Sent, Target, new_id};
pub(crate) use past::{TakenBefore, is_taken};
pub(crate) use peerlets::{HostSettings, LAUNCHER_WORD, PeerletError, Peerlets, Shipped};
pub(crate) use watch::{Watch, Watched};

/// Where the mailbox lies in a data directory.
const MAILBOX_FILE: &str = "messages/mailbox.redb";
/// Messages that are being taken in at once, at most; whoever hands in more waits.
const TAKING_LIMIT: usize = 2_048;
/// How long work under way may take when the agent ends.
const END_DEADLINE: Duration = Duration::from_secs(5);
/// How long the mailbox of an agent that just ended in this process is waited for, and how often it is looked at.
const OPEN_TRIES: u32 = 50;
const OPEN_PAUSE: Duration = Duration::from_millis(100);

/// What the plane works with.
pub(crate) struct MessageParts {
    pub(crate) agent: AgentId,
    pub(crate) signer: Signer,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) health: Arc<Health>,
    pub(crate) members: Arc<MemberBook>,
    /// `None` on an agent that holds none.
    pub(crate) ledger: Option<Arc<dyn LedgerClient>>,
    pub(crate) audit: AuditLog,
}

/// What was refused and why, counted.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// No message, or not as its schema says.
    pub(crate) malformed: AtomicU64,
    /// The agent that is said to have signed it is no member.
    pub(crate) stranger: AtomicU64,
    /// The signature is wrong.
    pub(crate) forged: AtomicU64,
    /// Its time is over, or has not begun.
    pub(crate) out_of_time: AtomicU64,
    /// Its hops are no number that is sent.
    pub(crate) hops: AtomicU64,
    /// Its user may not send it, or it answers nothing.
    pub(crate) not_permitted: AtomicU64,
}

impl Refusals {
    /// Each reason in a word, and how often.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 6] {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("malformed", count(&self.malformed)),
            ("stranger", count(&self.stranger)),
            ("forged", count(&self.forged)),
            ("out_of_time", count(&self.out_of_time)),
            ("hops", count(&self.hops)),
            ("not_permitted", count(&self.not_permitted)),
        ]
    }
}

/// The messages of an agent.
pub(crate) struct Messages {
    agent: AgentId,
    signer: Signer,
    network: Arc<dyn Network>,
    health: Arc<Health>,
    members: Arc<MemberBook>,
    ledger: Option<Arc<dyn LedgerClient>>,
    clock: Arc<PoolClock>,
    started: Instant,
    mailbox: Arc<Mailbox>,
    directory: DirectoryDesk,
    router: Mutex<Router>,
    couriers: Couriers,
    lately: Mutex<PassedLately>,
    permissions: Permissions,
    peerlets: Peerlets,
    interests: Arc<Interests>,
    asking: Arc<Asking>,
    in_hand: handling::InHand,
    crowd: Arc<Crowd>,
    full_disk: FullDisk,
    receipts: Receipts,
    audit: AuditLog,
    /// The groups this agent is in.
    groups: RwLock<BTreeSet<GroupName>>,
    /// Requests with messages under way from each neighbour.
    arriving: Mutex<BTreeMap<AgentId, usize>>,
    checks: Semaphore,
    taking: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    refusals: Refusals,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Messages {
    /// Opens the mailbox and sets all going; ends with `shutdown`.
    pub(crate) async fn start(
        parts: MessageParts,
        data: &Path,
        retention: Retention,
        host: HostSettings,
        shutdown: CancellationToken,
    ) -> Result<Arc<Self>, AgentError> {
        let clock = Arc::new(PoolClock::new(parts.ledger.clone()));
        let interests = Arc::<Interests>::default();
        let crowd = Arc::<Crowd>::default();
        let asking = Arc::new(Asking::new(interests.clone(), crowd.clone()));
        let config = MailboxConfig {
            clock: clock.clone(),
            observer: Some(asking.clone()),
            retention,
            ..MailboxConfig::new(data.join(MAILBOX_FILE), parts.agent)
        };
        let Opened { mailbox, outgoing, incoming } = open_mailbox(config).await?;
        let mailbox = Arc::new(mailbox);
        let past = PastOfLog { mailbox: Arc::downgrade(&mailbox), clock: clock.clone() };
        let permissions = Permissions {
            ledger: parts.ledger.clone(),
            network: parts.network.clone(),
            members: parts.members.clone(),
        };
        // Half of the processors check signatures, so that a flood of them leaves room for everything else.
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let messages = Arc::new(Self {
            agent: parts.agent,
            signer: parts.signer,
            couriers: Couriers::new(parts.network.clone()),
            directory: DirectoryDesk::new(parts.agent, parts.network.clone()),
            network: parts.network,
            health: parts.health,
            members: parts.members,
            ledger: parts.ledger,
            clock,
            started: Instant::now(),
            interests,
            asking,
            in_hand: handling::InHand::default(),
            crowd,
            full_disk: FullDisk::new(data),
            receipts: Receipts::default(),
            mailbox,
            router: Mutex::new(Router::new(parts.agent, RouterLimits::default())),
            lately: Mutex::default(),
            permissions,
            audit: parts.audit,
            peerlets: Peerlets::start(host, Arc::new(past)).await,
            groups: RwLock::default(),
            arriving: Mutex::default(),
            checks: Semaphore::new((processors / 2).max(1)),
            taking: Arc::new(Semaphore::new(TAKING_LIMIT)),
            watches: Arc::new(Semaphore::new(watch::WATCHES_LIMIT)),
            refusals: Refusals::default(),
            tasks: TaskTracker::new(),
            shutdown,
        });
        let tasks = &messages.tasks;
        tasks.spawn(messages.clone().follow_links());
        tasks.spawn(messages.clone().follow_groups());
        tasks.spawn(messages.clone().keep_directory());
        tasks.spawn(messages.clone().ask_how_far_messages_are());
        tasks.spawn(messages.clone().send_what_is_due(outgoing));
        tasks.spawn(messages.clone().handle_what_came(incoming));
        Ok(messages)
    }

    /// Waits for `shutdown`, then ends all programs and what is under way.
    pub(crate) async fn run(self: Arc<Self>) {
        self.shutdown.cancelled().await;
        self.peerlets.end().await;
        self.tasks.close();
        if tokio::time::timeout(END_DEADLINE, self.tasks.wait()).await.is_err() {
            tracing::warn!("some messages were still being dealt with; they are taken up at the next start");
        }
    }

    /// The mailbox: states, log.
    pub(crate) fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// Peerlets of this agent.
    pub(crate) fn peerlets(&self) -> &Peerlets {
        &self.peerlets
    }

    /// What happens from now on.
    pub(crate) fn follow(&self) -> Follower {
        self.mailbox.follow()
    }

    /// What was refused since the start.
    pub(crate) fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// ms since 1970, as the pool has it.
    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    /// Copies sent to neighbours and copies dropped, since the start; messages remembered and ways learnt by the router.
    pub(crate) fn traffic(&self) -> Traffic {
        let (seen, routes) = self.router().table_sizes();
        let counts = self.couriers.counts();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            sent: get(&counts.sent),
            dropped: get(&counts.dropped),
            seen,
            routes,
            neighbours: self.router().neighbours().count(),
        }
    }

    fn steady_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn router(&self) -> MutexGuard<'_, Router> {
        self.router.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Figures of the plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) sent: u64,
    pub(crate) dropped: u64,
    pub(crate) seen: usize,
    pub(crate) routes: usize,
    pub(crate) neighbours: usize,
}

/// An agent that just ended in this process may still have it open.
async fn open_mailbox(config: MailboxConfig) -> Result<Opened, AgentError> {
    if let Some(folder) = config.path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| AgentError::directory("make", folder, &error))?;
    }
    let mut tries = 0;
    loop {
        let config = config.clone();
        let opened = tokio::task::spawn_blocking(move || Mailbox::open(config)).await;
        match opened.map_err(|error| AgentError::Internal(format!("opening the mailbox: {error}")))? {
            Err(MailboxError::InUse(_)) if tries < OPEN_TRIES => {
                tries += 1;
                tokio::time::sleep(OPEN_PAUSE).await;
            }
            Err(MailboxError::NewerVersion { path, found, known }) => {
                let number = |version: u64| u32::try_from(version).unwrap_or(u32::MAX);
                let (found, known) = (number(found), number(known));
                return Err(AgentError::NewerVersion { what: path.display().to_string(), found, known });
            }
            Err(error) => return Err(AgentError::Messages(error.to_string())),
            Ok(opened) => return Ok(opened),
        }
    }
}
