//! Which files a drill restores.

use std::collections::BTreeMap;

use crate::object::sha256;
use crate::recovery::{Entry, EntryKind};

/// Files in a sample, at most.
pub const SAMPLE_FILES: usize = 200;
/// Bytes in a sample, at most: a minute or two on a common link.
pub const SAMPLE_LIMIT_BYTES: u64 = 512 << 20;

/// Draws a sample from a listing that passes by. Each file has the same chance; the same seed draws the same.
#[derive(Debug)]
pub struct Sample {
    seed: u64,
    limit_bytes: u64,
    by_rank: BTreeMap<[u8; 32], Entry>,
}

impl Sample {
    /// Begins one of [`SAMPLE_LIMIT_BYTES`] or fewer.
    #[must_use]
    pub fn new(seed: u64, limit_bytes: u64) -> Self {
        Self { seed, limit_bytes: limit_bytes.min(SAMPLE_LIMIT_BYTES), by_rank: BTreeMap::new() }
    }

    /// An entry passes by. Only files that fit are drawn.
    pub fn offer(&mut self, entry: &Entry) {
        if entry.kind != EntryKind::File || entry.size_bytes > self.limit_bytes {
            return;
        }
        let rank = sha256(&[&self.seed.to_be_bytes(), entry.path.as_bytes()]);
        let is_better = self.by_rank.last_key_value().is_none_or(|(worst, _)| rank < *worst);
        if self.by_rank.len() < SAMPLE_FILES || is_better {
            self.by_rank.insert(rank, entry.clone());
        }
        if self.by_rank.len() > SAMPLE_FILES {
            self.by_rank.pop_last();
        }
    }

    /// The sample.
    #[must_use]
    pub fn end(self) -> Vec<Entry> {
        let mut left_bytes = self.limit_bytes;
        let fits = |entry: &Entry| {
            let fits = entry.size_bytes <= left_bytes;
            left_bytes -= if fits { entry.size_bytes } else { 0 };
            fits
        };
        self.by_rank.into_values().filter(fits).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn entry(number: u64, size_bytes: u64) -> Entry {
        let path = number.to_string().as_str().into();
        Entry { path, kind: EntryKind::File, size_bytes, modified_ns: 0, content: None, rights: None }
    }

    #[test]
    fn it_is_bounded_fair_and_the_same_for_a_seed() {
        let sample = |seed, limit| {
            let mut sample = Sample::new(seed, limit);
            (0..2_000).for_each(|number| sample.offer(&entry(number, number % 10 + 1)));
            sample.end()
        };
        assert_eq!((sample(1, 1 << 20), sample(1, 1 << 20).len()), (sample(1, 1 << 20), SAMPLE_FILES));
        let bytes: u64 = sample(1, 50).iter().map(|entry| entry.size_bytes).sum();
        assert!(bytes <= 50 && bytes > 40, "{bytes}");
        let drawn: BTreeSet<_> = (0..40).flat_map(|seed| sample(seed, 1 << 20)).map(|entry| entry.path).collect();
        assert!(drawn.len() > 1_900, "each file is drawn some time: {}", drawn.len());
        let mut folders = Sample::new(1, 10);
        folders.offer(&Entry { kind: EntryKind::Folder, ..entry(1, 0) });
        folders.offer(&entry(1, 11));
        assert_eq!(folders.end(), []);
    }
}
