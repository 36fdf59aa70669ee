//! The drive's door: WebDAV on the address configured, signed in against the pool's users.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use shoal_dav::{AuthFailure, Authenticator, Principal};
use shoal_ledger::UserRole;

use crate::auth::{Credentials, SignInError};

/// Signs clients of the drive in.
pub(crate) struct DoorAuthenticator(pub(crate) Arc<Credentials>);

/// How long a client waits before it asks again when signing in is not possible.
const UNAVAILABLE_WAIT: std::time::Duration = std::time::Duration::from_secs(2);

#[async_trait]
impl Authenticator for DoorAuthenticator {
    async fn authenticate(&self, user: &str, password: &str, remote: IpAddr) -> Result<Principal, AuthFailure> {
        match self.0.sign_in(user, password, remote).await {
            Ok(record) => Ok(Principal { name: record.name, may_write: record.role != UserRole::Viewer }),
            Err(SignInError::Wrong) => Err(AuthFailure::Wrong),
            Err(SignInError::SlowDown(wait)) => Err(AuthFailure::SlowDown(wait)),
            Err(SignInError::Unavailable(reason)) => {
                tracing::debug!(reason, "a client of the drive could not be signed in");
                Err(AuthFailure::SlowDown(UNAVAILABLE_WAIT))
            }
        }
    }
}
