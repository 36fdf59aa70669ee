//! The shards that agents know as bad before the ledger does: met by reads or a scrub, and not mended yet.

use std::collections::BTreeSet;
use std::time::Duration;

use dci_proto::AgentId;
use futures::future::join_all;
use shoal_net::Lane;
use shoal_volume::BadShard;

use crate::context::AgentContext;
use crate::wire::{self, BadPlace, Method};

/// How long an agent may take to say what it knows.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What these agents know. One that does not answer adds nothing.
pub(super) async fn of_all(context: &AgentContext, agents: &[AgentId]) -> BTreeSet<BadShard> {
    let known = join_all(agents.iter().map(|agent| of_one(context, *agent))).await;
    known.into_iter().flatten().collect()
}

async fn of_one(context: &AgentContext, agent: AgentId) -> Vec<BadShard> {
    if agent == context.agent {
        return context.mender.pending();
    }
    let asked = async {
        let request = wire::request(Method::ShardsPending, &()).map_err(|error| error.to_string())?;
        let answer = context.network.call(agent, Lane::Foreground, request, ANSWER_TIMEOUT).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let known = wire::check(&answer).and_then(|()| wire::decode::<Vec<BadPlace>>(&answer.body));
        known.map_err(|error| error.to_string())
    };
    match asked.await {
        Ok(known) => known.into_iter().map(|BadPlace { agent, key }| BadShard { key, agent }).collect(),
        Err(reason) => {
            tracing::debug!(%agent, reason, "an agent does not say which shards it knows as bad");
            Vec::new()
        }
    }
}
