//! What sealing and opening a chunk of 4 MiB costs on one core, and the erasure codes alone.
//!
//! `cargo run --release -p shoal-volume --example stripe_bench`

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use shoal_placement::Geometry;
use shoal_volume::codec;
use shoal_volume::stripe::{PoolKeys, SealOptions, SealedStripe, open, plan_read, seal};

const CHUNK_BYTES: usize = 4 << 20;
/// The best of so many rounds of this length is told: other work on the machine only ever makes it slower.
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(100);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for bytes in [CHUNK_BYTES, 256 << 10] {
        erasure_codes(bytes)?;
    }
    stripes()
}

fn measure(what: &str, bytes: usize, mut work: impl FnMut()) {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let (begin, mut runs) = (Instant::now(), 0u32);
        while begin.elapsed() < ROUND {
            work();
            runs += 1;
        }
        best = best.min(begin.elapsed().as_secs_f64() / f64::from(runs));
    }
    println!("{what:<56} {:>8.1} µs {:>7.2} GB/s", best * 1e6, bytes as f64 / best / 1e9);
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// Half of it noise, half of it not: compresses to about a half.
fn half_noise(bytes: usize) -> Vec<u8> {
    let mut mixed = noise(bytes);
    mixed.chunks_mut(512).for_each(|part| part[256..].fill(b' '));
    mixed
}

fn erasure_codes(bytes: usize) -> Result<(), Box<dyn std::error::Error>> {
    for id in [1, 2] {
        let code = codec::by_id(id)?;
        for (k, m) in [(4, 2), (8, 2)] {
            let data = noise(bytes);
            let data: Vec<&[u8]> = data.chunks(bytes / k).collect();
            let parity = code.encode(&data, m)?;
            let name = format!("code {id}, {k}+{m}, {} KiB", bytes >> 10);
            measure(&format!("{name}: encode"), bytes, || drop(black_box(code.encode(&data, m))));
            for lost in 1..=m {
                let mut present: Vec<(usize, &[u8])> = data.iter().copied().enumerate().skip(lost).collect();
                present.extend(parity.iter().take(lost).enumerate().map(|(index, shard)| (k + index, &shard[..])));
                let recover = || drop(black_box(code.recover(k, m, &present)));
                measure(&format!("{name}: recover {lost} lost"), bytes, recover);
            }
        }
    }
    Ok(())
}

fn stripes() -> Result<(), Box<dyn std::error::Error>> {
    let keys = PoolKeys::new([7; 32]);
    for (name, plain) in [("noise", noise(CHUNK_BYTES)), ("half noise", half_noise(CHUNK_BYTES))] {
        let content = keys.content_id(&plain);
        measure(&format!("{name}: content id"), CHUNK_BYTES, || {
            black_box(keys.content_id(&plain));
        });
        for (k, m) in [(4, 2), (1, 0)] {
            let options = SealOptions { geometry: Geometry { k, m }, compress: true, codec: None };
            let sealed = seal(&keys, content, &plain, options)?;
            let name = format!("{name}, {k}+{m}");
            measure(&format!("{name}: hash all shards"), CHUNK_BYTES, || {
                black_box(sealed.shards.iter().map(|shard| dci_proto::shard_hash(shard)).collect::<Vec<_>>());
            });
            measure(&format!("{name}: seal, hashes included"), CHUNK_BYTES, || {
                drop(black_box(seal(&keys, content, &plain, options)));
            });
            openings(&name, &keys, &sealed, &plain)?;
        }
    }
    Ok(())
}

fn openings(
    name: &str,
    keys: &PoolKeys,
    sealed: &SealedStripe,
    plain: &[u8],
) -> Result<(), Box<dyn std::error::Error>> {
    let record = sealed.record(&[]);
    let ranges = [("whole", 0..record.plain_bytes), ("64 KiB", 2_000_000..2_065_536)];
    for (what, range) in ranges {
        let plan = plan_read(&record, range.clone());
        let slice = |index: u8, part: &std::ops::Range<u32>| {
            (index, sealed.shards[usize::from(index)].slice(part.start as usize..part.end as usize))
        };
        let pieces: Vec<(u8, Bytes)> = plan.pieces.iter().map(|(index, part)| slice(*index, part)).collect();
        let columns: Vec<(u8, Bytes)> =
            (sealed.m..sealed.m + sealed.k).map(|index| slice(index, &plan.column)).collect();
        let bytes = range.len();
        let range = range.start as usize..range.end as usize;
        assert_eq!(open(keys, &record, &plan, columns.clone())?, plain[range]);
        measure(&format!("{name}: open {what}"), bytes, || {
            drop(black_box(open(keys, &record, &plan, pieces.clone())));
        });
        if sealed.m > 0 {
            measure(&format!("{name}: open {what}, {} data shards lost", sealed.m), bytes, || {
                drop(black_box(open(keys, &record, &plan, columns.clone())));
            });
        }
    }
    Ok(())
}
