//! What the ledger's leader does for the volume, with the real keeper, and what agents do for it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use dci_proto::ShardKey;
use shoal_care::{
    AgentFacts, CleaningGrace, Done, Droppable, Effect, Keeper, KeeperConfig, Presence, RebuildJob, RecutJob, Wanted,
    droppable,
};
use shoal_ledger::{AgentState, Command, KvRead, Outcome, query};
use shoal_placement::voters::{VoterCandidate, choose_voters};

use crate::agent::ABSENT_AFTER_S;
use crate::bugs::Bug;
use crate::checkers::memory_bounded;
use crate::client::fresh;
use crate::exec::{Channel, SECOND};
use crate::holder;
use crate::ledger::{look, shard, shard_number, submit};
use crate::litter::{Sent, give_up};
use crate::serve::{Reply, Request};
use crate::stripes::{self, content_of};
use crate::world::{AGENTS_LIMIT, Sim, World, agent_id, agent_number};

/// Time between two rounds of a leader.
const ROUND_US: u64 = SECOND;
/// Rounds between two looks at what may be dropped, and at who votes.
const CLEAN_EVERY: u64 = 4;
/// How long what nobody counts on is left alone.
const GRACE: CleaningGrace = CleaningGrace { garbage_ms: 10_000, surplus_ms: 3_000 };
/// How long an agent may take to rebuild a shard or cut a stripe anew.
const JOB_TIMEOUT_US: u64 = 25 * SECOND;
/// How long a holder may take to drop a shard.
pub(crate) const DROP_TIMEOUT_US: u64 = 6 * SECOND;
/// Shards dropped in one round of cleaning, at most.
const DROPS_AT_ONCE: usize = 24;
/// Jobs a keeper may have out: its limits for each agent, and the commands about them.
const JOBS_LIMIT: usize = AGENTS_LIMIT * 6 + 8;

fn config() -> KeeperConfig {
    KeeperConfig {
        sweep_stripes: 64,
        moves_per_agent: 4,
        recuts_per_agent: 2,
        job_patience: Duration::from_secs(30),
        retry_after: Duration::from_secs(3),
        sweep_pause: Duration::from_secs(2),
        recut_after: Duration::from_secs(20),
    }
}

/// Leads, for as long as the agent believes to in this term.
pub(crate) async fn keep(sim: Sim, me: usize, term: u64) {
    let keeper = Rc::new(RefCell::new(Keeper::new(config())));
    let cleaning = Rc::new(Cell::new(false));
    let jobs = Rc::new(Cell::new(0usize));
    let done: Channel<Done> = Channel::default();
    {
        let (sim, keeper, done) = (sim.clone(), Rc::clone(&keeper), done.clone());
        sim.clone().spawn_on(me, async move {
            loop {
                let one = done.receive().await;
                let now = sim.with(|world| world.steady(me));
                keeper.borrow_mut().done(now, one);
            }
        });
    }
    for round in 1u64.. {
        sim.sleep_on(me, ROUND_US).await;
        if sim.with(|world| world.agents[me].leads != Some(term)) {
            return;
        }
        let effects = sim.with(|world| step(world, me, &mut keeper.borrow_mut()));
        for effect in effects {
            jobs.set(jobs.get() + 1);
            let (sim, done, jobs) = (sim.clone(), done.clone(), Rc::clone(&jobs));
            sim.clone().spawn_on(me, async move {
                done.send(perform(&sim, me, effect).await);
                jobs.set(jobs.get() - 1);
            });
        }
        sim.with(|world| memory_bounded::keeper(world, jobs.get(), JOBS_LIMIT));
        if round % CLEAN_EVERY == 0 {
            sim.with(|world| choose_next_voters(world, me));
            if !cleaning.replace(true) {
                let (sim, cleaning) = (sim.clone(), Rc::clone(&cleaning));
                sim.clone().spawn_on(me, async move {
                    clean(&sim, me).await;
                    cleaning.set(false);
                });
            }
        }
    }
}

fn step(world: &mut World, me: usize, keeper: &mut Keeper) -> Vec<Effect> {
    let now = world.steady(me);
    let view = world.view(me);
    let survive = query::pool(&view).ok().flatten().map_or(0, |pool| pool.survive);
    let wanted = Wanted { pool: survive, ..Wanted::default() };
    let effects = facts(world, me, &view).and_then(|facts| keeper.step(now, &view, &facts, &wanted));
    match effects {
        Ok(effects) => effects,
        Err(error) => {
            world.fail("formats", format!("the keeper cannot read its ledger: {error}"));
            Vec::new()
        }
    }
}

/// The members as the leader knows them.
fn facts(world: &World, me: usize, view: &dyn KvRead) -> Result<Vec<AgentFacts>, shoal_ledger::KvError> {
    let now = world.steady(me);
    let mut facts = Vec::new();
    for member in query::agents(view)? {
        let own = member.id == agent_id(me);
        let health = if own { None } else { world.agents[me].presence.of(member.id) };
        let answers = own || health.is_some_and(shoal_care::AgentHealth::answers);
        let silent_for = health.map_or(Duration::ZERO, |health| now.saturating_sub(health.since));
        let room = if own { world.room(me) } else { health.and_then(|health| health.room).unwrap_or_default() };
        facts.push(AgentFacts {
            id: member.id,
            stores: member.roles.store,
            mounts: member.roles.mount,
            state: member.state,
            answers,
            doubtful: !answers && silent_for >= Duration::from_secs(ABSENT_AFTER_S / 4),
            absent: health.is_some_and(|health| health.presence == Presence::Absent),
            standing: 100,
            failing: health.is_some_and(|health| health.standing.failing),
            site: member.site,
            capacity_bytes: room.capacity_bytes,
            free_bytes: room.free_bytes,
            used_bytes: query::agent_usage(view, member.id)?.bytes,
            owed_bytes: if own { world.owed_bytes(me) } else { health.map_or(0, |health| health.owed_bytes) },
        });
    }
    Ok(facts)
}

async fn perform(sim: &Sim, me: usize, effect: Effect) -> Done {
    match effect {
        Effect::Submit(ticket, command) => {
            let outcome: Option<Outcome> = submit(sim, me, command).await.ok().and_then(|(_, answer)| answer.ok());
            Done::Submitted(ticket, outcome)
        }
        Effect::Rebuild(ticket, job) => {
            let to = agent_number(job.to);
            let reply = sim.call(me, to, Request::Rebuild(Box::new(job)), JOB_TIMEOUT_US).await;
            Done::Worked(ticket, matches!(reply, Ok(Reply::Done)))
        }
        Effect::Recut(ticket, job) => {
            let executor = agent_number(job.executor);
            let reply = sim.call(me, executor, Request::Recut(Box::new(job)), JOB_TIMEOUT_US).await;
            Done::Worked(ticket, matches!(reply, Ok(Reply::Done)))
        }
    }
}

/// Makes a shard durable on this agent's disk: copied, or rebuilt from others.
pub(crate) async fn rebuild(sim: &Sim, me: usize, job: RebuildJob) -> bool {
    let RebuildJob { key, record, copy_from, .. } = job;
    let Some(place) = record.shards.get(usize::from(key.index)).copied() else { return false };
    let mut token = None;
    if let Some(from) = copy_from {
        let reply = sim.call(me, agent_number(from), Request::Get { key }, JOB_TIMEOUT_US / 8).await;
        let unverified = sim.with(|world| world.planted(Bug::CopyUnverified));
        if let Ok(Reply::Token(copied)) = reply {
            token = (copied == place.hash || unverified).then_some(copied);
        }
    }
    if token.is_none() && stripes::fetch(sim, me, key.stripe, &record, Some(key.index)).await.is_some() {
        token = Some(place.hash);
    }
    let Some(token) = token else { return false };
    let kept = holder::put(sim, me, key, token, place.hash, record.shard_bytes).await;
    let well = matches!(kept, Reply::Done);
    sim.with(|world| {
        world.note(Some(me), "rebuilt", shard_number(key), || format!("{} {well}", shard(key)));
        world.count_care(if well { "moved or rebuilt" } else { "not rebuilt" });
    });
    if well && let Some(from) = copy_from.filter(|_| sim.with(|world| world.planted(Bug::DeleteSourceFirst))) {
        let _ = sim.call(me, agent_number(from), Request::DropUnasked { key }, DROP_TIMEOUT_US).await;
    }
    well
}

/// Cuts a stripe anew, as a writer would, and has its content stand on the new one.
pub(crate) async fn recut(sim: &Sim, me: usize, job: RecutJob) -> bool {
    let Some(Some(record)) = look(sim, me, |view| query::stripe(view, job.stripe)) else { return false };
    let Some(value) = stripes::fetch(sim, me, job.stripe, &record, None).await else { return false };
    let begun_ms = look(sim, me, |view| query::time_ms(view));
    let (flight, run) = sim.with(|world| (world.fresh(), world.agents[me].run));
    sim.with(|world| world.atlas.begin_flight(flight, me, run));
    let mut sent = Sent::new();
    let new = stripes::write(sim, me, flight, content_of(value), job.survive, Some(job.stripe), &mut sent).await;
    let begun_ms = begun_ms.unwrap_or(0);
    let mut certain = true;
    let mut well = false;
    match new {
        Some(new) => match submit(sim, me, fresh(begun_ms, Command::ReplaceStripes { stripes: vec![new] })).await {
            Ok((_, Ok(Outcome::Accepted(parts)))) => well = parts == [true],
            Ok((_, Err(_))) => give_up(sim, me, &mut sent),
            Ok(_) => {}
            Err(_) => certain = false,
        },
        None => give_up(sim, me, &mut sent),
    }
    sim.with(|world| {
        let now_us = world.now_us;
        world.atlas.end_flight(flight, now_us, certain);
        if well {
            world.count_care("cut anew");
        }
    });
    well
}

/// Has dropped what nobody counts on, each by its holder, on proof.
async fn clean(sim: &Sim, me: usize) {
    let found = sim.with(|world| {
        let answers = |agent| {
            agent == agent_id(me) || world.agents[me].presence.of(agent).is_some_and(shoal_care::AgentHealth::answers)
        };
        droppable(&world.view(me), GRACE, &answers, DROPS_AT_ONCE)
    });
    let _ = submit(sim, me, Command::Tick).await;
    let Ok(Droppable { garbage, split, surplus, forgotten }) = found else { return };
    if !split.is_empty() {
        let _ = submit(sim, me, Command::SplitGarbage { stripes: split }).await;
    }
    let mut dropped = forgotten;
    for one in surplus {
        if ask_to_drop(sim, me, agent_number(one.agent), one.key).await {
            dropped.push(one);
        }
    }
    if !dropped.is_empty() {
        let _ = submit(sim, me, Command::ForgetSurplus { shards: dropped }).await;
    }
    let mut stripes = Vec::new();
    for one in garbage {
        let members: BTreeSet<_> =
            look(sim, me, |view| query::agents(view)).into_iter().flatten().map(|member| member.id).collect();
        let mut all = true;
        for (index, place) in (0u8..).zip(&one.record.shards) {
            let Some(agent) = place.agent.filter(|agent| members.contains(agent)) else { continue };
            let key = ShardKey { stripe: one.stripe, index };
            all = all && ask_to_drop(sim, me, agent_number(agent), key).await;
        }
        if all {
            stripes.push(one.stripe);
        }
    }
    if !stripes.is_empty() {
        let _ = submit(sim, me, Command::ForgetGarbage { stripes }).await;
    }
}

async fn ask_to_drop(sim: &Sim, me: usize, holder: usize, key: ShardKey) -> bool {
    matches!(sim.call(me, holder, Request::Drop { key }, DROP_TIMEOUT_US).await, Ok(Reply::Done))
}

/// Changes who votes by one, if that is due.
fn choose_next_voters(world: &mut World, me: usize) {
    let view = world.view(me);
    let (Ok(members), Ok(Some(pool))) = (query::agents(&view), query::pool(&view)) else { return };
    let mut voting: BTreeSet<usize> = world.log.voters.clone();
    voting.extend(members.iter().filter(|member| member.roles.vote).map(|member| agent_number(member.id)));
    let candidates: Vec<VoterCandidate> = voting
        .iter()
        .map(|number| {
            let id = agent_id(*number);
            let member = members.iter().find(|member| member.id == id);
            let presence = world.agents[me].presence.of(id).map(|health| health.presence);
            let current = world.log.voters.contains(number);
            VoterCandidate {
                agent: id,
                may_vote: member.is_some_and(|member| member.roles.vote && member.state != AgentState::Draining),
                up: *number == me
                    || presence == Some(Presence::Up)
                    || (current && matches!(presence, Some(Presence::Suspect | Presence::Unheard))),
                current,
                uptime_score: 0,
                site: String::new(),
                full: *number != me
                    && world.agents[me]
                        .presence
                        .of(id)
                        .and_then(|health| health.room)
                        .is_some_and(|r| r.free_bytes == 0),
            }
        })
        .collect();
    let Some(next) = choose_voters(&candidates, pool.survive) else { return };
    let next: BTreeSet<usize> = next.into_iter().map(agent_number).collect();
    world.set_voters(me, next);
}
