//! Sealed and opened again, whole and in ranges, with shards missing, damaged, or a record that lies.

use std::ops::Range;

use bytes::Bytes;
use dci_proto::ContentId;
use proptest::prelude::*;
use shoal_ledger::StripeRecord;
use shoal_placement::Geometry;

use super::*;

fn keys() -> PoolKeys {
    PoolKeys::new([7; 32])
}

fn noise(length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(at as u32) >> 40) as u8).collect()
}

fn sealed(plain: &[u8], k: u8, m: u8, codec: Option<u8>) -> (SealedStripe, StripeRecord) {
    let keys = keys();
    let content = keys.content_id(plain);
    let options = SealOptions { geometry: Geometry { k, m }, compress: true, codec };
    let sealed = seal(&keys, content, plain, options).expect("seals");
    let record = sealed.record(&[]);
    (sealed, record)
}

fn slice(shard: &Bytes, range: &Range<u32>) -> Bytes {
    shard.slice(range.start as usize..range.end as usize)
}

fn pieces(sealed: &SealedStripe, plan: &ReadPlan) -> Vec<(u8, Bytes)> {
    plan.pieces.iter().map(|(index, range)| (*index, slice(&sealed.shards[usize::from(*index)], range))).collect()
}

fn columns(sealed: &SealedStripe, plan: &ReadPlan, indices: &[u8]) -> Vec<(u8, Bytes)> {
    indices.iter().map(|index| (*index, slice(&sealed.shards[usize::from(*index)], &plan.column))).collect()
}

#[test]
fn what_was_sealed_is_opened_whole_and_from_any_k_shards() {
    for length in [0, 1, 63, 64, 65_535, 65_536, 65_537, 300_000, 4 << 20] {
        for (plain, name) in [(noise(length), "noise"), (vec![b'a'; length], "text")] {
            for (k, m, codec) in [(1, 2, None), (4, 2, None), (4, 2, Some(1)), (3, 2, None), (6, 0, None)] {
                let (sealed, record) = sealed(&plain, k, m, codec);
                let plan = plan_read(&record, 0..length as u32);
                let opened = open(&keys(), &record, &plan, pieces(&sealed, &plan)).expect("opens");
                assert_eq!(opened, plain, "{name} of {length}, {k}+{m}");
                let last: Vec<u8> = (m..m + k).collect();
                let opened = open(&keys(), &record, &plan, columns(&sealed, &plan, &last)).expect("opens");
                assert_eq!(opened, plain, "{name} of {length}, {k}+{m}, the last k shards");
            }
        }
    }
}

#[test]
fn any_k_shards_open_it_whatever_the_geometry_the_code_and_the_length() {
    for length in [0, 1, 65, 4_000, 70_001] {
        let plain = noise(length);
        for (k, m) in (1..=4).flat_map(|k| (0..=3).map(move |m| (k, m))) {
            for codec in [1, 2] {
                let (sealed, record) = sealed(&plain, k, m, Some(codec));
                let plan = plan_read(&record, 0..length as u32);
                for pattern in (0u32..1 << (k + m)).filter(|pattern| pattern.count_ones() == u32::from(k)) {
                    let kept: Vec<u8> = (0..k + m).filter(|index| pattern & (1 << index) != 0).collect();
                    let opened = open(&keys(), &record, &plan, columns(&sealed, &plan, &kept)).expect("opens");
                    assert_eq!(opened, plain, "{length} bytes, {k}+{m}, code {codec}, shards {kept:?}");
                }
            }
        }
    }
}

#[test]
fn pieces_and_columns_of_other_lengths_are_an_error() {
    let (sealed, record) = sealed(&noise(300_000), 4, 2, None);
    let plan = plan_read(&record, 0..300_000);
    let wrong_length = |mut parts: Vec<(u8, Bytes)>, longer: bool| {
        let (_, bytes) = &mut parts[1];
        *bytes = if longer { [&bytes[..], b"x"].concat().into() } else { bytes.slice(1..) };
        open(&keys(), &record, &plan, parts)
    };
    for longer in [false, true] {
        assert!(matches!(wrong_length(pieces(&sealed, &plan), longer), Err(StripeError::Shape(_))));
        assert!(matches!(wrong_length(columns(&sealed, &plan, &[1, 2, 4, 5]), longer), Err(StripeError::Shape(_))));
    }
    let three = open(&keys(), &record, &plan, columns(&sealed, &plan, &[0, 4, 5]));
    assert_eq!(three, Err(StripeError::Codec(CodecError::TooFew { present: 3, needed: 4 })));
}

#[test]
fn a_chunk_or_geometry_beyond_the_limits_is_refused() {
    let seal_as = |plain: &[u8], k, m| {
        let options = SealOptions { geometry: Geometry { k, m }, compress: false, codec: None };
        seal(&keys(), ContentId([0; 32]), plain, options).map(|_| ())
    };
    assert!(matches!(seal_as(&vec![0; (4 << 20) + 1], 4, 2), Err(StripeError::Shape(_))));
    assert!(matches!(seal_as(b"x", 0, 2), Err(StripeError::Shape(_))));
    assert!(matches!(seal_as(b"x", 8, 250), Err(StripeError::Shape(_))));
}

#[test]
fn sealed_anew_for_fewer_agents_it_is_the_same_ciphertext() {
    let plain = noise(100_000);
    let joined = |k| {
        let (sealed, record) = sealed(&plain, k, 1, None);
        let data: Vec<u8> = sealed.shards[..usize::from(k)].concat();
        data[..record.stored_bytes as usize].to_vec()
    };
    assert!(joined(4) == joined(1) && joined(3) == joined(1));
}

#[test]
fn what_compresses_is_smaller_and_what_does_not_is_left_alone() {
    let (text, record) = sealed(&vec![b'a'; 1 << 20], 4, 2, None);
    assert!(text.stored_bytes < 10_000 && record.compression == ZSTD, "{}", text.stored_bytes);
    let (_, record) = sealed(&noise(1 << 20), 4, 2, None);
    assert_eq!((record.compression, record.stored_bytes), (PLAIN, (1 << 20) + 16 * 16));
}

#[test]
fn a_range_fetches_only_its_frames() {
    let plain = noise(4 << 20);
    let (sealed, record) = sealed(&plain, 4, 2, None);
    let plan = plan_read(&record, 1_000_000..1_005_000);
    let fetched: usize = plan.pieces.iter().map(|(_, range)| range.len()).sum();
    assert!(fetched <= 2 * (FRAME_BYTES + TAG_BYTES) as usize, "{fetched} bytes for 5,000");
    let opened = open(&keys(), &record, &plan, pieces(&sealed, &plan)).expect("opens");
    assert_eq!(opened, plain[1_000_000..1_005_000]);
}

#[test]
fn a_flipped_bit_a_swapped_frame_and_a_foreign_key_are_damage() {
    let plain = noise(200_000);
    let (sealed, record) = sealed(&plain, 1, 0, None);
    let plan = plan_read(&record, 0..200_000);
    let whole = sealed.shards[0].to_vec();
    let try_open = |bytes: Vec<u8>| open(&keys(), &record, &plan, vec![(0, Bytes::from(bytes))]);
    for position in [0, 65_536, 65_552, 199_999] {
        let mut flipped = whole.clone();
        flipped[position] ^= 1;
        assert!(matches!(try_open(flipped), Err(StripeError::Damaged(_))), "bit at {position}");
    }
    let mut swapped = whole.clone();
    swapped[..65_552].copy_from_slice(&whole[65_552..131_104]);
    assert!(matches!(try_open(swapped), Err(StripeError::Damaged(_))));
    let foreign = PoolKeys::new([8; 32]);
    let opened = open(&foreign, &record, &plan, vec![(0, Bytes::from(whole))]);
    assert!(matches!(opened, Err(StripeError::Damaged(_))));
}

#[test]
fn one_key_and_nonce_never_meet_two_plaintexts() {
    // The same content, compressed and not, shares no ciphertext.
    let plain = vec![b'x'; 100_000];
    let (packed, _) = sealed(&plain, 1, 0, None);
    let keys = keys();
    let options = SealOptions { geometry: Geometry { k: 1, m: 0 }, compress: false, codec: None };
    let whole = seal(&keys, keys.content_id(&plain), &plain, options).expect("seals");
    assert_eq!((packed.compression, whole.compression), (ZSTD, PLAIN));
    let other = keys.cipher(
        &crypto::FrameParameters { content: ContentId([0; 32]), compression: ZSTD, frames: 1, plain_bytes: 1 },
        &keys.salt_of(b"another payload"),
    );
    let same = keys.cipher(
        &crypto::FrameParameters { content: ContentId([0; 32]), compression: ZSTD, frames: 1, plain_bytes: 1 },
        &keys.salt_of(b"a payload"),
    );
    let (mut one, mut two) = ([0; 32], [0; 32]);
    other.expect("cipher").seal(0, &mut one).expect("seals");
    same.expect("cipher").seal(0, &mut two).expect("seals");
    assert_ne!(one, two, "payloads of other compressors take other keys");
}

#[test]
fn keys_are_not_shown() {
    assert_eq!(format!("{:?}", keys()), "PoolKeys(…)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_range_opens_from_pieces_and_from_columns(
        length in 1usize..400_000, k in 1u8..=5, m in 1u8..=2, from: u32, to: u32, text: bool
    ) {
        let plain = if text { vec![b'a'; length] } else { noise(length) };
        let (sealed, record) = sealed(&plain, k, m, None);
        let (from, to) = (from % length as u32, to % (length as u32 + 1));
        let range = from.min(to)..from.max(to);
        let plan = plan_read(&record, range.clone());
        let wanted = &plain[range.start as usize..range.end as usize];
        prop_assert_eq!(&open(&keys(), &record, &plan, pieces(&sealed, &plan)).expect("opens")[..], wanted);
        let indices: Vec<u8> = (m..m + k).collect();
        prop_assert_eq!(&open(&keys(), &record, &plan, columns(&sealed, &plan, &indices)).expect("opens")[..], wanted);
    }

    #[test]
    fn a_record_that_lies_is_an_error_and_no_panic(
        numbers in any::<(u8, u8, u8, u32, u32, u32, u8, u32)>(), from: u32, to: u32, bytes in 0usize..2000
    ) {
        let (codec, k, m, plain_bytes, stored_bytes, shard_bytes, compression, key_epoch) = numbers;
        let key_epoch = key_epoch % 3;
        let record = StripeRecord {
            content: ContentId([1; 32]), codec: codec % 4, k: k % 9, m: m % 4, plain_bytes: plain_bytes % 100_000,
            stored_bytes: stored_bytes % 110_000, shard_bytes: shard_bytes % 70_000, compression: compression % 3,
            key_epoch, shards: Vec::new(),
        };
        let plan = plan_read(&record, from..to);
        let parts = plan.pieces.iter().map(|(index, _)| (*index, Bytes::from(vec![0; bytes]))).collect();
        let opened = open(&keys(), &record, &plan, parts);
        prop_assert!(opened.is_err() || plan.range.is_empty());
    }

    #[test]
    fn wild_records_and_parts_make_bounded_plans_and_no_panic(
        sizes in any::<(u32, u32, u32)>(), kinds in any::<(u8, u8, u8, u8, u32)>(), from: u32, to: u32,
        parts in proptest::collection::vec((any::<u8>(), 0usize..300), 0..8)
    ) {
        let (plain_bytes, stored_bytes, shard_bytes) = sizes;
        let (codec, k, m, compression, key_epoch) = kinds;
        let record = StripeRecord {
            content: ContentId([1; 32]), codec: codec % 4, k, m, plain_bytes, stored_bytes, shard_bytes,
            compression: compression % 3, key_epoch: key_epoch % 3, shards: Vec::new(),
        };
        let plan = plan_read(&record, from..to);
        prop_assert!(plan.column.len() <= shoal_ledger::CHUNK_BYTES as usize * 2);
        let parts = parts.into_iter().map(|(index, bytes)| (index, Bytes::from(vec![0; bytes]))).collect();
        prop_assert!(open(&keys(), &record, &plan, parts).is_err());
    }

    #[test]
    fn a_record_with_one_wrong_number_gives_the_bytes_or_an_error(
        field in 0u8..8, wrong: u32, k in 1u8..=4, from in 0u32..200_000, degraded: bool, text: bool
    ) {
        let plain = if text { vec![b'a'; 200_000] } else { noise(200_000) };
        let (sealed, mut record) = sealed(&plain, k, 2, None);
        match field {
            0 => record.codec = wrong as u8 % 4,
            1 => record.k = wrong as u8 % 8,
            2 => record.m = wrong as u8,
            3 => record.plain_bytes = wrong % 400_000,
            4 => record.stored_bytes = wrong % 400_000,
            5 => record.shard_bytes = wrong % 400_000,
            6 => record.compression = wrong as u8 % 3,
            _ => record.key_epoch = wrong % 3,
        }
        let plan = plan_read(&record, from..from + 1_000);
        let cut = |index: u8, range: &Range<u32>| {
            let shard = sealed.shards.get(usize::from(index)).cloned().unwrap_or_default();
            let (from, to) = ((range.start as usize).min(shard.len()), (range.end as usize).min(shard.len()));
            (index, shard.slice(from..to))
        };
        let parts: Vec<(u8, Bytes)> = if degraded {
            (2..2 + record.k).map(|index| cut(index, &plan.column)).collect()
        } else {
            plan.pieces.iter().map(|(index, range)| cut(*index, range)).collect()
        };
        if let Ok(opened) = open(&keys(), &record, &plan, parts) {
            let wanted = plan.range.start as usize..plan.range.end as usize;
            prop_assert_eq!(Some(&opened[..]), plain.get(wanted));
        }
    }
}
