//! 3. Absence is not proof: a holder drops what the ledger, as it truly stands, wants gone; or what it has not named for the whole
//!    grace time. Never what is counted on, nor what has come to be counted on.

use dci_proto::ShardKey;
use shoal_ledger::{ShardStanding, query};

use crate::disk::Stored;
use crate::holder::{ORPHAN_GRACE_MS, Proof};
use crate::ledger::shard;
use crate::world::{World, agent_id};

const NAME: &str = "absence-is-not-proof";

/// A holder has dropped a shard that was there.
pub(crate) fn check(world: &mut World, agent: usize, key: ShardKey, stored: &Stored, proof: Proof) {
    let standing = match query::standing(&world.log.latest(), key, agent_id(agent)) {
        Ok(standing) => standing,
        Err(error) => return world.fail(NAME, error.to_string()),
    };
    let now_ms = world.ledger_ms();
    let unnamed_ms = world.atlas.known_for_ms(agent, key, now_ms);
    let wrong = match standing {
        ShardStanding::Surplus | ShardStanding::Garbage => false,
        ShardStanding::Counted => !world.atlas.is_harmed(key, agent),
        // What was there before the move began will come again; what came with it must stay.
        ShardStanding::Coming => {
            let begun = world.log.begun.get(&key).copied().unwrap_or(0);
            stored.durable && stored.told_at >= begun
        }
        ShardStanding::Elsewhere | ShardStanding::Unknown => {
            unnamed_ms < ORPHAN_GRACE_MS && !wanted_gone(world, agent, key, proof)
        }
    };
    if wrong {
        let agent = agent + 1;
        let what = format!("agent {agent} dropped {}, which is {standing:?}, after {unnamed_ms} ms", shard(key));
        world.fail(NAME, what);
    }
}

/// Whether the ledger wanted the shard gone when the holder asked it, which was after the order came. It may have forgotten that
/// since: another order was carried out.
fn wanted_gone(world: &World, agent: usize, key: ShardKey, proof: Proof) -> bool {
    let Proof::Order { asked_at, proved_at } = proof else { return false };
    let then = query::standing(&world.log.at(proved_at), key, agent_id(agent));
    proved_at >= asked_at && matches!(then, Ok(ShardStanding::Surplus | ShardStanding::Garbage))
}
