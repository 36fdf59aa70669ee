//! The newcomer's side.

use std::net::SocketAddr;
use std::time::Duration;

use dci_proto::{AgentId, PoolId};
use shoal_ledger::{AgentRecord, AgentRoles};
use shoal_net::{JoinError, join_call};
use tokio::time::Instant;

use super::words::{Answer, Ask, Welcome};
use crate::AgentError;
use crate::data_directory::{KnownMember, Secret};
use crate::ticket::Ticket;
use crate::wire;

/// How long one agent may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// A pool that cannot agree on changes right now is asked again for this long.
const LATER_FOR: Duration = Duration::from_secs(30);
/// Time between two tries.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Time between two looks whether an admin has approved.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// What a new member knows.
pub(crate) struct Joined {
    pub(crate) pool: PoolId,
    pub(crate) pool_name: String,
    pub(crate) roles: AgentRoles,
    pub(crate) members: Vec<KnownMember>,
    pub(crate) pool_key: Option<Secret>,
}

impl From<Welcome> for Joined {
    fn from(welcome: Welcome) -> Self {
        let known = |member: wire::Member| KnownMember {
            id: member.id,
            control: member.control,
            data: member.data,
            roles: member.roles,
        };
        Self {
            pool: welcome.pool,
            pool_name: welcome.pool_name,
            roles: welcome.roles,
            members: welcome.members.into_iter().map(known).collect(),
            pool_key: welcome.pool_key.map(Secret::new),
        }
    }
}

/// Joins with a ticket.
///
/// # Errors
/// If the pool refuses, or none of the ticket's agents can be reached.
pub(crate) async fn join_with_ticket(
    key_seed: &[u8; 32],
    ticket: &Ticket,
    own: &AgentRecord,
) -> Result<Joined, AgentError> {
    let ask = Ask::Ticket { pool: ticket.pool, secret: *ticket.secret(), agent: own.clone() };
    let deadline = Instant::now() + LATER_FOR;
    loop {
        let mut reasons = Vec::new();
        for inviter in &ticket.inviters {
            match call(key_seed, &inviter.addresses, Some(inviter.agent), &ask).await {
                Ok(Answer::Welcome(welcome)) => return welcomed(*welcome, Some(ticket.pool)),
                Ok(Answer::Refused | Answer::Waiting | Answer::Standing { .. } | Answer::Here(_)) => {
                    return Err(AgentError::JoinRefused(
                        "the ticket is not valid (any more); ask for a new one with `shoal invite`".into(),
                    ));
                }
                Ok(Answer::OtherPool) => reasons.push("it belongs to another pool by now".to_owned()),
                Ok(Answer::Later(reason)) => reasons.push(reason),
                Err(error) => reasons.push(error.to_string()),
            }
        }
        let reasons = reasons.join("; ");
        if Instant::now() >= deadline {
            return Err(AgentError::JoinUnreachable(reasons));
        }
        tracing::info!(reasons, "nobody could let this agent in yet; asking again");
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Asks an agent at an address to be let in, until an admin has decided.
///
/// # Errors
/// If the pool turns this agent away, or the agent asked cannot be reached at first.
pub(crate) async fn ask_until_approved(
    key_seed: &[u8; 32],
    addresses: &[SocketAddr],
    expected: Option<AgentId>,
    own: &AgentRecord,
) -> Result<Joined, AgentError> {
    let ask = Ask::Approval { agent: own.clone() };
    let mut waiting = false;
    loop {
        match call(key_seed, addresses, expected, &ask).await {
            Ok(Answer::Welcome(welcome)) => return welcomed(*welcome, None),
            Ok(Answer::Waiting) if !waiting => {
                waiting = true;
                tracing::info!(
                    fingerprint = own.id.fingerprint(),
                    "waiting for an admin of the pool to approve this agent"
                );
            }
            Ok(Answer::Waiting) => {}
            Ok(Answer::Refused | Answer::OtherPool | Answer::Standing { .. } | Answer::Here(_)) => {
                return Err(AgentError::JoinRefused("the agent asked does not let this one in".into()));
            }
            Ok(Answer::Later(reason)) => tracing::info!(reason, "asking again"),
            Err(error) if waiting => tracing::debug!(%error, "asking again"),
            Err(error) => return Err(AgentError::JoinUnreachable(error.to_string())),
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

pub(super) async fn call(
    key_seed: &[u8; 32],
    addresses: &[SocketAddr],
    expected: Option<AgentId>,
    ask: &Ask,
) -> Result<Answer, JoinError> {
    let unclear = |error: wire::WireError| JoinError::Unreachable(error.to_string());
    let body = wire::encode(ask).map_err(unclear)?;
    let (agent, answer) = join_call(key_seed, addresses, expected, body, ANSWER_TIMEOUT).await?;
    wire::decode(&answer).map_err(|error| JoinError::NoAnswer { agent, reason: error.to_string() })
}

/// What a welcome says is checked as far as it can be.
fn welcomed(welcome: Welcome, pool: Option<PoolId>) -> Result<Joined, AgentError> {
    if pool.is_some_and(|pool| pool != welcome.pool) {
        return Err(AgentError::JoinRefused("the agent asked speaks for another pool".into()));
    }
    if welcome.roles.mount && welcome.pool_key.is_none() {
        return Err(AgentError::JoinRefused("the agent asked kept the pool's key to itself".into()));
    }
    Ok(welcome.into())
}
