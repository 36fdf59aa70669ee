//! Tickets: how the first words with a pool are found and who may say them.
//!
//! A ticket is text that travels by mail or voice: `shoal1-` and base64url of what is below, with a checksum so that a
//! slip of the pen is told from a bad ticket without asking anyone. The ledger keeps only the hash of its secret.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dci_proto::{AgentId, PoolId};
use serde::{Deserialize, Serialize};
use shoal_ledger::{AgentRecord, AgentRoles, Command, LedgerClient, TicketRecord, query};

use crate::AgentError;
use crate::context::AgentContext;
use crate::data_directory::random_secret;

/// What every ticket of this format begins with.
const PREFIX: &str = "shoal1-";
/// Characters of a ticket, at most; longer text is not looked at.
const TEXT_LIMIT: usize = 4096;
/// Inviting agents named in a ticket, at most: enough that one of them is up.
const INVITERS: usize = 3;
/// Addresses of each of them, at most.
const ADDRESSES: usize = 4;
/// Bytes of the checksum.
const CHECKSUM_BYTES: usize = 4;

/// A way into a pool, good once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The pool.
    pub pool: PoolId,
    /// Its name, for people.
    pub pool_name: String,
    /// Who lets in, and where their data channels listen.
    pub inviters: Vec<Inviter>,
    /// The one-time secret.
    secret: [u8; 32],
    /// Not taken after this time, in ms since 1970 UTC, as the pool counts it.
    pub expires_ms: u64,
}

/// An agent that lets in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inviter {
    /// Who; proved in the handshake.
    pub agent: AgentId,
    /// Where its data channel listens.
    pub addresses: Vec<SocketAddr>,
}

impl Ticket {
    /// What the ledger knows the secret by.
    #[must_use]
    pub fn secret_hash(&self) -> [u8; 32] {
        hash_secret(&self.secret)
    }

    /// One to begin trying others with.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn sample() -> Self {
        let inviter = Inviter { agent: AgentId([2; 32]), addresses: vec![([192, 168, 1, 2], 4921).into()] };
        let (pool, pool_name) = (PoolId([1; 16]), "home".to_owned());
        Self { pool, pool_name, inviters: vec![inviter], secret: [3; 32], expires_ms: 1_800_000_000_000 }
    }

    pub(crate) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

/// What the ledger knows a ticket's secret by.
pub(crate) fn hash_secret(secret: &[u8; 32]) -> [u8; 32] {
    *blake3::hash(secret).as_bytes()
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Ticket");
        shown.field("pool", &self.pool).field("inviters", &self.inviters).field("expires_ms", &self.expires_ms);
        shown.finish_non_exhaustive()
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = postcard::to_stdvec(self).map_err(|_| fmt::Error)?;
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Ticket {
    type Err = AgentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |reason: &str| AgentError::NotATicket(reason.to_owned());
        let text = text.trim();
        if text.len() > TEXT_LIMIT {
            return Err(bad("it is too long"));
        }
        let Some(payload) = text.strip_prefix(PREFIX) else {
            return Err(
                match text.strip_prefix("shoal").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
                    true => bad("it was made by a newer version of Shoal"),
                    false => bad("it does not begin with `shoal1-`"),
                },
            );
        };
        let garbled = || bad("part of it is missing or garbled; copy it again");
        let bytes = URL_SAFE_NO_PAD.decode(payload).map_err(|_| garbled())?;
        let (bytes, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or_else(garbled)?;
        if checksum(bytes) != *sum {
            return Err(garbled());
        }
        let ticket: Self = postcard::from_bytes(bytes).map_err(|_| garbled())?;
        if ticket.inviters.is_empty() || ticket.inviters.iter().all(|inviter| inviter.addresses.is_empty()) {
            return Err(bad("it names no agent to ask"));
        }
        Ok(ticket)
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&blake3::hash(bytes).as_bytes()[..CHECKSUM_BYTES]);
    sum
}

/// Makes a ticket and has the ledger know it.
pub(crate) async fn issue(
    context: &AgentContext,
    issued_by: &str,
    roles: AgentRoles,
    life: Duration,
) -> Result<Ticket, AgentError> {
    let pool = context.pool()?;
    let secret = random_secret()?;
    let expires_ms = over_ms(&*context.ledger, life).await?;
    let ticket = Ticket {
        pool: pool.id,
        pool_name: pool.name,
        inviters: inviters(context, &context.members()?),
        secret: *secret,
        expires_ms,
    };
    let record = TicketRecord { secret_hash: ticket.secret_hash(), expires_ms, roles, issued_by: issued_by.to_owned() };
    context.ledger.submit(Command::CreateTicket(record)).await?;
    Ok(ticket)
}

/// When something is over that lasts for `life` from now on, by the ledger's time. The leader is asked what time it is: what is
/// over is judged by its stamps, and this computer's clock may be behind them.
async fn over_ms(ledger: &dyn LedgerClient, life: Duration) -> Result<u64, AgentError> {
    ledger.submit(Command::Tick).await?;
    ledger.barrier().await?;
    let now_ms = query::time_ms(&*ledger.view()?)?;
    Ok(now_ms.saturating_add(u64::try_from(life.as_millis()).unwrap_or(u64::MAX)))
}

/// This agent first, then others that can let in: those that have the pool's key to give on.
fn inviters(context: &AgentContext, members: &[AgentRecord]) -> Vec<Inviter> {
    let health = context.health.view();
    let can_let_in =
        |member: &&AgentRecord| member.roles.mount && (member.id == context.agent || health.of(member.id).answers());
    let mut members: Vec<&AgentRecord> = members.iter().filter(can_let_in).collect();
    members.sort_by_key(|member| (member.id != context.agent, member.id));
    let inviter = |member: &&AgentRecord| Inviter {
        agent: member.id,
        addresses: member.data_addresses.iter().copied().take(ADDRESSES).collect(),
    };
    members.iter().take(INVITERS).map(inviter).collect()
}

/// This computer's clock, in ms since 1970 UTC.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_ticket_lasts_though_the_ledger_is_far_ahead_of_this_computers_clock() {
        let days_ahead_ms = 30 * 24 * 60 * 60 * 1_000;
        let ledger = shoal_ledger::LocalLedger::with_clock(move || now_ms() + days_ahead_ms);
        let member = AgentRecord {
            id: AgentId([1; 32]),
            name: "a".into(),
            control_addresses: Vec::new(),
            data_addresses: Vec::new(),
            roles: AgentRoles::default(),
            state: shoal_ledger::AgentState::Active,
            site: String::new(),
            capacity_bytes: 0,
            version: String::new(),
            joined_ms: 0,
        };
        let made = Command::CreatePool { id: PoolId([1; 16]), name: "p".into(), survive: 1, first: member };
        ledger.submit(made).await.expect("a pool");
        let over_ms = over_ms(&ledger, Duration::from_secs(600)).await.expect("told");
        let left_ms = over_ms - ledger.time_ms().expect("reads");
        assert!((500_000..=600_000).contains(&left_ms), "{left_ms}");
    }

    fn ticket() -> Ticket {
        let inviter = Inviter { agent: AgentId([3; 32]), addresses: vec!["10.0.0.5:4921".parse().expect("address")] };
        Ticket {
            pool: PoolId([1; 16]),
            pool_name: "lab".into(),
            inviters: vec![inviter],
            secret: [9; 32],
            expires_ms: 1_700_000_000_000,
        }
    }

    #[test]
    fn a_ticket_survives_being_written_down() {
        let text = ticket().to_string();
        assert!(text.starts_with("shoal1-") && text.len() < 250, "{text}");
        assert_eq!(format!("  {text}\n").parse::<Ticket>().expect("parses"), ticket());
    }

    #[test]
    fn every_slip_of_the_pen_is_noticed() {
        let text = ticket().to_string();
        for position in PREFIX.len()..text.len() {
            let mut garbled = text.clone().into_bytes();
            garbled[position] = if garbled[position] == b'A' { b'B' } else { b'A' };
            let garbled = String::from_utf8(garbled).expect("ascii");
            assert!(garbled.parse::<Ticket>().is_err(), "position {position}");
            assert!(text[..position].parse::<Ticket>().is_err(), "cut at {position}");
        }
    }

    #[test]
    fn what_is_no_ticket_is_told_in_a_sentence() {
        for (text, expected) in [
            ("", "does not begin with"),
            ("hello", "does not begin with"),
            ("shoal2-AAAA", "newer version"),
            ("shoal1-", "garbled"),
            ("shoal1-AAAAAAAA", "garbled"),
            ("shoal1-é", "garbled"),
        ] {
            let error = text.parse::<Ticket>().expect_err(text);
            assert!(error.to_string().contains(expected), "{text:?}: {error}");
            assert_eq!(error.exit_code(), 9);
        }
        assert!("x".repeat(TEXT_LIMIT + 1).parse::<Ticket>().is_err());
    }

    #[test]
    fn a_ticket_shows_no_secret_when_debugged() {
        assert!(!format!("{:?}", ticket()).contains("9, 9"));
    }
}
