//! 1. An acknowledged write survives: every shard the ledger counts on is sound on the agent it names, unless an injected fault took
//!    it; and faults are only injected as far as Shoal promises to survive them.

use dci_proto::{ShardKey, StripeId};
use shoal_ledger::{ChunkRef, Command, FileContent, StripeRecord, query};

use crate::holder::shards_of;
use crate::ledger::inner;
use crate::ledger::shard;
use crate::world::{World, agent_number};

const NAME: &str = "acked-survives";

/// The stripes that an entry made or changed.
pub(crate) fn after_commit(world: &mut World, position: u64) {
    let Some(batch) = world.log.batches().last() else { return };
    let mut stripes: Vec<StripeId> = Vec::new();
    let new =
        |chunks: &[ChunkRef]| chunks.iter().filter_map(|chunk| Some(chunk.new_stripe.as_ref()?.id)).collect::<Vec<_>>();
    for submission in &batch.submissions {
        match inner(&submission.command) {
            Command::CommitFile { content: FileContent::Chunks(chunks), .. } => stripes.extend(new(chunks)),
            Command::FinishMoves { moves } => stripes.extend(moves.iter().map(|id| id.key.stripe)),
            Command::ReplaceStripes { stripes: anew } => stripes.extend(anew.iter().map(|new| new.id)),
            _ => {}
        }
    }
    for stripe in stripes {
        if let Ok(Some(record)) = query::stripe(&world.log.at(position), stripe) {
            check(world, stripe, &record);
        }
    }
}

/// All shards the ledger counts on an agent for.
pub(crate) fn holder(world: &mut World, agent: usize) {
    let counted = shards_of(&world.log.latest(), agent).unwrap_or_default();
    for (key, record) in counted {
        if let Some(place) = record.shards.get(usize::from(key.index)) {
            check_one(world, key, agent, place.hash);
        }
    }
}

/// All shards of all stripes.
pub(crate) fn all(world: &mut World) {
    let mut found = Vec::new();
    let listed = query::stripes(&world.log.latest(), None, &mut |stripe, record| {
        found.push((stripe, record));
        true
    });
    if let Err(error) = listed {
        return world.fail(NAME, error.to_string());
    }
    found.into_iter().for_each(|(stripe, record)| check(world, stripe, &record));
}

fn check(world: &mut World, stripe: StripeId, record: &StripeRecord) {
    for (index, place) in (0u8..).zip(&record.shards) {
        if let Some(agent) = place.agent {
            check_one(world, ShardKey { stripe, index }, agent_number(agent), place.hash);
        }
    }
}

fn check_one(world: &mut World, key: ShardKey, agent: usize, hash: dci_proto::ShardHash) {
    if world.agents[agent].disk.is_sound(key, hash) || world.atlas.is_harmed(key, agent) {
        return;
    }
    let found = world.agents[agent].disk.get(key).copied();
    let what = format!("the ledger counts on agent {} for {}, which has {found:?}", agent + 1, shard(key));
    world.fail(NAME, what);
}
