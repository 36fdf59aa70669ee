//! What striking an agent off would cost, told before it is done.

use std::collections::BTreeSet;

use dci_proto::AgentId;
use serde::{Deserialize, Serialize};
use shoal_care::bad_places;
use shoal_ledger::{KvError, KvRead, query};

use crate::AgentError;
use crate::check::files;
use crate::context::AgentContext;

/// In pools of more files than this the files concerned are not named: that would take too long to wait for.
const NAMED_AMONG_FILES: u64 = 200_000;
/// Contents whose files are looked for, at most.
const CONTENTS_LIMIT: usize = 100_000;

/// What striking an agent off would cost, by who answers now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RemovalLoss {
    /// Shards counted on there.
    pub shards: u64,
    /// Stripes that could not be read any more.
    pub unreadable: u64,
    /// Bytes of files in them.
    pub unreadable_bytes: u64,
    /// Stripes that could lose nothing more.
    pub endangered: u64,
    /// Bytes of files in them.
    pub endangered_bytes: u64,
    /// Files that could not be read any more, the first hundred; empty where naming them would take long.
    pub files: Vec<String>,
    /// How many there are; null where naming them would take long.
    pub files_total: Option<u64>,
    /// Its emptying is certified: nothing is lost.
    pub certified: bool,
}

/// What striking an agent off would cost.
pub(crate) async fn removal_loss(context: &AgentContext, agent: AgentId) -> Result<RemovalLoss, AgentError> {
    let view = context.ledger.view()?;
    let members = query::agents(&*view)?.into_iter().map(|member| member.id);
    let others: BTreeSet<AgentId> = members.filter(|other| *other != agent && context.health.gives(*other)).collect();
    let looked = tokio::task::spawn_blocking(move || loss(&*view, agent, &others)).await;
    Ok(looked.map_err(|error| AgentError::Internal(format!("looking at the stripes: {error}")))??)
}

fn loss(view: &dyn KvRead, agent: AgentId, others: &BTreeSet<AgentId>) -> Result<RemovalLoss, KvError> {
    let mut loss = RemovalLoss {
        shards: query::agent_usage(view, agent)?.shards,
        certified: query::certificate(view, agent)?.is_some(),
        ..RemovalLoss::default()
    };
    let mut contents = BTreeSet::new();
    let bad = query::bad_shards_of_all(view)?;
    query::stripes(view, None, &mut |stripe, record| {
        let bad = bad_places(&bad, stripe, &record);
        let sound = || (0u8..).zip(&record.shards).filter(|(index, _)| !bad.contains(index));
        let holders = || sound().filter_map(|(_, place)| place.agent);
        if holders().any(|holder| holder == agent) {
            let left = holders().filter(|holder| others.contains(holder)).count();
            let bytes = u64::from(record.plain_bytes);
            match left.checked_sub(usize::from(record.k)) {
                None => {
                    (loss.unreadable, loss.unreadable_bytes) = (loss.unreadable + 1, loss.unreadable_bytes + bytes);
                    if contents.len() < CONTENTS_LIMIT {
                        contents.insert(record.content);
                    }
                }
                Some(0) => {
                    (loss.endangered, loss.endangered_bytes) = (loss.endangered + 1, loss.endangered_bytes + bytes);
                }
                Some(_) => {}
            }
        }
        true
    })?;
    let in_all: u64 = query::volumes(view)?.iter().map(|volume| volume.files).sum();
    if in_all <= NAMED_AMONG_FILES && contents.len() < CONTENTS_LIMIT {
        let (files, total) = files::of_contents(view, &contents)?;
        (loss.files, loss.files_total) = (files, Some(total));
    }
    Ok(loss)
}
