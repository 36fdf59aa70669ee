//! Chunks, contents, stripes, garbage.

use dci_proto::{AgentId, ContentId, InodeId, StripeId};

use crate::tables::{self, ChunkRow, ContentRow, GarbageRow, UsageRow};
use crate::{GarbageStripe, KvError, KvRead, StripeRecord};

/// What stripes in use count on a member for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AgentUsage {
    /// Shards of stripes in use that it holds by the ledger's books; garbage does not count.
    pub shards: u64,
    /// Bytes of those shards.
    pub bytes: u64,
}

/// What stripes in use count on a member for. Kept with every change, so reading it is cheap.
pub fn agent_usage(kv: &dyn KvRead, agent: AgentId) -> Result<AgentUsage, KvError> {
    let row: Option<UsageRow> = tables::read(kv, tables::USAGE, &tables::agent_key(tables::USAGE, agent))?;
    let UsageRow { shards, bytes } = row.unwrap_or_default();
    Ok(AgentUsage { shards, bytes })
}

/// Contents and plain bytes of the chunks `first..first + limit` of a file; `file` is the inode that
/// [`crate::NodeContent::Chunks`] names.
pub fn chunks(kv: &dyn KvRead, file: InodeId, first: u32, limit: u32) -> Result<Vec<(ContentId, u32)>, KvError> {
    let prefix = tables::inode_key(tables::CHUNKS, file);
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    tables::visit(kv, tables::CHUNKS, &prefix, &tables::chunk_key(file, first), &mut |_, row: ChunkRow| {
        found.push((row.content, row.plain_bytes));
        Ok(found.len() < limit as usize)
    })?;
    Ok(found)
}

/// The stripe that holds a content.
pub fn content(kv: &dyn KvRead, id: ContentId) -> Result<Option<(StripeId, StripeRecord)>, KvError> {
    let Some(row) = tables::read::<ContentRow>(kv, tables::CONTENTS, &tables::content_key(id))? else {
        return Ok(None);
    };
    Ok(stripe(kv, row.stripe)?.map(|record| (row.stripe, record)))
}

/// One stripe.
pub fn stripe(kv: &dyn KvRead, id: StripeId) -> Result<Option<StripeRecord>, KvError> {
    tables::read(kv, tables::STRIPES, &tables::stripe_key(tables::STRIPES, id))
}

/// Visits all stripes in the order of their ids, from after `after`, until `visit` returns false.
pub fn stripes(
    kv: &dyn KvRead,
    after: Option<StripeId>,
    visit: &mut dyn FnMut(StripeId, StripeRecord) -> bool,
) -> Result<(), KvError> {
    let table = tables::STRIPES;
    let prefix = table.key(&[]);
    let from = after.map_or_else(|| prefix.clone(), |id| tables::after_key(&tables::stripe_key(table, id)));
    tables::visit(kv, table, &prefix, &from, &mut |key, record| {
        let id = key.get(1..).and_then(|id| id.try_into().ok());
        let id = id.ok_or_else(|| KvError::Corrupt { table: table.1, reason: "a key is no stripe id".to_owned() })?;
        Ok(visit(StripeId(id), record))
    })
}

/// Stripes whose shards may be dropped, oldest first, at most `limit`.
pub fn garbage(kv: &dyn KvRead, limit: usize) -> Result<Vec<GarbageStripe>, KvError> {
    let table = tables::GARBAGE;
    let prefix = table.key(&[]);
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    tables::visit(kv, table, &prefix, &prefix, &mut |key, row: GarbageRow| {
        let corrupt = || KvError::Corrupt { table: table.1, reason: "a key is no time and stripe id".to_owned() };
        let (since, id) = key.get(1..).and_then(<[u8]>::split_first_chunk).ok_or_else(corrupt)?;
        let stripe = StripeId(id.try_into().map_err(|_| corrupt())?);
        found.push(GarbageStripe { stripe, record: row.record, since_ms: u64::from_be_bytes(*since) });
        Ok(found.len() < limit)
    })?;
    Ok(found)
}
