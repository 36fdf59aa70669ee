//! The parts of an agent put together and set going, once it has its directory, its ports and its pool.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dci_proto::AgentId;
use shoal_consensus::{Consensus, ConsensusConfig, ConsensusError, Headroom};
use shoal_dav::{Door, DoorConfig, DoorStats};
use shoal_ledger::{AgentRecord, Command, LedgerClient, query};
use shoal_mailbox::Retention;
use shoal_net::{Network, Signer};
use shoal_store::{MemoryStore, ShardStore};
use shoal_volume::{Drive, DriveConfig};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::AgentError;
use crate::addresses::certificate_names;
use crate::audit::AuditLog;
use crate::auth::Credentials;
use crate::backup::{BackupParts, Backups};
use crate::check::CheckBoard;
use crate::clock;
use crate::config::AgentConfig;
use crate::context::AgentContext;
use crate::copies::{CopySender, CopyShelf};
use crate::data_directory::{DataDirectory, Membership, Secret};
use crate::discover::Discovery;
use crate::door::DoorAuthenticator;
use crate::expiry::Expiry;
use crate::files::{Files, FilesParts};
use crate::handler::Parts;
use crate::health::Health;
use crate::holdings::Holdings;
use crate::janitor::Janitor;
use crate::join::standing::{self, Standing};
use crate::join::words::About;
use crate::keeping::{Keeping, KeepingBoard, Recutter};
use crate::ledger_mark;
use crate::listeners::{Doors, Listening};
use crate::machine::{Background, Checkup, Foreground, OwnStores, SystemLoad, Wake, WakeWatch};
use crate::member_list::MemberList;
use crate::members::MemberBook;
use crate::membership::MembershipKeeper;
use crate::mend::Mender;
use crate::messages::{HostSettings, MessageParts, Messages};
use crate::no_ledger::NoLedger;
use crate::orphans::Orphans;
use crate::peers::Peers;
use crate::rebuild::Rebuilder;
use crate::renew::Renewal;
use crate::room;
use crate::run::{Agent, WaysIn};
use crate::scrub::{ScrubParts, Scrubber};
use crate::settle::Settling;
use crate::start::Started;
use crate::status_board::StatusBoard;
use crate::store_gate::GuardedStore;
use crate::ticket::now_ms;
use crate::tls::DoorTls;
use crate::transport::ControlTransport;
use crate::trash::TrashKeeper;

/// Time between two tries to give up uploads of earlier runs.
const ABORT_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Everything an agent is made of before it runs.
pub(crate) struct Assembly {
    pub(crate) agent: AgentId,
    pub(crate) config: AgentConfig,
    pub(crate) directory: Arc<DataDirectory>,
    pub(crate) membership: Membership,
    pub(crate) own: AgentRecord,
    /// Whether it has only just become a member.
    pub(crate) fresh: bool,
    pub(crate) store: Option<Arc<GuardedStore>>,
    /// Whether it was struck off, and only says so.
    pub(crate) struck_off: bool,
    pub(crate) own_stores: Option<OwnStores>,
    pub(crate) headroom: Arc<Headroom>,
    pub(crate) audit: AuditLog,
    pub(crate) listening: Listening,
    pub(crate) doors: Doors,
}

/// What the parts share, and what runs.
struct Core {
    network: Arc<dyn Network>,
    health: Arc<Health>,
    members: Arc<MemberBook>,
    peers: Arc<Peers>,
    mender: Arc<Mender>,
    scrubber: Option<Arc<Scrubber>>,
    consensus: Option<Consensus>,
    /// The ledger, or on an agent that holds none what says so.
    ledger: Arc<dyn LedgerClient>,
    pool_key: Option<Secret>,
    shelf: Option<Arc<CopyShelf>>,
    foreground: Arc<Foreground>,
    background: Arc<Background>,
    wake: Wake,
    keeping: Arc<KeepingBoard>,
    tasks: JoinSet<()>,
    shutdown: CancellationToken,
    /// Cancelled when this agent is no member any more.
    struck_off: CancellationToken,
}

impl Core {
    fn held_ledger(&self) -> Option<Arc<dyn LedgerClient>> {
        self.consensus.is_some().then(|| self.ledger.clone())
    }
}

impl Assembly {
    /// Sets everything going; returns when the agent can be used.
    pub(crate) async fn run(self, password: Option<String>) -> Result<Started, AgentError> {
        let mut core = self.core().await?;
        self.answer_members(&mut core);
        let first = match &core.consensus {
            Some(consensus) => {
                let settling = Settling {
                    membership: &self.membership,
                    own: &self.own,
                    fresh: self.fresh,
                    consensus,
                    ledger: &core.ledger,
                };
                settling.settle(password).await?
            }
            None => None,
        };
        ledger_mark::set(&self.config.data)?;
        self.follow_members(&mut core)?;
        self.tend_ledger(&mut core);
        let drive = self.open_drive(&mut core)?;
        self.tend_trash(&mut core, drive.clone());
        self.keep_volume(&mut core, drive.as_ref())?;
        core.tasks.spawn(core.mender.clone().run(drive.clone(), core.shutdown.clone()));
        if let Some(scrubber) = core.scrubber.clone() {
            core.tasks.spawn(scrubber.run(core.shutdown.clone()));
        }
        let messages = self.open_messages(&mut core).await?;
        let files = self.open_files(&mut core, &messages).await;
        let backups = self.open_backups(&mut core).await?;
        let agent = self.open_doors(core, drive, messages, files, backups)?;
        Ok(Started { agent, first })
    }

    async fn core(&self) -> Result<Core, AgentError> {
        let network: Arc<dyn Network> = self.listening.net.clone();
        let health = Arc::new(Health::new(
            self.agent,
            self.store.clone().map(|store| store as Arc<dyn ShardStore>),
            self.config.timing.clone(),
        ));
        let (directory, membership) = (self.directory.clone(), self.membership.clone());
        let members = Arc::new(MemberBook::new(network.clone(), health.clone(), directory, membership));
        let consensus = match self.membership.roles.mount || self.membership.roles.vote {
            true => Some(self.start_consensus(network.clone(), health.clone()).await?),
            false => None,
        };
        let ledger: Arc<dyn LedgerClient> = match &consensus {
            Some(consensus) => Arc::new(consensus.clone()),
            None => match &self.struck_off {
                true => Arc::new(NoLedger::because(standing::saying(&self.config.data, &self.membership.pool_name))),
                false => Arc::new(NoLedger::store_only()),
            },
        };
        let shelf = self.store.is_some().then(|| Arc::new(CopyShelf::new(&self.config.data)));
        let foreground = Arc::new(Foreground::default());
        let background = Background::new(SystemLoad::new(foreground.clone()));
        let wake = Wake::default();
        let rebuilder =
            self.store.clone().map(|store| Rebuilder::new(self.agent, store, ledger.clone(), background.clone()));
        let peers = Arc::new(Peers::new(
            self.agent,
            self.store.clone(),
            network.clone(),
            health.clone(),
            ledger.clone(),
            self.config.timing.clone(),
            rebuilder,
        ));
        let held = consensus.is_some().then(|| ledger.clone());
        let holdings = Arc::new(Holdings {
            agent: self.agent,
            ledger: held.clone(),
            network: network.clone(),
            members: members.clone(),
        });
        let meter = self.own_stores.as_ref().map(|own| own.meter.clone());
        let mender = Arc::new(Mender::new(self.agent, peers.clone(), holdings.clone(), meter));
        let scrubber = self.store.clone().map(|store| {
            let (mender, file) = (mender.clone(), self.config.data.join("scrub.json"));
            let (background, wake) = (background.clone(), wake.clone());
            Arc::new(Scrubber::new(ScrubParts { store, holdings, mender, ledger: held, background, wake, file }))
        });
        let (pool_key, tasks, shutdown) = (self.directory.pool_key()?, JoinSet::new(), CancellationToken::new());
        Ok(Core {
            network,
            health,
            members,
            peers,
            mender,
            scrubber,
            consensus,
            ledger,
            pool_key,
            shelf,
            foreground,
            background,
            wake,
            keeping: Arc::default(),
            tasks,
            shutdown,
            struck_off: CancellationToken::new(),
        })
    }

    async fn start_consensus(&self, network: Arc<dyn Network>, health: Arc<Health>) -> Result<Consensus, AgentError> {
        let config = ConsensusConfig {
            cache_bytes: usize::try_from(self.config.ledger_cache_bytes).unwrap_or(usize::MAX),
            heartbeat: self.config.timing.heartbeat,
            election_timeout: self.config.timing.election_timeout,
            headroom: self.headroom.clone(),
            ..ConsensusConfig::new(self.agent, self.config.data.join("ledger"))
        };
        ledger_mark::check(&self.config.data)?;
        let transport = Arc::new(ControlTransport::new(network, health));
        let consensus = Consensus::start(config, transport).await;
        let consensus = consensus.map_err(ledger_unusable)?;
        clock::check(now_ms(), query::time_ms(&*consensus.view()?)?)?;
        Ok(consensus)
    }

    /// From here on other members get answers, and are asked whether they live.
    fn answer_members(&self, core: &mut Core) {
        self.listening.handler.set(Parts {
            agent: self.agent,
            store: self.store.clone(),
            consensus: core.consensus.clone(),
            ledger: core.held_ledger(),
            health: core.health.clone(),
            members: core.members.clone(),
            network: core.network.clone(),
            peers: core.peers.clone(),
            scrubber: core.scrubber.clone(),
            mender: core.mender.clone(),
            copies: core.shelf.clone(),
            foreground: core.foreground.clone(),
            keeping: core.keeping.clone(),
            recutter: OnceLock::new(),
            messages: OnceLock::new(),
            files: OnceLock::new(),
            backups: OnceLock::new(),
        });
        let watch = WakeWatch { wake: core.wake.clone(), health: core.health.clone(), ledger: core.held_ledger() };
        core.tasks.spawn(watch.run(core.shutdown.clone()));
        let checkup = Checkup {
            health: core.health.clone(),
            wake: core.wake.clone(),
            own: self.own_stores.clone(),
            directories: self.config.stores.clone(),
            smart: self.config.smart.clone(),
        };
        core.tasks.spawn(checkup.run(core.shutdown.clone()));
        core.tasks.spawn(core.health.clone().run(core.network.clone(), core.shutdown.clone()));
    }

    /// Keeps in step with who is a member, lets newcomers in, and says of itself what the others need to know.
    fn follow_members(&self, core: &mut Core) -> Result<(), AgentError> {
        let (members, shutdown) = (core.members.clone(), core.shutdown.clone());
        match core.held_ledger() {
            Some(ledger) => {
                core.tasks.spawn(members.follow_ledger(ledger.clone(), shutdown));
                self.listening.doorkeeper.set(ledger, core.pool_key.clone());
            }
            None => {
                core.tasks.spawn(members.follow_others(shutdown));
            }
        }
        let renewal = Renewal {
            agent: self.agent,
            own: self.own.clone(),
            health: core.health.clone(),
            network: core.network.clone(),
            members: core.members.clone(),
            ledger: core.held_ledger(),
            told: OnceLock::new(),
        };
        core.tasks.spawn(renewal.run(core.shutdown.clone()));
        let standing = Standing {
            key_seed: self.directory.key_seed()?,
            pool: self.membership.pool,
            health: core.health.clone(),
            members: core.members.clone(),
            struck_off: core.struck_off.clone(),
        };
        core.tasks.spawn(standing.run(core.shutdown.clone()));
        Ok(())
    }

    /// What is done on the ledger's word: by every store for itself, and by the leader, which every agent is ready to be.
    fn tend_ledger(&self, core: &mut Core) {
        let Some(consensus) = core.consensus.clone() else { return };
        let timing = self.config.timing.clone();
        let (ledger, health) = (core.ledger.clone(), core.health.clone());
        if let Some(store) = self.store.clone() {
            let file = self.config.data.join("orphans.json");
            let orphans = Orphans { agent: self.agent, store, ledger: ledger.clone(), file };
            core.tasks.spawn(orphans.run(core.shutdown.clone()));
        }
        let keeper =
            MembershipKeeper::new(self.agent, consensus.clone(), ledger.clone(), health.clone(), timing.clone());
        core.tasks.spawn(keeper.run(core.shutdown.clone()));
        let expiry =
            Expiry { agent: self.agent, consensus: consensus.clone(), ledger: ledger.clone(), timing: timing.clone() };
        core.tasks.spawn(expiry.run(core.shutdown.clone()));
        if let Some(pool_key) = core.pool_key.clone() {
            let sender = CopySender {
                agent: self.agent,
                pool: self.membership.pool,
                pool_key,
                consensus: consensus.clone(),
                network: core.network.clone(),
                health: health.clone(),
                shelf: core.shelf.clone(),
            };
            core.tasks.spawn(sender.run(timing.copy_interval, core.shutdown.clone()));
        }
        let janitor = Janitor { agent: self.agent, consensus, ledger, peers: core.peers.clone(), health, timing };
        core.tasks.spawn(janitor.run(core.shutdown.clone()));
    }

    /// Lets go of trash whose time is over or whose room is needed.
    fn tend_trash(&self, core: &mut Core, drive: Option<Drive>) {
        let Some(consensus) = core.consensus.clone() else { return };
        let peers = core.peers.clone();
        let (agent, ledger, interval) = (self.agent, core.ledger.clone(), self.config.timing.membership_interval);
        let keeper = TrashKeeper { agent, consensus, ledger, peers, drive, interval };
        core.tasks.spawn(keeper.run(core.shutdown.clone()));
    }

    /// Has lost shards rebuilt and stripes cut anew whenever this agent leads, and does its part when another one does.
    fn keep_volume(&self, core: &mut Core, drive: Option<&Drive>) -> Result<(), AgentError> {
        let recutter =
            Arc::new(Recutter::new(self.agent, core.network.clone(), drive.cloned(), core.background.clone()));
        self.listening.handler.set_recutter(recutter.clone());
        let Some(consensus) = core.consensus.clone() else { return Ok(()) };
        let keeping = Keeping {
            agent: self.agent,
            consensus,
            ledger: core.ledger.clone(),
            health: core.health.clone(),
            peers: core.peers.clone(),
            recutter,
            board: core.keeping.clone(),
            key: self.directory.key_seed()?,
        };
        core.tasks.spawn(keeping.run(core.shutdown.clone()));
        Ok(())
    }

    fn open_drive(&self, core: &mut Core) -> Result<Option<Drive>, AgentError> {
        if !self.membership.roles.mount {
            return Ok(None);
        }
        let Some(pool_key) = &core.pool_key else {
            let reason = "it is missing; an agent that serves the drive needs it".to_owned();
            return Err(AgentError::Damaged { path: self.config.data.join("pool.key"), reason });
        };
        // Uploads of this run are told from those of runs before by the time it began; a clock set back does no harm
        // unless it hits the very millisecond.
        let (agent, run) = (self.agent, now_ms());
        let headroom = self.headroom.clone();
        let config = DriveConfig {
            cache_bytes: self.config.cache_bytes,
            admission: Arc::new(move || room::refusal(&headroom)),
            ..DriveConfig::new(agent, run, **pool_key)
        };
        let drive = Drive::new(core.ledger.clone(), core.peers.clone(), config);
        let (ledger, shutdown) = (core.ledger.clone(), core.shutdown.clone());
        core.tasks.spawn(async move {
            while let Err(error) = ledger.submit(Command::AbortOldUploads { agent, run }).await {
                tracing::debug!(%error, "uploads of earlier runs are not given up yet");
                if shutdown.run_until_cancelled(tokio::time::sleep(ABORT_AGAIN_AFTER)).await.is_none() {
                    return;
                }
            }
        });
        Ok(Some(drive))
    }

    /// Messages and peerlets. An agent whose mailbox cannot be used goes on with everything else, and says so to who asks.
    async fn open_messages(&self, core: &mut Core) -> Result<Result<Arc<Messages>, String>, AgentError> {
        if self.struck_off {
            return Ok(Err("this agent is no member of its pool any more".to_owned()));
        }
        let signer = Signer::of_seed(&*self.directory.key_seed()?);
        let parts = MessageParts {
            agent: self.agent,
            signer: signer.map_err(|error| AgentError::Internal(error.to_string()))?,
            network: core.network.clone(),
            health: core.health.clone(),
            members: core.members.clone(),
            ledger: core.held_ledger(),
            audit: self.audit.clone(),
        };
        let host = HostSettings {
            data: self.config.data.clone(),
            program: self.config.program.clone(),
            shipped: crate::shipped::all(&self.config),
        };
        let log = self.config.message_log;
        let retention = Retention {
            age_ms: log.keep_days.saturating_mul(24 * 60 * 60 * 1_000),
            bytes: log.keep_mib.saturating_mul(1024 * 1024),
        };
        match Messages::start(parts, &self.config.data, retention, host, core.shutdown.clone()).await {
            Ok(messages) => {
                self.listening.handler.set_messages(messages.clone());
                core.tasks.spawn(messages.clone().run());
                Ok(Ok(messages))
            }
            Err(error @ AgentError::NewerVersion { .. }) => Err(error),
            Err(error) => {
                tracing::error!(%error, "this agent takes and sends no messages");
                Ok(Err(error.to_string()))
            }
        }
    }

    /// Files between agents; without messages there are none.
    async fn open_files(
        &self,
        core: &mut Core,
        messages: &Result<Arc<Messages>, String>,
    ) -> Result<Arc<Files>, String> {
        let parts = FilesParts {
            agent: self.agent,
            data: self.config.data.clone(),
            config: self.config.files.clone(),
            network: core.network.clone(),
            messages: messages.clone()?,
        };
        let files = Files::start(parts, core.shutdown.clone()).await.map_err(|error| {
            tracing::error!(%error, "this agent takes and sends no files");
            error.to_string()
        })?;
        self.listening.handler.set_files(files.clone());
        core.tasks.spawn(files.clone().run());
        Ok(files)
    }

    /// Backups. An agent that cannot use what lies there goes on with everything else, and says so to who asks.
    async fn open_backups(&self, core: &mut Core) -> Result<Result<Arc<Backups>, String>, AgentError> {
        if self.struck_off {
            return Ok(Err("this agent is no member of its pool any more".to_owned()));
        }
        let signer = Signer::of_seed(&*self.directory.key_seed()?);
        let parts = BackupParts {
            agent: self.agent,
            name: self.own.name.clone(),
            signer: signer.map_err(|error| AgentError::Internal(error.to_string()))?,
            network: core.network.clone(),
            health: core.health.clone(),
            members: core.members.clone(),
        };
        let config = self.config.clone();
        let opened = tokio::task::spawn_blocking(move || Backups::open(parts, &config)).await;
        let backups = match opened.map_err(|error| error.to_string()).and_then(|opened| opened) {
            Ok(backups) => backups,
            Err(error) => {
                tracing::error!(error, "this agent has no backups");
                return Ok(Err(error));
            }
        };
        self.listening.handler.set_backups(backups.clone());
        core.tasks.spawn(backups.clone().run(core.shutdown.clone()));
        Ok(Ok(backups))
    }

    /// Lets people in, last of all.
    fn open_doors(
        self,
        mut core: Core,
        drive: Option<Drive>,
        messages: Result<Arc<Messages>, String>,
        files: Result<Arc<Files>, String>,
        backups: Result<Arc<Backups>, String>,
    ) -> Result<Agent, AgentError> {
        let credentials = Arc::new(Credentials::new(core.ledger.clone())?);
        let tls = DoorTls::new(&self.config.data, self.config.tls.clone(), certificate_names(&self.config));
        let dav_stats = match (&drive, self.doors.dav) {
            (Some(drive), Some(listener)) => Some(serve_drive(&mut core, drive, listener, &credentials, &tls)?),
            _ => None,
        };
        if let Some(stats) = &dav_stats {
            core.foreground.set_door(stats.clone());
        }
        if self.config.announce {
            self.listening.doorkeeper.tell(About {
                pool: self.membership.pool,
                pool_name: self.membership.pool_name.clone(),
                name: self.own.name.clone(),
                version: self.own.version.clone(),
            });
        }
        let discovery = Discovery::start(&self.config, &self.own, &self.membership, &mut core.tasks, &core.shutdown);
        let context = Arc::new(AgentContext {
            agent: self.agent,
            roles: self.membership.roles,
            dav_address: dav_stats.is_some().then_some(self.doors.dav_address),
            dav_stats,
            config: self.config,
            control_addresses: self.listening.control,
            data_addresses: self.listening.data,
            ledger: core.ledger,
            member_list: MemberList::default(),
            consensus: core.consensus,
            drive,
            store: match self.store {
                Some(store) => store,
                None => Arc::new(MemoryStore::new(0)),
            },
            health: core.health,
            network: core.network,
            background: core.background,
            wake: core.wake,
            mender: core.mender,
            scrubber: core.scrubber,
            credentials,
            audit: self.audit,
            tls,
            status: StatusBoard::default(),
            struck_off: core.struck_off,
            check: CheckBoard::default(),
            headroom: self.headroom,
            keeping: core.keeping,
            messages,
            files,
            backups,
            discovery,
            shutdown: core.shutdown,
        });
        let ways_in =
            WaysIn { net: self.listening.net, handler: self.listening.handler, doorkeeper: self.listening.doorkeeper };
        let mut agent = Agent::new(context, ways_in, self.directory, core.tasks);
        agent.serve_api(self.doors.api)?;
        Ok(agent)
    }
}

fn serve_drive(
    core: &mut Core,
    drive: &Drive,
    listener: TcpListener,
    credentials: &Arc<Credentials>,
    tls: &DoorTls,
) -> Result<Arc<DoorStats>, AgentError> {
    let address = listener.local_addr().map_err(|error| AgentError::Internal(error.to_string()))?;
    let tls = tls.for_address(address)?;
    let authenticator = Arc::new(DoorAuthenticator(credentials.clone()));
    let door = Arc::new(Door::new(drive.clone(), authenticator, DoorConfig::default()));
    let stats = door.stats().clone();
    core.tasks.spawn(shoal_dav::serve(listener, tls, door, core.shutdown.clone()));
    Ok(stats)
}

/// What a ledger that cannot be opened is to whoever started the agent.
fn ledger_unusable(error: ConsensusError) -> AgentError {
    match error {
        ConsensusError::Damaged { path, reason } => AgentError::Damaged { path, reason },
        ConsensusError::InUse(path) => AgentError::DirectoryInUse(path),
        ConsensusError::NewerVersion { path, found, known } => {
            AgentError::NewerVersion { what: path.display().to_string(), found, known }
        }
        error => AgentError::Consensus(error.to_string()),
    }
}
