//! The drive as dav-server's file system, for one errand at a time.

use std::fmt;
use std::io::SeekFrom;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf, Bytes};
use dav_server::davpath::DavPath;
use dav_server::fs::{
    DavDirEntry, DavFile, DavMetaData, FsError, FsFuture, FsResult, FsStream, GuardedFileSystem, OpenOptions,
    ReadDirMeta,
};
use futures::{FutureExt, StreamExt, future, stream};
use shoal_ledger::Node;

use super::errand::{Errand, Job};
use crate::context::is_folder;

/// Has no state: all is in the errand.
#[derive(Debug, Clone)]
pub(super) struct ErrandFiles;

type Errands = Arc<Errand>;

impl GuardedFileSystem<Errands> for ErrandFiles {
    /// LOCK of a name where nothing is makes an empty file; the ledger has done that in the same step.
    fn open<'a>(&'a self, _: &'a DavPath, _: OpenOptions, errand: &'a Errands) -> FsFuture<'a, Box<dyn DavFile>> {
        let file = match errand.job {
            Job::Lock { .. } => Ok(Box::new(MadeByLock) as Box<dyn DavFile>),
            _ => Err(FsError::NotImplemented),
        };
        future::ready(file).boxed()
    }

    fn read_dir<'a>(
        &'a self,
        _: &'a DavPath,
        _: ReadDirMeta,
        _: &'a Errands,
    ) -> FsFuture<'a, FsStream<Box<dyn DavDirEntry>>> {
        future::ready(Ok(stream::empty().boxed() as FsStream<Box<dyn DavDirEntry>>)).boxed()
    }

    fn metadata<'a>(&'a self, path: &'a DavPath, errand: &'a Errands) -> FsFuture<'a, Box<dyn DavMetaData>> {
        let found = errand.node(path).map(|node| Box::new(Found(Box::new(node))) as Box<dyn DavMetaData>);
        future::ready(found).boxed()
    }

    fn create_dir<'a>(&'a self, path: &'a DavPath, errand: &'a Errands) -> FsFuture<'a, ()> {
        async move {
            if errand.job != Job::MakeFolder {
                // COPY of a folder begins by making the destination: that is the moment to copy all of it.
                return transfer(errand).await;
            }
            let path = errand.path(path)?;
            let made = errand.drive().make_folder(&path, errand.guard.clone()).await;
            made.map(drop).map_err(|error| errand.failed(error))
        }
        .boxed()
    }

    fn remove_dir<'a>(&'a self, path: &'a DavPath, errand: &'a Errands) -> FsFuture<'a, ()> {
        remove(errand, path).boxed()
    }

    fn remove_file<'a>(&'a self, path: &'a DavPath, errand: &'a Errands) -> FsFuture<'a, ()> {
        remove(errand, path).boxed()
    }

    fn rename<'a>(&'a self, _: &'a DavPath, _: &'a DavPath, errand: &'a Errands) -> FsFuture<'a, ()> {
        transfer(errand).boxed()
    }

    fn copy<'a>(&'a self, _: &'a DavPath, _: &'a DavPath, errand: &'a Errands) -> FsFuture<'a, ()> {
        transfer(errand).boxed()
    }
}

async fn remove(errand: &Errand, path: &DavPath) -> FsResult<()> {
    if errand.job != Job::Remove {
        // The destination of a COPY or MOVE goes in the same step that fills it.
        return Ok(());
    }
    let path = errand.path(path)?;
    errand.drive().remove(&path, errand.guard.clone()).await.map_err(|error| errand.failed(error))
}

async fn transfer(errand: &Errand) -> FsResult<()> {
    let Job::Transfer { to, overwrite, deep, keep_source } = &errand.job else { return Err(FsError::NotImplemented) };
    let (from, to) = errand.ends(to)?;
    let guard = errand.guard.clone();
    let done = if *keep_source {
        errand.drive().copy(&from, &to, *overwrite, *deep, guard).await
    } else {
        errand.drive().rename(&from, &to, *overwrite, guard).await
    };
    done.map(drop).map_err(|error| errand.failed(error))
}

#[derive(Debug, Clone)]
struct Found(Box<Node>);

impl DavMetaData for Found {
    fn len(&self) -> u64 {
        self.0.size_bytes
    }

    fn modified(&self) -> FsResult<SystemTime> {
        Ok(UNIX_EPOCH + Duration::from_millis(self.0.modified_ms.max(0).unsigned_abs()))
    }

    fn is_dir(&self) -> bool {
        is_folder(&self.0)
    }
}

/// The empty file a LOCK has made. Nothing is read from or written to it here.
struct MadeByLock;

impl fmt::Debug for MadeByLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MadeByLock")
    }
}

fn unused<'a, T: Send + 'a>() -> FsFuture<'a, T> {
    future::ready(Err(FsError::NotImplemented)).boxed()
}

impl DavFile for MadeByLock {
    fn metadata(&mut self) -> FsFuture<'_, Box<dyn DavMetaData>> {
        unused()
    }

    fn write_buf(&mut self, _: Box<dyn Buf + Send>) -> FsFuture<'_, ()> {
        unused()
    }

    fn write_bytes(&mut self, _: Bytes) -> FsFuture<'_, ()> {
        unused()
    }

    fn read_bytes(&mut self, _: usize) -> FsFuture<'_, Bytes> {
        unused()
    }

    fn seek(&mut self, _: SeekFrom) -> FsFuture<'_, u64> {
        unused()
    }

    fn flush(&mut self) -> FsFuture<'_, ()> {
        unused()
    }
}
