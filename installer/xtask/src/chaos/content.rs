//! What files hold: bytes from which, even from a part of them, one can tell which write they are of.

use anyhow::{Context, Result, ensure};
use shoal_testkit::RandomBytes;

/// Each block of this length begins with the value.
const BLOCK_BYTES: usize = 64;
/// Bytes of a value.
const VALUE_BYTES: usize = 8;
/// A range must be at least this long for its value to be told.
pub(super) const RANGE_BYTES: usize = 2 * BLOCK_BYTES;

/// How long the content of a value is: most are short, some as long as several chunks.
pub(super) fn length_bytes(value: u64) -> usize {
    let mut random = RandomBytes::new(value);
    let class = random.next_u64() % 64;
    let (least, more) = match class {
        0 => (5_000_000, 4_500_000),
        1..=2 => (1_000_000, 2_000_000),
        3..=8 => (70_000, 400_000),
        9..=23 => (2_500, 60_000),
        _ => (16, 2_000),
    };
    least + (random.next_u64() % more) as usize
}

/// The content of a value.
pub(super) fn of(value: u64) -> Vec<u8> {
    let mut bytes = RandomBytes::new(value).take(length_bytes(value));
    for block in bytes.chunks_mut(BLOCK_BYTES) {
        if let Some(begin) = block.get_mut(..VALUE_BYTES) {
            begin.copy_from_slice(&value.to_le_bytes());
        }
    }
    bytes
}

/// Which value these bytes are of, read from `offset` on, `total_bytes` being the length of the whole.
///
/// # Errors
/// If they are of none: not one byte may differ.
pub(super) fn identify(bytes: &[u8], offset: usize, total_bytes: usize) -> Result<u64> {
    let block = offset.next_multiple_of(BLOCK_BYTES) - offset;
    let value = bytes.get(block..block + VALUE_BYTES).context("it is too short to hold a value")?;
    let value = u64::from_le_bytes(value.try_into().context("eight bytes")?);
    let whole_bytes = length_bytes(value);
    ensure!(whole_bytes == total_bytes, "it is {total_bytes} bytes long; value {value:#x} has {whole_bytes}");
    let whole = of(value);
    let wanted = whole.get(offset..offset + bytes.len()).context("it ends behind its end")?;
    let wrong = bytes.iter().zip(wanted).position(|(is, should)| is != should);
    match wrong {
        None => Ok(value),
        Some(at) => anyhow::bail!("it differs from value {value:#x} at byte {} of {total_bytes}", offset + at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_content_tells_its_value_and_one_wrong_byte_is_noticed() {
        for value in 1..200 {
            let bytes = of(value);
            assert_eq!(identify(&bytes, 0, bytes.len()).expect("whole"), value);
            let mut wrong = bytes.clone();
            let at = wrong.len() * 2 / 3;
            wrong[at] ^= 4;
            assert!(identify(&wrong, 0, wrong.len()).is_err(), "value {value}");
            if bytes.len() > RANGE_BYTES + 5 {
                let part = &bytes[5..5 + RANGE_BYTES];
                assert_eq!(identify(part, 5, bytes.len()).expect("part"), value);
            }
        }
    }

    #[test]
    fn contents_are_of_all_sizes_and_small_on_average() {
        let lengths: Vec<usize> = (1..5_000).map(length_bytes).collect();
        assert!(lengths.iter().any(|length| *length > 5_000_000));
        assert!(lengths.iter().any(|length| *length < 2_000));
        assert!(lengths.iter().sum::<usize>() / lengths.len() < 300_000);
    }
}
