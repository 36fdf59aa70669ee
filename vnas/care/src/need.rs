//! What one stripe needs, if anything.

use dci_proto::{AgentId, ShardKey, StripeId};
use shoal_ledger::StripeRecord;
use shoal_ledger::query::BadShards;
use shoal_placement::Geometry;

use crate::{Duty, Situation};

/// A stripe cut anew must take at least this share less room, in per cent, where nothing else speaks for it: rewriting it
/// costs more than a few per cent of room are worth.
const WORTHWHILE_PERCENT: u32 = 8;

/// Why a stripe is worked on, the most pressing first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It can lose nothing more.
    Endangered,
    /// Shards of it are lost.
    Degraded,
    /// It is kept with less care than is asked.
    LessThanAsked,
    /// An agent that is likely to fail holds a shard of it.
    Failing,
    /// An agent that is drained holds a shard of it.
    Drain,
    /// An agent that owes its owner room holds a shard of it.
    Owed,
    /// Another agent has more room.
    Balance,
    /// It takes more room than it would cut for the agents there are now.
    Recut,
}

/// What a stripe needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// These shards are to be on other agents, which there are.
    Move {
        /// Why.
        reason: Reason,
        /// Which, the lost ones first.
        shards: Vec<u8>,
    },
    /// It is to be cut anew.
    Recut {
        /// Why.
        reason: Reason,
        /// How.
        geometry: Geometry,
    },
    /// It is not safe, and nothing can be done now: no other agent could take a shard.
    Stuck {
        /// Why it should be worked on.
        reason: Reason,
    },
    /// Too few of its shards are left to read it. They may come back.
    Lost,
}

/// A stripe's shards by what can be asked of their holders.
struct Shards {
    /// On no agent, on one that counts as lost, or found bad by the agent it is on.
    lost: Vec<u8>,
    /// On an agent that is drained or likely to fail.
    leaving: Vec<u8>,
    /// On an agent that has been silent for a good part of the patience.
    doubtful: Vec<u8>,
    /// Those that count, less those the stripe needs to be read.
    margin: usize,
    failing: bool,
    /// Some were found bad.
    bad: bool,
}

impl Shards {
    /// `None`: too few are left.
    fn of(record: &StripeRecord, situation: &Situation, bad: &[u8]) -> Option<Self> {
        let (lost, leaving, doubtful) = (Vec::new(), Vec::new(), Vec::new());
        let mut shards = Self { lost, leaving, doubtful, margin: 0, failing: false, bad: !bad.is_empty() };
        for (index, place) in (0u8..).zip(&record.shards) {
            let sound = place.agent.filter(|_| !bad.contains(&index));
            let duty = sound.map_or(Duty::Gone, |agent| situation.duty(agent));
            let doubtful = place.agent.is_some_and(|agent| situation.is_doubtful(agent));
            match duty {
                Duty::Gone => shards.lost.push(index),
                Duty::Leaves => shards.leaving.push(index),
                Duty::Takes | Duty::Keeps if doubtful => shards.doubtful.push(index),
                Duty::Takes | Duty::Keeps => {}
            }
            shards.failing |= place.agent.and_then(|agent| situation.agent(agent)).is_some_and(|agent| agent.failing);
        }
        shards.margin = (record.shards.len() - shards.lost.len()).checked_sub(usize::from(record.k))?;
        Some(shards)
    }
}

/// The places of a stripe whose holders have found their shards bad, by index.
#[must_use]
pub fn bad_places(bad: &BadShards, stripe: StripeId, record: &StripeRecord) -> Vec<u8> {
    if bad.is_empty() {
        return Vec::new();
    }
    let is_bad = |index: u8, agent: AgentId| bad.contains(&(agent, ShardKey { stripe, index }));
    let places = (0u8..).zip(&record.shards);
    places.filter(|(index, place)| place.agent.is_some_and(|agent| is_bad(*index, agent))).map(|(at, _)| at).collect()
}

/// What a stripe needs. `bad`: the shards that their holders have found bad ([`bad_places`]), which count as lost.
#[must_use]
pub fn need(record: &StripeRecord, situation: &Situation, bad: &[u8]) -> Need {
    let Some(shards) = Shards::of(record, situation, bad) else { return Need::Lost };
    let wanted = situation.geometry_for(record);
    let unsafe_shards = shards.lost.len() + shards.leaving.len();
    let targets = targets(record, situation);
    if unsafe_shards > 0 {
        return displaced(record, situation, &shards, wanted, targets);
    }
    // Nothing is lost yet, but with who is silent gone for good the next loss would be the last straw: moved where there is room;
    // cutting all of it anew waits for certainty.
    let at_risk = shards.margin.saturating_sub(shards.doubtful.len()) == 0 && !shards.doubtful.is_empty();
    if at_risk && targets > 0 && shards.doubtful.len() <= shards.margin {
        return Need::Move { reason: Reason::Endangered, shards: shards.doubtful };
    }
    recut(record, situation, wanted).unwrap_or(Need::Nothing)
}

/// What a stripe needs that has shards nowhere, or where they cannot stay.
fn displaced(record: &StripeRecord, situation: &Situation, shards: &Shards, wanted: Geometry, targets: usize) -> Need {
    let reason = match shards {
        Shards { lost, margin: 0, .. } if !lost.is_empty() => Reason::Endangered,
        Shards { lost, .. } if !lost.is_empty() => Reason::Degraded,
        Shards { failing: true, .. } => Reason::Failing,
        _ => Reason::Drain,
    };
    let wanted_width = usize::from(wanted.k) + usize::from(wanted.m);
    let all = shards.lost.len() + shards.leaving.len();
    let differs = (wanted.k, wanted.m) != (record.k, record.m);
    // What is kept as it is gets new places; what no longer fits the agents there are is cut for them.
    if targets >= all || (targets > 0 && !differs) {
        let shards = shards.lost.iter().chain(&shards.leaving).copied().take(targets).collect();
        return Need::Move { reason, shards };
    }
    // An agent that has found its shard bad takes none of the same name, but it takes one of a new stripe.
    if (differs || shards.bad) && situation.places(record, &[Duty::Takes]) >= wanted_width {
        return Need::Recut { reason, geometry: wanted };
    }
    if targets > 0 {
        let shards = shards.lost.iter().chain(&shards.leaving).copied().take(targets).collect();
        return Need::Move { reason, shards };
    }
    Need::Stuck { reason }
}

/// Whether a stripe all of whose shards are well placed should be cut otherwise.
fn recut(record: &StripeRecord, situation: &Situation, wanted: Geometry) -> Option<Need> {
    if situation.places(record, &[Duty::Takes]) < usize::from(wanted.k) + usize::from(wanted.m) {
        return None;
    }
    if record.m < wanted.m {
        let reason = if record.m == 0 { Reason::Endangered } else { Reason::LessThanAsked };
        return Some(Need::Recut { reason, geometry: wanted });
    }
    let survive = situation.survive(record);
    if record.m > survive && wanted.m <= survive {
        return Some(Need::Recut { reason: Reason::Recut, geometry: wanted });
    }
    let stored = |k: u8, m: u8| (u32::from(k) + u32::from(m)) * 1_000 / u32::from(k.max(1));
    let (now, then) = (stored(record.k, record.m), stored(wanted.k, wanted.m));
    let worthwhile = then * 100 <= now * (100 - WORTHWHILE_PERCENT);
    worthwhile.then_some(Need::Recut { reason: Reason::Recut, geometry: wanted })
}

/// Bytes that are written when a stripe is cut anew so.
pub(crate) fn recut_bytes(record: &StripeRecord, geometry: Geometry) -> u64 {
    let width = u64::from(geometry.k) + u64::from(geometry.m);
    u64::from(record.stored_bytes) * width / u64::from(geometry.k.max(1))
}

/// How many agents could take a shard of the stripe that hold none.
fn targets(record: &StripeRecord, situation: &Situation) -> usize {
    let holds = |agent: AgentId| record.shards.iter().any(|place| place.agent == Some(agent));
    let can = |agent: &&crate::AgentFacts| {
        agent.duty() == Duty::Takes && agent.owed_bytes == 0 && agent.free_bytes >= u64::from(record.shard_bytes)
    };
    situation.agents().filter(can).filter(|agent| !holds(agent.id)).count()
}
