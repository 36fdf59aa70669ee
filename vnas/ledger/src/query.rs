//! Reading the ledger. Every function takes a view and touches nothing else; all fail only if the view cannot be read.

mod care;
mod contents;
mod holdings;
mod locks;
mod namespace;
mod rights;
mod trash;

use dci_proto::{AgentId, VolumeId};

pub use care::{
    BadShards, bad_places, bad_shards, bad_shards_of_all, care_policy, certificate, drain, is_bad, moves, moves_of,
    next_useless, standing, surplus, surplus_where,
};
pub use contents::{AgentUsage, agent_usage, chunks, content, garbage, stripe, stripes};
pub use holdings::{ExpectedPage, ExpectedShard, FilesOfContent, NAMES_PER_CONTENT, expected, files_of};
pub(crate) use locks::{below as locks_below_at, covering as locks_covering_at};
pub use locks::{locks_below, locks_covering};
pub use namespace::{children, node, properties};
pub(crate) use namespace::{entry, walk};
pub use rights::{group, groups, may_send, right, rights, rights_of, type_policies, type_policy};
pub use trash::{
    trash_below, trash_children, trash_entry, trash_folder, trash_oldest, trash_totals, trash_totals_of, trash_versions,
};

use crate::tables::{self, MetaRow};
use crate::{
    AgentRecord, FORMAT_VERSION, JoinRequest, KvError, KvRead, PoolRecord, TicketRecord, UserRecord, VolumeRecord,
};

/// Refuses a ledger that a newer version wrote; call it before anything else touches a store.
///
/// # Errors
/// [`KvError::Newer`], or what the store says.
pub fn check_format(kv: &dyn KvRead) -> Result<(), KvError> {
    meta(kv)?;
    match pool(kv)? {
        Some(pool) if pool.format > FORMAT_VERSION => Err(KvError::Newer { found: pool.format, known: FORMAT_VERSION }),
        _ => Ok(()),
    }
}

/// The pool; `None` in an empty ledger.
pub fn pool(kv: &dyn KvRead) -> Result<Option<PoolRecord>, KvError> {
    tables::read(kv, tables::POOL, &tables::POOL.key(&[]))
}

/// The latest time a leader stamped, in ms since 1970 UTC; 0 in an empty ledger.
pub fn time_ms(kv: &dyn KvRead) -> Result<u64, KvError> {
    Ok(meta(kv)?.time_ms)
}

/// The log position of the last batch applied; 0 in an empty ledger.
pub fn position(kv: &dyn KvRead) -> Result<u64, KvError> {
    Ok(meta(kv)?.position)
}

/// All members, by id.
pub fn agents(kv: &dyn KvRead) -> Result<Vec<AgentRecord>, KvError> {
    tables::read_all(kv, tables::AGENTS, &tables::AGENTS.key(&[]))
}

/// One member.
pub fn agent(kv: &dyn KvRead, id: AgentId) -> Result<Option<AgentRecord>, KvError> {
    tables::read(kv, tables::AGENTS, &tables::agent_key(tables::AGENTS, id))
}

/// Tickets that have been given out and not used.
pub fn tickets(kv: &dyn KvRead) -> Result<Vec<TicketRecord>, KvError> {
    tables::read_all(kv, tables::TICKETS, &tables::TICKETS.key(&[]))
}

/// Agents that wait for an admin.
pub fn join_requests(kv: &dyn KvRead) -> Result<Vec<JoinRequest>, KvError> {
    tables::read_all(kv, tables::JOIN_REQUESTS, &tables::JOIN_REQUESTS.key(&[]))
}

/// All users, by name.
pub fn users(kv: &dyn KvRead) -> Result<Vec<UserRecord>, KvError> {
    tables::read_all(kv, tables::USERS, &tables::USERS.key(&[]))
}

/// One user.
pub fn user(kv: &dyn KvRead, name: &str) -> Result<Option<UserRecord>, KvError> {
    tables::read(kv, tables::USERS, &tables::user_key(name))
}

/// All volumes, by number.
pub fn volumes(kv: &dyn KvRead) -> Result<Vec<VolumeRecord>, KvError> {
    tables::read_all(kv, tables::VOLUMES, &tables::VOLUMES.key(&[]))
}

/// The volume of a name.
pub fn volume_by_name(kv: &dyn KvRead, name: &str) -> Result<Option<VolumeRecord>, KvError> {
    match tables::read(kv, tables::VOLUME_NAMES, &tables::volume_name_key(name))? {
        Some(id) => volume(kv, id),
        None => Ok(None),
    }
}

/// One volume.
pub fn volume(kv: &dyn KvRead, id: VolumeId) -> Result<Option<VolumeRecord>, KvError> {
    tables::read(kv, tables::VOLUMES, &tables::volume_key(tables::VOLUMES, id))
}

pub(crate) fn meta(kv: &dyn KvRead) -> Result<MetaRow, KvError> {
    Ok(tables::read(kv, tables::META, &tables::META.key(&[]))?.unwrap_or_default())
}
