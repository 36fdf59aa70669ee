//! What the ledger knows: the rows, decoded.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use dci_proto::{AgentId, ContentId, InodeId, PoolId, ShardHash, StripeId, VolumeId};
use serde::{Deserialize, Serialize};

/// The pool itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRecord {
    /// Its id.
    pub id: PoolId,
    /// The name people gave it.
    pub name: String,
    /// Version of the ledger's format, [`crate::FORMAT_VERSION`] when written.
    pub format: u32,
    /// How many agents may be lost without losing data, for volumes that do not say otherwise.
    pub survive: u8,
    /// When it was made, in ms since 1970 UTC, by the first agent's clock.
    pub created_ms: u64,
}

/// What an agent does for the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRoles {
    /// Holds shards.
    pub store: bool,
    /// Serves the drive; holds the pool's data key and the whole ledger.
    pub mount: bool,
    /// May be chosen as a voter of the ledger.
    pub vote: bool,
}

impl Default for AgentRoles {
    fn default() -> Self {
        Self { store: true, mount: true, vote: true }
    }
}

/// Where an agent stands by decision of an admin; whether it can be reached is not the ledger's to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentState {
    /// Takes and gives.
    Active,
    /// In maintenance: is given nothing new.
    Paused,
    /// Being emptied.
    Draining,
}

/// A member of the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// Its id.
    pub id: AgentId,
    /// The nickname people see; unique in the pool.
    pub name: String,
    /// Where its libp2p control network listens.
    pub control_addresses: Vec<SocketAddr>,
    /// Where its data channel listens.
    pub data_addresses: Vec<SocketAddr>,
    /// What it does.
    pub roles: AgentRoles,
    /// Where it stands.
    pub state: AgentState,
    /// The site it is at; empty when nobody said.
    pub site: String,
    /// Bytes it gives to the pool, used or not.
    pub capacity_bytes: u64,
    /// Version of Shoal it ran when it last said so.
    pub version: String,
    /// When it joined, in ms since 1970 UTC.
    pub joined_ms: u64,
}

/// A way into the pool that has been given out. The secret itself is never stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketRecord {
    /// BLAKE3 of the one-time secret.
    pub secret_hash: [u8; 32],
    /// Not taken after this time, in ms since 1970 UTC by the leader's clock.
    pub expires_ms: u64,
    /// What whoever joins with it may do.
    pub roles: AgentRoles,
    /// The user who made it.
    pub issued_by: String,
}

/// An agent that asks to join without a ticket and waits for an admin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The agent as it introduced itself.
    pub agent: AgentRecord,
    /// When it asked, in ms since 1970 UTC by the leader's clock.
    pub asked_ms: u64,
}

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserRole {
    /// Sees everything, changes nothing.
    Viewer,
    /// Reads and writes the drive.
    User,
    /// Tends agents and volumes.
    Operator,
    /// Does everything.
    Admin,
}

impl UserRole {
    /// As people write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::User => "user",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// A user of the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    /// The name used to sign in.
    pub name: String,
    /// Argon2id hash in PHC form.
    pub password_hash: String,
    /// What they may do.
    pub role: UserRole,
    /// When they were added, in ms since 1970 UTC.
    pub created_ms: u64,
}

/// How a volume keeps its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumePolicy {
    /// How many agents may be lost without losing data; `None` follows the pool.
    pub survive: Option<u8>,
    /// Whether chunks are compressed when that saves at least an eighth.
    pub compress: bool,
}

impl Default for VolumePolicy {
    fn default() -> Self {
        Self { survive: None, compress: true }
    }
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// Its number.
    pub id: VolumeId,
    /// Its name, also the first part of its URL path.
    pub name: String,
    /// Its root folder.
    pub root: InodeId,
    /// How it keeps data.
    pub policy: VolumePolicy,
    /// When it was made, in ms since 1970 UTC by the leader's clock.
    pub created_ms: u64,
    /// Files in it, trash not counted.
    pub files: u64,
    /// Bytes of those files, as their users see them.
    pub bytes: u64,
}

/// A place in a volume: the names from its root down. Empty: the root itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodePath {
    /// The volume.
    pub volume: VolumeId,
    /// One name a level, as the client gave them.
    pub names: Vec<String>,
}

/// Why names are no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum NodePathError {
    /// A name is empty, `.`, `..`, or has a slash or NUL in it.
    #[error("{0:?} cannot be the name of a file or folder")]
    BadName(String),
    /// A name has more than [`NodePath::NAME_LIMIT_BYTES`].
    #[error("a name is longer than {} bytes", NodePath::NAME_LIMIT_BYTES)]
    NameTooLong,
    /// More than [`NodePath::DEPTH_LIMIT`] levels.
    #[error("a path is deeper than {} folders", NodePath::DEPTH_LIMIT)]
    TooDeep,
}

impl NodePath {
    /// Bytes of one name in UTF-8, at most: room for 255 UTF-16 units, what Windows and macOS allow.
    pub const NAME_LIMIT_BYTES: usize = 765;
    /// Levels below the root, at most.
    pub const DEPTH_LIMIT: usize = 256;

    /// A checked path.
    ///
    /// # Errors
    /// If a name is none, too long, or there are too many.
    pub fn new(volume: VolumeId, names: Vec<String>) -> Result<Self, NodePathError> {
        Self::check(&names)?;
        Ok(Self { volume, names })
    }

    /// Whether names make a path; those in commands come from other agents unchecked.
    pub(crate) fn check(names: &[String]) -> Result<(), NodePathError> {
        if names.len() > Self::DEPTH_LIMIT {
            return Err(NodePathError::TooDeep);
        }
        for name in names {
            if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
                return Err(NodePathError::BadName(name.chars().take(80).collect()));
            }
            if name.len() > Self::NAME_LIMIT_BYTES {
                return Err(NodePathError::NameTooLong);
            }
        }
        Ok(())
    }

    /// The volume's root folder.
    #[must_use]
    pub fn root(volume: VolumeId) -> Self {
        Self { volume, names: Vec::new() }
    }

    /// Whether it is the root folder.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.names.is_empty()
    }

    /// The folder it is in; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (_, names) = self.names.split_last()?;
        Some(Self { volume: self.volume, names: names.to_vec() })
    }

    /// Its own name; `None` for the root.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.names.last().map(String::as_str)
    }

    /// What lies in it under a name.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        let mut names = self.names.clone();
        names.push(name.to_owned());
        Self { volume: self.volume, names }
    }
}

impl fmt::Display for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.names.is_empty() {
            return f.write_str("/");
        }
        self.names.iter().try_for_each(|name| write!(f, "/{name}"))
    }
}

/// File or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeKind {
    /// Has bytes.
    File,
    /// Has nodes in it.
    Folder,
}

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeContent {
    /// Here: at most [`crate::INLINE_LIMIT_BYTES`].
    Inline(Bytes),
    /// In chunks of [`crate::CHUNK_BYTES`] (the last one shorter), listed in rows of their own under this inode;
    /// [`crate::query::chunks`] reads them.
    Chunks(InodeId),
}

/// A file or folder as its folder lists it. There are no hard links, so the row under (folder, name) holds all of it
/// and a listing is one scan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its number for life; kept when it is renamed or a file's content replaced.
    pub inode: InodeId,
    /// Its name as given (not normalised).
    pub name: String,
    /// File or folder.
    pub kind: NodeKind,
    /// Bytes of a file; 0 for a folder.
    pub size_bytes: u64,
    /// Last change of content, in ms since 1970 UTC: the client's word where it gave one, else the leader's stamp.
    pub modified_ms: i64,
    /// Creation, in ms since 1970 UTC: likewise.
    pub created_ms: i64,
    /// Grows with every change of content; with the inode it makes a strong ETag.
    pub version: u64,
    /// Where a file's bytes are; `None` for a folder.
    pub content: Option<NodeContent>,
    /// SHA-1 of a file's bytes, where the writer computed it (`oc:checksums`).
    pub sha1: Option<[u8; 20]>,
    /// The media type the client gave with the file.
    pub media_type: Option<String>,
    /// Whether it has dead properties (rows of their own, [`crate::query::properties`]).
    pub has_properties: bool,
}

/// The name of a dead property.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PropertyName {
    /// XML namespace; empty for none.
    pub namespace: String,
    /// Local name.
    pub name: String,
}

/// A dead property: kept for clients, never looked into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Property {
    /// Its name.
    pub name: PropertyName,
    /// The whole element as the client sent it, namespaces declared.
    pub xml: Bytes,
}

/// Who else may hold a lock on the same node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockScope {
    /// Nobody.
    Exclusive,
    /// Other shared locks.
    Shared,
}

/// A WebDAV write lock (RFC 4918 §6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Its token, a URI (`urn:uuid:…`).
    pub token: String,
    /// The node it was taken on.
    pub path: NodePath,
    /// Whether it covers everything below.
    pub deep: bool,
    /// Exclusive or shared.
    pub scope: LockScope,
    /// The user who took it.
    pub user: String,
    /// The `owner` element as sent.
    pub owner_xml: Bytes,
    /// Seconds it was granted for.
    pub timeout_s: u32,
    /// It ends then, in ms since 1970 UTC by the leader's clock.
    pub expires_ms: u64,
}

/// Where one shard of a stripe is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardPlace {
    /// The agent that acknowledged it; `None` when no agent could take it (the stripe is degraded).
    pub agent: Option<AgentId>,
    /// Hash of the shard's bytes.
    pub hash: ShardHash,
}

/// A stripe: one chunk, compressed, encrypted, cut in `k` data shards and extended by `m` parity shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StripeRecord {
    /// The plain content it holds.
    pub content: ContentId,
    /// Which erasure code made its parity.
    pub codec: u8,
    /// Data shards.
    pub k: u8,
    /// Parity shards; whole further copies where `k` is 1.
    pub m: u8,
    /// Bytes of the plain chunk.
    pub plain_bytes: u32,
    /// Bytes after compression and encryption, before padding to `k` equal shards.
    pub stored_bytes: u32,
    /// Bytes of each shard.
    pub shard_bytes: u32,
    /// Compression: 0 none, 1 zstd.
    pub compression: u8,
    /// Which data key of the pool encrypts it.
    pub key_epoch: u32,
    /// `k + m` places, by shard index. No agent stands in it twice.
    pub shards: Vec<ShardPlace>,
}

/// A stripe nothing refers to any more; its shards are to be dropped by their holders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GarbageStripe {
    /// Its id.
    pub stripe: StripeId,
    /// What it was.
    pub record: StripeRecord,
    /// When its last reference went, in ms since 1970 UTC by the leader's clock.
    pub since_ms: u64,
}
