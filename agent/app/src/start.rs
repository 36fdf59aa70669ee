//! Putting an agent together: its directory, its listeners, its way into a pool, and the parts that run.
//!
//! Nothing is written before the directory is known to be ours and the ports are taken; each step can be repeated after
//! a crash.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dci_proto::{AgentId, PoolId};
use shoal_consensus::{Consensus, ConsensusConfig, ConsensusError};
use shoal_dav::{Door, DoorConfig};
use shoal_ledger::{
    AgentRecord, AgentState, Command, LedgerClient, UserRecord, UserRole, VolumePolicy, query,
};
use shoal_net::{Net, NetConfig, NetStartError, Network};
use shoal_store::{MemoryStore, ShardStore};
use shoal_volume::{Drive, DriveConfig, ShardPeers};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::AgentError;
use crate::addresses::{advertised, certificate_names};
use crate::auth::{Credentials, generate_password, hash_password};
use crate::config::AgentConfig;
use crate::context::AgentContext;
use crate::copies::{CopySender, CopyShelf};
use crate::data_directory::{DataDirectory, KnownMember, Membership, Secret, random_secret};
use crate::discover::Discovery;
use crate::door::DoorAuthenticator;
use crate::handler::{AgentHandler, Parts};
use crate::health::Health;
use crate::janitor::Janitor;
use crate::join::{Doorkeeper, Joined, ask_until_approved, join_with_ticket};
use crate::members::MemberBook;
use crate::membership::MembershipKeeper;
use crate::no_ledger::NoLedger;
use crate::peers::Peers;
use crate::renew::Renewal;
use crate::run::{Agent, WaysIn};
use crate::status_board::StatusBoard;
use crate::stores;
use crate::ticket::{Ticket, now_ms};
use crate::tls::DoorTls;
use crate::transport::ControlTransport;

/// How many agents a pool shall survive the loss of, until somebody says otherwise.
pub const SURVIVE_DEFAULT: u8 = 2;
/// The first volume of a pool.
pub const FIRST_VOLUME: &str = "pool";
/// The first user of a pool.
pub const FIRST_USER: &str = "admin";
/// How long a new member waits for its copy of the ledger before it goes on without.
const FIRST_COPY_WAIT: Duration = Duration::from_secs(60);
/// How long a member of old waits until its copy shows what it knew before.
const KNOWN_COPY_WAIT: Duration = Duration::from_secs(3);
/// Time between two tries to give up uploads of earlier runs.
const ABORT_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// How an agent comes to its pool.
#[derive(Debug, Default)]
pub enum Entry {
    /// Goes on in the pool it belongs to; an agent that has none makes one, with this password for the first user, or
    /// one made up.
    #[default]
    Usual,
    /// Makes a pool whose first user has this password.
    Found {
        /// The password.
        password: String,
    },
    /// Joins with a ticket.
    Ticket(Ticket),
    /// Asks an agent of a pool, at the address of its data channel, and waits for approval.
    Ask {
        /// Where it listens.
        addresses: Vec<SocketAddr>,
        /// Who it must be, where known.
        expected: Option<AgentId>,
    },
}

/// What is told once, after the start that made the pool.
#[derive(Clone)]
pub struct FirstStart {
    /// The first user.
    pub user: String,
    /// Their password; kept nowhere in clear.
    pub password: String,
    /// The first volume.
    pub volume: String,
}

/// An agent that runs.
pub struct Started {
    /// The agent.
    pub agent: Agent,
    /// What is told once; `None` after the first start.
    pub first: Option<FirstStart>,
}

/// Starts an agent.
///
/// # Errors
/// If its directory, a port, its configuration or its pool do not let it; nothing keeps running then.
pub async fn start(config: AgentConfig, entry: Entry) -> Result<Started, AgentError> {
    let directory = Arc::new(DataDirectory::open(&config.data)?);
    let membership = directory.membership()?;
    refuse_other_pool(&config, membership.as_ref(), &entry)?;
    let doors = Doors::bind(&config).await?;
    let seed = directory.key_seed()?;
    let agent = shoal_net::agent_id_of_seed(&seed).map_err(|error| AgentError::Internal(error.to_string()))?;
    let listening = Listening::start(&config, &seed).await?;
    let config = AgentConfig { api: doors.api_address, dav: doors.dav_address, ..config };
    config.save_if_new()?;

    let store = open_store(&config).await?;
    let own = own_record(agent, &config, &listening, store.as_ref());
    let fresh = membership.is_none();
    let (membership, password) = match (membership, entry) {
        (Some(membership), Entry::Found { password }) => (membership, Some(password)),
        (Some(membership), _) => (membership, None),
        (None, Entry::Usual) => (found(&directory, &config)?, None),
        (None, Entry::Found { password }) => (found(&directory, &config)?, Some(password)),
        (None, Entry::Ticket(ticket)) => {
            let joined = join_with_ticket(&seed, &ticket, &own).await?;
            (keep_joined(&directory, joined)?, None)
        }
        (None, Entry::Ask { addresses, expected }) => {
            let joined = ask_until_approved(&seed, &addresses, expected, &own).await?;
            (keep_joined(&directory, joined)?, None)
        }
    };
    let store = store.filter(|_| membership.roles.store);
    let assembly = Assembly { agent, config, directory, membership, own, fresh, store, listening, doors };
    assembly.run(password).await
}

/// An agent belongs to one pool for good.
fn refuse_other_pool(
    config: &AgentConfig,
    membership: Option<&Membership>,
    entry: &Entry,
) -> Result<(), AgentError> {
    match (membership, entry) {
        (Some(membership), Entry::Ticket(ticket)) if membership.pool != ticket.pool => Err(AgentError::OtherPool {
            path: config.data.clone(),
            here: membership.pool_name.clone(),
            ticket: ticket.pool_name.clone(),
        }),
        _ => Ok(()),
    }
}

/// Listeners of the doors people use.
struct Doors {
    dav: Option<TcpListener>,
    dav_address: SocketAddr,
    api: TcpListener,
    api_address: SocketAddr,
}

impl Doors {
    async fn bind(config: &AgentConfig) -> Result<Self, AgentError> {
        let (api, api_address) = bind(config.api, "console and API").await?;
        let (dav, dav_address) = match config.roles.mount {
            true => bind(config.dav, "the drive").await.map(|(listener, address)| (Some(listener), address))?,
            false => (None, config.dav),
        };
        Ok(Self { dav, dav_address, api, api_address })
    }
}

async fn bind(address: SocketAddr, purpose: &'static str) -> Result<(TcpListener, SocketAddr), AgentError> {
    let failed = |error: std::io::Error| AgentError::Listen {
        address: address.to_string(),
        purpose,
        reason: error.to_string(),
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// The way to other agents, answering nobody yet.
struct Listening {
    net: Arc<Net>,
    handler: AgentHandler,
    doorkeeper: Doorkeeper,
    control: Vec<SocketAddr>,
    data: Vec<SocketAddr>,
}

impl Listening {
    async fn start(config: &AgentConfig, seed: &Secret) -> Result<Self, AgentError> {
        let (handler, doorkeeper) = (AgentHandler::default(), Doorkeeper::default());
        let net_config = NetConfig {
            key_seed: seed.clone(),
            control_listen: config.listen,
            data_listen: config.data_listen(),
        };
        let net = Net::start(net_config, Arc::new(handler.clone()), Arc::new(doorkeeper.clone())).await;
        let net = net.map_err(|error| match error {
            NetStartError::Listen { address, reason, .. } => {
                AgentError::Listen { address: address.to_string(), purpose: "other agents", reason }
            }
            other => AgentError::Internal(other.to_string()),
        })?;
        let control = advertised(config, net.control_addresses());
        let data = advertised(config, net.data_addresses());
        Ok(Self { net: Arc::new(net), handler, doorkeeper, control, data })
    }
}

async fn open_store(config: &AgentConfig) -> Result<Option<Arc<dyn ShardStore>>, AgentError> {
    if !config.roles.store {
        return Ok(None);
    }
    let config = config.clone();
    let opened = tokio::task::spawn_blocking(move || stores::open(&config)).await;
    let store = opened.map_err(|error| AgentError::Internal(format!("opening the stores: {error}")))??;
    Ok(Some(store))
}

fn own_record(
    agent: AgentId,
    config: &AgentConfig,
    listening: &Listening,
    store: Option<&Arc<dyn ShardStore>>,
) -> AgentRecord {
    AgentRecord {
        id: agent,
        name: config.name.trim().to_owned(),
        control_addresses: listening.control.clone(),
        data_addresses: listening.data.clone(),
        roles: config.roles,
        state: AgentState::Active,
        site: config.site.clone(),
        capacity_bytes: store.map_or(0, |store| store.space().capacity_bytes),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        joined_ms: now_ms(),
    }
}

/// Decides on a new pool. The ledger is begun later, and again after a crash.
fn found(directory: &DataDirectory, config: &AgentConfig) -> Result<Membership, AgentError> {
    let key = match directory.pool_key()? {
        Some(key) => key,
        None => random_secret()?,
    };
    directory.keep_pool_key(&key)?;
    let mut id = PoolId::default();
    id.0.copy_from_slice(&random_secret()?[..16]);
    let membership = Membership::new(id, FIRST_VOLUME.to_owned(), true, config.roles, Vec::new());
    directory.keep_membership(&membership)?;
    Ok(membership)
}

/// The key first: a membership without it would be no use.
fn keep_joined(directory: &DataDirectory, joined: Joined) -> Result<Membership, AgentError> {
    if let Some(key) = &joined.pool_key {
        directory.keep_pool_key(key)?;
    }
    let members: Vec<KnownMember> = joined.members;
    let membership = Membership::new(joined.pool, joined.pool_name, false, joined.roles, members);
    directory.keep_membership(&membership)?;
    Ok(membership)
}

/// Everything that is needed to run.
struct Assembly {
    agent: AgentId,
    config: AgentConfig,
    directory: Arc<DataDirectory>,
    membership: Membership,
    own: AgentRecord,
    /// Whether it has only just become a member.
    fresh: bool,
    store: Option<Arc<dyn ShardStore>>,
    listening: Listening,
    doors: Doors,
}

impl Assembly {
    async fn run(self, password: Option<String>) -> Result<Started, AgentError> {
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let (agent, timing) = (self.agent, self.config.timing.clone());
        let roles = self.membership.roles;
        let pool_key = self.directory.pool_key()?;
        let network: Arc<dyn Network> = self.listening.net.clone();
        let health = Arc::new(Health::new(agent, self.store.clone(), timing.clone()));
        let members = Arc::new(MemberBook::new(
            network.clone(),
            health.clone(),
            self.directory.clone(),
            self.membership.clone(),
        ));
        let consensus = match roles.mount || roles.vote {
            true => Some(self.start_consensus(network.clone()).await?),
            false => None,
        };
        let held: Option<Arc<dyn LedgerClient>> =
            consensus.as_ref().map(|consensus| Arc::new(consensus.clone()) as Arc<dyn LedgerClient>);
        let ledger = held.clone().unwrap_or_else(|| Arc::new(NoLedger));
        let shelf = self.store.is_some().then(|| Arc::new(CopyShelf::new(&self.config.data)));
        self.listening.handler.set(Parts {
            agent,
            store: self.store.clone(),
            consensus: consensus.clone(),
            ledger: held.clone(),
            health: health.clone(),
            members: members.clone(),
            network: network.clone(),
            copies: shelf.clone(),
        });
        tasks.spawn(health.clone().run(network.clone(), shutdown.clone()));

        let first = match &consensus {
            Some(consensus) => self.settle(consensus, &ledger, password).await?,
            None => None,
        };
        match &held {
            Some(ledger) => {
                tasks.spawn(members.clone().follow_ledger(ledger.clone(), shutdown.clone()));
                self.listening.doorkeeper.set(ledger.clone(), pool_key.clone());
            }
            None => {
                tasks.spawn(members.clone().follow_others(shutdown.clone()));
            }
        }
        let renewal = Renewal {
            agent,
            own: self.own.clone(),
            health: health.clone(),
            network: network.clone(),
            members: members.clone(),
            ledger: held,
            told: OnceLock::new(),
        };
        tasks.spawn(renewal.run(shutdown.clone()));

        let peers: Arc<dyn ShardPeers> = Arc::new(Peers::new(
            agent,
            self.store.clone(),
            network.clone(),
            health.clone(),
            ledger.clone(),
            timing.clone(),
        ));
        if let Some(consensus) = &consensus {
            let keeper =
                MembershipKeeper::new(agent, consensus.clone(), ledger.clone(), health.clone(), timing.clone());
            tasks.spawn(keeper.run(shutdown.clone()));
            let janitor = Janitor {
                agent,
                consensus: consensus.clone(),
                ledger: ledger.clone(),
                peers: peers.clone(),
                health: health.clone(),
                timing: timing.clone(),
            };
            tasks.spawn(janitor.run(shutdown.clone()));
            if let Some(pool_key) = &pool_key {
                let sender = CopySender {
                    agent,
                    pool: self.membership.pool,
                    pool_key: pool_key.clone(),
                    consensus: consensus.clone(),
                    network: network.clone(),
                    health: health.clone(),
                    shelf,
                };
                tasks.spawn(sender.run(timing.copy_interval, shutdown.clone()));
            }
        }

        let drive = match (&pool_key, roles.mount) {
            (Some(pool_key), true) => Some(self.open_drive(pool_key, &ledger, peers, &mut tasks, &shutdown)),
            (None, true) => {
                return Err(AgentError::Damaged {
                    path: self.config.data.join("pool.key"),
                    reason: "it is missing; an agent that serves the drive needs it".into(),
                });
            }
            (_, false) => None,
        };
        let credentials = Arc::new(Credentials::new(ledger.clone())?);
        let tls = DoorTls::new(&self.config.data, self.config.tls.clone(), certificate_names(&self.config));
        let (dav_address, dav_stats) = match (&drive, self.doors.dav) {
            (Some(drive), Some(listener)) => {
                let tls = tls.for_address(self.doors.dav_address)?;
                let authenticator = Arc::new(DoorAuthenticator(credentials.clone()));
                let door = Arc::new(Door::new(drive.clone(), authenticator, DoorConfig::default()));
                let stats = door.stats().clone();
                tasks.spawn(shoal_dav::serve(listener, tls, door, shutdown.clone()));
                (Some(self.doors.dav_address), Some(stats))
            }
            _ => (None, None),
        };
        let discovery = Discovery::start(&self.config, &self.own, &self.membership, &mut tasks, &shutdown);
        let context = Arc::new(AgentContext {
            agent,
            config: self.config,
            roles,
            dav_address,
            dav_stats,
            control_addresses: self.listening.control,
            data_addresses: self.listening.data,
            ledger,
            consensus,
            drive,
            store: self.store.unwrap_or_else(|| Arc::new(MemoryStore::new(0))),
            health,
            network,
            credentials,
            tls,
            status: StatusBoard::default(),
            discovery,
            shutdown,
        });
        let ways_in =
            WaysIn { net: self.listening.net, handler: self.listening.handler, doorkeeper: self.listening.doorkeeper };
        let mut agent = Agent::new(context, ways_in, self.directory, tasks);
        agent.serve_api(self.doors.api)?;
        Ok(Started { agent, first })
    }

    async fn start_consensus(&self, network: Arc<dyn Network>) -> Result<Consensus, AgentError> {
        let config = ConsensusConfig {
            cache_bytes: usize::try_from(self.config.ledger_cache_bytes).unwrap_or(usize::MAX),
            heartbeat: self.config.timing.heartbeat,
            election_timeout: self.config.timing.election_timeout,
            ..ConsensusConfig::new(self.agent, self.config.data.join("ledger"))
        };
        let transport = Arc::new(ControlTransport::new(network));
        Consensus::start(config, transport).await.map_err(|error| AgentError::Consensus(error.to_string()))
    }

    /// Sees to it that the ledger has the pool and this agent in it, as far as that is possible now.
    async fn settle(
        &self,
        consensus: &Consensus,
        ledger: &Arc<dyn LedgerClient>,
        password: Option<String>,
    ) -> Result<Option<FirstStart>, AgentError> {
        if self.membership.founder {
            return self.make_pool(consensus, ledger, password).await;
        }
        let patience = if self.fresh { FIRST_COPY_WAIT } else { KNOWN_COPY_WAIT };
        if tokio::time::timeout(patience, self.wait_for_own_record(ledger)).await.is_err() {
            tracing::warn!("the ledger does not show this agent as a member yet; going on");
        }
        Ok(None)
    }

    /// Each step is taken only if the ledger shows it was not taken before: a founder that was stopped halfway goes on
    /// here.
    async fn make_pool(
        &self,
        consensus: &Consensus,
        ledger: &Arc<dyn LedgerClient>,
        password: Option<String>,
    ) -> Result<Option<FirstStart>, AgentError> {
        if !query::users(&*ledger.view()?)?.is_empty() {
            return Ok(None);
        }
        match consensus.initialize().await {
            Ok(()) | Err(ConsensusError::NotEmpty) => {}
            Err(error) => return Err(AgentError::Consensus(error.to_string())),
        }
        // What is in the log shows only once a leader has had it applied.
        if let Err(error) = ledger.barrier().await {
            tracing::warn!(%error, "going on with what this agent knows of its pool");
            return Ok(None);
        }
        if query::pool(&*ledger.view()?)?.is_none() {
            let (id, name) = (self.membership.pool, self.membership.pool_name.clone());
            let first = self.own.clone();
            ledger.submit(Command::CreatePool { id, name, survive: SURVIVE_DEFAULT, first }).await?;
            ledger.barrier().await?;
        }
        let view = ledger.view()?;
        let (users, volumes) = (query::users(&*view)?, query::volumes(&*view)?);
        drop(view);
        if !users.is_empty() {
            return Ok(None);
        }
        if volumes.is_empty() {
            let (name, policy) = (FIRST_VOLUME.to_owned(), VolumePolicy::default());
            ledger.submit(Command::CreateVolume { name, policy }).await?;
        }
        let password = password.unwrap_or_else(generate_password);
        let password_hash = hash_password(&password).await?;
        let user =
            UserRecord { name: FIRST_USER.to_owned(), password_hash, role: UserRole::Admin, created_ms: now_ms() };
        ledger.submit(Command::PutUser(user)).await?;
        ledger.barrier().await?;
        Ok(Some(FirstStart { user: FIRST_USER.to_owned(), password, volume: FIRST_VOLUME.to_owned() }))
    }

    async fn wait_for_own_record(&self, ledger: &Arc<dyn LedgerClient>) {
        let mut position = 0;
        loop {
            let known = ledger.view().and_then(|view| query::agent(&*view, self.agent));
            if matches!(known, Ok(Some(_))) {
                return;
            }
            position = ledger.changed(position).await;
        }
    }

    fn open_drive(
        &self,
        pool_key: &Secret,
        ledger: &Arc<dyn LedgerClient>,
        peers: Arc<dyn ShardPeers>,
        tasks: &mut JoinSet<()>,
        shutdown: &CancellationToken,
    ) -> Drive {
        // Uploads of this run are told from those of runs before by the time it began; a clock set back does no harm
        // unless it hits the very millisecond.
        let (agent, run) = (self.agent, now_ms());
        let config = DriveConfig { cache_bytes: self.config.cache_bytes, ..DriveConfig::new(agent, run, **pool_key) };
        let (aborting, shutdown) = (ledger.clone(), shutdown.clone());
        tasks.spawn(async move {
            while aborting.submit(Command::AbortOldUploads { agent, run }).await.is_err() {
                if shutdown.run_until_cancelled(tokio::time::sleep(ABORT_AGAIN_AFTER)).await.is_none() {
                    return;
                }
            }
        });
        Drive::new(ledger.clone(), peers, config)
    }
}
