//! A chunk as a stripe: compressed, encrypted in frames, cut in shards, extended by parity — and back.
//!
//! ```text
//! chunk ─compress?→ payload ─frames of 64 KiB, each + 16 bytes tag→ stored ─cut in k, padded→ data shards ─code→ + m parity
//! ```
//!
//! - **Keys.** The chunk key is derived from the pool's data key and the content id, so equal chunks make equal stripes.
//!   A frame's nonce is its number. An uncompressed payload *is* the content, so a key and nonce only ever meet one
//!   plaintext. A compressed payload depends on the compressor and its version too: its own keyed hash (16 bytes, the
//!   *salt*) goes into the key as well and stands in clear before the frames.
//! - **Bound to each frame** as additional data: its number, how many there are, the compression and the plain length.
//!   Frames cannot be swapped, dropped or taken from another stripe unnoticed.
//! - **Ranges.** Uncompressed, a range needs only its frames; compressed, all of them.
//!
//! Everything here is computing, no I/O; sizes in records are taken for hostile.

mod compress;
mod crypto;
mod layout;
mod open;
mod seal;

#[cfg(test)]
mod tests;

pub(crate) use crypto::PoolKeys;
pub(crate) use layout::{ReadPlan, plan_read};
pub(crate) use open::open;
pub(crate) use seal::{SealOptions, SealedStripe, seal};

use crate::codec::CodecError;

/// Bytes of plain or compressed payload in a frame; the last one may be shorter.
pub(crate) const FRAME_BYTES: u32 = 64 * 1024;
/// Bytes of a frame's authentication tag.
pub(crate) const TAG_BYTES: u32 = 16;
/// Bytes before the frames of a compressed payload.
pub(crate) const SALT_BYTES: u32 = 16;
/// The first data key of a pool; later ones are not there yet.
pub(crate) const KEY_EPOCH: u32 = 1;

/// `StripeRecord::compression`: none.
pub(crate) const PLAIN: u8 = 0;
/// `StripeRecord::compression`: zstd.
pub(crate) const ZSTD: u8 = 1;

/// Why a chunk could not be sealed or a stripe not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StripeError {
    /// Frames that fail their authentication, or bytes that do not decompress to what was sealed.
    #[error("the stripe is damaged: {0}")]
    Damaged(String),
    /// A record or pieces that make no sense together.
    #[error("the stripe makes no sense: {0}")]
    Shape(String),
    /// What a newer version wrote.
    #[error("the stripe was written by a newer version of Shoal ({0})")]
    Newer(String),
    /// The erasure code failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
}
