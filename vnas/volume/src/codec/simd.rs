//! Code 2: the very code of [`super::portable`], with the SIMD kernels of `fec-rs`, which picks the widest the processor
//! has at run time.
//!
//! Coding is a linear map over GF(2⁸). Its coefficients are asked of `reed-solomon-erasure`, on shards of `k` bytes that
//! are unit vectors; the bulk goes through two functions of `fec-rs`: multiply a slice by a constant, and the same
//! added to what is there. So parities are those of code 1, byte for byte, which the tests hold against each other: should
//! `fec-rs` ever have to go, nothing that was stored with it is lost. Why not another crate: `docs/decisions/0003`.

use fec_rs::galois::{mul_slice, mul_slice_xor};

use super::portable::Portable;
use super::{Codec, CodecError, CodecId, check_present};

pub(super) struct Simd;

/// Bytes of each shard that are worked on at a time: so few that the outputs stay in the processor's first cache.
const TILE_BYTES: usize = 4 * 1024;

impl Codec for Simd {
    fn id(&self) -> CodecId {
        2
    }

    fn encode(&self, data: &[&[u8]], parity: usize) -> Result<Vec<Vec<u8>>, CodecError> {
        let length = data.first().map_or(0, |shard| shard.len());
        if data.iter().any(|shard| shard.len() != length) {
            return Err(CodecError::Shape("data shards of different lengths".to_owned()));
        }
        let units = unit_vectors(data.len());
        let units: Vec<&[u8]> = units.iter().map(Vec::as_slice).collect();
        Ok(map(&Portable.encode(&units, parity)?, data, length))
    }

    fn recover(&self, k: usize, m: usize, present: &[(usize, &[u8])]) -> Result<Vec<(usize, Vec<u8>)>, CodecError> {
        let length = check_present(k, m, present)?;
        let used = &present[..k];
        let units = unit_vectors(k);
        let units: Vec<(usize, &[u8])> =
            used.iter().zip(&units).map(|((index, _), unit)| (*index, unit.as_slice())).collect();
        let (indices, coefficients): (Vec<usize>, Vec<Vec<u8>>) = Portable
            .recover(k, m, &units)?
            .into_iter()
            // More than k may be there.
            .filter(|(index, _)| present.iter().all(|(other, _)| other != index))
            .unzip();
        let inputs: Vec<&[u8]> = used.iter().map(|(_, shard)| *shard).collect();
        Ok(indices.into_iter().zip(map(&coefficients, &inputs, length)).collect())
    }
}

fn unit_vectors(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|one| (0..count).map(|at| u8::from(at == one)).collect()).collect()
}

/// Sums of the inputs, each times its coefficient: one output for each row.
fn map(rows: &[Vec<u8>], inputs: &[&[u8]], length: usize) -> Vec<Vec<u8>> {
    let mut outputs: Vec<Vec<u8>> = rows.iter().map(|_| Vec::with_capacity(length)).collect();
    for from in (0..length).step_by(TILE_BYTES) {
        let tile = from..length.min(from + TILE_BYTES);
        for (row, output) in rows.iter().zip(&mut outputs) {
            // Tile by tile, the zeros are still in the cache when they are written over.
            output.resize(tile.end, 0);
            for (number, (coefficient, input)) in row.iter().zip(inputs).enumerate() {
                let add = if number == 0 { mul_slice } else { mul_slice_xor };
                add(*coefficient, &input[tile.clone()], &mut output[tile.clone()]);
            }
        }
    }
    outputs
}
