//! Shards on their way and surplus ones, against the stripes they are of.

use std::collections::BTreeMap;

use dci_proto::{AgentId, ShardKey, StripeId};

use super::{Check, Validator, ensure};
use crate::limits::{BAD_SHARDS_LIMIT, BAD_SHARDS_PER_AGENT};
use crate::tables;
use crate::{AgentState, BegunMove, DrainCertificate, DrainRecord, ShardStanding, query};

impl Validator<'_> {
    pub(super) fn care(&self) -> Check {
        self.moves()?;
        self.surplus()?;
        self.bad()?;
        self.drains()
    }

    /// Each shard that is noted as bad is one its agent is counted on for.
    fn bad(&self) -> Check {
        let mut of_agents: BTreeMap<AgentId, usize> = BTreeMap::new();
        for (key, _) in self.rows::<u64>(tables::BAD)? {
            let place = tables::bad_of_key(&[&[tables::BAD.0], key.as_slice()].concat());
            let Some((agent, key)) = place else {
                return ensure(false, || "a bad shard has no agent or no name".to_owned());
            };
            let standing = query::standing(self.kv, key, agent)?;
            ensure(standing == ShardStanding::Counted, || {
                format!("{key} is bad on {agent} and stands as {standing:?}")
            })?;
            let member = query::agent(self.kv, agent)?.is_some();
            ensure(member, || format!("{key} is bad on {agent}, which is no member"))?;
            *of_agents.entry(agent).or_default() += 1;
        }
        let all: usize = of_agents.values().sum();
        ensure(all <= BAD_SHARDS_LIMIT, || format!("{all} shards are noted as bad"))?;
        let most = of_agents.values().max().copied().unwrap_or(0);
        ensure(most <= BAD_SHARDS_PER_AGENT, || format!("{most} shards of one agent are noted as bad"))
    }

    fn moves(&self) -> Check {
        for (key, BegunMove { what: one, .. }) in self.rows::<BegunMove>(tables::MOVES)? {
            let expected = tables::shard_key(tables::MOVES, one.key);
            ensure(expected.get(1..) == Some(key.as_slice()), || format!("move of {} is not under its key", one.key))?;
            let record = query::stripe(self.kv, one.key.stripe)?;
            let Some(record) = record.filter(|record| record.shards.len() > usize::from(one.key.index)) else {
                return ensure(false, || format!("{} is moved and of no stripe", one.key));
            };
            let held = record.shards.iter().any(|place| place.agent == Some(one.to));
            ensure(!held, || format!("{} is moved to {}, which holds a shard of the stripe", one.key, one.to))?;
            let others = query::moves_of(self.kv, one.key.stripe)?;
            let alone = others.iter().filter(|other| other.what.to == one.to).count() == 1;
            ensure(alone, || format!("two shards of {} are moved to {}", one.key.stripe, one.to))?;
        }
        Ok(())
    }

    fn surplus(&self) -> Check {
        let mut listed = BTreeMap::new();
        for shard in query::surplus(self.kv, usize::MAX)? {
            let twice = listed.insert((shard.key, shard.agent), shard.since_ms).is_some();
            ensure(!twice, || format!("{} on {} is surplus twice", shard.key, shard.agent))?;
            let record = query::stripe(self.kv, shard.key.stripe)?;
            let place = record.as_ref().and_then(|record| record.shards.get(usize::from(shard.key.index)));
            let counted = place.is_some_and(|place| place.agent == Some(shard.agent));
            ensure(!counted, || format!("{} on {} is counted on and surplus", shard.key, shard.agent))?;
            let standing = query::standing(self.kv, shard.key, shard.agent)?;
            ensure(standing == ShardStanding::Surplus, || format!("{} stands as {standing:?}", shard.key))?;
            let coming = query::moves_of(self.kv, shard.key.stripe)?;
            let coming = coming.iter().any(|one| one.what.key == shard.key && one.what.to == shard.agent);
            ensure(!coming, || format!("{} is surplus on {} and on its way there", shard.key, shard.agent))?;
        }
        for (key, since_ms) in self.rows::<u64>(tables::SURPLUS_PLACES)? {
            let place = key.split_first_chunk().and_then(|(stripe, rest)| {
                let (index, agent) = rest.split_first()?;
                let key = ShardKey { stripe: StripeId(*stripe), index: *index };
                Some((key, AgentId(agent.try_into().ok()?)))
            });
            let known = place.and_then(|place| listed.remove(&place));
            ensure(known == Some(since_ms), || "a surplus shard is not found by its time".to_owned())?;
        }
        ensure(listed.is_empty(), || format!("surplus shards not found by their place: {:?}", listed.keys()))
    }

    fn drains(&self) -> Check {
        for (key, _) in self.rows::<DrainRecord>(tables::DRAINS)? {
            let agent = AgentId(key.try_into().unwrap_or_default());
            let draining = query::agent(self.kv, agent)?.is_some_and(|member| member.state == AgentState::Draining);
            ensure(draining, || format!("{agent} has a record of its emptying and is not emptied"))?;
        }
        for (_, certificate) in self.rows::<DrainCertificate>(tables::CERTIFICATES)? {
            let agent = certificate.agent;
            let drained = query::drain(self.kv, agent)?.is_some();
            ensure(drained, || format!("{agent} has a certificate and is not emptied"))?;
        }
        Ok(())
    }
}
