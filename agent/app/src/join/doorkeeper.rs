//! The member's side: who knocks, and what they are told.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::AgentId;
use shoal_ledger::{AgentRecord, Command, KvRead, LedgerClient, Outcome, Rejection, SubmitError, query};
use shoal_net::JoinHandler;

use super::knocks::{KnockLimit, Knocks};
use super::words::{About, Answer, Ask, MEMBERS_TOLD, Welcome};
use crate::data_directory::Secret;
use crate::ticket::hash_secret;
use crate::wire::{self, Member};

/// Knocks from one address that were no good; further ones are not looked at.
const BAD_KNOCKS: KnockLimit = KnockLimit { count: 10, within: Duration::from_secs(60) };
/// Times one address is told who this agent is: enough for people who look around, nothing to keep an agent busy with.
const TOLD_WHO: KnockLimit = KnockLimit { count: 30, within: Duration::from_secs(60) };
/// Agents remembered as waiting for approval, at most; forgotten ones ask anew and wait again.
const WAITING_REMEMBERED: usize = 1024;

/// Lets newcomers in, or not.
#[derive(Clone)]
pub(crate) struct Doorkeeper {
    parts: Arc<RwLock<Option<Arc<Parts>>>>,
    /// What whoever asks is told; `None` while it is not known, or not to be told.
    about: Arc<RwLock<Option<About>>>,
    begun: Instant,
    bad_knocks: Arc<Mutex<Knocks>>,
    told_who: Arc<Mutex<Knocks>>,
}

struct Parts {
    ledger: Arc<dyn LedgerClient>,
    pool_key: Option<Secret>,
    /// Who asked for approval here and was told to wait: gone from the ledger without being a member, they were
    /// turned away.
    waiting: Mutex<BTreeSet<AgentId>>,
}

impl Default for Doorkeeper {
    fn default() -> Self {
        Self {
            parts: Arc::default(),
            about: Arc::default(),
            begun: Instant::now(),
            bad_knocks: Arc::new(Mutex::new(Knocks::new(BAD_KNOCKS))),
            told_who: Arc::new(Mutex::new(Knocks::new(TOLD_WHO))),
        }
    }
}

impl Doorkeeper {
    /// Gives it the ledger it decides by and the key it gives on. Before, it lets nobody in.
    pub(crate) fn set(&self, ledger: Arc<dyn LedgerClient>, pool_key: Option<Secret>) {
        let parts = Parts { ledger, pool_key, waiting: Mutex::default() };
        *self.parts.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(parts));
    }

    /// Takes that away again: the ledger knows the network, which knows this doorkeeper.
    pub(crate) fn clear(&self) {
        *self.parts.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// From now on whoever asks is told who this agent is.
    pub(crate) fn tell(&self, about: About) {
        *self.about.write().unwrap_or_else(PoisonError::into_inner) = Some(about);
    }

    fn parts(&self) -> Option<Arc<Parts>> {
        self.parts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn answer(&self, from: AgentId, remote: IpAddr, body: &[u8]) -> Answer {
        let now = self.begun.elapsed();
        if locked(&self.bad_knocks).too_often(now, remote) {
            return Answer::Refused;
        }
        let ask = wire::decode::<Ask>(body);
        if matches!(ask, Ok(Ask::Who)) {
            return self.who(now, remote);
        }
        let Some(parts) = self.parts() else { return Answer::Later("this agent is starting".into()) };
        let answer = match ask {
            Ok(Ask::Ticket { pool, secret, agent }) if agent.id == from => parts.redeem(pool, &secret, agent).await,
            Ok(Ask::Standing { pool }) => parts.standing(pool, from).await,
            Ok(Ask::Approval { agent }) if agent.id == from => parts.request(agent).await,
            Ok(_) | Err(_) => Ok(Answer::Refused),
        };
        let answer = answer.unwrap_or_else(|error| match error {
            SubmitError::Rejected(_) => Answer::Refused,
            SubmitError::NoQuorum(_) | SubmitError::Kv(_) => {
                Answer::Later("the pool cannot agree on changes now".into())
            }
        });
        if matches!(answer, Answer::Refused) {
            locked(&self.bad_knocks).count(now, remote);
            tracing::warn!(agent = %from, %remote, "an agent asked to join and was refused");
        }
        answer
    }

    /// Costs no look into the ledger, and is no bad knock.
    fn who(&self, now: Duration, remote: IpAddr) -> Answer {
        let about = self.about.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut told = locked(&self.told_who);
        match about {
            Some(about) if !told.too_often(now, remote) => {
                told.count(now, remote);
                Answer::Here(about)
            }
            _ => Answer::Refused,
        }
    }
}

fn locked(knocks: &Mutex<Knocks>) -> MutexGuard<'_, Knocks> {
    knocks.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl JoinHandler for Doorkeeper {
    async fn join(&self, from: AgentId, remote: IpAddr, body: Bytes) -> Bytes {
        wire::encode(&self.answer(from, remote, &body).await).unwrap_or_default()
    }
}

impl Parts {
    /// A ticket nobody gave out costs the ledger nothing: only those in this agent's own copy are tried.
    async fn redeem(
        &self,
        pool: dci_proto::PoolId,
        secret: &[u8; 32],
        agent: AgentRecord,
    ) -> Result<Answer, SubmitError> {
        self.ledger.barrier().await?;
        let view = self.ledger.view()?;
        let Some(own_pool) = query::pool(&*view)? else { return Ok(Answer::Later("this pool is being made".into())) };
        if own_pool.id != pool {
            return Ok(Answer::OtherPool);
        }
        if query::agent(&*view, agent.id)?.is_some() {
            return self.welcome(agent.id);
        }
        let secret_hash = hash_secret(secret);
        if !query::tickets(&*view)?.iter().any(|ticket| ticket.secret_hash == secret_hash) {
            return Ok(Answer::Refused);
        }
        drop(view);
        let (id, name) = (agent.id, agent.name.clone());
        match self.ledger.submit(Command::RedeemTicket { secret_hash, agent }).await? {
            Outcome::Agent(_) | Outcome::Done => {
                tracing::info!(agent = %id, name, "joined with a ticket");
                self.ledger.barrier().await?;
                self.welcome(id)
            }
            _ => Ok(Answer::Refused),
        }
    }

    /// Only a fresh copy of the ledger says that somebody is no member.
    async fn standing(&self, pool: dci_proto::PoolId, from: AgentId) -> Result<Answer, SubmitError> {
        self.ledger.barrier().await?;
        let view = self.ledger.view()?;
        match query::pool(&*view)? {
            Some(own) if own.id == pool => Ok(Answer::Standing { member: query::agent(&*view, from)?.is_some() }),
            Some(_) => Ok(Answer::OtherPool),
            None => Ok(Answer::Later("this agent has not heard from its pool yet".into())),
        }
    }

    async fn request(&self, agent: AgentRecord) -> Result<Answer, SubmitError> {
        let told_to_wait = self.waiting().contains(&agent.id);
        if told_to_wait {
            self.ledger.barrier().await?;
        }
        let view = self.ledger.view()?;
        if query::agent(&*view, agent.id)?.is_some() {
            self.waiting().remove(&agent.id);
            return self.welcome(agent.id);
        }
        let requests = query::join_requests(&*view)?;
        drop(view);
        let known = requests.iter().find(|request| request.agent.id == agent.id);
        if known.is_none() && told_to_wait {
            self.waiting().remove(&agent.id);
            return Ok(Answer::Refused);
        }
        if known.is_some_and(|known| same_request(&known.agent, &agent)) {
            self.tell_to_wait(agent.id);
            return Ok(Answer::Waiting);
        }
        self.new_request(agent).await
    }

    async fn new_request(&self, agent: AgentRecord) -> Result<Answer, SubmitError> {
        let (id, name) = (agent.id, agent.name.clone());
        match self.ledger.submit(Command::RequestJoin { agent }).await {
            Ok(_) => {
                tracing::info!(agent = %id, fingerprint = id.fingerprint(), name, "asks to join and waits for approval");
                self.tell_to_wait(id);
                Ok(Answer::Waiting)
            }
            Err(SubmitError::Rejected(Rejection::Exists(_))) => {
                self.ledger.barrier().await?;
                self.welcome(id)
            }
            Err(SubmitError::Rejected(Rejection::TooMany(_))) => {
                Ok(Answer::Later("too many agents are waiting for approval".into()))
            }
            Err(error) => Err(error),
        }
    }

    fn tell_to_wait(&self, id: AgentId) {
        let mut waiting = self.waiting();
        if waiting.len() >= WAITING_REMEMBERED {
            waiting.clear();
        }
        waiting.insert(id);
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeSet<AgentId>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For who is a member in this agent's copy of the ledger, nobody else.
    fn welcome(&self, id: AgentId) -> Result<Answer, SubmitError> {
        let view = self.ledger.view()?;
        let (Some(pool), Some(record)) = (query::pool(&*view)?, query::agent(&*view, id)?) else {
            return Ok(Answer::Refused);
        };
        let pool_key = match (record.roles.mount, &self.pool_key) {
            (false, _) => None,
            (true, Some(key)) => Some(**key),
            (true, None) => return Ok(Answer::Later("ask an agent that serves the drive".into())),
        };
        let members = members_told(&*view)?;
        let welcome = Welcome { pool: pool.id, pool_name: pool.name, roles: record.roles, members, pool_key };
        Ok(Answer::Welcome(Box::new(welcome)))
    }
}

/// Whether asking again would change anything; the time of joining is the ledger's to say.
fn same_request(known: &AgentRecord, asked: &AgentRecord) -> bool {
    known.id == asked.id
        && known.name == asked.name
        && known.control_addresses == asked.control_addresses
        && known.data_addresses == asked.data_addresses
}

/// Those that hold the ledger first: they know the others.
fn members_told(view: &dyn KvRead) -> Result<Vec<Member>, SubmitError> {
    let mut members = query::agents(view)?;
    members.sort_by_key(|member| (!(member.roles.mount || member.roles.vote), member.id));
    let told = members.into_iter().take(MEMBERS_TOLD).map(|member| Member {
        id: member.id,
        control: member.control_addresses,
        data: member.data_addresses,
        roles: member.roles,
    });
    Ok(told.collect())
}
