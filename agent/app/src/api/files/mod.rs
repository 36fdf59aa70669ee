//! Files between agents over HTTP: handing in, offering, how far each is, fetching, removing.
//!
//! Who may sign in at an agent with the role user sees and reads what came to it, as with the drive; what is sent is removed by
//! who sent it or who tends the pool.

mod archive;
mod content;
mod events;
mod handlers;
pub mod types;
mod views;
mod zip;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post, put};

use super::Api;
use super::failure::Failure;
use crate::files::{Files, FilesError};

pub(super) use handlers::page;

/// Bytes of a list of files that is handed in, at most.
const LIST_LIMIT_BYTES: usize = 32 * 1024 * 1024;

/// The calls.
pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/files", get(handlers::list).post(handlers::begin).layer(DefaultBodyLimit::max(LIST_LIMIT_BYTES)))
        .route("/files/events", get(events::events))
        .route("/files/{transfer}", get(handlers::one).delete(handlers::remove))
        .route("/files/{transfer}/entries", get(handlers::entries))
        .route("/files/{transfer}/archive", get(archive::get))
        .route("/files/{transfer}/offer", post(handlers::offer))
        // Its body goes to the disk as it comes; how long it may be is known.
        .route("/files/{transfer}/content/{number}", put(content::put).layer(DefaultBodyLimit::disable()))
        .route("/files/{transfer}/content/{number}", get(content::get))
}

impl Api {
    /// Files, or why there are none.
    pub(super) fn files(&self) -> Result<&Arc<Files>, Failure> {
        self.agent.files.as_ref().map_err(|why| Failure::unavailable(format!("this agent has no files: {why}")))
    }
}

impl From<FilesError> for Failure {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::Missing(why) => Self::missing(why),
            FilesError::Format(error) => Self::bad(error.to_string()),
            FilesError::Bad(why) => Self::bad(why),
            FilesError::Conflict(why) | FilesError::NoRoom(why) => Self::conflict(why),
            FilesError::Busy(why) => Self::unavailable(why),
            FilesError::Send(error) => error.into(),
            FilesError::Disk { .. } => Self::broken(error.to_string()),
        }
    }
}
