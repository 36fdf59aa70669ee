//! Consensus, as far as the ledger can tell: a log that keeps Raft's promises.
//!
//! What is committed stays and has one order. Leaders come and go; one that was deposed may believe in itself for a while, and what
//! is submitted to it is not committed, or only later. Each copy lags as it likes. A read point needs a majority of the
//! voters at the moment it is taken.

use std::collections::{BTreeMap, BTreeSet};

use dci_proto::{CommandId, ShardKey};
use shoal_ledger::{Batch, Command, KvRead, MoveId, Outcome, Rejection, Submission, agreed_ms, apply};

use crate::checkers;
use crate::exec::{MS, Owner, SECOND, Slot};
use crate::kv::{History, View};
use crate::serve::{Reply, Request};
use crate::world::{Sim, World};

/// How long a submitter tries before it gives up, not knowing what came of it.
const SUBMIT_LIMIT_US: u64 = 4 * SECOND;
/// How long one try waits for the leader.
const LEADER_TIMEOUT_US: u64 = 1_500 * MS;
/// How long a leader without its majority keeps what was submitted.
const COMMIT_LIMIT_US: u64 = 1_200 * MS;
/// How often a read point is asked for.
const READ_POINT_TRIES: usize = 3;
/// How long a copy may take to reach a read point.
const CATCH_UP_LIMIT_US: u64 = 3 * SECOND;
/// Time between two looks at who leads and who is behind.
pub(crate) const ELECTION_TICK_US: u64 = 300 * MS;
/// A leader that reached no majority for so many looks is deposed.
const LOOKS_TO_DEPOSE: u32 = 4;
/// Submissions that nobody answered for and that may be committed late, at most.
const LIMBO_LIMIT: usize = 16;

pub(crate) type Answer = Result<Outcome, Rejection>;

/// Nobody knows whether it took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoQuorum;

/// The log and who keeps it.
#[derive(Default)]
pub(crate) struct Log {
    history: History,
    batches: Vec<Batch>,
    /// By command: where it first took effect, and what came of it.
    pub(crate) answers: BTreeMap<CommandId, (u64, Answer)>,
    /// Where each move that is under way was begun.
    pub(crate) begun: BTreeMap<ShardKey, u64>,
    pub(crate) voters: BTreeSet<usize>,
    pub(crate) leader: Option<usize>,
    pub(crate) term: u64,
    looks_without_majority: u32,
    pending: Vec<(Submission, Slot<Reply>)>,
    proposing: bool,
    limbo: Vec<Submission>,
}

impl Log {
    /// Entries committed.
    pub(crate) fn len(&self) -> u64 {
        self.batches.len() as u64
    }

    pub(crate) fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// The ledger as it truly stands.
    pub(crate) fn latest(&self) -> View<'_> {
        self.history.at(self.len())
    }

    pub(crate) fn at(&self, position: u64) -> View<'_> {
        self.history.at(position)
    }
}

impl World {
    /// An agent's own copy of the ledger.
    pub(crate) fn view(&self, agent: usize) -> View<'_> {
        self.log.at(self.agents[agent].applied)
    }

    /// The ledger's own time, as it truly stands.
    pub(crate) fn ledger_ms(&self) -> u64 {
        shoal_ledger::query::time_ms(&self.log.latest()).unwrap_or(0)
    }

    /// Whether an agent reaches a majority of the voters, both ways.
    pub(crate) fn has_majority(&self, agent: usize) -> bool {
        let reached = self.log.voters.iter().filter(|voter| self.linked(agent, **voter)).count();
        reached * 2 > self.log.voters.len()
    }

    /// Whether an agent truly leads, and can get things agreed on.
    fn truly_leads(&self, agent: usize) -> bool {
        self.log.leader == Some(agent) && self.agents[agent].leads == Some(self.log.term) && self.has_majority(agent)
    }

    /// What a leader stamps an entry with: the ledger's time as it has seen it pass, pushed on by the wall clocks of those it
    /// reaches.
    pub(crate) fn stamp_ms(&self, leader: usize) -> u64 {
        let heard = (0..self.agents.len()).filter(|one| self.agents[*one].holds_ledger() && self.linked(leader, *one));
        let agreed_ms = agreed_ms(heard.map(|one| self.wall_ms(one)));
        self.agents[leader].clock.now_ms(self.steady_us(leader) / 1_000, agreed_ms)
    }

    /// Commits one entry.
    pub(crate) fn commit(&mut self, leader: usize, submissions: Vec<Submission>) -> Vec<(u64, Answer)> {
        let batch = Batch { time_ms: self.stamp_ms(leader), submissions };
        let position = self.log.len() + 1;
        let results = match apply(&mut self.log.history.write(position), position, &batch) {
            Ok(results) => results,
            Err(error) => {
                self.fail("formats", format!("entry {position} does not apply: {error}"));
                return Vec::new();
            }
        };
        let mut answers = Vec::with_capacity(results.len());
        for (submission, result) in batch.submissions.iter().zip(results) {
            let first = self.log.answers.entry(submission.id).or_insert_with(|| (position, result.clone()));
            answers.push((first.0, result.clone()));
            if first.0 == position {
                self.note(Some(leader), "commit", position, || {
                    format!("{position}: {} → {}", brief(&submission.command), told(&result))
                });
                self.took_effect(position, &submission.command, &result);
            }
        }
        self.log.batches.push(batch);
        self.counters.entries += 1;
        self.agents[leader].applied = position;
        self.note_applied(leader);
        checkers::after_commit(self, position);
        answers
    }

    fn took_effect(&mut self, position: u64, command: &Command, result: &Answer) {
        if let (Command::BeginMoves { moves }, Ok(Outcome::Accepted(parts))) = (command, result) {
            let begun = moves.iter().zip(parts).filter(|(_, accepted)| **accepted);
            self.log.begun.extend(begun.map(|(one, _)| (one.key, position)));
        }
    }

    /// Tells the other copies of the latest entry, as the network has it.
    fn replicate(&mut self, leader: usize) {
        let position = self.log.len();
        for agent in 0..self.agents.len() {
            if agent == leader || !self.agents[agent].holds_ledger() || self.agents[agent].gone {
                continue;
            }
            if let Some(after) = self.route(leader, agent) {
                self.at(after, move |sim| sim.with(|world| world.catch_up(agent, position)));
            }
        }
    }

    pub(crate) fn catch_up(&mut self, agent: usize, position: u64) {
        if self.runs(agent) && self.agents[agent].lags_until_us <= self.now_us && self.agents[agent].applied < position
        {
            self.agents[agent].applied = position;
            self.note_applied(agent);
        }
    }

    fn note_applied(&mut self, agent: usize) {
        let seen_ms = shoal_ledger::query::time_ms(&self.view(agent)).unwrap_or(0);
        let steady_ms = self.steady_us(agent) / 1_000;
        let agent = &mut self.agents[agent];
        agent.clock.see(seen_ms, steady_ms);
        let applied = agent.applied;
        agent.waiting.retain(|(position, slot)| {
            let reached = *position <= applied;
            if reached {
                slot.fill(());
            }
            !reached
        });
    }

    /// Who leads, who only believes so, who is behind.
    pub(crate) fn election_tick(&mut self) {
        let term = self.log.term;
        let leads = |leader: usize| self.agents[leader].leads == Some(term) && self.has_majority(leader);
        let well = self.log.leader.is_some_and(leads);
        self.log.looks_without_majority = if well { 0 } else { self.log.looks_without_majority + 1 };
        if !well && self.log.looks_without_majority >= LOOKS_TO_DEPOSE {
            self.elect(None);
        }
        for agent in 0..self.agents.len() {
            let deposed = self.agents[agent].leads.is_some_and(|term| term < self.log.term);
            let hears = self.log.leader.is_some_and(|leader| self.linked(leader, agent));
            if deposed && hears && self.rng.chance(400) {
                self.agents[agent].leads = None;
                self.note(Some(agent), "deposed", 0, String::new);
            }
            if let Some(leader) = self.log.leader
                && self.agents[agent].holds_ledger()
                && self.linked(leader, agent)
            {
                self.catch_up(agent, self.log.len());
            }
        }
    }

    /// Makes a voter leader that reaches a majority; `not`: another one than this.
    pub(crate) fn elect(&mut self, not: Option<usize>) {
        let voters: Vec<usize> = self.log.voters.iter().copied().collect();
        let can: Vec<usize> = voters.into_iter().filter(|v| Some(*v) != not && self.has_majority(*v)).collect();
        let Some(leader) = self.rng.pick(&can) else { return };
        self.log.term += 1;
        self.log.leader = Some(leader);
        self.log.looks_without_majority = 0;
        self.log.proposing = false;
        self.log.pending.clear();
        self.agents[leader].leads = Some(self.log.term);
        let term = self.log.term;
        self.note(Some(leader), "leads", term, || format!("term {term}"));
        self.catch_up_now(leader);
        self.at(0, move |sim| {
            let here = sim.clone();
            sim.spawn_on(leader, async move { crate::care::keep(here, leader, term).await });
        });
        let late: Vec<Submission> = std::mem::take(&mut self.log.limbo);
        let late: Vec<Submission> = late.into_iter().filter(|_| self.rng.chance(500)).collect();
        if !late.is_empty() {
            self.count_fault("late commit");
            self.commit(leader, late);
        }
    }

    /// Changes who votes, as a leader wants it: a majority of the old and one of the new must agree.
    pub(crate) fn set_voters(&mut self, leader: usize, next: BTreeSet<usize>) {
        if !self.truly_leads(leader) {
            return;
        }
        let before = std::mem::replace(&mut self.log.voters, next);
        if !self.has_majority(leader) {
            self.log.voters = before;
            return;
        }
        let names = self.log.voters.iter().fold(0, |bits, voter| bits | 1u64 << voter);
        self.note(Some(leader), "voters", names, || format!("{names:b}"));
        if !self.log.voters.contains(&leader) {
            self.elect(Some(leader));
        }
    }

    fn catch_up_now(&mut self, agent: usize) {
        self.agents[agent].applied = self.log.len();
        self.note_applied(agent);
    }

    fn may_come_late(&mut self, submission: Submission) {
        if !self.healed && self.log.limbo.len() < LIMBO_LIMIT && self.rng.chance(500) {
            self.log.limbo.push(submission);
        }
    }

    pub(crate) fn forget_limbo(&mut self) {
        self.log.limbo.clear();
    }
}

/// Has a command agreed on: where it took effect and what came of it.
pub(crate) async fn submit(sim: &Sim, me: usize, command: Command) -> Result<(u64, Answer), NoQuorum> {
    let (id, started) = sim.with(|world| (command_id(world), world.steady_us(me)));
    submit_as(sim, me, Submission { id, command }, started).await
}

/// A fresh command id.
pub(crate) fn command_id(world: &mut World) -> CommandId {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&world.fresh().to_be_bytes());
    CommandId(id)
}

async fn submit_as(sim: &Sim, me: usize, submission: Submission, started: u64) -> Result<(u64, Answer), NoQuorum> {
    loop {
        if let Some(leader) = guess_leader(sim, me) {
            let request = Request::Submit(Box::new(submission.clone()));
            if let Ok(Reply::Answer(position, answer)) = sim.call(me, leader, request, LEADER_TIMEOUT_US).await {
                return Ok((position, *answer));
            }
        }
        if sim.with(|world| world.steady_us(me)) >= started + SUBMIT_LIMIT_US {
            sim.with(|world| world.may_come_late(submission));
            return Err(NoQuorum);
        }
        sim.sleep_on(me, 200 * MS).await;
    }
}

/// Whom an agent takes for the leader: itself, if it believes so; mostly the right one else.
fn guess_leader(sim: &Sim, me: usize) -> Option<usize> {
    sim.with(|world| {
        if world.agents[me].leads.is_some() {
            return Some(me);
        }
        if world.rng.chance(100) {
            let voters: Vec<usize> = world.log.voters.iter().copied().collect();
            return world.rng.pick(&voters);
        }
        world.log.leader
    })
}

/// A submission comes to an agent that is taken for the leader.
pub(crate) async fn lead(sim: &Sim, me: usize, submission: Submission) -> Reply {
    let slot = Slot::default();
    let started = sim.with(|world| {
        world.agents[me].leads?;
        if world.log.leader != Some(me) {
            // It believes to lead: nobody follows, so nothing is ever answered.
            return Some(false);
        }
        world.log.pending.push((submission, slot.clone()));
        let first = !world.log.proposing;
        world.log.proposing = true;
        Some(first)
    });
    match started {
        None => return Reply::Refused,
        Some(true) => {
            let here = sim.clone();
            sim.spawn_on(me, async move { propose(&here, me).await });
        }
        Some(false) => {}
    }
    let run = sim.with(|world| world.agents[me].run);
    sim.fill_later(Owner::Agent(me, run), LEADER_TIMEOUT_US, slot.clone(), Reply::Refused);
    slot.wait().await
}

/// Gets what is pending agreed on, an entry at a time, while this agent leads.
async fn propose(sim: &Sim, me: usize) {
    let term = sim.with(|world| world.log.term);
    loop {
        let delay = sim.with(|world| world.rng.range(2 * MS, 15 * MS));
        sim.sleep_on(me, delay).await;
        let mut waited = 0;
        while !sim.with(|world| world.truly_leads(me)) {
            waited += 100 * MS;
            if waited > COMMIT_LIMIT_US {
                sim.with(|world| {
                    if world.log.term == term {
                        world.log.proposing = false;
                        let pending = std::mem::take(&mut world.log.pending);
                        pending.into_iter().for_each(|(submission, _)| world.may_come_late(submission));
                    }
                });
                return;
            }
            sim.sleep_on(me, 100 * MS).await;
        }
        let more = sim.with(|world| {
            if world.log.term != term {
                return false;
            }
            let (submissions, slots): (Vec<_>, Vec<_>) = std::mem::take(&mut world.log.pending).into_iter().unzip();
            let answers = world.commit(me, submissions);
            for ((position, answer), slot) in answers.into_iter().zip(slots) {
                slot.fill(Reply::Answer(position, Box::new(answer)));
            }
            world.replicate(me);
            world.log.proposing = !world.log.pending.is_empty();
            world.log.proposing
        });
        if !more {
            return;
        }
    }
}

/// A read point is asked of an agent that is taken for the leader: how far the log is, if it can know.
pub(crate) async fn read_point(sim: &Sim, me: usize) -> Reply {
    if !sim.with(|world| world.truly_leads(me)) {
        return Reply::Refused;
    }
    let (position, delay) = sim.with(|world| (world.log.len(), world.rng.range(MS / 2, 4 * MS)));
    sim.sleep_on(me, delay).await;
    if sim.with(|world| world.truly_leads(me)) { Reply::Position(position) } else { Reply::Refused }
}

/// Has an agent's copy show all that was acknowledged anywhere before this call.
pub(crate) async fn barrier(sim: &Sim, me: usize) -> Result<(), NoQuorum> {
    if !sim.with(|world| world.agents[me].holds_ledger()) {
        return Err(NoQuorum);
    }
    let mut position = None;
    for _ in 0..READ_POINT_TRIES {
        let Some(leader) = guess_leader(sim, me) else { continue };
        if let Ok(Reply::Position(at)) = sim.call(me, leader, Request::ReadPoint, LEADER_TIMEOUT_US).await {
            position = Some(at);
            break;
        }
        sim.sleep_on(me, 100 * MS).await;
    }
    let position = position.ok_or(NoQuorum)?;
    let slot = Slot::default();
    let run = sim.with(|world| {
        let agent = &mut world.agents[me];
        if agent.applied >= position {
            return None;
        }
        let waiting = Slot::default();
        agent.waiting.push((position, waiting.clone()));
        Some((agent.run, waiting))
    });
    let Some((run, waiting)) = run else { return Ok(()) };
    waiting.then_fill(slot.clone(), Ok(()));
    sim.fill_later(Owner::Agent(me, run), CATCH_UP_LIMIT_US, slot.clone(), Err(NoQuorum));
    slot.wait().await
}

/// What a command does, its age apart.
pub(crate) fn inner(command: &Command) -> &Command {
    match command {
        Command::Fresh { command, .. } => inner(command),
        command => command,
    }
}

/// A command in a few words.
fn brief(command: &Command) -> String {
    match inner(command) {
        Command::CommitFile { path, .. } => format!("CommitFile {path}"),
        Command::Remove { path, .. } => format!("Remove {path}"),
        Command::Rename { from, to, .. } => format!("Rename {from} {to}"),
        Command::BeginMoves { moves } => {
            let moves: Vec<String> = moves
                .iter()
                .map(|one| format!("{} a{}", shard(one.key), crate::world::agent_number(one.to) + 1))
                .collect();
            format!("BeginMoves {}", moves.join(", "))
        }
        Command::FinishMoves { moves } => format!("FinishMoves {}", ids(moves)),
        Command::AbortMoves { moves } => format!("AbortMoves {}", ids(moves)),
        Command::ReplaceStripes { stripes } => {
            let ids: Vec<String> = stripes.iter().map(|new| stripe(new.id)).collect();
            format!("ReplaceStripes {}", ids.join(", "))
        }
        Command::ForgetSurplus { shards } => format!("ForgetSurplus of {}", shards.len()),
        Command::ForgetGarbage { stripes } => format!("ForgetGarbage of {}", stripes.len()),
        other => format!("{other:?}").chars().take_while(|c| !"{( ".contains(*c)).collect(),
    }
}

fn told(answer: &Answer) -> String {
    match answer {
        Ok(Outcome::Accepted(parts)) => format!("{parts:?}"),
        Ok(_) => "done".to_owned(),
        Err(rejection) => format!("refused: {rejection}"),
    }
}

fn ids(moves: &[MoveId]) -> String {
    moves.iter().map(|id| format!("{} of {}", shard(id.key), id.begun)).collect::<Vec<_>>().join(", ")
}

/// A stripe as the trace names it: by the number under which it was made.
pub(crate) fn stripe(id: dci_proto::StripeId) -> String {
    format!("s{}", number(id))
}

/// The number under which a stripe was made.
pub(crate) fn number(id: dci_proto::StripeId) -> u64 {
    id.0.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// A shard as the trace names it.
pub(crate) fn shard(key: ShardKey) -> String {
    format!("{}.{}", stripe(key.stripe), key.index)
}

/// A number for a shard, for the hash of the trace.
pub(crate) fn shard_number(key: ShardKey) -> u64 {
    number(key.stripe) << 8 | u64::from(key.index)
}

/// Looks at an agent's own copy.
pub(crate) fn look<T>(
    sim: &Sim,
    me: usize,
    look: impl FnOnce(&dyn KvRead) -> Result<T, shoal_ledger::KvError>,
) -> Option<T> {
    sim.with(|world| match look(&world.view(me)) {
        Ok(found) => Some(found),
        Err(error) => {
            world.fail("formats", format!("a copy of the ledger cannot be read: {error}"));
            None
        }
    })
}
