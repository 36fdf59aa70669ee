//! The names of the files that shards belong to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dci_proto::ShardKey;
use shoal_ledger::query::{FilesOfContent, files_of};
use shoal_ledger::{KvError, LedgerClient, query};

use crate::AgentError;

/// The files of these shards. Shards of stripes that are gone, and stripes no file counts on, have none.
pub(crate) async fn of_shards(
    ledger: &Arc<dyn LedgerClient>,
    keys: Vec<ShardKey>,
) -> Result<BTreeMap<ShardKey, FilesOfContent>, AgentError> {
    let view = ledger.view()?;
    let look_up = move || -> Result<_, KvError> {
        let mut contents = BTreeMap::new();
        for key in keys {
            contents.insert(key, query::stripe(&*view, key.stripe)?.map(|record| record.content));
        }
        let wanted: BTreeSet<_> = contents.values().flatten().copied().collect();
        let files = files_of(&*view, &wanted)?;
        let of = |content: Option<_>| content.and_then(|content| files.get(&content).cloned()).unwrap_or_default();
        Ok(contents.into_iter().map(|(key, content)| (key, of(content))).collect())
    };
    let looked = tokio::task::spawn_blocking(look_up).await;
    Ok(looked.map_err(|error| AgentError::Internal(error.to_string()))??)
}
