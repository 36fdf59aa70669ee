//! Chunk lists, contents, stripes, and what they count.

use std::collections::BTreeMap;

use dci_proto::{AgentId, ContentId, InodeId, StripeId};

use super::namespace::Nodes;
use super::{Check, Fault, Validator, ensure};
use crate::tables::{self, ChunkRow, ContentRow, GarbageRow, UploadRow, UsageRow};
use crate::{Node, NodeContent, StripeRecord};

/// Chunks and bytes of a list.
type Length = (u32, u64);

impl Validator<'_> {
    /// Answers the highest number of a list.
    pub(super) fn chunk_lists(&self, nodes: &Nodes, trash: &[Node]) -> Check<u64> {
        let mut lists = self.lengths()?;
        let highest = lists.keys().map(|list| list.0).max().unwrap_or(0);
        let mut holders: BTreeMap<InodeId, u64> = BTreeMap::new();
        for node in nodes.all.values().chain(trash) {
            if let Some(NodeContent::Chunks(list)) = &node.content {
                let bytes = lists.get(list).map_or(0, |(_, bytes)| *bytes);
                ensure(bytes == node.size_bytes, || format!("{:?} does not have the bytes it claims", node.name))?;
                *holders.entry(*list).or_default() += 1;
            }
        }
        for (key, others) in self.rows::<u64>(tables::SHARED)? {
            let list = inode(&key);
            let count = holders.get(&list).copied().unwrap_or(0);
            ensure(others > 0 && count == others + 1, || {
                format!("chunk list {list} claims {others} further holders of {count}")
            })?;
            holders.insert(list, 1);
        }
        for (list, count) in &holders {
            ensure(*count == 1, || format!("chunk list {list} has {count} holders and counts one"))?;
            lists.remove(list);
        }
        for (key, upload) in self.rows::<UploadRow>(tables::UPLOADS)? {
            let list = inode(&key);
            let length = lists.remove(&list).unwrap_or_default();
            let claimed = (upload.next_index, upload.bytes);
            ensure(length == claimed, || format!("upload {list} claims {claimed:?} and has {length:?}"))?;
        }
        ensure(lists.is_empty(), || format!("chunk lists of nobody: {:?}", lists.keys()))?;
        Ok(highest)
    }

    fn lengths(&self) -> Check<BTreeMap<InodeId, Length>> {
        let mut lists: BTreeMap<InodeId, Length> = BTreeMap::new();
        for (key, chunk) in self.rows::<ChunkRow>(tables::CHUNKS)? {
            let (list, (count, bytes)) = (inode(&key), lists.entry(inode(&key)).or_default());
            let expected = tables::chunk_key(list, *count);
            ensure(expected.get(1..) == Some(key.as_slice()), || format!("chunk {count} of list {list} is missing"))?;
            *count += 1;
            *bytes += u64::from(chunk.plain_bytes);
        }
        Ok(lists)
    }

    pub(super) fn contents(&self) -> Check {
        let mut refs: BTreeMap<ContentId, u64> = BTreeMap::new();
        for (_, chunk) in self.rows::<ChunkRow>(tables::CHUNKS)? {
            *refs.entry(chunk.content).or_default() += 1;
        }
        let mut stripes = self.stripes()?;
        let mut usage: BTreeMap<AgentId, UsageRow> = BTreeMap::new();
        for (key, row) in self.rows::<ContentRow>(tables::CONTENTS)? {
            let content = ContentId(key.try_into().unwrap_or_default());
            let count = refs.remove(&content).unwrap_or(0);
            ensure(count == row.refs, || format!("content {content} claims {} references of {count}", row.refs))?;
            let stripe = stripes.remove(&row.stripe);
            let fits = |record: &&StripeRecord| (record.content, record.plain_bytes) == (content, row.plain_bytes);
            let Some(record) = stripe.as_ref().filter(fits) else {
                return Err(Fault::Broken(format!("content {content} has no stripe of its own")));
            };
            let flaw = record.flaw();
            ensure(flaw.is_none(), || format!("stripe {}: {}", row.stripe, flaw.unwrap_or_default()))?;
            for agent in record.shards.iter().filter_map(|place| place.agent) {
                let usage = usage.entry(agent).or_default();
                usage.shards += 1;
                usage.bytes += u64::from(record.shard_bytes);
            }
        }
        ensure(refs.is_empty(), || format!("contents that chunks name are missing: {:?}", refs.keys()))?;
        ensure(stripes.is_empty(), || format!("stripes of nothing: {:?}", stripes.keys()))?;
        let claimed = self.rows::<UsageRow>(tables::USAGE)?;
        let claimed = claimed.into_iter().map(|(key, row)| (AgentId(key.try_into().unwrap_or_default()), row));
        let claimed: BTreeMap<AgentId, UsageRow> = claimed.collect();
        ensure(claimed == usage, || format!("members are said to hold {claimed:?} and hold {usage:?}"))
    }

    fn stripes(&self) -> Check<BTreeMap<StripeId, StripeRecord>> {
        let rows = self.rows::<StripeRecord>(tables::STRIPES)?;
        Ok(rows.into_iter().map(|(key, row)| (StripeId(key.try_into().unwrap_or_default()), row)).collect())
    }

    pub(super) fn garbage(&self) -> Check {
        let stripes = self.stripes()?;
        let mut garbage: BTreeMap<StripeId, Vec<u8>> = BTreeMap::new();
        for (key, GarbageRow { .. }) in self.rows::<GarbageRow>(tables::GARBAGE)? {
            let stripe = StripeId(key.get(8..).and_then(|id| id.try_into().ok()).unwrap_or_default());
            ensure(!stripes.contains_key(&stripe), || format!("stripe {stripe} is garbage and in use"))?;
            let twice = garbage.insert(stripe, key).is_some();
            ensure(!twice, || format!("stripe {stripe} is garbage twice"))?;
        }
        for (key, since_ms) in self.rows::<u64>(tables::GARBAGE_TIMES)? {
            let stripe = StripeId(key.try_into().unwrap_or_default());
            let expected = tables::garbage_key(since_ms, stripe);
            let listed = garbage.remove(&stripe);
            ensure(listed.as_deref() == expected.get(1..), || format!("garbage {stripe} is not found by its id"))?;
        }
        ensure(garbage.is_empty(), || format!("garbage not found by its id: {:?}", garbage.keys()))
    }
}

fn inode(key: &[u8]) -> InodeId {
    InodeId(key.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)))
}
