//! What injected faults have taken, so that only combinations are injected that Shoal promises to survive.
//!
//! A shard is in harm's way from the moment a fault takes or damages it until it is durable again on that agent. A fault
//! is injected only if every stripe it touches keeps `k` sound shards by the books, and no stripe has more in harm's way
//! than its parity. Agents that take shards the ledger does not count on yet are left alone: what they lose then, nobody promised to
//! survive.

use std::collections::{BTreeMap, BTreeSet};

use dci_proto::ShardKey;
use shoal_ledger::{StripeRecord, query};

use crate::exec::SECOND;
use crate::world::{World, agent_id};

/// What was in flight when its writer crashed or did not learn what came of it may still be committed for so long.
const FLIGHT_LINGERS_US: u64 = 120 * SECOND;

/// A stripe that is being written.
struct Flight {
    writer: usize,
    run: u32,
    agents: BTreeSet<usize>,
    /// When it is over for certain; `None`: its writer is at it.
    until_us: Option<u64>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Atlas {
    harmed: BTreeSet<(ShardKey, usize)>,
    flights: BTreeMap<u64, Flight>,
    /// The ledger's time when an agent first had a shard. A late copy of an old request may bring it again.
    first_kept_ms: BTreeMap<(ShardKey, usize), u64>,
}

impl Atlas {
    /// Whether a fault took or damaged a shard on an agent and nothing has made it whole.
    pub(crate) fn is_harmed(&self, key: ShardKey, agent: usize) -> bool {
        self.harmed.contains(&(key, agent))
    }

    /// A shard is sound and durable on an agent.
    pub(crate) fn repaired(&mut self, agent: usize, key: ShardKey, now_ms: u64) {
        self.harmed.remove(&(key, agent));
        self.kept(agent, key, now_ms);
    }

    /// An agent has a shard, sound or not, that a crash does not take.
    pub(crate) fn kept(&mut self, agent: usize, key: ShardKey, now_ms: u64) {
        self.first_kept_ms.entry((key, agent)).or_insert(now_ms);
    }

    /// How long ago an agent first had a shard, by the ledger's time.
    pub(crate) fn known_for_ms(&self, agent: usize, key: ShardKey, now_ms: u64) -> u64 {
        self.first_kept_ms.get(&(key, agent)).map_or(u64::MAX, |since_ms| now_ms.saturating_sub(*since_ms))
    }

    pub(crate) fn begin_flight(&mut self, id: u64, writer: usize, run: u32) {
        self.flights.insert(id, Flight { writer, run, agents: BTreeSet::new(), until_us: None });
    }

    /// A shard is sent to an agent.
    pub(crate) fn fly(&mut self, flight: u64, agent: usize) {
        if let Some(flight) = self.flights.get_mut(&flight) {
            flight.agents.insert(agent);
        }
    }

    /// A writer is done; `certain`: it knows what came of it.
    pub(crate) fn end_flight(&mut self, id: u64, now_us: u64, certain: bool) {
        if certain {
            self.flights.remove(&id);
        } else if let Some(flight) = self.flights.get_mut(&id) {
            flight.until_us = Some(now_us + FLIGHT_LINGERS_US);
        }
    }
}

/// Parity of a stripe that is not in harm's way yet, and whether this agent's shard of it is already.
fn margin(world: &World, key: ShardKey, record: &StripeRecord) -> usize {
    let placed = (0u8..).zip(&record.shards).filter_map(|(index, place)| Some((index, place.agent?)));
    let sound = placed
        .filter(|(index, agent)| {
            let key = ShardKey { stripe: key.stripe, index: *index };
            !world.atlas.is_harmed(key, crate::world::agent_number(*agent))
        })
        .count();
    sound.saturating_sub(usize::from(record.k))
}

impl World {
    /// Whether an agent takes shards the ledger does not count on yet.
    fn is_in_flight(&mut self, agent: usize) -> bool {
        let (now_us, agents) = (self.now_us, &self.agents);
        for flight in self.atlas.flights.values_mut() {
            let writer = &agents[flight.writer];
            if flight.until_us.is_none() && (!writer.up || writer.run != flight.run) {
                flight.until_us = Some(now_us + FLIGHT_LINGERS_US);
            }
        }
        self.atlas.flights.retain(|_, flight| flight.until_us.is_none_or(|until| until > now_us));
        let moving = query::moves(&self.log.latest()).unwrap_or_default();
        self.atlas.flights.values().any(|flight| flight.agents.contains(&agent))
            || moving.iter().any(|one| one.what.to == agent_id(agent))
    }

    /// Whether Shoal survives the loss of these shards of an agent, as far as it promises.
    pub(crate) fn may_harm(&mut self, agent: usize, keys: &[ShardKey]) -> bool {
        if self.is_in_flight(agent) {
            return false;
        }
        let latest = self.log.latest();
        keys.iter().all(|key| {
            let Ok(Some(record)) = query::stripe(&latest, key.stripe) else { return true };
            let counted =
                record.shards.get(usize::from(key.index)).is_some_and(|place| place.agent == Some(agent_id(agent)));
            !counted || self.atlas.is_harmed(*key, agent) || margin(self, *key, &record) > 0
        })
    }

    /// Notes that a fault took or damaged shards.
    pub(crate) fn harm(&mut self, agent: usize, keys: &[ShardKey]) {
        self.atlas.harmed.extend(keys.iter().map(|key| (*key, agent)));
    }
}
