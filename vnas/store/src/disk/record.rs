//! The form of a shard on disk: a header that explains and guards it, then its bytes.
//!
//! ```text
//! 0   magic "SHRD"          24  shard bytes (u32)         48  checksum of all the rest of the header (16)
//! 4   version (1)           28  durable below (u32)       64  hash of each block of 64 KiB (16 each)
//! 5   kind, index, zero     32  segment of the victim     …   the shard's bytes
//! 8   stripe (16)           36  zeros (12)
//! ```
//!
//! Numbers are little-endian. A shard file is one such record; a segment is many, one after the other. The checksum
//! is salted: records of a segment with the store's id, so that no shard's bytes can pose as a record; files with
//! zeros, so that a file moved to another store by hand is still good. Knows bytes, no files.

use dci_proto::{BLOCK_BYTES, ShardHash, ShardKey, StripeId, block_hash, shard_hash_of_blocks};

use crate::SHARD_LIMIT_BYTES;

pub(crate) const MAGIC: [u8; 4] = *b"SHRD";
const VERSION: u8 = 1;
const KIND_SHARD: u8 = 1;
const KIND_TOMBSTONE: u8 = 2;
/// Bytes of a header without its block hashes.
pub(crate) const FIXED_BYTES: usize = 64;
const CHECKSUM_AT: usize = 48;

/// What the checksums of headers begin with: zeros for files, the store's id for segments.
pub(crate) type Salt = [u8; 16];
/// The salt of shard files.
pub(crate) const FILE_SALT: Salt = [0; 16];

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Shard,
    /// The shard of this key is dropped; its record is in segment `victim`.
    Tombstone {
        victim: u32,
    },
}

/// All that is known of a shard without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) key: ShardKey,
    /// Bytes of the shard.
    pub(crate) bytes: u32,
    /// In a segment: what lies below this offset was durable before this record was written.
    pub(crate) durable_below: u32,
    pub(crate) blocks: Vec<[u8; 16]>,
}

/// Bytes of the header of a shard of this length.
pub(crate) const fn header_bytes(shard_bytes: u32) -> usize {
    FIXED_BYTES + 16 * (shard_bytes as usize).div_ceil(BLOCK_BYTES)
}

/// Bytes of the whole record of a shard of this length.
pub(crate) const fn record_bytes(shard_bytes: u32) -> u64 {
    header_bytes(shard_bytes) as u64 + shard_bytes as u64
}

impl Header {
    pub(crate) fn header_bytes(&self) -> usize {
        header_bytes(self.bytes)
    }

    pub(crate) fn record_bytes(&self) -> u64 {
        record_bytes(self.bytes)
    }

    /// Hash of the whole shard.
    pub(crate) fn hash(&self) -> ShardHash {
        shard_hash_of_blocks(self.bytes, &self.blocks)
    }

    pub(crate) fn encode(&self, salt: &Salt) -> Vec<u8> {
        let mut out = vec![0; FIXED_BYTES];
        out[..4].copy_from_slice(&MAGIC);
        out[4] = VERSION;
        let (kind, victim) = match self.kind {
            Kind::Shard => (KIND_SHARD, 0),
            Kind::Tombstone { victim } => (KIND_TOMBSTONE, victim),
        };
        out[5] = kind;
        out[6] = self.key.index;
        out[8..24].copy_from_slice(&self.key.stripe.0);
        out[24..28].copy_from_slice(&self.bytes.to_le_bytes());
        out[28..32].copy_from_slice(&self.durable_below.to_le_bytes());
        out[32..36].copy_from_slice(&victim.to_le_bytes());
        out.extend_from_slice(self.blocks.as_flattened());
        let checksum = checksum(salt, &out[..CHECKSUM_AT], &out[FIXED_BYTES..]);
        out[CHECKSUM_AT..FIXED_BYTES].copy_from_slice(&checksum);
        out
    }

    /// Reads the header that `bytes` begin with; says what is wrong if there is none.
    pub(crate) fn decode(bytes: &[u8], salt: &Salt) -> Result<Self, String> {
        let fixed = bytes.get(..FIXED_BYTES).ok_or("the header is cut short")?;
        if fixed[..4] != MAGIC {
            return Err("it does not begin as a shard does".into());
        }
        if fixed[4] != VERSION {
            return Err(format!("its header has version {}, not {VERSION}", fixed[4]));
        }
        let shard_bytes = number(fixed, 24);
        if shard_bytes > SHARD_LIMIT_BYTES {
            return Err(format!("its header claims {shard_bytes} bytes"));
        }
        let hashes = bytes.get(FIXED_BYTES..header_bytes(shard_bytes)).ok_or("the header is cut short")?;
        if checksum(salt, &fixed[..CHECKSUM_AT], hashes) != fixed[CHECKSUM_AT..] {
            return Err("the header does not match its checksum".into());
        }
        let kind = match fixed[5] {
            KIND_SHARD => Kind::Shard,
            KIND_TOMBSTONE if shard_bytes == 0 => Kind::Tombstone { victim: number(fixed, 32) },
            other => return Err(format!("its header has unknown kind {other}")),
        };
        let mut stripe = [0; 16];
        stripe.copy_from_slice(&fixed[8..24]);
        Ok(Self {
            kind,
            key: ShardKey { stripe: StripeId(stripe), index: fixed[6] },
            bytes: shard_bytes,
            durable_below: number(fixed, 28),
            blocks: hashes.as_chunks().0.to_vec(),
        })
    }

    /// Checks blocks of the shard that lie one after the other, the first being number `first_block`.
    pub(crate) fn check_blocks(&self, first_block: usize, data: &[u8]) -> Result<(), String> {
        for (position, block) in data.chunks(BLOCK_BYTES).enumerate() {
            let number = first_block + position;
            if self.blocks.get(number) != Some(&block_hash(block)) {
                return Err(format!("block {number} does not match its checksum"));
            }
        }
        Ok(())
    }
}

/// Puts the beginning and the checksum of what may be a header right, for who tries what else can be wrong with it.
#[cfg(feature = "fuzzing")]
pub(crate) fn mend_checksum(bytes: &mut [u8], salt: &Salt) {
    if bytes.len() < FIXED_BYTES {
        return;
    }
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4] = VERSION;
    let shard_bytes = number(bytes, 24);
    if shard_bytes > SHARD_LIMIT_BYTES {
        return;
    }
    let Some(hashes) = bytes.get(FIXED_BYTES..header_bytes(shard_bytes)) else { return };
    let checksum = checksum(salt, &bytes[..CHECKSUM_AT], hashes);
    bytes[CHECKSUM_AT..FIXED_BYTES].copy_from_slice(&checksum);
}

fn checksum(salt: &Salt, fixed: &[u8], hashes: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(salt).update(fixed).update(hashes);
    let mut out = [0; 16];
    out.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    out
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(data: &[u8]) -> Header {
        Header {
            kind: Kind::Shard,
            key: ShardKey { stripe: StripeId([9; 16]), index: 4 },
            bytes: u32::try_from(data.len()).expect("short"),
            durable_below: 77,
            blocks: dci_proto::block_hashes(data),
        }
    }

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        for length in [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1, 5 * BLOCK_BYTES] {
            let original = header(&vec![3; length]);
            assert_eq!(Header::decode(&original.encode(&[1; 16]), &[1; 16]), Ok(original));
        }
        let tombstone = Header { kind: Kind::Tombstone { victim: 12 }, ..header(&[]) };
        assert_eq!(Header::decode(&tombstone.encode(&[1; 16]), &[1; 16]), Ok(tombstone));
    }

    #[test]
    fn a_header_of_another_store_is_refused() {
        let encoded = header(b"data").encode(&[1; 16]);
        assert!(Header::decode(&encoded, &[2; 16]).is_err());
    }

    proptest! {
        #[test]
        fn every_flipped_bit_of_a_header_is_found(bit in 0usize..(FIXED_BYTES + 32) * 8) {
            let mut encoded = header(&vec![1; BLOCK_BYTES + 1]).encode(&[1; 16]);
            encoded[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Header::decode(&encoded, &[1; 16]).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut forged = MAGIC.to_vec();
            forged.push(VERSION);
            forged.extend_from_slice(&bytes);
            prop_assert!(Header::decode(&forged, &FILE_SALT).is_err());
        }
    }
}
