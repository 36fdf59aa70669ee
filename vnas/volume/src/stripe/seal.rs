//! From a chunk to its shards.

use bytes::Bytes;
use dci_proto::{AgentId, ContentId, ShardHash, shard_hash};
use shoal_ledger::{CHUNK_BYTES, ShardPlace, StripeRecord};
use shoal_placement::Geometry;

use super::compress::compressed;
use super::crypto::{FrameParameters, PoolKeys};
use super::layout::Layout;
use super::{FRAME_BYTES, KEY_EPOCH, PLAIN, StripeError, ZSTD};
use crate::codec::{self, CodecId};

/// How a chunk is sealed.
#[derive(Debug, Clone, Copy)]
pub struct SealOptions {
    /// How it is cut.
    pub geometry: Geometry,
    /// Whether it is compressed where that pays.
    pub compress: bool,
    /// Which code makes the parity; `None`: the best one.
    pub codec: Option<CodecId>,
}

/// A chunk as shards; the fields are those of [`StripeRecord`].
#[derive(Debug, Clone)]
pub struct SealedStripe {
    /// The plain content it holds.
    pub content: ContentId,
    /// Which erasure code made the parity.
    pub codec: CodecId,
    /// Data shards.
    pub k: u8,
    /// Parity shards.
    pub m: u8,
    /// Bytes of the plain chunk.
    pub plain_bytes: u32,
    /// Bytes after compression and encryption.
    pub stored_bytes: u32,
    /// Bytes of each shard.
    pub shard_bytes: u32,
    /// [`PLAIN`] or [`ZSTD`].
    pub compression: u8,
    /// Which data key encrypts it.
    pub key_epoch: u32,
    /// `k + m` shards.
    pub shards: Vec<Bytes>,
    /// Their hashes.
    pub hashes: Vec<ShardHash>,
}

impl SealedStripe {
    /// What the ledger is told: the shards are at these places, by index; those beyond the list have none.
    #[must_use]
    pub fn record(&self, places: &[Option<AgentId>]) -> StripeRecord {
        let place = |(index, hash): (usize, &ShardHash)| ShardPlace {
            agent: places.get(index).copied().flatten(),
            hash: *hash,
        };
        StripeRecord {
            content: self.content,
            codec: self.codec,
            k: self.k,
            m: self.m,
            plain_bytes: self.plain_bytes,
            stored_bytes: self.stored_bytes,
            shard_bytes: self.shard_bytes,
            compression: self.compression,
            key_epoch: self.key_epoch,
            shards: self.hashes.iter().enumerate().map(place).collect(),
        }
    }
}

/// Seals a chunk whose content id is known.
///
/// # Errors
/// If it is larger than a chunk or the geometry cannot be coded.
pub fn seal(
    keys: &PoolKeys,
    content: ContentId,
    plain: &[u8],
    options: SealOptions,
) -> Result<SealedStripe, StripeError> {
    let plain_bytes = u32::try_from(plain.len()).ok().filter(|bytes| *bytes <= CHUNK_BYTES);
    let plain_bytes = plain_bytes.ok_or_else(|| StripeError::Shape(format!("a chunk of {} bytes", plain.len())))?;
    let Geometry { k, m } = options.geometry;
    if k == 0 || k.checked_add(m).is_none() {
        return Err(StripeError::Shape(format!("a stripe of {k} + {m} shards")));
    }
    let packed = if options.compress { compressed(plain) } else { None };
    let compression = if packed.is_some() { ZSTD } else { PLAIN };
    let payload = packed.as_deref().unwrap_or(plain);
    let layout = Layout::of_payload(payload.len() as u32, compression, k);
    let stored = encrypt(keys, content, plain_bytes, payload, compression, &layout)?;

    let codec = codec::by_id(options.codec.filter(|_| k > 1).unwrap_or_else(|| codec::best(k)))?;
    let stored = Bytes::from(stored);
    let shard = |index: u8| {
        let from = usize::from(index) * layout.shard_bytes as usize;
        stored.slice(from..from + layout.shard_bytes as usize)
    };
    let mut shards: Vec<Bytes> = (0..k).map(shard).collect();
    if k == 1 {
        // Copies share the memory.
        shards.resize(1 + usize::from(m), stored.clone());
    } else {
        let data: Vec<&[u8]> = shards.iter().map(|shard| &shard[..]).collect();
        let parity = codec.encode(&data, usize::from(m))?;
        shards.extend(parity.into_iter().map(Bytes::from));
    }
    let hashes = if k == 1 {
        vec![shard_hash(&stored); shards.len()]
    } else {
        shards.iter().map(|shard| shard_hash(shard)).collect()
    };
    Ok(SealedStripe {
        content,
        codec: codec.id(),
        k,
        m,
        plain_bytes,
        stored_bytes: layout.stored_bytes,
        shard_bytes: layout.shard_bytes,
        compression,
        key_epoch: KEY_EPOCH,
        shards,
        hashes,
    })
}

/// Salt and frames, padded to whole shards, in the one buffer the data shards are slices of.
fn encrypt(
    keys: &PoolKeys,
    content: ContentId,
    plain_bytes: u32,
    payload: &[u8],
    compression: u8,
    layout: &Layout,
) -> Result<Vec<u8>, StripeError> {
    let parameters = FrameParameters { content, compression, frames: layout.frames, plain_bytes };
    let mut stored = Vec::with_capacity(layout.shard_bytes as usize * usize::from(layout.k));
    let mut salt = None;
    if !parameters.is_plain() {
        let value = keys.salt_of(payload);
        stored.extend_from_slice(&value);
        salt = Some(value);
    }
    let cipher = keys.cipher(&parameters, salt.as_ref().map_or(&[], |salt| &salt[..]))?;
    for (number, frame) in (0u32..).zip(payload.chunks(FRAME_BYTES as usize)) {
        let from = stored.len();
        stored.extend_from_slice(frame);
        let tag = cipher.seal(number, &mut stored[from..])?;
        stored.extend_from_slice(&tag);
    }
    stored.resize(layout.shard_bytes as usize * usize::from(layout.k), 0);
    Ok(stored)
}
