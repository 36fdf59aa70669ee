//! Putting an agent together: its directory, its listeners, its way into a pool, and the parts that run.
//!
//! Nothing is written before the directory is known to be ours and the ports are taken; each step can be repeated after
//! a crash.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use dci_proto::{AgentId, PoolId};
use shoal_consensus::Headroom;
use shoal_ledger::{AgentRecord, AgentState};
use shoal_store::ShardStore;

use crate::AgentError;
use crate::assembly::Assembly;
use crate::audit::AuditLog;
use crate::clock;
use crate::config::AgentConfig;
use crate::context::TICKET_LIFE_LIMIT;
use crate::data_directory::{DataDirectory, Membership, random_secret};
use crate::join::{Joined, ask_until_approved, join_with_ticket, standing};
use crate::listeners::{Doors, Listening};
use crate::machine::{MeteredStore, OwnStores};
use crate::recover::swap;
use crate::run::Agent;
use crate::settle::FIRST_VOLUME;
use crate::store_gate::GuardedStore;
use crate::ticket::{Ticket, now_ms};
use crate::{room, stores};

/// How an agent comes to its pool.
#[derive(Default)]
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

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usual => f.write_str("Usual"),
            Self::Found { .. } => f.write_str("Found"),
            Self::Ticket(ticket) => f.debug_tuple("Ticket").field(ticket).finish(),
            Self::Ask { addresses, .. } => f.debug_tuple("Ask").field(addresses).finish(),
        }
    }
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
    // A ticket was made at most its longest life before it ends.
    let seen_ms = match &entry {
        Entry::Ticket(ticket) => ticket.expires_ms.saturating_sub(TICKET_LIFE_LIMIT.as_millis() as u64),
        _ => 0,
    };
    clock::check(now_ms(), seen_ms)?;
    // Who runs already on that directory says so; where there is none, a port in use is told before one is made.
    let early = if config.data.exists() { None } else { Some(Doors::bind(&config).await?) };
    let directory = Arc::new(DataDirectory::open(&config.data)?);
    swap::finish(&config.data)?;
    let membership = directory.membership()?;
    refuse_other_pool(&config, membership.as_ref(), &entry)?;
    let doors = match early {
        Some(doors) => doors,
        None => Doors::bind(&config).await?,
    };
    if membership.is_some() && !config.data.join("key").exists() {
        let reason = "it is missing, and a new one would be another agent; put it back".to_owned();
        return Err(AgentError::Damaged { path: config.data.join("key"), reason });
    }
    let seed = directory.key_seed()?;
    let agent = shoal_net::agent_id_of_seed(&seed).map_err(|error| AgentError::Internal(error.to_string()))?;
    let listening = Listening::start(&config, &seed).await?;
    let config = AgentConfig { api: doors.api_address, dav: doors.dav_address, ..config };

    let headroom = room::headroom(&config);
    let data = config.data.clone();
    let audit = tokio::task::spawn_blocking(move || AuditLog::open(&data, agent)).await;
    let audit = audit.map_err(|error| AgentError::Internal(format!("opening the audit log: {error}")))??;
    let (store, own_stores) = open_store(&config, &headroom).await?.unzip();
    let own = own_record(agent, &config, &listening, store.as_ref());
    let was_struck_off = standing::is_struck_off(&config.data);
    // Who was struck off is let in like anybody else, and until then has no part in the pool.
    let joins = was_struck_off && matches!(entry, Entry::Ticket(_) | Entry::Ask { .. });
    let struck_off = was_struck_off && !joins;
    let membership = membership.filter(|_| !joins);
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
    if joins {
        standing::begin_again(&config.data)?;
    }
    let membership = if struck_off { standing::idle(membership) } else { membership };
    if struck_off {
        tracing::warn!("{}", standing::saying(&config.data, &membership.pool_name));
    }
    // Only now: what a join that failed was told must not hold for the one that succeeds.
    config.save_if_new()?;
    let store = store.filter(|_| membership.roles.store);
    let own_stores = own_stores.filter(|_| membership.roles.store);
    let assembly = Assembly {
        agent,
        config,
        directory,
        membership,
        own,
        fresh,
        struck_off,
        store,
        own_stores,
        headroom,
        audit,
        listening,
        doors,
    };
    assembly.run(password).await
}

/// Pools are often named alike; their ids are not.
fn pool_shown(name: &str, id: PoolId) -> String {
    let id = id.to_string();
    format!("{name} ({})", id.get(..8).unwrap_or(&id))
}

/// An agent belongs to one pool for good.
fn refuse_other_pool(config: &AgentConfig, membership: Option<&Membership>, entry: &Entry) -> Result<(), AgentError> {
    match (membership, entry) {
        (Some(membership), Entry::Ticket(ticket)) if membership.pool != ticket.pool => Err(AgentError::OtherPool {
            path: config.data.clone(),
            here: pool_shown(&membership.pool_name, membership.pool),
            ticket: pool_shown(&ticket.pool_name, ticket.pool),
        }),
        _ => Ok(()),
    }
}

/// The store as others are to use it, and what to look after it by.
type OpenedStore = (Arc<GuardedStore>, OwnStores);

async fn open_store(config: &AgentConfig, headroom: &Arc<Headroom>) -> Result<Option<OpenedStore>, AgentError> {
    if !config.roles.store {
        return Ok(None);
    }
    let config = config.clone();
    let opened = tokio::task::spawn_blocking(move || stores::open(&config)).await;
    let stores = opened.map_err(|error| AgentError::Internal(format!("opening the stores: {error}")))??;
    let own = OwnStores { stores: stores.clone(), meter: Arc::default() };
    let metered = Arc::new(MeteredStore { inner: stores, meter: own.meter.clone() });
    Ok(Some((Arc::new(GuardedStore::new(metered, headroom.clone())), own)))
}

fn own_record(
    agent: AgentId,
    config: &AgentConfig,
    listening: &Listening,
    store: Option<&Arc<GuardedStore>>,
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
    let membership = Membership::new(joined.pool, joined.pool_name, false, joined.roles, joined.members);
    directory.keep_membership(&membership)?;
    Ok(membership)
}
