//! The tables: how keys are laid out, and rows encoded.
//!
//! A key is the number of its table, then ids as big-endian bytes, then names in Unicode normal form C: what is
//! listed together lies together. A row is the version of its form, then postcard; [`crate::FORMAT_VERSION`] counts
//! up when any form changes, and the decoder here is where an older one is read.

use std::borrow::Cow;

use dci_proto::message::{GroupName, MessageType};
use dci_proto::{AgentId, ContentId, InodeId, ShardKey, StripeId, VolumeId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::{
    KvError, KvRead, Node, NodePath, Outcome, Rejection, StripeRecord, SurplusShard, TrashReason, TrashTotals,
};

/// Version of the form of rows written now, the first byte of each.
const ROW_VERSION: u8 = 1;

/// A table: the first byte of its keys, and its name for people who read errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Table(pub(crate) u8, pub(crate) &'static str);

pub(crate) const META: Table = Table(0x00, "counters");
pub(crate) const POOL: Table = Table(0x01, "pool");
pub(crate) const AGENTS: Table = Table(0x02, "members");
pub(crate) const USAGE: Table = Table(0x03, "usage of members");
pub(crate) const TICKETS: Table = Table(0x04, "tickets");
pub(crate) const JOIN_REQUESTS: Table = Table(0x05, "join requests");
pub(crate) const USERS: Table = Table(0x06, "users");
pub(crate) const VOLUMES: Table = Table(0x07, "volumes");
pub(crate) const VOLUME_NAMES: Table = Table(0x08, "names of volumes");
pub(crate) const CARE: Table = Table(0x09, "patience of the pool");
pub(crate) const DRAINS: Table = Table(0x0a, "members that are emptied");
pub(crate) const CERTIFICATES: Table = Table(0x0b, "certificates of emptied members");
pub(crate) const GROUPS: Table = Table(0x0c, "groups");
pub(crate) const TYPE_POLICIES: Table = Table(0x0d, "policies of message types");
pub(crate) const RIGHTS: Table = Table(0x0e, "rights of users");
pub(crate) const ROOTS: Table = Table(0x10, "root folders");
pub(crate) const NODES: Table = Table(0x11, "files and folders");
pub(crate) const PROPERTIES: Table = Table(0x12, "properties");
pub(crate) const CHUNKS: Table = Table(0x13, "chunks");
pub(crate) const SHARED: Table = Table(0x14, "shared chunk lists");
pub(crate) const UPLOADS: Table = Table(0x15, "uploads");
pub(crate) const LOCKS: Table = Table(0x20, "locks");
pub(crate) const CONTENTS: Table = Table(0x30, "contents");
pub(crate) const STRIPES: Table = Table(0x31, "stripes");
pub(crate) const GARBAGE: Table = Table(0x32, "garbage");
pub(crate) const GARBAGE_TIMES: Table = Table(0x33, "times of garbage");
pub(crate) const MOVES: Table = Table(0x34, "moves of shards");
pub(crate) const SURPLUS: Table = Table(0x35, "surplus shards");
pub(crate) const SURPLUS_PLACES: Table = Table(0x36, "places of surplus shards");
pub(crate) const BAD: Table = Table(0x37, "bad shards");
pub(crate) const OUTCOMES: Table = Table(0x40, "outcomes");
pub(crate) const OUTCOME_RING: Table = Table(0x41, "order of outcomes");
pub(crate) const TRASH: Table = Table(0x50, "trash");
pub(crate) const TRASH_PATHS: Table = Table(0x51, "paths of trash");
pub(crate) const TRASH_TOTALS: Table = Table(0x52, "totals of trash");
pub(crate) const TRASH_BOOKS: Table = Table(0x53, "counters of trash");

impl Table {
    /// A key of this table.
    pub(crate) fn key(self, parts: &[&[u8]]) -> Vec<u8> {
        let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
        key.push(self.0);
        parts.iter().for_each(|part| key.extend_from_slice(part));
        key
    }
}

/// The pool-wide counters, one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MetaRow {
    /// Log position of the last batch applied.
    pub(crate) position: u64,
    /// Latest stamp of a leader.
    pub(crate) time_ms: u64,
    pub(crate) next_inode: u64,
    pub(crate) next_version: u64,
    pub(crate) next_volume: u32,
    /// Rows of the table of locks, expired ones included.
    pub(crate) locks: u64,
    pub(crate) uploads: u64,
    /// Outcomes kept, and how many there ever were (the position in the ring).
    pub(crate) outcomes_kept: u64,
    pub(crate) outcomes_ever: u64,
}

impl Default for MetaRow {
    fn default() -> Self {
        let (locks, uploads, outcomes_kept, outcomes_ever) = (0, 0, 0, 0);
        let (next_inode, next_version, next_volume) = (1, 1, 1);
        let (position, time_ms) = (0, 0);
        Self { position, time_ms, next_inode, next_version, next_volume, locks, uploads, outcomes_kept, outcomes_ever }
    }
}

/// What stripes in use count on a member for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct UsageRow {
    pub(crate) shards: u64,
    pub(crate) bytes: u64,
}

/// A chunk of a file, under (chunk list, index).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChunkRow {
    pub(crate) content: ContentId,
    pub(crate) plain_bytes: u32,
}

/// A content, and how many chunk rows name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContentRow {
    pub(crate) stripe: StripeId,
    pub(crate) plain_bytes: u32,
    pub(crate) refs: u64,
}

/// An upload: a chunk list no file has yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UploadRow {
    pub(crate) agent: AgentId,
    pub(crate) run: u64,
    pub(crate) next_index: u32,
    pub(crate) bytes: u64,
    /// The last chunk was shorter than the others: nothing can follow it.
    pub(crate) ended: bool,
}

/// A garbage stripe, under (since, stripe).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GarbageRow {
    pub(crate) record: StripeRecord,
}

/// A version of a file in the trash, under its number: numbers and times grow together, so the oldest comes first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrashRow {
    pub(crate) volume: VolumeId,
    /// Where it was, from the volume's root down.
    pub(crate) names: Vec<String>,
    pub(crate) node: Node,
    pub(crate) since_ms: u64,
    pub(crate) user: String,
    pub(crate) reason: TrashReason,
}

/// The pool-wide counters of the trash, one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrashBooks {
    pub(crate) next_id: u64,
    pub(crate) totals: TrashTotals,
}

impl Default for TrashBooks {
    fn default() -> Self {
        Self { next_id: 1, totals: TrashTotals::default() }
    }
}

/// What a command was answered. The bytes of an inline file are left out: a replay finds them in the file, if it is
/// still that version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OutcomeRow {
    pub(crate) result: Result<Outcome, Rejection>,
}

/// A row in the form stored.
pub(crate) fn encode<Row: Serialize>(table: Table, row: &Row) -> Result<Vec<u8>, KvError> {
    let buffer = Vec::from([ROW_VERSION]);
    postcard::to_extend(row, buffer).map_err(|error| KvError::Corrupt { table: table.1, reason: error.to_string() })
}

/// A stored row, of any version known.
pub(crate) fn decode<Row: DeserializeOwned>(table: Table, bytes: &[u8]) -> Result<Row, KvError> {
    let corrupt = |reason: String| KvError::Corrupt { table: table.1, reason };
    match bytes.split_first() {
        Some((&ROW_VERSION, row)) => postcard::from_bytes(row).map_err(|error| corrupt(error.to_string())),
        Some((&version, _)) if version > ROW_VERSION => {
            Err(KvError::Newer { found: u32::from(version), known: u32::from(ROW_VERSION) })
        }
        Some((version, _)) => Err(corrupt(format!("no row has version {version}"))),
        None => Err(corrupt("the row is empty".to_owned())),
    }
}

/// The row under a key.
pub(crate) fn read<Row: DeserializeOwned>(kv: &dyn KvRead, table: Table, key: &[u8]) -> Result<Option<Row>, KvError> {
    kv.get(key)?.map(|bytes| decode(table, &bytes)).transpose()
}

/// Takes the key and the decoded value of a row and answers whether to go on.
pub(crate) type DecodedVisitor<'a, Row> = &'a mut dyn FnMut(&[u8], Row) -> Result<bool, KvError>;

/// Visits the rows of a table whose keys start with `prefix`, from `from` (which may be the prefix itself) on.
pub(crate) fn visit<Row: DeserializeOwned>(
    kv: &dyn KvRead,
    table: Table,
    prefix: &[u8],
    from: &[u8],
    visit: DecodedVisitor<'_, Row>,
) -> Result<(), KvError> {
    kv.scan(from, &after_prefix(prefix), &mut |key, bytes| visit(key, decode(table, bytes)?))
}

/// All rows whose keys start with `prefix`.
pub(crate) fn read_all<Row: DeserializeOwned>(
    kv: &dyn KvRead,
    table: Table,
    prefix: &[u8],
) -> Result<Vec<Row>, KvError> {
    let mut rows = Vec::new();
    visit(kv, table, prefix, prefix, &mut |_, row| {
        rows.push(row);
        Ok(true)
    })?;
    Ok(rows)
}

/// The first key after all that start with `prefix`, which starts with the number of a table.
pub(crate) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// The first key after this one.
pub(crate) fn after_key(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

/// A name as it is looked up: in Unicode normal form C.
pub(crate) fn normalized(name: &str) -> Cow<'_, str> {
    if name.is_ascii() || is_nfc_quick(name.chars()) == IsNormalized::Yes {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.nfc().collect())
}

pub(crate) fn agent_key(table: Table, agent: AgentId) -> Vec<u8> {
    table.key(&[&agent.0])
}

pub(crate) fn user_key(name: &str) -> Vec<u8> {
    USERS.key(&[normalized(name).as_bytes()])
}

pub(crate) fn group_key(name: &GroupName) -> Vec<u8> {
    GROUPS.key(&[name.as_str().as_bytes()])
}

pub(crate) fn type_key(kind: &MessageType) -> Vec<u8> {
    TYPE_POLICIES.key(&[kind.as_str().as_bytes()])
}

/// The type under whose key a policy is.
pub(crate) fn type_of_key(key: &[u8]) -> Result<MessageType, KvError> {
    let name = std::str::from_utf8(key.get(1..).unwrap_or_default()).unwrap_or_default();
    name.parse().map_err(|_| KvError::Corrupt { table: TYPE_POLICIES.1, reason: format!("{name:?} is no type") })
}

/// What all rights of a user start with. No name holds the byte that ends it.
pub(crate) fn rights_prefix(user: &str) -> Vec<u8> {
    RIGHTS.key(&[normalized(user).as_bytes(), &[0]])
}

pub(crate) fn right_key(user: &str, kind: &MessageType) -> Vec<u8> {
    [rights_prefix(user).as_slice(), kind.as_str().as_bytes()].concat()
}

pub(crate) fn volume_key(table: Table, volume: VolumeId) -> Vec<u8> {
    table.key(&[&volume.0.to_be_bytes()])
}

pub(crate) fn volume_name_key(name: &str) -> Vec<u8> {
    VOLUME_NAMES.key(&[normalized(name).as_bytes()])
}

/// What everything that belongs to an inode starts with: its entries, properties, chunks.
pub(crate) fn inode_key(table: Table, inode: InodeId) -> Vec<u8> {
    table.key(&[&inode.0.to_be_bytes()])
}

pub(crate) fn node_key(folder: InodeId, name: &str) -> Vec<u8> {
    NODES.key(&[&folder.0.to_be_bytes(), normalized(name).as_bytes()])
}

/// Names of properties cannot be cut apart by a separator, as they may hold any byte: the length says where.
pub(crate) fn property_key(inode: InodeId, namespace: &str, name: &str) -> Vec<u8> {
    let length = u32::try_from(namespace.len()).unwrap_or(u32::MAX);
    PROPERTIES.key(&[&inode.0.to_be_bytes(), &length.to_be_bytes(), namespace.as_bytes(), name.as_bytes()])
}

pub(crate) fn chunk_key(list: InodeId, index: u32) -> Vec<u8> {
    CHUNKS.key(&[&list.0.to_be_bytes(), &index.to_be_bytes()])
}

pub(crate) fn content_key(content: ContentId) -> Vec<u8> {
    CONTENTS.key(&[&content.0])
}

pub(crate) fn stripe_key(table: Table, stripe: StripeId) -> Vec<u8> {
    table.key(&[&stripe.0])
}

pub(crate) fn garbage_key(since_ms: u64, stripe: StripeId) -> Vec<u8> {
    GARBAGE.key(&[&since_ms.to_be_bytes(), &stripe.0])
}

pub(crate) fn shard_key(table: Table, key: ShardKey) -> Vec<u8> {
    table.key(&[&key.stripe.0, &[key.index]])
}

/// A shard on an agent.
pub(crate) fn place_key(table: Table, key: ShardKey, agent: AgentId) -> Vec<u8> {
    table.key(&[&key.stripe.0, &[key.index], &agent.0])
}

pub(crate) fn surplus_key(shard: &SurplusShard) -> Vec<u8> {
    let SurplusShard { key, agent, since_ms } = shard;
    SURPLUS.key(&[&since_ms.to_be_bytes(), &key.stripe.0, &[key.index], &agent.0])
}

/// The shard a key of [`SURPLUS`] is of.
pub(crate) fn surplus_of_key(key: &[u8]) -> Option<SurplusShard> {
    let (since, rest) = key.get(1..)?.split_first_chunk()?;
    let (stripe, rest) = rest.split_first_chunk()?;
    let (index, agent) = rest.split_first()?;
    let key = ShardKey { stripe: StripeId(*stripe), index: *index };
    Some(SurplusShard { key, agent: AgentId(agent.try_into().ok()?), since_ms: u64::from_be_bytes(*since) })
}

/// A bad shard of an agent; those of one agent lie together.
pub(crate) fn bad_key(agent: AgentId, key: ShardKey) -> Vec<u8> {
    BAD.key(&[&agent.0, &key.stripe.0, &[key.index]])
}

/// The agent and the shard a key of [`BAD`] is of.
pub(crate) fn bad_of_key(key: &[u8]) -> Option<(AgentId, ShardKey)> {
    let (agent, rest) = key.get(1..)?.split_first_chunk()?;
    let (stripe, rest) = rest.split_first_chunk()?;
    let [index] = rest else { return None };
    Some((AgentId(*agent), ShardKey { stripe: StripeId(*stripe), index: *index }))
}

/// What the keys of all rows by path on a path and below it start with. Each name is ended by a NUL, which no name
/// holds, so `a` is no prefix of `ab`.
fn below_key(table: Table, volume: VolumeId, names: &[String]) -> Vec<u8> {
    let mut key = volume_key(table, volume);
    for name in names {
        key.extend_from_slice(normalized(name).as_bytes());
        key.push(0);
    }
    key
}

/// What the keys of all locks on a path and below it start with.
pub(crate) fn locks_below_key(path: &NodePath) -> Vec<u8> {
    below_key(LOCKS, path.volume, &path.names)
}

/// What the keys of the locks on a path itself start with: an empty name, which no node has, sets them apart.
pub(crate) fn locks_on_key(path: &NodePath) -> Vec<u8> {
    let mut key = locks_below_key(path);
    key.push(0);
    key
}

pub(crate) fn lock_key(path: &NodePath, token: &str) -> Vec<u8> {
    let mut key = locks_on_key(path);
    key.extend_from_slice(token.as_bytes());
    key
}

pub(crate) fn trash_key(id: u64) -> Vec<u8> {
    TRASH.key(&[&id.to_be_bytes()])
}

/// What the keys of all trash on a path and below it start with.
pub(crate) fn trash_below_key(volume: VolumeId, names: &[String]) -> Vec<u8> {
    below_key(TRASH_PATHS, volume, names)
}

/// What the keys of the versions of one path start with: an empty name, as with locks.
pub(crate) fn trash_on_key(volume: VolumeId, names: &[String]) -> Vec<u8> {
    let mut key = trash_below_key(volume, names);
    key.push(0);
    key
}

pub(crate) fn trash_path_key(volume: VolumeId, names: &[String], id: u64) -> Vec<u8> {
    let mut key = trash_on_key(volume, names);
    key.extend_from_slice(&id.to_be_bytes());
    key
}

/// The number at the end of a key that [`trash_path_key`] made.
pub(crate) fn trash_id(key: &[u8]) -> u64 {
    key.last_chunk().map_or(0, |id| u64::from_be_bytes(*id))
}
