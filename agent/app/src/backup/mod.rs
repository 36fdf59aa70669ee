//! Backups: the service put on this agent's network, key, clock and disk.
//!
//! ```text
//! network    the pool as backup sees it
//! machine    clocks, time zone, battery, which computer this is
//! signature  the agent's key for catalogues
//! homes      whose folders are proposed to be kept
//! ```

mod homes;
mod machine;
mod network;
mod signature;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use dci_proto::AgentId;
use shoal_backup_service::call::{Ask, Reply};
use shoal_backup_service::holder::{Holder, HolderParts, ShareSettings};
use shoal_backup_service::network::{Answers, Machine, Network as Pool};
use shoal_backup_service::owner::{Owner, OwnerParts, Pace};
use shoal_backup_service::recovery::{Patience, Recovery, RecoveryParts};
use shoal_net::{Network, Response, Signer};
use tokio_util::sync::CancellationToken;

use crate::api::backup::types::DrillView;
use crate::config::AgentConfig;
use crate::health::Health;
use crate::members::MemberBook;

pub(crate) use homes::homes;
use machine::{Computer, machine_id};
use network::PoolNetwork;
use signature::{AgentSigner, AgentVerifier};

/// What backups work with.
pub(crate) struct BackupParts {
    pub(crate) agent: AgentId,
    /// Its nickname, which archives carry.
    pub(crate) name: String,
    pub(crate) signer: Signer,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) health: Arc<Health>,
    pub(crate) members: Arc<MemberBook>,
}

/// The backup of this computer, and copies of others'.
pub(crate) struct Backups {
    agent: AgentId,
    pub(crate) owner: Arc<Owner>,
    pub(crate) holder: Arc<Holder>,
    pub(crate) recovery: Arc<Recovery>,
    pool: Arc<dyn Pool>,
    /// The last drill that was asked for.
    drill: Arc<Mutex<Option<DrillView>>>,
}

impl Backups {
    /// Opens what lies under the data directory. Blocks.
    pub(crate) fn open(parts: BackupParts, config: &AgentConfig) -> Result<Arc<Self>, String> {
        let BackupParts { agent, name, signer, network, health, members } = parts;
        let folder = config.data.join("backup");
        let machine: Arc<dyn Machine> = Arc::new(Computer::new(config.backup.metered));
        let machine_id = machine_id(config.backup.machine.as_deref(), &name);
        let pool: Arc<dyn Pool> = Arc::new(PoolNetwork { network, health, members });
        let verifier = Arc::new(AgentVerifier);
        let holder = Holder::open(HolderParts {
            folder: folder.join("held"),
            network: pool.clone(),
            machine: machine.clone(),
            verifier: verifier.clone(),
            share: ShareSettings {
                limit_bytes: config.backup.share_bytes,
                reserve_bytes: config.backup.reserve_bytes,
                machine: machine_id,
            },
            grace_ms: u64::try_from(config.backup.grace.as_millis()).unwrap_or(u64::MAX),
        });
        let holder = Arc::new(holder.map_err(|error| error.to_string())?);
        let owner = Owner::open(OwnerParts {
            folder: folder.join("own"),
            data: config.data.clone(),
            network: pool.clone(),
            machine: machine.clone(),
            signer: Arc::new(AgentSigner { agent, signer }),
            verifier: verifier.clone(),
            machine_id,
            site: (!config.site.is_empty()).then(|| config.site.clone()),
            host: name,
            reserve_bytes: config.backup.reserve_bytes,
            pace: Pace::default(),
        });
        let owner = owner.map_err(|error| error.to_string())?;
        let recovery = open_recovery(&folder, &pool, machine, verifier, &owner, &holder)?;
        owner.set_local_drill(recovery.clone());
        Ok(Arc::new(Self { agent, owner, holder, recovery, pool, drill: Arc::default() }))
    }

    /// Does what is to be done until `shutdown`.
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        tokio::join!(
            self.owner.clone().run(shutdown.clone()),
            self.holder.clone().run(shutdown.clone()),
            self.recovery.clone().run(shutdown),
        );
    }

    /// Answers a member.
    pub(crate) async fn answer(&self, from: AgentId, ask: Ask, body: Bytes) -> Response {
        network::response(self.reply(from, ask, body).await)
    }

    async fn reply(&self, from: AgentId, ask: Ask, body: Bytes) -> Reply {
        match &ask {
            Ask::Drill => Answers::answer(&*self.recovery, from, ask, body).await,
            Ask::Damaged { .. } | Ask::Suspect { .. } => self.owner.answer(from, ask, body).await,
            _ if owner_of(&ask) == Some(self.agent) => self.owner.answer(from, ask, body).await,
            _ => self.holder.answer(from, ask, body).await,
        }
    }

    /// Begins a restore drill, if none that was asked for is on.
    pub(crate) fn begin_drill(&self) -> bool {
        let said = self.drill.clone();
        {
            let mut drill = said.lock().unwrap_or_else(PoisonError::into_inner);
            if drill.as_ref().is_some_and(|drill| drill.is_on) {
                return false;
            }
            *drill = Some(DrillView { is_on: true, error: None });
        }
        let owner = self.owner.clone();
        tokio::spawn(async move {
            let error = owner.drill().await.err().map(|error| error.to_string());
            *said.lock().unwrap_or_else(PoisonError::into_inner) = Some(DrillView { is_on: false, error });
        });
        true
    }

    /// How the last drill that was asked for went.
    pub(crate) fn drill(&self) -> Option<DrillView> {
        self.drill.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The name of a member, or what this agent is.
    pub(crate) fn name_of(&self, agent: AgentId) -> Option<String> {
        if agent == self.agent {
            return Some("this PC".to_owned());
        }
        self.pool.members().into_iter().find(|member| member.agent == agent).map(|member| member.name)
    }

    /// A member by its name or id.
    pub(crate) fn find(&self, text: &str) -> Option<AgentId> {
        let members = self.pool.members();
        let named = members.iter().find(|member| member.name == text).map(|member| member.agent);
        named.or_else(|| text.parse().ok())
    }
}

/// Whose catalogue or objects are asked for.
fn owner_of(ask: &Ask) -> Option<AgentId> {
    match ask {
        Ask::Standing { owner }
        | Ask::Entries { owner }
        | Ask::Base { owner, .. }
        | Ask::Tail { owner, .. }
        | Ask::BasePiece { owner, .. }
        | Ask::Held { owner, .. }
        | Ask::Which { owner }
        | Ask::Get { owner, .. }
        | Ask::Prove { owner, .. }
        | Ask::Ship { owner, .. }
        | Ask::Trashed { owner, .. }
        | Ask::Doubt { owner, .. } => Some(*owner),
        Ask::Room
        | Ask::Hold
        | Ask::Release
        | Ask::Put { .. }
        | Ask::Owners
        | Ask::Damaged { .. }
        | Ask::Suspect { .. }
        | Ask::Drill => None,
    }
}

fn open_recovery(
    folder: &Path,
    pool: &Arc<dyn Pool>,
    machine: Arc<dyn Machine>,
    verifier: Arc<AgentVerifier>,
    owner: &Arc<Owner>,
    holder: &Arc<Holder>,
) -> Result<Arc<Recovery>, String> {
    // Weak: the owner knows recovery, for drills.
    let own: Weak<Owner> = Arc::downgrade(owner);
    let (held, local): (Arc<Holder>, Arc<dyn Answers>) = (holder.clone(), holder.clone());
    let recovery = Recovery::open(RecoveryParts {
        folder: folder.join("recover"),
        network: pool.clone(),
        verifier,
        machine,
        own: Arc::new(move || own.upgrade()?.engine().ok()),
        local: Some(local),
        holds_copy_of: Arc::new(move |owner| held.repository(owner).is_some()),
        tell_liar: Arc::new(|liar| tracing::warn!(?liar, "a member gave wrong bytes of a backup")),
        patience: Patience::default(),
    });
    recovery.map_err(|error| error.to_string())
}
