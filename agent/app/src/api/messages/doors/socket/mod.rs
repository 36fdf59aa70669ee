//! `DATA/messages.sock`: messages for the programs of this computer, without HTTP. Lines of JSON both ways.
//!
//! ```text
//! → {"seq":1,"call":"request","body":{"type":"word-count","to":{"all":true},"text":"one two"}}
//! ← {"seq":1,"event":{"event":"sent",…}}      any number, until {"event":"done"}
//! → {"seq":2,"call":"states","body":{"id":"…"}}
//! ← {"seq":2,"answer":{…}}                     or {"seq":2,"error":{"status":404,"error":"…"}}
//! ```
//!
//! Whoever can open the socket is the agent's own user (or root): they act as the CLI of this computer does. `lines` reads,
//! `waiting` holds what is to be written, `calls` does what a line says, `connection` keeps both going.

mod calls;
mod connection;
mod lines;
mod waiting;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::super::Api;

/// Its name in the data directory.
pub(in super::super::super) const SOCKET_FILE: &str = "messages.sock";
/// Connections at a time, at most; one more is told so and closed.
const CONNECTIONS_LIMIT: usize = 32;
/// Pages of the log that are put together or wait to be read, at most, for all connections; others wait.
const PAGES_LIMIT: usize = 4;
/// Only its owner opens it.
const MODE: u32 = 0o600;
/// How long connections may take to end when the agent stops.
const DRAIN_DEADLINE: Duration = Duration::from_secs(3);
/// After an accept that failed (out of descriptors), how long to wait for some to be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections share.
struct Shared {
    api: Arc<Api>,
    /// Long lines in memory.
    long_lines: Arc<Semaphore>,
    /// Pages of the log in memory.
    pages: Arc<Semaphore>,
    shutdown: CancellationToken,
}

/// Serves until `shutdown`. An agent that cannot have the socket goes on without.
pub(in super::super::super) async fn serve(api: Arc<Api>, data: PathBuf, shutdown: CancellationToken) {
    let path = data.join(SOCKET_FILE);
    let listener = match bind(&path) {
        Ok(listener) => listener,
        Err(error) => {
            let path = path.display();
            return tracing::warn!(%error, %path, "there is no socket for programs of this computer; a path has 107 bytes at most");
        }
    };
    let long_lines = Arc::new(Semaphore::new(lines::LONG_LINES_LIMIT));
    let pages = Arc::new(Semaphore::new(PAGES_LIMIT));
    let shared = Arc::new(Shared { api, long_lines, pages, shutdown: shutdown.clone() });
    let slots = Arc::new(Semaphore::new(CONNECTIONS_LIMIT));
    let connections = TaskTracker::new();
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) if is_ours(&stream) => {
                let (shared, slot) = (shared.clone(), slots.clone().try_acquire_owned());
                connections.spawn(async move {
                    match slot {
                        Ok(slot) => {
                            let _slot = slot;
                            connection::serve(stream, shared).await;
                        }
                        Err(_) => connection::turn_away(stream, CONNECTIONS_LIMIT).await,
                    }
                });
            }
            // Whoever was quick before the mode was set.
            Ok(_) => tracing::warn!("another user of this computer was turned away at the messages' socket"),
            Err(error) => {
                tracing::warn!(%error, "the messages' socket cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.close();
    let _ = tokio::time::timeout(DRAIN_DEADLINE, connections.wait()).await;
    let _ = std::fs::remove_file(&path);
}

/// What an agent that ended badly left there is taken away: the directory is this agent's alone.
fn bind(path: &Path) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
    Ok(listener)
}

fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}
