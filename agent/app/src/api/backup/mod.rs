//! Backups over HTTP: setting up, runs, peers, archives, restores.
//!
//! Who may sign in sees how backups stand. What is in archives, restoring and the recovery kit are for admins: an archive has
//! everybody's files of this computer in it.

mod archives;
mod restores;
mod status;
pub mod types;
mod views;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use shoal_backup_service::owner::{OwnerError, Passphrase};
use shoal_backup_service::recovery::{self, RecoveryError};

use super::Api;
use super::failure::Failure;
use crate::backup::Backups;
use types::Which;

/// The calls.
pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/backup", get(status::status).post(status::init))
        .route("/backup/plan", get(status::plan).put(status::set_plan).post(status::look_at_plan))
        .route("/backup/kit", get(status::kit))
        .route("/backup/run", post(status::run).delete(status::cancel))
        .route("/backup/run/{request}", get(status::requested))
        .route("/backup/peers", put(status::assign))
        .route("/backup/drill", post(status::drill))
        .route("/backup/scrub", post(status::scrub))
        .route("/backup/owners", get(archives::owners))
        .route("/backup/archives", post(archives::list))
        .route("/backup/files", post(archives::files))
        .route("/backup/diff", post(archives::diff))
        .route("/backup/find", post(archives::find))
        .route("/backup/restore", post(restores::begin))
        .route("/backup/restores", get(restores::list))
        .route("/backup/restores/{number}", get(restores::one).delete(restores::cancel))
        .route("/backup/restores/{number}/first", post(restores::first))
}

impl Api {
    /// Backups, or why there are none.
    fn backups(&self) -> Result<&Arc<Backups>, Failure> {
        self.agent.backups.as_ref().map_err(|why| Failure::later(format!("this agent has no backups: {why}")))
    }
}

/// A passphrase as somebody typed it.
fn passphrase(typed: &str) -> Passphrase {
    Passphrase::typed(typed)
}

impl Backups {
    /// Whose archives are meant.
    fn which(&self, which: Which) -> Result<recovery::Which, Failure> {
        let Some(owner) = which.owner else { return Ok(recovery::Which::Own) };
        let found = self.find(&owner);
        let owner = found.ok_or_else(|| {
            Failure::missing(format!("{owner} is no agent of this pool and no agent's id; the recovery kit has the id"))
        })?;
        match which.passphrase {
            Some(typed) => Ok(recovery::Which::kit(owner, passphrase(&typed).as_str())),
            None => Err(Failure::bad("another PC's backup takes the passphrase of its recovery kit")),
        }
    }
}

impl From<OwnerError> for Failure {
    fn from(error: OwnerError) -> Self {
        let said = error.to_string();
        match error {
            OwnerError::NotSetUp | OwnerError::NoCopies => Self::missing(said),
            OwnerError::AlreadySetUp | OwnerError::CopiesExist(_) | OwnerError::NotRunning => Self::conflict(said),
            OwnerError::Plan(_) => Self::bad(said),
            OwnerError::NobodyDrills(_) | OwnerError::NotCleared | OwnerError::Ending => Self::later(said),
            OwnerError::Archive(error) => error.into(),
            _ => Self::broken(said),
        }
    }
}

impl From<shoal_archive::ArchiveError> for Failure {
    fn from(error: shoal_archive::ArchiveError) -> Self {
        use shoal_archive::ArchiveError as E;
        let said = error.to_string();
        match error {
            E::NoRepository(_) | E::NoArchive(_) => Self::missing(said),
            E::AlreadyThere(_) | E::Busy(_) => Self::conflict(said),
            E::WrongKey(_) => Self::denied(said),
            _ => Self::broken(said),
        }
    }
}

impl From<RecoveryError> for Failure {
    fn from(error: RecoveryError) -> Self {
        let said = error.to_string();
        match error {
            RecoveryError::NoOwnBackup
            | RecoveryError::NoArchive(_)
            | RecoveryError::NoArchives
            | RecoveryError::NotInArchive(_)
            | RecoveryError::NoRestore(_) => Self::missing(said),
            RecoveryError::WrongPassphrase(_) => Self::denied(said),
            RecoveryError::NoSource { .. } | RecoveryError::NoUsableCopy { .. } => Self::later(said),
            RecoveryError::Busy | RecoveryError::NotTicked(_) => Self::conflict(said),
            RecoveryError::NoRoom { .. } => Self::with(StatusCode::INSUFFICIENT_STORAGE, said),
            RecoveryError::BadRequest(_) | RecoveryError::TooManyArchives(_) => Self::bad(said),
            RecoveryError::Archive(error) => error.into(),
            _ => Self::broken(said),
        }
    }
}
