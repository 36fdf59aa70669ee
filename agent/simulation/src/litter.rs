//! Shards that were sent out for stripes nobody will name: their writer has the ledger know, then their holders drop them.

use dci_proto::{AgentId, ShardKey};
use shoal_ledger::Command;

use crate::care::DROP_TIMEOUT_US;
use crate::ledger::submit;
use crate::serve::Request;
use crate::world::{Sim, agent_number};

/// What a writer has sent, and to whom, and not had committed so far.
pub(crate) type Sent = Vec<(AgentId, ShardKey)>;

/// Gives up all of it. Nothing of it was submitted, or the ledger has refused it.
pub(crate) fn give_up(sim: &Sim, me: usize, sent: &mut Sent) {
    let sent = std::mem::take(sent);
    if sent.is_empty() {
        return;
    }
    let here = sim.clone();
    sim.spawn_on(me, async move {
        if !matches!(submit(&here, me, Command::GiveUp { shards: sent.clone() }).await, Ok((_, Ok(_)))) {
            return;
        }
        here.with(|world| world.count_care("given up"));
        for (agent, key) in sent {
            let _ = here.call(me, agent_number(agent), Request::Drop { key }, DROP_TIMEOUT_US).await;
        }
    });
}
