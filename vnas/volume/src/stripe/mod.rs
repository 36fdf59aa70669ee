//! A chunk as a stripe: compressed, encrypted in frames, cut in shards, extended by parity — and back.
//!
//! ```text
//! chunk ─compress?→ payload ─frames of 64 KiB, each + 16 bytes tag→ stored ─cut in k, padded→ data shards ─code→ + m parity
//! ```
//!
//! - **Keys.** The chunk key is derived from the pool's data key and the content id, so equal chunks make equal stripes.
//!   A frame's nonce is its number. AES-GCM breaks when a key and nonce meet two plaintexts, and the same chunk is sealed
//!   again and again: by other agents, for other geometries, compressed or not, by other versions of zstd. Why they never do:
//!   - Uncompressed, the payload *is* the content, of which the content id is a collision-resistant hash: the same key
//!     means the same frames with the same additional data.
//!   - Compressed, the payload depends on the compressor and its version too. So its own keyed hash (16 bytes, the
//!     *salt*) goes into the key and stands in clear before the frames: other payload, other key.
//!   - The compression goes into the key: a payload of one kind never shares a key with one of the other.
//!   - The geometry and the code stay out of it: they are applied to what is encrypted already, so sealing anew for fewer
//!     agents makes the same ciphertext, cut differently.
//!   - How frames are cut is fixed by the key epoch: another [`FRAME_BYTES`] needs another derivation context.
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

pub use crypto::PoolKeys;
pub use layout::{ReadPlan, plan_read};
pub use open::open;
pub use seal::{SealOptions, SealedStripe, seal};

use crate::codec::CodecError;

/// Bytes of plain or compressed payload in a frame; the last one may be shorter.
pub const FRAME_BYTES: u32 = 64 * 1024;
/// Bytes of a frame's authentication tag.
pub const TAG_BYTES: u32 = 16;
/// Bytes before the frames of a compressed payload.
pub const SALT_BYTES: u32 = 16;
/// The first data key of a pool; later ones are not there yet.
pub const KEY_EPOCH: u32 = 1;

/// `StripeRecord::compression`: none.
pub const PLAIN: u8 = 0;
/// `StripeRecord::compression`: zstd.
pub const ZSTD: u8 = 1;

/// Why a chunk could not be sealed or a stripe not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StripeError {
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
