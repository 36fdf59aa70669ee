//! Whether a user may send a message of a type, as the ledger says. An agent that holds no ledger asks one that does.

use std::sync::Arc;
use std::time::Duration;

use dci_proto::message::MessageType;
use serde::{Deserialize, Serialize};
use shoal_ledger::{KvError, KvRead, LedgerClient, TypePolicy, UserRole, query};
use shoal_net::{Lane, Network};
use shoal_peerlets::manifest::{Rights, Role};

use crate::members::MemberBook;
use crate::wire::{self, Method};

/// How long an agent that holds the ledger may take to say.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Agents that are asked one after the other, at most.
const ASKED_LIMIT: usize = 5;

/// May this user send that?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) user: String,
    pub(crate) kind: MessageType,
    pub(crate) policy: TypePolicy,
}

/// What the ledger says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Permission {
    Given,
    /// Why not, for people.
    Denied(String),
    /// It cannot be known now: the message is to come again.
    Unknown(String),
}

/// Where permission is looked up.
pub(super) struct Permissions {
    pub(super) ledger: Option<Arc<dyn LedgerClient>>,
    pub(super) network: Arc<dyn Network>,
    pub(super) members: Arc<MemberBook>,
}

/// What a peerlet's manifest asks of who sends to it.
pub(crate) fn policy_of(rights: &Rights) -> TypePolicy {
    let role = match rights.role {
        Role::Viewer => UserRole::Viewer,
        Role::User => UserRole::User,
        Role::Operator => UserRole::Operator,
        Role::Admin => UserRole::Admin,
    };
    TypePolicy { role, right: rights.executes }
}

/// Looks it up, as it is at a time of the ledger.
fn look_up(view: &dyn KvRead, question: &Question, now_ms: u64) -> Result<Permission, KvError> {
    let answer = query::may_send(view, &question.user, &question.kind, question.policy, now_ms)?;
    Ok(match answer {
        Ok(_) => Permission::Given,
        Err(refusal) => Permission::Denied(refusal.to_string()),
    })
}

/// Answers from a ledger. What needs a right of its own is looked up at a fresh read point: one that was just taken back is gone.
pub(crate) async fn answer(ledger: &Arc<dyn LedgerClient>, question: Question) -> Permission {
    if question.policy.right
        && let Err(error) = ledger.barrier().await
    {
        return Permission::Unknown(error.to_string());
    }
    // A right ends though nothing is written to the ledger meanwhile.
    let now_ms = ledger.time_ms();
    let answer = now_ms.and_then(|now_ms| look_up(&*ledger.view()?, &question, now_ms));
    answer.unwrap_or_else(|error| Permission::Unknown(error.to_string()))
}

impl Permissions {
    pub(super) async fn ask(&self, question: Question) -> Permission {
        if let Some(ledger) = &self.ledger {
            return answer(ledger, question).await;
        }
        let mut last = "no agent that holds the ledger is known".to_owned();
        for holder in self.members.ledger_holders(self.network.local()).into_iter().take(ASKED_LIMIT) {
            let Ok(request) = wire::request(Method::Permission, &question) else { break };
            match self.network.call(holder, Lane::Foreground, request, ASK_TIMEOUT).await {
                Ok(response) => match wire::done(&response) {
                    Ok(permission) => return permission,
                    Err(error) => last = error.to_string(),
                },
                Err(error) => last = error.to_string(),
            }
        }
        Permission::Unknown(last)
    }
}
