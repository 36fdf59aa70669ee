//! Compression, where it pays.

use super::StripeError;

/// zstd's quickest ordinary level.
const LEVEL: i32 = 1;
/// Compressed is kept only when it saves at least one part in this many.
const SAVES_ONE_IN: usize = 8;
/// Payloads below this are left alone: nothing is saved once shards are padded.
const SMALLEST_BYTES: usize = 1024;
/// Samples taken of a large payload before all of it is tried.
const SAMPLES: usize = 4;
/// Bytes of each sample.
const SAMPLE_BYTES: usize = 8 * 1024;

/// The payload compressed, if that saves at least an eighth.
pub(super) fn compressed(plain: &[u8]) -> Option<Vec<u8>> {
    let worth = |before: usize, after: usize| after <= before - before / SAVES_ONE_IN;
    if plain.len() < SMALLEST_BYTES || !promises(plain, worth) {
        return None;
    }
    let packed = zstd::bulk::compress(plain, LEVEL).ok()?;
    worth(plain.len(), packed.len()).then_some(packed)
}

/// Tries samples first, so that what does not compress costs almost nothing. One that compresses is enough.
fn promises(plain: &[u8], worth: impl Fn(usize, usize) -> bool) -> bool {
    if plain.len() <= SAMPLES * SAMPLE_BYTES * 2 {
        return true;
    }
    let step = (plain.len() - SAMPLE_BYTES) / (SAMPLES - 1);
    (0..SAMPLES).any(|number| {
        let sample = &plain[number * step..number * step + SAMPLE_BYTES];
        zstd::bulk::compress(sample, LEVEL).is_ok_and(|packed| worth(sample.len(), packed.len()))
    })
}

/// The payload as it was; exactly `plain_bytes` or an error.
pub(super) fn decompressed(packed: &[u8], plain_bytes: usize) -> Result<Vec<u8>, StripeError> {
    let plain = zstd::bulk::decompress(packed, plain_bytes)
        .map_err(|error| StripeError::Damaged(format!("the payload does not decompress: {error}")))?;
    if plain.len() != plain_bytes {
        return Err(StripeError::Damaged(format!("{} bytes instead of {plain_bytes} decompressed", plain.len())));
    }
    Ok(plain)
}
