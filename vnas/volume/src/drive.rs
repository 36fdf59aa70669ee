//! The file system the doors serve. Every call checks the ledger for freshness first (see [`Drive::refresh`]).

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use shoal_ledger::{Guard, LedgerClient, Lock, LockRequest, Node, NodePath, Property, PropertyPatch, VolumeRecord};

use crate::{DriveConfig, DriveError, ShardPeers};

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
#[derive(Clone)]
pub struct Drive {
    _inner: Arc<()>,
}

impl Drive {
    /// A drive over a ledger and its peers.
    #[must_use]
    pub fn new(ledger: Arc<dyn LedgerClient>, peers: Arc<dyn ShardPeers>, config: DriveConfig) -> Self {
        let _ = (ledger, peers, config);
        todo!()
    }

    /// Makes what follows see all that was acknowledged anywhere before. True: it does. False: the quorum cannot be
    /// reached, what follows may be stale (readers are told).
    pub async fn refresh(&self) -> bool {
        todo!()
    }

    /// The volumes, from the local copy (no refresh).
    pub fn volumes(&self) -> Result<Vec<VolumeRecord>, DriveError> {
        todo!()
    }

    /// What stands at a path; `None` for nothing. From the local copy (no refresh): call [`Self::refresh`] once a
    /// request.
    pub fn node(&self, path: &NodePath) -> Result<Option<Node>, DriveError> {
        let _ = path;
        todo!()
    }

    /// Up to `limit` nodes in a folder after the name `after`, in order. From the local copy (no refresh).
    pub fn children(&self, folder: &Node, after: Option<&str>, limit: usize) -> Result<Vec<Node>, DriveError> {
        let _ = (folder, after, limit);
        todo!()
    }

    /// Dead properties of a node. From the local copy (no refresh).
    pub fn properties(&self, node: &Node) -> Result<Vec<Property>, DriveError> {
        let _ = node;
        todo!()
    }

    /// Locks that cover a path; `below`: those on or below it instead. From the local copy (no refresh).
    pub fn locks(&self, path: &NodePath, below: bool) -> Result<Vec<Lock>, DriveError> {
        let _ = (path, below);
        todo!()
    }

    /// What is stored in a volume and what can be.
    pub fn space(&self, volume: &VolumeRecord) -> Result<Space, DriveError> {
        let _ = volume;
        todo!()
    }

    /// Makes a folder.
    pub async fn make_folder(&self, path: &NodePath, guard: Guard) -> Result<Node, DriveError> {
        let _ = (path, guard);
        todo!()
    }

    /// Removes a file or a folder with everything in it.
    pub async fn remove(&self, path: &NodePath, guard: Guard) -> Result<(), DriveError> {
        let _ = (path, guard);
        todo!()
    }

    /// Renames or moves; true if nothing was at the destination.
    pub async fn rename(&self, from: &NodePath, to: &NodePath, overwrite: bool, guard: Guard) -> Result<bool, DriveError> {
        let _ = (from, to, overwrite, guard);
        todo!()
    }

    /// Copies; true if nothing was at the destination.
    pub async fn copy(
        &self,
        from: &NodePath,
        to: &NodePath,
        overwrite: bool,
        deep: bool,
        guard: Guard,
    ) -> Result<bool, DriveError> {
        let _ = (from, to, overwrite, deep, guard);
        todo!()
    }

    /// Sets times, in ms since 1970 UTC.
    pub async fn set_times(
        &self,
        path: &NodePath,
        modified_ms: Option<i64>,
        created_ms: Option<i64>,
        guard: Guard,
    ) -> Result<(), DriveError> {
        let _ = (path, modified_ms, created_ms, guard);
        todo!()
    }

    /// Changes dead properties, all or none.
    pub async fn patch_properties(&self, path: &NodePath, patches: Vec<PropertyPatch>, guard: Guard) -> Result<(), DriveError> {
        let _ = (path, patches, guard);
        todo!()
    }

    /// Takes a lock; true if an empty file had to be made.
    pub async fn lock(&self, request: LockRequest, guard: Guard) -> Result<(Lock, bool), DriveError> {
        let _ = (request, guard);
        todo!()
    }

    /// Lets a lock live longer.
    pub async fn refresh_lock(&self, token: &str, path: &NodePath, user: &str, timeout_s: u32) -> Result<Lock, DriveError> {
        let _ = (token, path, user, timeout_s);
        todo!()
    }

    /// Ends a lock.
    pub async fn unlock(&self, token: &str, path: &NodePath, user: &str) -> Result<(), DriveError> {
        let _ = (token, path, user);
        todo!()
    }

    /// Begins a file. Nothing is seen of it, and what was there stays, until [`FileWriter::commit`]; dropped before,
    /// nothing remains. Folder, guard and room are checked now so that a hopeless upload fails early, and again in
    /// the step that commits.
    pub async fn create(&self, path: &NodePath, file: NewFile, guard: Guard) -> Result<FileWriter, DriveError> {
        let _ = (path, file, guard);
        todo!()
    }

    /// A file as it is now; what is read is this version even if it is replaced meanwhile.
    pub fn open(&self, node: &Node) -> Result<FileReader, DriveError> {
        let _ = node;
        todo!()
    }
}

/// A file on its way in.
pub struct FileWriter {
    _private: (),
}

impl FileWriter {
    /// Takes further bytes, any number; waits while too many chunks are in the works.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), DriveError> {
        let _ = bytes;
        todo!()
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        todo!()
    }

    /// Makes the file be there, durable, in one step; true if nothing was there before.
    pub async fn commit(self) -> Result<(Node, bool), DriveError> {
        todo!()
    }
}

/// A version of a file, open for reading.
#[derive(Clone)]
pub struct FileReader {
    _private: (),
}

impl FileReader {
    /// The file it reads.
    #[must_use]
    pub fn node(&self) -> &Node {
        todo!()
    }

    /// A range of its bytes, in order, read ahead in parallel. The first item comes when the first bytes are there;
    /// an error ends the stream.
    pub fn read(&self, range: Range<u64>) -> ByteStream {
        let _ = range;
        todo!()
    }
}
