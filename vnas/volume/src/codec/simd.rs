//! Code 2: Reed–Solomon over GF(2¹⁶) by `reed-solomon-simd`, which picks the widest SIMD the processor has at run time.
//!
//! It works on blocks of 64 bytes on their own, which is why columns on 64-byte boundaries can be decoded alone.

use super::{ALIGNMENT_BYTES, Codec, CodecError, CodecId, check_present};

pub(super) struct Simd;

fn check_length(length: usize) -> Result<(), CodecError> {
    if length.is_multiple_of(ALIGNMENT_BYTES as usize) {
        return Ok(());
    }
    Err(CodecError::Shape(format!("shards of {length} bytes; they must be multiples of {ALIGNMENT_BYTES}")))
}

impl Codec for Simd {
    fn id(&self) -> CodecId {
        2
    }

    fn encode(&self, data: &[&[u8]], parity: usize) -> Result<Vec<Vec<u8>>, CodecError> {
        let length = data.first().map_or(0, |shard| shard.len());
        check_length(length)?;
        if parity == 0 || length == 0 {
            return Ok(vec![Vec::new(); parity]);
        }
        reed_solomon_simd::encode(data.len(), parity, data).map_err(|error| CodecError::Shape(error.to_string()))
    }

    fn recover(&self, k: usize, m: usize, present: &[(usize, &[u8])]) -> Result<Vec<(usize, Vec<u8>)>, CodecError> {
        let length = check_present(k, m, present)?;
        check_length(length)?;
        let has = |index: usize| present.iter().any(|(other, _)| *other == index);
        let missing: Vec<usize> = (0..k).filter(|index| !has(*index)).collect();
        if missing.is_empty() || length == 0 {
            return Ok(missing.into_iter().map(|index| (index, Vec::new())).collect());
        }
        let data = present.iter().filter(|(index, _)| *index < k).copied();
        let parity = present.iter().filter(|(index, _)| *index >= k).map(|(index, shard)| (index - k, *shard));
        let mut found =
            reed_solomon_simd::decode(k, m, data, parity).map_err(|error| CodecError::Shape(error.to_string()))?;
        Ok(missing.into_iter().filter_map(|index| Some((index, found.remove(&index)?))).collect())
    }
}
