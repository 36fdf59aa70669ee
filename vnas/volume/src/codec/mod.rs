//! Erasure codes: any k of k + m shards give the bytes back.
//!
//! Each code has a number that is stored with every stripe; shards of stripes of different codes never mix. New stripes
//! use [`best`]. Codes work on columns: bytes `a..b` of a missing shard follow from bytes `a..b` of any k others, as long
//! as `a` and `b` are multiples of [`ALIGNMENT_BYTES`]; that is what lets a degraded read fetch only what it needs.

mod copies;
mod portable;
mod simd;

#[cfg(test)]
mod tests;

/// Shards of a coded stripe, and the columns they are decoded by, are multiples of this.
pub const ALIGNMENT_BYTES: u32 = 64;

/// Number of a code, as stored.
pub type CodecId = u8;

/// Why shards could not be coded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// No code of that number is known here.
    #[error("erasure code {0} is not known; the stripe was written by a newer version of Shoal")]
    Unknown(CodecId),
    /// Numbers of shards, or lengths that do not fit together.
    #[error("{0}")]
    Shape(String),
    /// Fewer than k shards.
    #[error("{present} of the {needed} shards that are needed are there")]
    TooFew {
        /// How many there are.
        present: usize,
        /// How many it takes.
        needed: usize,
    },
}

/// An erasure code.
///
/// To be correct, an implementation must give the data back from any k of the k + m shards, column by column, and answer
/// shapes it cannot code with an error.
pub trait Codec: Send + Sync {
    /// Its number.
    fn id(&self) -> CodecId;

    /// The parity of these data shards, all equally long.
    fn encode(&self, data: &[&[u8]], parity: usize) -> Result<Vec<Vec<u8>>, CodecError>;

    /// The data shards that are not among `present` (index and bytes, equally long), by index.
    fn recover(&self, k: usize, m: usize, present: &[(usize, &[u8])]) -> Result<Vec<(usize, Vec<u8>)>, CodecError>;
}

/// Number of the code of whole copies, where k is 1.
pub const COPIES: CodecId = 0;

/// The code of a number.
pub fn by_id(id: CodecId) -> Result<&'static dyn Codec, CodecError> {
    match id {
        COPIES => Ok(&copies::Copies),
        1 => Ok(&portable::Portable),
        2 => Ok(&simd::Simd),
        other => Err(CodecError::Unknown(other)),
    }
}

/// The code new stripes take.
pub fn best(k: u8) -> CodecId {
    if k == 1 { COPIES } else { 2 }
}

/// Checks what every code asks of the shards it recovers from: enough, distinct, in range, equally long.
fn check_present(k: usize, m: usize, present: &[(usize, &[u8])]) -> Result<usize, CodecError> {
    let length = present.first().map_or(0, |(_, shard)| shard.len());
    let mut seen = vec![false; k + m];
    for (index, shard) in present {
        let slot = seen.get_mut(*index).ok_or_else(|| CodecError::Shape(format!("there is no shard {index}")))?;
        if std::mem::replace(slot, true) || shard.len() != length {
            return Err(CodecError::Shape(format!("shard {index} is there twice or has another length")));
        }
    }
    if present.len() < k {
        return Err(CodecError::TooFew { present: present.len(), needed: k });
    }
    Ok(length)
}
