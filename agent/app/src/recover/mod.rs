//! `shoal pool recover`: a pool that lost its voters for good goes on from what one agent kept of the ledger. The reasoning
//! is in `docs/decisions/0007-recovering-a-pool.md`.
//!
//! Everything is built beside the agent's ledger and looked at first; only when people agree does it take over.

mod sources;
pub(crate) mod swap;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dci_proto::AgentId;
use serde::Serialize;
use shoal_consensus::{Consensus, ConsensusConfig, ConsensusError, with_state};
use shoal_ledger::{AgentRecord, query};

use crate::AgentError;
use crate::data_directory::DataDirectory;
use sources::Searcher;
pub(crate) use sources::{Choice, Source};

/// How long an agent that voted may take to accept a connection.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1500);

/// What would be done, for people and as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Plan {
    /// The pool's name.
    pub(crate) pool: String,
    /// The agent that would carry on as the only voter.
    pub(crate) agent: String,
    /// All that was found.
    pub(crate) sources: Vec<Source>,
    /// What would be used.
    pub(crate) from: Source,
    /// The pool's time in it, in ms since 1970 UTC: what is missing is later.
    pub(crate) time_ms: u64,
    /// Which generation the ledger would be.
    pub(crate) generation: u64,
    /// Who voted, as far as that is known, and whether something accepts connections there now.
    pub(crate) voters: Vec<Voter>,
    /// Members in it.
    pub(crate) members: usize,
    /// What was not found, or may be missing.
    pub(crate) may_be_missing: Vec<String>,
    /// Whether it was done.
    pub(crate) done: bool,
    /// Where the ledger of before lies, once it is done.
    pub(crate) kept: Option<PathBuf>,
}

/// A member that voted.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Voter {
    pub(crate) id: AgentId,
    pub(crate) name: String,
    pub(crate) answers: bool,
    #[serde(skip)]
    addresses: Vec<SocketAddr>,
}

impl Plan {
    /// Whether so many of those that voted answer that they may still agree on things without this agent.
    pub(crate) fn majority_answers(&self, own: &str) -> bool {
        let answering = self.voters.iter().filter(|voter| voter.answers && voter.name != own).count();
        answering * 2 > self.voters.len()
    }
}

/// A recovery that is prepared; nothing has changed yet.
pub(crate) struct Prepared {
    directory: DataDirectory,
    pub(crate) plan: Plan,
}

/// Builds the recovered ledger of an agent that does not run beside its own, and says what would be done.
pub(crate) async fn prepare(data: &Path, choice: &Choice) -> Result<Prepared, AgentError> {
    if !data.join("membership.json").exists() {
        return Err(AgentError::NothingToRecoverFrom {
            path: data.to_owned(),
            problems: "no agent ever ran there".into(),
        });
    }
    let directory = DataDirectory::open(data)?;
    let membership = directory.membership()?.ok_or(AgentError::NoPoolYet)?;
    let seed = directory.key_seed()?;
    let agent = shoal_net::agent_id_of_seed(&seed).map_err(|error| AgentError::Internal(error.to_string()))?;
    let next = swap::prepare(data)?;
    let searcher = Searcher { data, agent, pool: membership.pool, pool_key: directory.pool_key()? };
    let (sources, from) = searcher.search(choice)?;
    let generation = sources.iter().map(|source| source.generation).max().unwrap_or(0) + 1;
    let opened = searcher.open(&from)?;
    let config = ConsensusConfig::new(agent, next.clone());
    let restored = Consensus::restore(config, generation, opened).await;
    restored.map_err(|error| restore_failed(&from, &error))?;
    let plan = plan(&next, agent, sources, from, generation);
    if plan.is_err() {
        swap::discard(data)?;
    }
    Ok(Prepared { directory, plan: plan? })
}

impl Prepared {
    /// Has the recovered ledger take over.
    pub(crate) fn carry_out(mut self) -> Result<Plan, AgentError> {
        self.plan.kept = swap::commit(self.directory.path())?;
        self.plan.done = true;
        Ok(self.plan)
    }

    /// Leaves everything as it was.
    pub(crate) fn give_up(self) -> Result<Plan, AgentError> {
        swap::discard(self.directory.path())?;
        Ok(self.plan)
    }
}

fn restore_failed(from: &Source, error: &ConsensusError) -> AgentError {
    AgentError::Damaged { path: from.path.clone(), reason: error.to_string() }
}

fn plan(next: &Path, agent: AgentId, sources: Vec<Source>, from: Source, generation: u64) -> Result<Plan, AgentError> {
    let read = with_state(next, |view| Ok((query::pool(view)?, query::agents(view)?, query::time_ms(view)?)));
    let (pool, members, time_ms) = read.map_err(|error| restore_failed(&from, &error))?;
    let pool = pool.ok_or(AgentError::NoPoolYet)?;
    let own = members.iter().find(|member| member.id == agent);
    let own = own.filter(|own| own.roles.mount || own.roles.vote).ok_or_else(|| AgentError::NothingToRecoverFrom {
        path: from.path.clone(),
        problems: "it does not know this agent as one that holds the ledger; recover on another agent".into(),
    })?;
    let mut may_be_missing = vec![format!(
        "everything acknowledged after position {} of the ledger (the pool's time then: {})",
        from.position,
        crate::clock::shown(time_ms)
    )];
    let of_the_ledger = sources.iter().find(|source| source.kind == "ledger").filter(|own| !own.voters.is_empty());
    let voters: BTreeSet<AgentId> = match of_the_ledger {
        Some(ledger) => ledger.voters.iter().copied().collect(),
        None => {
            may_be_missing.push("who voted is not known from a copy: all that may vote are named".into());
            members.iter().filter(|member| member.roles.vote).map(|member| member.id).collect()
        }
    };
    if from.kind == "copy" {
        may_be_missing.push("copies are made once an hour: up to an hour of changes before the loss".into());
    }
    Ok(Plan {
        pool: pool.name,
        agent: own.name.clone(),
        voters: probe(voters_of(&voters, &members)),
        members: members.len(),
        sources,
        from,
        time_ms,
        generation,
        may_be_missing,
        done: false,
        kept: None,
    })
}

fn voters_of(ids: &BTreeSet<AgentId>, members: &[AgentRecord]) -> Vec<Voter> {
    let voter = |id: &AgentId| {
        let record = members.iter().find(|member| member.id == *id);
        Voter {
            id: *id,
            name: record.map_or_else(|| id.fingerprint(), |record| record.name.clone()),
            answers: false,
            addresses: record.map(|record| record.control_addresses.clone()).unwrap_or_default(),
        }
    };
    ids.iter().map(voter).collect()
}

/// Tries to connect to each, all at once. What accepts there need not be the agent; nobody accepting is a good sign.
fn probe(mut voters: Vec<Voter>) -> Vec<Voter> {
    std::thread::scope(|scope| {
        for voter in &mut voters {
            scope.spawn(|| {
                let accepts = |address: &SocketAddr| TcpStream::connect_timeout(address, ANSWER_TIMEOUT).is_ok();
                voter.answers = voter.addresses.iter().any(accepts);
            });
        }
    });
    voters
}
