//! Once faults are over, all comes right: every stripe whole and cut as wanted, nothing left over, nothing under way, emptied agents
//! empty, the books equal to a recount.

use dci_proto::ShardKey;
use shoal_care::{AgentFacts, Need, Situation, Wanted, need};
use shoal_ledger::{AgentState, KvError, ShardStanding, query, validate};

use crate::ledger::{shard, stripe};
use crate::world::{World, agent_number};

/// Why all has not come right yet; `None`: it has.
pub(crate) fn missing(world: &World) -> Option<String> {
    look(world).unwrap_or_else(|error| Some(error.to_string()))
}

fn look(world: &World) -> Result<Option<String>, KvError> {
    let view = world.log.latest();
    if let Some(one) = query::moves(&view)?.first() {
        return Ok(Some(format!("{} is still on its way", shard(one.what.key))));
    }
    if let Some(one) = query::surplus(&view, 1)?.first() {
        return Ok(Some(format!("{} on agent {} is surplus", shard(one.key), agent_number(one.agent) + 1)));
    }
    if let Some(one) = query::garbage(&view, 1)?.first() {
        return Ok(Some(format!("{} is garbage", stripe(one.stripe))));
    }
    let survive = query::pool(&view)?.map_or(0, |pool| pool.survive);
    let situation = Situation::new(&true_facts(world)?, Wanted { pool: survive, ..Wanted::default() });
    if let Some((agent, key)) = query::bad_shards_of_all(&view)?.first() {
        return Ok(Some(format!("{} on agent {} is bad", shard(*key), agent_number(*agent) + 1)));
    }
    let mut found = None;
    query::stripes(&view, None, &mut |id, record| {
        let needed = need(&record, &situation, &[]);
        let lacking = record.shards.iter().filter(|place| place.agent.is_none()).count();
        if needed != Need::Nothing || lacking > 0 {
            found = Some(format!("{} ({}+{}) needs {needed:?}, {lacking} shards lack", stripe(id), record.k, record.m));
        }
        found.is_none()
    })?;
    if found.is_some() {
        return Ok(found);
    }
    for agent in world.agents.iter().filter(|agent| !agent.gone) {
        if let Some(key) = stray(world, agent_number(agent.id))? {
            return Ok(Some(format!("agent {} still has {}", agent_number(agent.id) + 1, shard(key))));
        }
        if agent.holds_ledger() && agent.applied < world.log.len() {
            return Ok(Some(format!("agent {}'s copy of the ledger is behind", agent_number(agent.id) + 1)));
        }
    }
    Ok(harmed(world))
}

/// A counted shard that a fault took and nothing has made whole yet.
fn harmed(world: &World) -> Option<String> {
    let mut found = None;
    let _ = query::stripes(&world.log.latest(), None, &mut |id, record| {
        for (index, place) in (0u8..).zip(&record.shards) {
            let (key, Some(agent)) = (ShardKey { stripe: id, index }, place.agent) else { continue };
            if world.atlas.is_harmed(key, agent_number(agent)) {
                found = Some(format!("{} on agent {} is damaged or lost", shard(key), agent_number(agent) + 1));
            }
        }
        found.is_none()
    });
    found
}

/// A shard on an agent's disk that nobody counts on.
fn stray(world: &World, agent: usize) -> Result<Option<ShardKey>, KvError> {
    for key in world.agents[agent].disk.keys() {
        let standing = query::standing(&world.log.latest(), key, world.agents[agent].id)?;
        if standing != ShardStanding::Counted {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// The members as they truly are.
fn true_facts(world: &World) -> Result<Vec<AgentFacts>, KvError> {
    let view = world.log.latest();
    let mut facts = Vec::new();
    for member in query::agents(&view)? {
        let number = agent_number(member.id);
        let room = world.room(number);
        facts.push(AgentFacts {
            id: member.id,
            stores: member.roles.store,
            mounts: member.roles.mount,
            state: member.state,
            answers: world.runs(number),
            doubtful: false,
            absent: !world.runs(number),
            standing: 100,
            failing: false,
            site: member.site,
            capacity_bytes: room.capacity_bytes,
            free_bytes: room.free_bytes,
            used_bytes: query::agent_usage(&view, member.id)?.bytes,
            owed_bytes: 0,
        });
    }
    Ok(facts)
}

/// The ledger's books against a recount, and emptied agents against their disks.
pub(crate) fn books(world: &mut World) {
    if let Err(what) = validate(&world.log.latest()) {
        world.fail("convergence", what);
    }
    for member in query::agents(&world.log.latest()).unwrap_or_default() {
        let number = agent_number(member.id);
        let left = world.agents[number].disk.len();
        if member.state == AgentState::Draining && left > 0 {
            world.fail("convergence", format!("agent {} was emptied and has {left} shards", number + 1));
        }
    }
}
