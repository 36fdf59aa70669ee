//! The file system the doors serve. Every call checks the ledger for freshness first (see [`Drive::refresh`]).

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use shoal_ledger::{Guard, INLINE_LIMIT_BYTES, LedgerClient, Node, NodePath};

use crate::checks::check_target;
use crate::shared::{Shared, keep_policy};
use crate::{BadShard, DriveConfig, DriveError, DriveStats, FileReader, FileWriter, ShardPeers};

/// What can be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes of users' files stored.
    pub used_bytes: u64,
    /// Bytes of users' files that can still be stored at today's geometry.
    pub free_bytes: u64,
}

/// Bytes as they come.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, DriveError>> + Send>>;

/// A file that is about to be written.
#[derive(Debug, Clone, Default)]
pub struct NewFile {
    /// Bytes announced, where known; a different number at the end is refused.
    pub size_bytes: Option<u64>,
    /// The client's modification time.
    pub modified_ms: Option<i64>,
    /// The media type the client gave.
    pub media_type: Option<String>,
    /// Whether to compute SHA-1 on the way (for `oc:checksums`).
    pub want_sha1: bool,
    /// SHA-1 the client announced; other bytes are refused.
    pub expected_sha1: Option<[u8; 20]>,
}

/// The pool's volumes as a file system. Cheap to clone.
///
/// What it can do with names, properties and locks is in `namespace`, with room in `space`.
#[derive(Clone)]
pub struct Drive {
    pub(crate) shared: Arc<Shared>,
}

impl Drive {
    /// A drive over a ledger and its peers.
    #[must_use]
    pub fn new(ledger: Arc<dyn LedgerClient>, peers: Arc<dyn ShardPeers>, config: DriveConfig) -> Self {
        Self { shared: Arc::new(Shared::new(ledger, peers, &config)) }
    }

    /// Begins a file. Nothing is seen of it, and what was there stays, until [`FileWriter::commit`]; dropped before,
    /// nothing remains. Folder, guard and room are checked now so that a hopeless upload fails early, and again in
    /// the step that commits.
    pub async fn create(&self, path: &NodePath, file: NewFile, guard: Guard) -> Result<FileWriter, DriveError> {
        self.shared.admit()?;
        let view = self.shared.view()?;
        let volume = check_target(&*view, path, &guard)?;
        let policy = keep_policy(&*view, volume.policy)?;
        let wanted_bytes = file.size_bytes.unwrap_or(INLINE_LIMIT_BYTES as u64 + 1);
        if wanted_bytes > INLINE_LIMIT_BYTES as u64 && !self.shared.has_room(policy, wanted_bytes) {
            self.shared.note_wanted(policy, wanted_bytes);
            return Err(DriveError::Full);
        }
        Ok(FileWriter::new(&self.shared, path, file, guard, policy))
    }

    /// A file as it is now; what is read is this version even if it is replaced meanwhile, for files of up to 64 MiB,
    /// and of longer ones as far as reading has looked ahead (1 GiB at a time): beyond that a replaced file ends with
    /// an error, never with other bytes.
    pub fn open(&self, node: &Node) -> Result<FileReader, DriveError> {
        FileReader::open(&self.shared, node)
    }

    /// What this drive has done since it started.
    #[must_use]
    pub fn stats(&self) -> DriveStats {
        self.shared.counters.snapshot()
    }

    /// How many shards reads found missing or damaged and nobody has taken up yet; at most 1,024 are remembered.
    #[must_use]
    pub fn bad_shards_known(&self) -> usize {
        self.shared.counters.bad_count()
    }

    /// Shards that reads found missing or damaged since the last call, for repair.
    #[must_use]
    pub fn take_bad_shards(&self) -> Vec<BadShard> {
        self.shared.counters.take_bad()
    }
}
