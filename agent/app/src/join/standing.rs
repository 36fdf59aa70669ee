//! Whether this agent is still a member: asked of the others when none of them answers it any more, over the way in that
//! strangers use. A member that was struck off while it was away learns it so; nobody else would talk to it.
//!
//! It is believed only from an agent this one knows as a member that holds the ledger, whose identity TLS proves, and that
//! has made sure its copy of the ledger is fresh.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dci_proto::PoolId;
use tokio_util::sync::CancellationToken;

use super::ask::call;
use super::words::{Answer, Ask};
use crate::data_directory::{KnownMember, Membership, Secret};
use crate::health::Health;
use crate::members::MemberBook;
use crate::recover::swap;
use crate::{AgentError, secret_file};

/// Time between two looks whether anybody answers.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Members asked at one look, at most; the next look asks others.
const ASKED_AT_ONCE: usize = 3;
/// Says that this agent was struck off.
const MARK_FILE: &str = "struck-off";

/// Asks how this agent stands.
pub(crate) struct Standing {
    pub(crate) key_seed: Secret,
    pub(crate) pool: PoolId,
    pub(crate) health: Arc<Health>,
    pub(crate) members: Arc<MemberBook>,
    /// Cancelled when this agent is no member any more.
    pub(crate) struck_off: CancellationToken,
}

impl Standing {
    /// Looks until `shutdown`, or until this agent is no member any more.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut turn = 0;
        while shutdown.run_until_cancelled(tokio::time::sleep(LOOK_INTERVAL)).await.is_some() {
            let holders = self.members.known_ledger_holders();
            if holders.is_empty() || holders.iter().any(|holder| self.health.answers(holder.id)) {
                continue;
            }
            let asked = holders.iter().cycle().skip(turn % holders.len()).take(ASKED_AT_ONCE.min(holders.len()));
            turn = turn.wrapping_add(ASKED_AT_ONCE);
            for holder in asked {
                match shutdown.run_until_cancelled(self.ask(holder)).await {
                    Some(Some(false)) => {
                        self.struck_off.cancel();
                        return;
                    }
                    Some(_) => {}
                    None => return,
                }
            }
        }
    }

    /// Whether this agent is a member; `None` if there is no answer.
    async fn ask(&self, holder: &KnownMember) -> Option<bool> {
        let ask = Ask::Standing { pool: self.pool };
        match call(&self.key_seed, &holder.data, Some(holder.id), &ask).await {
            Ok(Answer::Standing { member }) => Some(member),
            Ok(_) | Err(_) => None,
        }
    }
}

/// Whether this agent was struck off, as far as it knows.
pub(crate) fn is_struck_off(data: &Path) -> bool {
    data.join(MARK_FILE).exists()
}

/// Notes that this agent was struck off. Durable when it returns.
pub(crate) fn note_struck_off(data: &Path) -> Result<(), AgentError> {
    if is_struck_off(data) { Ok(()) } else { secret_file::create(&data.join(MARK_FILE), b"") }
}

/// What people are told of an agent that was struck off.
pub(crate) fn saying(data: &Path, pool_name: &str) -> String {
    format!(
        "this agent was removed from the pool {pool_name}: it serves nothing and votes no more; its shards are kept. To join \
         again: `shoal join TICKET --data {}`, with a ticket from `shoal invite` on a member",
        data.display()
    )
}

/// A membership without any part in the pool.
pub(crate) fn idle(membership: Membership) -> Membership {
    let roles = shoal_ledger::AgentRoles { store: false, mount: false, vote: false };
    Membership::new(membership.pool, membership.pool_name, false, roles, Vec::new())
}

/// Forgets that this agent was struck off, for it has been let in again: with an empty ledger, for what it had may have
/// been decided otherwise since. The old one is kept.
pub(crate) fn begin_again(data: &Path) -> Result<(), AgentError> {
    let next: PathBuf = swap::prepare(data)?;
    fs::create_dir_all(&next).map_err(|error| AgentError::directory("make", &next, &error))?;
    swap::commit(data)?;
    let mark = data.join(MARK_FILE);
    let removed = fs::remove_file(&mark).and_then(|()| secret_file::sync_folder(&mark));
    removed.map_err(|error| AgentError::directory("remove", &mark, &error))
}
