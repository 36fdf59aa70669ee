//! The checksums of a shard: one pass over its bytes serves its blocks and the whole.

use crate::ShardHash;

/// Bytes of a block that has a hash of its own: the unit of verified reading.
pub const BLOCK_BYTES: usize = 64 * 1024;

/// Hash of one block: the first 16 bytes of its BLAKE3.
#[must_use]
pub fn block_hash(block: &[u8]) -> [u8; 16] {
    truncated(&blake3::hash(block))
}

/// Hashes of the blocks of a shard, [`BLOCK_BYTES`] each, the last one shorter. An empty shard has none.
#[must_use]
pub fn block_hashes(shard: &[u8]) -> Vec<[u8; 16]> {
    shard.chunks(BLOCK_BYTES).map(block_hash).collect()
}

/// Hash of a whole shard, from its length in bytes and the hashes of its blocks.
#[must_use]
pub fn shard_hash_of_blocks(shard_bytes: u32, blocks: &[[u8; 16]]) -> ShardHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&shard_bytes.to_le_bytes());
    for block in blocks {
        hasher.update(block);
    }
    ShardHash(truncated(&hasher.finalize()))
}

/// Hash of a whole shard. A shard has at most `u32::MAX` bytes; longer input has no hash that any shard could match.
#[must_use]
pub fn shard_hash(shard: &[u8]) -> ShardHash {
    shard_hash_of_blocks(u32::try_from(shard.len()).unwrap_or(u32::MAX), &block_hashes(shard))
}

fn truncated(hash: &blake3::Hash) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_and_the_length_count() {
        let shard = vec![5u8; BLOCK_BYTES + 10];
        let hash = shard_hash(&shard);
        assert_eq!(block_hashes(&shard).len(), 2);
        for position in [0, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 9] {
            let mut flipped = shard.clone();
            flipped[position] ^= 1;
            assert_ne!(shard_hash(&flipped), hash, "bit at {position}");
        }
        assert_ne!(shard_hash(&shard[..BLOCK_BYTES]), hash);
        assert_ne!(shard_hash(&[]), shard_hash(&[0]));
    }
}
