//! Laws of what is read from a disk, for any bytes: run by the fuzz targets in `fuzz/` and, mutated from their seeds,
//! by every test run.

use std::fs::File;
use std::io::IoSlice;

use super::record::{FILE_SALT, FIXED_BYTES, Header, Kind, MAGIC, Salt, mend_checksum};
use super::segments::records_of;

/// Bytes looked at, at most: longer ones say nothing new.
const INPUT_LIMIT_BYTES: usize = 256 * 1024;
/// Salt of a segment's records.
const SALT: Salt = [7; 16];

/// A name, the law, and inputs to begin with.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All targets of this crate.
pub const TARGETS: &[Target] = &[("store_header", header, header_seeds), ("store_segment", segment, segment_seeds)];

/// What decodes comes back the same from what it encodes to, and says no more than the limits allow.
fn header(bytes: &[u8]) {
    for salt in [FILE_SALT, SALT] {
        let mut mended = bytes.to_vec();
        // Else the checksum keeps almost everything out.
        mend_checksum(&mut mended, &salt);
        for bytes in [bytes, &mended] {
            if let Ok(header) = Header::decode(bytes, &salt) {
                assert!(header.bytes <= crate::SHARD_LIMIT_BYTES && header.header_bytes() <= bytes.len());
                assert_eq!(Header::decode(&header.encode(&salt), &salt), Ok(header));
            }
        }
    }
}

/// Records are found in order, apart from each other and within the segment, the same ones whenever it is read.
fn segment(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(INPUT_LIMIT_BYTES)];
    let mut mended = bytes.to_vec();
    for at in 0..mended.len() {
        if mended[at..].starts_with(&MAGIC) {
            mend_checksum(&mut mended[at..], &SALT);
        }
    }
    for bytes in [bytes, &mended] {
        let file = in_memory(bytes);
        let records = records_of(&file, &SALT, 0, bytes.len() as u64);
        let mut end = 0;
        for (offset, header) in &records {
            assert!(u64::from(*offset) >= end && *offset as usize + FIXED_BYTES <= bytes.len());
            end = u64::from(*offset) + header.record_bytes();
        }
        if let Some((offset, _)) = records.last() {
            let again = records_of(&file, &SALT, u64::from(*offset), bytes.len() as u64);
            assert_eq!(again.as_slice(), records.last_chunk::<1>().map_or(&[][..], |last| last.as_slice()));
        }
    }
}

#[allow(clippy::expect_used, reason = "without a file there is nothing to try")]
fn in_memory(bytes: &[u8]) -> File {
    let file = rustix::fs::memfd_create("fuzz", rustix::fs::MemfdFlags::CLOEXEC).expect("a file in memory");
    let file = File::from(file);
    shoal_files::write_at(&file, 0, &mut [IoSlice::new(bytes)]).expect("writes");
    file
}

fn record(number: u8, length: usize, salt: &Salt) -> Vec<u8> {
    let data = vec![number; length];
    let stripe = dci_proto::StripeId([number; 16]);
    let header = Header {
        kind: Kind::Shard,
        key: dci_proto::ShardKey { stripe, index: number },
        bytes: length as u32,
        durable_below: 64,
        blocks: dci_proto::block_hashes(&data),
    };
    let mut record = header.encode(salt);
    record.extend(data);
    record
}

fn tombstone(number: u8) -> Vec<u8> {
    let stripe = dci_proto::StripeId([number; 16]);
    let key = dci_proto::ShardKey { stripe, index: number };
    let kind = Kind::Tombstone { victim: 3 };
    Header { kind, key, bytes: 0, durable_below: 0, blocks: Vec::new() }.encode(&SALT)
}

fn header_seeds() -> Vec<Vec<u8>> {
    let long = record(9, 3 * dci_proto::BLOCK_BYTES + 1, &FILE_SALT);
    vec![record(1, 0, &FILE_SALT), record(2, 10, &SALT), tombstone(3), long[..FIXED_BYTES + 4 * 16].to_vec()]
}

fn segment_seeds() -> Vec<Vec<u8>> {
    let whole = [record(1, 100, &SALT), tombstone(1), record(2, 700, &SALT), record(3, 0, &SALT)].concat();
    let mut damaged = whole.clone();
    damaged[20] ^= 1;
    damaged.extend_from_slice(b"torn");
    vec![whole, damaged, Vec::new()]
}
