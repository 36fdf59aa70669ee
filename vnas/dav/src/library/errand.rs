//! One request on its way through dav-server.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dav_server::davpath::DavPath;
use dav_server::fs::FsError;
use shoal_ledger::{Guard, Node, NodePath, Rejection};
use shoal_volume::DriveError;

use crate::context::{Place, Request};
use crate::href::UrlPath;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Job {
    MakeFolder,
    Remove,
    /// COPY or MOVE.
    Transfer {
        to: UrlPath,
        overwrite: bool,
        /// With everything in it.
        deep: bool,
        /// COPY.
        keep_source: bool,
    },
    Lock {
        owner_xml: Bytes,
        timeout_s: u32,
    },
    Unlock,
}

/// A request, its job, and what the drive said to it.
pub(super) struct Errand {
    request: Arc<Request>,
    pub(super) job: Job,
    pub(super) guard: Guard,
    failure: Mutex<Option<DriveError>>,
}

impl fmt::Debug for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Errand").field("job", &self.job).finish_non_exhaustive()
    }
}

impl Errand {
    pub(super) fn new(request: Arc<Request>, job: Job, guard: Guard) -> Self {
        Self { request, job, guard, failure: Mutex::new(None) }
    }

    pub(super) fn drive(&self) -> &shoal_volume::Drive {
        &self.request.drive
    }

    /// The node a path of dav-server's stands for. Its paths are decoded URL paths.
    pub(super) fn path(&self, path: &DavPath) -> Result<NodePath, FsError> {
        let text = std::str::from_utf8(path.as_bytes()).map_err(|_| FsError::NotFound)?;
        let names = text.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        match Request::locate(&self.request.volumes, &UrlPath { names, slash: false }) {
            Ok(Place::Node(path)) => Ok(path),
            _ => Err(FsError::NotFound),
        }
    }

    /// Where a COPY or MOVE comes from and goes to.
    pub(super) fn ends(&self, to: &UrlPath) -> Result<(NodePath, NodePath), FsError> {
        match (&self.request.place, Request::locate(&self.request.volumes, to)) {
            (Place::Node(from), Ok(Place::Node(to))) => Ok((from.clone(), to)),
            _ => Err(FsError::NotFound),
        }
    }

    /// What stands there.
    pub(super) fn node(&self, path: &DavPath) -> Result<Node, FsError> {
        let path = self.path(path)?;
        self.drive().node(&path).map_err(|error| self.failed(error))?.ok_or(FsError::NotFound)
    }

    /// Remembers what the drive answered, which then stands whatever dav-server makes of the error returned.
    pub(super) fn failed(&self, error: DriveError) -> FsError {
        let rough = match &error {
            DriveError::Rejected(Rejection::Exists(_)) => FsError::Exists,
            DriveError::Rejected(Rejection::NotFound(_) | Rejection::ParentMissing(_)) => FsError::NotFound,
            DriveError::Full | DriveError::NoRoomHere(_) => FsError::InsufficientStorage,
            _ => FsError::GeneralFailure,
        };
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        rough
    }

    pub(super) fn take_failure(&self) -> Option<DriveError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
