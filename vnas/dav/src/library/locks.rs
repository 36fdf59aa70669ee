//! The ledger's locks as dav-server's lock system, for one errand.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dav_server::davpath::DavPath;
use dav_server::ls::{DavLock, DavLockSystem, LsFuture};
use futures::{FutureExt, future};
use shoal_ledger::{LockRequest, LockScope};
use uuid::Uuid;
use xmltree::Element;

use super::errand::{Errand, Job};

/// The locks as one errand sees them.
#[derive(Debug, Clone)]
pub(super) struct ErrandLocks {
    errand: Arc<Errand>,
}

impl ErrandLocks {
    pub(super) fn new(errand: Arc<Errand>) -> Self {
        Self { errand }
    }
}

impl DavLockSystem for ErrandLocks {
    fn lock(
        &self,
        path: &DavPath,
        principal: Option<&str>,
        owner: Option<&Element>,
        _: Option<Duration>,
        shared: bool,
        deep: bool,
    ) -> LsFuture<'_, Result<DavLock, DavLock>> {
        let mut lock = DavLock {
            token: format!("urn:uuid:{}", Uuid::new_v4()),
            path: Box::new(path.clone()),
            principal: principal.map(str::to_owned),
            owner: owner.map(|owner| Box::new(owner.clone())),
            timeout_at: None,
            timeout: None,
            shared,
            deep,
        };
        async move {
            let Job::Lock { owner_xml, timeout_s } = &self.errand.job else { return Err(lock) };
            let Ok(path) = self.errand.path(&lock.path) else { return Err(lock) };
            let scope = if shared { LockScope::Shared } else { LockScope::Exclusive };
            let (token, owner_xml, timeout_s) = (lock.token.clone(), owner_xml.clone(), *timeout_s);
            let wish = LockRequest { token, path, deep, scope, owner_xml, timeout_s };
            match self.errand.drive().lock(wish, self.errand.guard.clone()).await {
                Ok((granted, _)) => {
                    let timeout = Duration::from_secs(u64::from(granted.timeout_s));
                    lock.token = granted.token;
                    lock.timeout = Some(timeout);
                    lock.timeout_at = SystemTime::now().checked_add(timeout);
                    Ok(lock)
                }
                Err(error) => {
                    self.errand.failed(error);
                    Err(lock)
                }
            }
        }
        .boxed()
    }

    fn unlock(&self, path: &DavPath, token: &str) -> LsFuture<'_, Result<(), ()>> {
        let (path, token) = (path.clone(), token.to_owned());
        async move {
            let path = self.errand.path(&path).map_err(drop)?;
            let ended = self.errand.drive().unlock(&token, &path, &self.errand.guard.user).await;
            ended.map_err(|error| {
                self.errand.failed(error);
            })
        }
        .boxed()
    }

    /// Not asked: refreshing does not go through dav-server.
    fn refresh(&self, _: &DavPath, _: &str, _: Option<Duration>) -> LsFuture<'_, Result<DavLock, ()>> {
        future::ready(Err(())).boxed()
    }

    /// The ledger checks locks in the step that changes something; checking here as well could only be out of date.
    fn check(&self, _: &DavPath, _: Option<&str>, _: bool, _: bool, _: &[String]) -> LsFuture<'_, Result<(), DavLock>> {
        future::ready(Ok(())).boxed()
    }

    /// Not asked: PROPFIND does not go through dav-server.
    fn discover(&self, _: &DavPath) -> LsFuture<'_, Vec<DavLock>> {
        future::ready(Vec::new()).boxed()
    }

    /// The ledger drops the locks of what it removes.
    fn delete(&self, _: &DavPath) -> LsFuture<'_, Result<(), ()>> {
        future::ready(Ok(())).boxed()
    }
}
