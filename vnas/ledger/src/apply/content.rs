//! Chunks of files, the contents they name, and the stripes that hold those.

use std::collections::{BTreeMap, BTreeSet};

use dci_proto::{AgentId, ContentId, InodeId, ShardKey, StripeId};

use super::state::State;
use super::{Step, bad, moves};
use crate::tables::{self, ChunkRow, ContentRow, GarbageRow};
use crate::{CHUNK_BYTES, ChunkRef, KvError, NewStripe, Outcome, Rejection, StripeRecord, query};

/// Chunks one command may name (16 GiB); longer files are staged.
pub const CHUNKS_PER_COMMAND_LIMIT: usize = 4_096;

/// Checks everything that can speak against linking these chunks: they follow each other as a file's do, their new
/// stripes make sense, and all contents will be there. Answers the sum of their bytes.
pub(super) fn check(state: &State, chunks: &[ChunkRef]) -> Step<u64> {
    if chunks.len() > CHUNKS_PER_COMMAND_LIMIT {
        return Err(Rejection::TooMany("chunks in one command".to_owned()).into());
    }
    let mut bytes = 0;
    let mut stripes = BTreeMap::new();
    for (index, chunk) in chunks.iter().enumerate() {
        let last = index + 1 == chunks.len();
        if chunk.plain_bytes == 0 || chunk.plain_bytes > CHUNK_BYTES || (!last && chunk.plain_bytes < CHUNK_BYTES) {
            return Err(inconsistent(format!("chunk {index} has {} bytes", chunk.plain_bytes)));
        }
        bytes += u64::from(chunk.plain_bytes);
        if let Some(new) = &chunk.new_stripe {
            check_record(chunk, &new.record)?;
            if stripes.insert(new.id, chunk.content).is_some_and(|other| other != chunk.content) {
                return Err(inconsistent(format!("stripe {} is to hold two contents", new.id)));
            }
        }
    }
    check_present(state, chunks)?;
    Ok(bytes)
}

/// Every content is in the pool, or comes with a stripe that can be taken in.
fn check_present(state: &State, chunks: &[ChunkRef]) -> Step<()> {
    let mut sizes: BTreeMap<ContentId, u32> = BTreeMap::new();
    let mut missing: Vec<ContentId> = Vec::new();
    let mut gone: Vec<ContentId> = Vec::new();
    for chunk in chunks {
        if let Some(bytes) = sizes.get(&chunk.content) {
            check_size(chunk, *bytes)?;
            continue;
        }
        let known: Option<ContentRow> = state.read(tables::CONTENTS, &tables::content_key(chunk.content))?;
        match &chunk.new_stripe {
            _ if known.is_some_and(|known| known.plain_bytes != chunk.plain_bytes) => check_size(chunk, 0)?,
            None if known.is_some() => {}
            // A stripe that comes too late becomes garbage; one that is to replace another must be fit to.
            Some(new) if known.as_ref().is_some_and(|known| new.replaces != Some(known.stripe)) => {}
            Some(new) if known.as_ref().is_some_and(|known| known.stripe == new.id) => {}
            // Its holders may have dropped its shards already.
            Some(new) if may_be_dropped(state, new.id)? => missing.push(chunk.content),
            Some(new) if query::stripe(&*state.kv, new.id)?.is_some() => {
                return Err(inconsistent(format!("stripe {} is taken", new.id)));
            }
            Some(new) if !is_readable(&without_strangers(state, &new.record)?) => gone.push(chunk.content),
            Some(_) => {}
            // A later chunk may bring it, but chunks are linked in order.
            None => missing.push(chunk.content),
        }
        sizes.insert(chunk.content, chunk.plain_bytes);
    }
    if !missing.is_empty() {
        return Err(Rejection::MissingContent(missing).into());
    }
    if !gone.is_empty() {
        return Err(Rejection::HoldersGone(gone).into());
    }
    Ok(())
}

/// A content has one size.
fn check_size(chunk: &ChunkRef, bytes: u32) -> Step<()> {
    if chunk.plain_bytes == bytes {
        return Ok(());
    }
    Err(inconsistent(format!("content {} has another size than {} bytes", chunk.content, chunk.plain_bytes)))
}

fn check_record(chunk: &ChunkRef, record: &StripeRecord) -> Step<()> {
    if record.content != chunk.content || record.plain_bytes != chunk.plain_bytes {
        return Err(inconsistent("a stripe is not of the chunk it comes with".to_owned()));
    }
    let flaw = record.flaw();
    flaw.map_or(Ok(()), |flaw| Err(inconsistent(flaw)))
}

impl StripeRecord {
    /// What is wrong with it in itself, if anything.
    pub(crate) fn flaw(&self) -> Option<String> {
        let (k, m) = (usize::from(self.k), usize::from(self.m));
        if k == 0 || k + m != self.shards.len() {
            return Some(format!("a stripe of {k}+{m} lists {} shards", self.shards.len()));
        }
        let holders: Vec<_> = self.shards.iter().filter_map(|place| place.agent).collect();
        if holders.iter().collect::<BTreeSet<_>>().len() != holders.len() {
            return Some("a stripe has one agent twice".to_owned());
        }
        if holders.len() < k {
            return Some(format!("a stripe of {k}+{m} has only {} shards placed", holders.len()));
        }
        if self.stored_bytes == 0 || u64::from(self.shard_bytes) * u64::from(self.k) < u64::from(self.stored_bytes) {
            return Some("a stripe's shards do not hold its bytes".to_owned());
        }
        None
    }
}

/// Adds checked chunks to a list, each one a reference to its content.
pub(super) fn link(state: &mut State, list: InodeId, first_index: u32, chunks: &[ChunkRef]) -> Result<(), KvError> {
    for (index, chunk) in (first_index..).zip(chunks) {
        let row = ChunkRow { content: chunk.content, plain_bytes: chunk.plain_bytes };
        state.put(tables::CHUNKS, &tables::chunk_key(list, index), &row)?;
        let key = tables::content_key(chunk.content);
        match state.read::<ContentRow>(tables::CONTENTS, &key)? {
            Some(mut known) => {
                known.refs += 1;
                match chunk.new_stripe.as_ref().filter(|new| new.id != known.stripe) {
                    Some(new) if new.replaces == Some(known.stripe) => {
                        retire(state, known.stripe)?;
                        known.stripe = new.id;
                        keep(state, new)?;
                    }
                    Some(new) => discard(state, new)?,
                    None => {}
                }
                state.put(tables::CONTENTS, &key, &known)?;
            }
            None => {
                if let Some(new) = &chunk.new_stripe {
                    state.put(
                        tables::CONTENTS,
                        &key,
                        &ContentRow { stripe: new.id, plain_bytes: chunk.plain_bytes, refs: 1 },
                    )?;
                    keep(state, new)?;
                }
            }
        }
    }
    Ok(())
}

fn keep(state: &mut State, new: &NewStripe) -> Result<(), KvError> {
    let record = without_strangers(state, &new.record)?;
    state.put(tables::STRIPES, &tables::stripe_key(tables::STRIPES, new.id), &record)?;
    state.count_shards(&record, true)
}

/// The stripe without the places of agents that were struck off while it was written: they may be emptied and gone. Those
/// shards lack, and are rebuilt elsewhere.
fn without_strangers(state: &State, record: &StripeRecord) -> Result<StripeRecord, KvError> {
    let mut without = record.clone();
    for place in &mut without.shards {
        if let Some(agent) = place.agent
            && query::agent(&*state.kv, agent)?.is_none()
        {
            place.agent = None;
        }
    }
    Ok(without)
}

/// Whether as many shards have their places as it takes to read the stripe.
fn is_readable(record: &StripeRecord) -> bool {
    record.shards.iter().filter(|place| place.agent.is_some()).count() >= usize::from(record.k)
}

/// Makes garbage of a stripe that no content stands on any more.
fn retire(state: &mut State, stripe: StripeId) -> Result<(), KvError> {
    let Some(record) = query::stripe(&*state.kv, stripe)? else { return Ok(()) };
    state.delete(&tables::stripe_key(tables::STRIPES, stripe))?;
    state.count_shards(&record, false)?;
    bad::forget_stripe(state, stripe, &record)?;
    moves::abort_stripe(state, stripe)?;
    put_garbage(state, stripe, record)
}

/// Has contents stand on stripes cut anew, each where it still stands on the stripe that is replaced.
pub(super) fn replace(state: &mut State, stripes: &[NewStripe]) -> Step<Outcome> {
    if stripes.len() > moves::MOVES_PER_COMMAND_LIMIT {
        return Err(Rejection::TooMany("stripes in one command".to_owned()).into());
    }
    if let Some(flaw) = stripes.iter().find_map(|new| new.record.flaw()) {
        return Err(inconsistent(flaw));
    }
    let mut accepted = Vec::with_capacity(stripes.len());
    for new in stripes {
        accepted.push(replace_one(state, new)?);
    }
    Ok(Outcome::Accepted(accepted))
}

fn replace_one(state: &mut State, new: &NewStripe) -> Result<bool, KvError> {
    let key = tables::content_key(new.record.content);
    let known = state.read::<ContentRow>(tables::CONTENTS, &key)?;
    let fresh = !may_be_dropped(state, new.id)? && query::stripe(&*state.kv, new.id)?.is_none();
    let fresh = fresh && is_readable(&without_strangers(state, &new.record)?);
    match known {
        Some(mut known)
            if fresh && new.replaces == Some(known.stripe) && new.record.plain_bytes == known.plain_bytes =>
        {
            retire(state, known.stripe)?;
            known.stripe = new.id;
            keep(state, new)?;
            state.put(tables::CONTENTS, &key, &known)?;
            Ok(true)
        }
        _ => discard(state, new).map(|()| false),
    }
}

/// Lets go of a list of chunks: one holder less, or its contents, too.
pub(super) fn unlink(state: &mut State, list: InodeId) -> Result<(), KvError> {
    let shared_key = tables::inode_key(tables::SHARED, list);
    if let Some(others) = state.read::<u64>(tables::SHARED, &shared_key)? {
        return if others > 1 {
            state.put(tables::SHARED, &shared_key, &(others - 1))
        } else {
            state.delete(&shared_key)
        };
    }
    let prefix = tables::inode_key(tables::CHUNKS, list);
    loop {
        let page = state.page::<ChunkRow>(tables::CHUNKS, &prefix, &prefix)?;
        if page.is_empty() {
            return Ok(());
        }
        for (key, chunk) in page {
            state.delete(&key)?;
            release(state, chunk.content)?;
        }
    }
}

/// Has one file more hold a list of chunks.
pub(super) fn share(state: &mut State, list: InodeId) -> Result<(), KvError> {
    let key = tables::inode_key(tables::SHARED, list);
    let others: u64 = state.read(tables::SHARED, &key)?.unwrap_or(0);
    state.put(tables::SHARED, &key, &(others + 1))
}

/// Drops stripes from the garbage; ones that are not there are no error.
pub(super) fn forget_garbage(state: &mut State, stripes: &[StripeId]) -> Step<Outcome> {
    for stripe in stripes {
        let key = tables::stripe_key(tables::GARBAGE_TIMES, *stripe);
        if let Some(since_ms) = state.read::<u64>(tables::GARBAGE_TIMES, &key)? {
            state.delete(&tables::garbage_key(since_ms, *stripe))?;
            state.delete(&key)?;
        }
    }
    Ok(Outcome::Done)
}

/// Makes surplus shards of garbage stripes; ones that are not there are no error.
pub(super) fn split_garbage(state: &mut State, stripes: &[StripeId]) -> Step<Outcome> {
    if stripes.len() > moves::MOVES_PER_COMMAND_LIMIT {
        return Err(Rejection::TooMany("stripes in one command".to_owned()).into());
    }
    for stripe in stripes {
        let key = tables::stripe_key(tables::GARBAGE_TIMES, *stripe);
        let Some(since_ms) = state.read::<u64>(tables::GARBAGE_TIMES, &key)? else { continue };
        let garbage_key = tables::garbage_key(since_ms, *stripe);
        let row: Option<GarbageRow> = state.read(tables::GARBAGE, &garbage_key)?;
        state.delete(&garbage_key)?;
        state.delete(&key)?;
        for (index, place) in (0u8..).zip(row.iter().flat_map(|row| &row.record.shards)) {
            if let Some(agent) = place.agent {
                moves::put_surplus(state, ShardKey { stripe: *stripe, index }, agent)?;
            }
        }
    }
    Ok(Outcome::Done)
}

fn release(state: &mut State, content: ContentId) -> Result<(), KvError> {
    let key = tables::content_key(content);
    let Some(mut row) = state.read::<ContentRow>(tables::CONTENTS, &key)? else { return Ok(()) };
    if row.refs > 1 {
        row.refs -= 1;
        return state.put(tables::CONTENTS, &key, &row);
    }
    state.delete(&key)?;
    retire(state, row.stripe)
}

/// Makes garbage of a stripe whose content had come already.
fn discard(state: &mut State, new: &NewStripe) -> Result<(), KvError> {
    if may_be_dropped(state, new.id)? || query::stripe(&*state.kv, new.id)?.is_some() {
        return Ok(());
    }
    put_garbage(state, new.id, new.record.clone())
}

fn put_garbage(state: &mut State, stripe: StripeId, record: StripeRecord) -> Result<(), KvError> {
    let since_ms = state.now_ms();
    state.put(tables::GARBAGE, &tables::garbage_key(since_ms, stripe), &GarbageRow { record })?;
    state.put(tables::GARBAGE_TIMES, &tables::stripe_key(tables::GARBAGE_TIMES, stripe), &since_ms)
}

fn is_garbage(state: &State, stripe: StripeId) -> Result<bool, KvError> {
    Ok(state.kv.get(&tables::stripe_key(tables::GARBAGE_TIMES, stripe))?.is_some())
}

/// Whether holders may have dropped shards of a stripe that is not in use: it is garbage, or its writer gave it up.
fn may_be_dropped(state: &State, stripe: StripeId) -> Result<bool, KvError> {
    Ok(is_garbage(state, stripe)? || state.count(&tables::stripe_key(tables::SURPLUS_PLACES, stripe), 1)? > 0)
}

/// Makes surplus of shards that nobody will name any more; only of stripes the ledger does not know.
pub(super) fn give_up(state: &mut State, shards: &[(AgentId, ShardKey)]) -> Step<Outcome> {
    if shards.len() > moves::MOVES_PER_COMMAND_LIMIT {
        return Err(Rejection::TooMany("shards in one command".to_owned()).into());
    }
    for (agent, key) in shards {
        if !is_garbage(state, key.stripe)? && query::stripe(&*state.kv, key.stripe)?.is_none() {
            moves::put_surplus(state, *key, *agent)?;
        }
    }
    Ok(Outcome::Done)
}

pub(super) fn inconsistent(reason: String) -> super::Fail {
    Rejection::Inconsistent(reason).into()
}
