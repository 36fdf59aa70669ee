//! One chunk on its way in: hash, known already?, compress, encrypt, encode, shards to their agents.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use dci_proto::{AgentId, ContentId};
use shoal_ledger::{ChunkRef, NewStripe, ShardPlace, StripeRecord, query};
use shoal_placement::{Candidate, Geometry, choose, geometry, small_file_geometry};

use crate::fetch::{Stripe, fetch};
use crate::litter::Litter;
use crate::place::{Placed, Placing};
use crate::shared::{KeepPolicy, Shared, new_stripe_id, work_on};
use crate::stats::add;
use crate::stripe::{SealOptions, SealedStripe, StripeError, seal};
use crate::{DriveError, Urgency};

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
    /// The bytes of a small chunk that was written: should its agents be struck off by then, it is written once more. Those of larger
    /// ones are not kept for so rare a case: their upload fails and says so.
    pub(crate) small: Option<Bytes>,
    /// Drops the shards again if the ledger is never told.
    pub(crate) litter: Litter,
}

/// What was found or made of a chunk's bytes.
enum Sealed {
    Known(ContentId, Stripe),
    New(ContentId, SealedStripe),
}

/// Where a stripe could go now.
pub(crate) struct Targets {
    pub(crate) geometry: Geometry,
    candidates: Vec<Candidate>,
    /// Whether somebody waits for the stripe.
    pub(crate) urgency: Urgency,
}

/// Gets a chunk durable. `anew`: even if the pool seems to have its content.
pub(crate) async fn store_chunk(
    shared: &Arc<Shared>,
    policy: KeepPolicy,
    plain: Bytes,
    anew: bool,
) -> Result<StoredChunk, DriveError> {
    let mut excluded = BTreeSet::new();
    let mut targets = targets(shared, policy, plain.len(), &excluded)?;
    let (content, mut sealed, replaces) =
        match seal_unless_known(shared, policy, &plain, targets.geometry, anew).await? {
            Sealed::Known(content, stripe) if is_fit(shared, &stripe, targets.geometry).await => {
                return Ok(known_chunk(shared, content, plain));
            }
            Sealed::Known(content, stripe) => {
                add(&shared.counters.replaced_stripes, 1);
                (content, reseal(shared, policy, content, &plain, targets.geometry).await?, Some(stripe.id))
            }
            Sealed::New(content, sealed) => (content, sealed, None),
        };
    let small = (plain.len() <= COPIES_LIMIT_BYTES).then(|| plain.clone());
    for _ in 0..RESEALS_LIMIT {
        let (placed, litter, mut chunk) = send(shared, content, sealed, &targets, &mut excluded).await?;
        if let Some(new) = &mut chunk.new_stripe {
            new.replaces = replaces;
        }
        if placed.durable() == placed.places.len() {
            return Ok(StoredChunk { chunk, known: None, small, litter });
        }
        let next = self::targets(shared, policy, plain.len(), &excluded);
        match next {
            Ok(next) if next.geometry.m >= targets.geometry.m && next.geometry.k < targets.geometry.k => {
                tracing::debug!(k = next.geometry.k, m = next.geometry.m, "sealing anew for the agents that are left");
                add(&shared.counters.resealed_chunks, 1);
                sealed = reseal(shared, policy, content, &plain, next.geometry).await?;
                targets = next;
            }
            _ => {
                enough(shared, &placed, targets.geometry.k)?;
                add(&shared.counters.degraded_writes, 1);
                return Ok(StoredChunk { chunk, known: None, small, litter });
            }
        }
    }
    Err(DriveError::Unavailable("agents keep dropping out while a chunk is written".to_owned()))
}

/// Whether a stripe the pool has already keeps a chunk as well as a new one would: as much parity, every shard on an
/// agent that is up and has not found it bad, and bytes that can be read. An upload is answered for on the strength of it.
async fn is_fit(shared: &Shared, stripe: &Stripe, geometry: Geometry) -> bool {
    let up: BTreeSet<AgentId> =
        shared.peers.candidates().iter().filter(|candidate| !candidate.suspect).map(|c| c.agent).collect();
    let placed = |place: &ShardPlace| place.agent.is_some_and(|agent| up.contains(&agent));
    if stripe.record.m < geometry.m || !stripe.record.shards.iter().all(placed) {
        return false;
    }
    let bad = shared.view().and_then(|view| Ok(query::bad_places(&*view, stripe.id, &stripe.record)?));
    if !bad.is_ok_and(|bad| bad.is_empty()) {
        return false;
    }
    match fetch(shared, stripe, 0..stripe.record.plain_bytes).await {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(stripe = %stripe.id, %error, "a stripe cannot be read; writing its content anew");
            false
        }
    }
}

fn known_chunk(shared: &Arc<Shared>, content: ContentId, plain: Bytes) -> StoredChunk {
    add(&shared.counters.known_chunks, 1);
    let plain_bytes = u32::try_from(plain.len()).unwrap_or(u32::MAX);
    StoredChunk {
        chunk: ChunkRef { content, plain_bytes, new_stripe: None },
        known: Some(plain),
        small: None,
        litter: Litter::new(shared),
    }
}

/// The geometry for the agents that are up and have room for a shard of it. Suspects are left out, but where that would
/// cost parity as many of them are tried as it takes to keep it.
pub(crate) fn targets(
    shared: &Shared,
    policy: KeepPolicy,
    plain_bytes: usize,
    excluded: &BTreeSet<AgentId>,
) -> Result<Targets, DriveError> {
    let mut candidates = shared.takers();
    candidates.retain(|candidate| !excluded.contains(&candidate.agent));
    if candidates.is_empty() {
        return Err(DriveError::Unavailable("no agent that holds shards is up".to_owned()));
    }
    loop {
        let well = candidates.iter().filter(|candidate| !candidate.suspect).count();
        let to_keep_parity = (usize::from(policy.survive) + 1).min(candidates.len());
        let geometry = geometry_for(policy.survive, well.max(to_keep_parity), plain_bytes);
        let shard_bytes = plain_bytes as u64 / u64::from(geometry.k) + SHARD_OVERHEAD_BYTES;
        let before = candidates.len();
        candidates.retain(|candidate| candidate.free_bytes >= shard_bytes);
        if candidates.is_empty() {
            return Err(DriveError::Full);
        }
        if candidates.len() == before {
            let enough = before >= least_places(shared, geometry.k);
            return if enough {
                Ok(Targets { geometry, candidates, urgency: Urgency::Foreground })
            } else {
                Err(DriveError::Full)
            };
        }
    }
}

/// Shards that must be durable: one more than it takes to read the stripe, where more than one agent is up.
fn least_places(shared: &Shared, k: u8) -> usize {
    let up = shared.takers().iter().filter(|candidate| !candidate.suspect).count();
    usize::from(k) + usize::from(up > 1)
}

fn geometry_for(survive: u8, agents: usize, plain_bytes: usize) -> Geometry {
    if plain_bytes <= COPIES_LIMIT_BYTES { small_file_geometry(survive, agents) } else { geometry(survive, agents) }
}

async fn seal_unless_known(
    shared: &Arc<Shared>,
    policy: KeepPolicy,
    plain: &Bytes,
    geometry: Geometry,
    anew: bool,
) -> Result<Sealed, DriveError> {
    let (shared, plain) = (Arc::clone(shared), plain.clone());
    work_on(plain.len(), move || {
        let content = shared.keys.content_id(&plain);
        if let Some((id, record)) = shared.stripe_of(content)?.filter(|_| !anew) {
            return Ok(Sealed::Known(content, Stripe { id, record: Arc::new(record) }));
        }
        let options = SealOptions { geometry, compress: policy.compress, codec: None };
        Ok(Sealed::New(content, seal(&shared.keys, content, &plain, options).map_err(seal_failed)?))
    })
    .await?
}

pub(crate) async fn reseal(
    shared: &Arc<Shared>,
    policy: KeepPolicy,
    content: ContentId,
    plain: &Bytes,
    geometry: Geometry,
) -> Result<SealedStripe, DriveError> {
    let (shared, plain) = (Arc::clone(shared), plain.clone());
    let options = SealOptions { geometry, compress: policy.compress, codec: None };
    work_on(plain.len(), move || seal(&shared.keys, content, &plain, options).map_err(seal_failed)).await?
}

fn seal_failed(error: StripeError) -> DriveError {
    DriveError::Unavailable(format!("a chunk cannot be sealed: {error}"))
}

/// Sends a sealed chunk out under a new stripe id.
pub(crate) async fn send(
    shared: &Arc<Shared>,
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
    let mut litter = Litter::new(shared);
    let (candidates, urgency) = (&targets.candidates[..], targets.urgency);
    let placing = Placing { shared, stripe, sealed: &sealed, candidates, seed, urgency };
    let placed = placing.run(&chosen, excluded, &mut litter).await;
    let shards =
        placed.places.iter().zip(&sealed.hashes).map(|(agent, hash)| ShardPlace { agent: *agent, hash: *hash });
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
    let chunk = ChunkRef {
        content,
        plain_bytes: record.plain_bytes,
        new_stripe: Some(NewStripe { id: stripe, record, replaces: None }),
    };
    Ok((placed, litter, chunk))
}

/// Whether a stripe that could not be written in full is good enough.
fn enough(shared: &Shared, placed: &Placed, k: u8) -> Result<(), DriveError> {
    let durable = placed.durable();
    if durable >= least_places(shared, k) {
        return Ok(());
    }
    if placed.failed == 0 && placed.full > 0 {
        return Err(DriveError::Full);
    }
    let wanted = placed.places.len();
    Err(DriveError::Unavailable(format!("only {durable} of {wanted} shards could be kept")))
}
