//! Code 1: Reed–Solomon over GF(2⁸) by `reed-solomon-erasure`, without SIMD: runs everywhere.

use reed_solomon_erasure::galois_8::ReedSolomon;

use super::{Codec, CodecError, CodecId, check_present};

pub(super) struct Portable;

fn code(k: usize, m: usize) -> Result<ReedSolomon, CodecError> {
    ReedSolomon::new(k, m).map_err(|error| CodecError::Shape(format!("{k}+{m}: {error}")))
}

impl Codec for Portable {
    fn id(&self) -> CodecId {
        1
    }

    fn encode(&self, data: &[&[u8]], parity: usize) -> Result<Vec<Vec<u8>>, CodecError> {
        let length = data.first().map_or(0, |shard| shard.len());
        if parity == 0 || length == 0 {
            return Ok(vec![Vec::new(); parity]);
        }
        let mut shards = vec![vec![0; length]; parity];
        let encoded = code(data.len(), parity)?.encode_sep(data, &mut shards);
        encoded.map_err(|error| CodecError::Shape(error.to_string()))?;
        Ok(shards)
    }

    fn recover(&self, k: usize, m: usize, present: &[(usize, &[u8])]) -> Result<Vec<(usize, Vec<u8>)>, CodecError> {
        let length = check_present(k, m, present)?;
        let mut shards: Vec<Option<Vec<u8>>> = vec![None; k + m];
        for (index, shard) in present {
            shards[*index] = Some(shard.to_vec());
        }
        let missing: Vec<usize> = (0..k).filter(|index| shards[*index].is_none()).collect();
        if missing.is_empty() || length == 0 {
            return Ok(missing.into_iter().map(|index| (index, Vec::new())).collect());
        }
        code(k, m)?.reconstruct_data(&mut shards).map_err(|error| CodecError::Shape(error.to_string()))?;
        Ok(missing.into_iter().filter_map(|index| Some((index, shards[index].take()?))).collect())
    }
}
