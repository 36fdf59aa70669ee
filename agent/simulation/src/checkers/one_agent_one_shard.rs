//! 4. Two shards of a stripe never share an agent, nor are on their way to one that has one.

use std::collections::BTreeSet;

use dci_proto::AgentId;
use shoal_ledger::{BegunMove, Command, FileContent, StripeRecord, query};

use crate::ledger::inner;
use crate::ledger::{shard, stripe};
use crate::world::World;

const NAME: &str = "one-agent-one-shard";

/// The stripes of the latest entry, and the moves under way.
pub(crate) fn check(world: &mut World, position: u64) {
    let Some(batch) = world.log.batches().last() else { return };
    let mut found = None;
    for submission in &batch.submissions {
        let new: Vec<(dci_proto::StripeId, &StripeRecord)> = match inner(&submission.command) {
            Command::CommitFile { content: FileContent::Chunks(chunks), .. } => {
                chunks.iter().filter_map(|chunk| chunk.new_stripe.as_ref()).map(|new| (new.id, &new.record)).collect()
            }
            Command::ReplaceStripes { stripes } => stripes.iter().map(|new| (new.id, &new.record)).collect(),
            _ => continue,
        };
        for (id, record) in new {
            let holders: Vec<AgentId> = record.shards.iter().filter_map(|place| place.agent).collect();
            if holders.iter().collect::<BTreeSet<_>>().len() != holders.len() {
                found = Some(format!("{} was to have two shards on one agent", stripe(id)));
            }
        }
    }
    let view = world.log.at(position);
    for BegunMove { what: one, .. } in query::moves(&view).unwrap_or_default() {
        let record = query::stripe(&view, one.key.stripe).ok().flatten();
        if record.is_some_and(|record| record.shards.iter().any(|place| place.agent == Some(one.to))) {
            found = Some(format!("{} is on its way to an agent that has a shard of its stripe", shard(one.key)));
        }
    }
    if let Some(what) = found {
        world.fail(NAME, what);
    }
}
