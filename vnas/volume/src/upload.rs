//! One chunk on its way in: hash, known already?, compress, encrypt, encode, shards to their agents.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use dci_proto::{AgentId, ContentId};
use shoal_ledger::{ChunkRef, NewStripe, ShardPlace, StripeRecord};
use shoal_placement::{Candidate, Geometry, choose, geometry, small_file_geometry};

use crate::DriveError;
use crate::core::{Core, KeepPolicy, new_stripe_id, work_on};
use crate::litter::Litter;
use crate::place::{Placed, Placing};
use crate::stats::add;
use crate::stripe::{SealOptions, SealedStripe, StripeError, seal};

/// Files and last chunks of at most so many bytes are kept as whole copies.
pub(crate) const COPIES_LIMIT_BYTES: usize = 64 * 1024;

/// Bytes a shard may take beyond its part of the plain chunk: tags of its frames, padding, its header.
const SHARD_OVERHEAD_BYTES: u64 = 16 * 1024;

/// How often a chunk is sealed anew because agents dropped out while its shards were under way: from 8 data shards
/// down to 1.
const RESEALS_LIMIT: usize = 8;

/// A chunk that is durable, or known to be in the pool.
pub(crate) struct StoredChunk {
    /// What the ledger is told.
    pub(crate) chunk: ChunkRef,
    /// The bytes, where the pool had the content already: should it be gone by the time the ledger is told, they are
    /// needed once more.
    pub(crate) known: Option<Bytes>,
    /// Drops the shards again if the ledger is never told.
    pub(crate) litter: Litter,
}

/// What was found or made of a chunk's bytes.
enum Sealed {
    Known(ContentId),
    New(ContentId, SealedStripe),
}

/// Where a stripe could go now.
struct Targets {
    geometry: Geometry,
    candidates: Vec<Candidate>,
    /// Agents that are up, with room or without.
    up: usize,
}

/// Gets a chunk durable. `anew`: even if the pool seems to have its content.
pub(crate) async fn store_chunk(
    core: &Arc<Core>,
    policy: KeepPolicy,
    plain: Bytes,
    anew: bool,
) -> Result<StoredChunk, DriveError> {
    let mut excluded = BTreeSet::new();
    let mut targets = targets(core, policy, plain.len(), &excluded)?;
    let (content, mut sealed) = match seal_unless_known(core, policy, &plain, targets.geometry, anew).await? {
        Sealed::Known(content) => return Ok(known_chunk(core, content, plain)),
        Sealed::New(content, sealed) => (content, sealed),
    };
    for _ in 0..RESEALS_LIMIT {
        let (placed, litter, chunk) = send(core, content, sealed, &targets, &mut excluded).await?;
        if placed.durable() == placed.places.len() {
            return Ok(StoredChunk { chunk, known: None, litter });
        }
        let next = self::targets(core, policy, plain.len(), &excluded);
        match next {
            Ok(next) if next.geometry.m >= targets.geometry.m && next.geometry.k < targets.geometry.k => {
                tracing::debug!(k = next.geometry.k, m = next.geometry.m, "sealing anew for the agents that are left");
                add(&core.counters.resealed_chunks, 1);
                sealed = reseal(core, policy, content, &plain, next.geometry).await?;
                targets = next;
            }
            _ => {
                enough(&placed, &targets)?;
                add(&core.counters.degraded_writes, 1);
                return Ok(StoredChunk { chunk, known: None, litter });
            }
        }
    }
    Err(DriveError::Unavailable("agents keep dropping out while a chunk is written".to_owned()))
}

fn known_chunk(core: &Arc<Core>, content: ContentId, plain: Bytes) -> StoredChunk {
    add(&core.counters.known_chunks, 1);
    let plain_bytes = u32::try_from(plain.len()).unwrap_or(u32::MAX);
    StoredChunk {
        chunk: ChunkRef { content, plain_bytes, new_stripe: None },
        known: Some(plain),
        litter: Litter::new(core),
    }
}

/// The geometry for the agents that are up and have room for a shard of it.
fn targets(
    core: &Core,
    policy: KeepPolicy,
    plain_bytes: usize,
    excluded: &BTreeSet<AgentId>,
) -> Result<Targets, DriveError> {
    let mut candidates = core.candidates();
    candidates.retain(|candidate| !excluded.contains(&candidate.agent));
    if candidates.iter().any(|candidate| !candidate.suspect) {
        candidates.retain(|candidate| !candidate.suspect);
    }
    let up = candidates.len();
    if up == 0 {
        return Err(DriveError::Unavailable("no agent that holds shards is up".to_owned()));
    }
    loop {
        let count = candidates.len();
        if count == 0 {
            return Err(DriveError::Full);
        }
        let geometry = geometry_for(policy.survive, count, plain_bytes);
        let shard_bytes = plain_bytes as u64 / u64::from(geometry.k) + SHARD_OVERHEAD_BYTES;
        candidates.retain(|candidate| candidate.free_bytes >= shard_bytes);
        if candidates.len() == count {
            return Ok(Targets { geometry, candidates, up });
        }
    }
}

fn geometry_for(survive: u8, agents: usize, plain_bytes: usize) -> Geometry {
    if plain_bytes <= COPIES_LIMIT_BYTES {
        small_file_geometry(survive, agents)
    } else {
        geometry(survive, agents)
    }
}

async fn seal_unless_known(
    core: &Arc<Core>,
    policy: KeepPolicy,
    plain: &Bytes,
    geometry: Geometry,
    anew: bool,
) -> Result<Sealed, DriveError> {
    let (core, plain) = (Arc::clone(core), plain.clone());
    work_on(plain.len(), move || {
        let content = core.keys.content_id(&plain);
        if !anew && core.stripe_of(content)?.is_some() {
            return Ok(Sealed::Known(content));
        }
        let options = SealOptions { geometry, compress: policy.compress, codec: None };
        Ok(Sealed::New(content, seal(&core.keys, content, &plain, options).map_err(seal_failed)?))
    })
    .await?
}

async fn reseal(
    core: &Arc<Core>,
    policy: KeepPolicy,
    content: ContentId,
    plain: &Bytes,
    geometry: Geometry,
) -> Result<SealedStripe, DriveError> {
    let (core, plain) = (Arc::clone(core), plain.clone());
    let options = SealOptions { geometry, compress: policy.compress, codec: None };
    work_on(plain.len(), move || seal(&core.keys, content, &plain, options).map_err(seal_failed)).await?
}

fn seal_failed(error: StripeError) -> DriveError {
    DriveError::Unavailable(format!("a chunk cannot be sealed: {error}"))
}

/// Sends a sealed chunk out under a new stripe id.
async fn send(
    core: &Arc<Core>,
    content: ContentId,
    sealed: SealedStripe,
    targets: &Targets,
    excluded: &mut BTreeSet<AgentId>,
) -> Result<(Placed, Litter, ChunkRef), DriveError> {
    let (stripe, seed) = (new_stripe_id(), rand::random());
    let chosen = choose(&targets.candidates, sealed.shards.len(), u64::from(sealed.shard_bytes), seed, &[]);
    if chosen.is_empty() {
        return Err(DriveError::Full);
    }
    let mut litter = Litter::new(core);
    let placing = Placing { core, stripe, sealed: &sealed, candidates: &targets.candidates, seed };
    let placed = placing.run(&chosen, excluded, &mut litter).await;
    let shards = placed.places.iter().zip(&sealed.hashes).map(|(agent, hash)| ShardPlace { agent: *agent, hash: *hash });
    let record = StripeRecord {
        content,
        codec: sealed.codec,
        k: sealed.k,
        m: sealed.m,
        plain_bytes: sealed.plain_bytes,
        stored_bytes: sealed.stored_bytes,
        shard_bytes: sealed.shard_bytes,
        compression: sealed.compression,
        key_epoch: sealed.key_epoch,
        shards: shards.collect(),
    };
    let chunk =
        ChunkRef { content, plain_bytes: record.plain_bytes, new_stripe: Some(NewStripe { id: stripe, record }) };
    Ok((placed, litter, chunk))
}

/// Whether a stripe that could not be written in full is good enough: one more shard than it takes to read it, where
/// there are two agents at all.
fn enough(placed: &Placed, targets: &Targets) -> Result<(), DriveError> {
    let needed = usize::from(targets.geometry.k) + usize::from(targets.up > 1);
    if placed.durable() >= needed {
        return Ok(());
    }
    if placed.failed == 0 && placed.full > 0 {
        return Err(DriveError::Full);
    }
    let (durable, wanted) = (placed.durable(), placed.places.len());
    Err(DriveError::Unavailable(format!("only {durable} of {wanted} shards could be kept")))
}
