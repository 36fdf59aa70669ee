//! Any k of k + m shards give the bytes back, whichever the code.

use proptest::prelude::*;

use super::*;

const CODES: [CodecId; 2] = [1, 2];

fn data(k: usize, length: usize, seed: u64) -> Vec<Vec<u8>> {
    let byte = |shard: usize, at: usize| {
        let mixed = (seed ^ ((shard as u64) << 32) ^ at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 56) as u8
    };
    (0..k).map(|shard| (0..length).map(|at| byte(shard, at)).collect()).collect()
}

/// Loses all shards but those `kept` names, and wants the data back.
fn check_pattern(codec: &dyn Codec, data: &[Vec<u8>], parity: &[Vec<u8>], kept: &dyn Fn(usize) -> bool) {
    let all: Vec<&[u8]> = data.iter().chain(parity).map(Vec::as_slice).collect();
    let present: Vec<(usize, &[u8])> = all.iter().copied().enumerate().filter(|(index, _)| kept(*index)).collect();
    let recovered = codec.recover(data.len(), parity.len(), &present).expect("recovers");
    for (index, shard) in data.iter().enumerate() {
        match recovered.iter().find(|(found, _)| *found == index) {
            Some((_, bytes)) => assert_eq!(bytes, shard, "code {} shard {index}", codec.id()),
            None => assert!(kept(index), "code {} does not give shard {index} back", codec.id()),
        }
    }
}

#[test]
fn every_pattern_of_loss_is_made_good_for_small_geometries() {
    for id in CODES {
        let codec = by_id(id).expect("known");
        for k in 1..=4 {
            for m in 0..=3 {
                for length in [0, 1, 63, 64, 192, 5000] {
                    let data = data(k, length, 1);
                    let slices: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
                    let parity = codec.encode(&slices, m).expect("encodes");
                    for pattern in 0u32..1 << (k + m) {
                        if pattern.count_ones() as usize >= k {
                            check_pattern(codec, &data, &parity, &|index| pattern & (1 << index) != 0);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn any_one_copy_gives_the_data_back() {
    let codec = by_id(COPIES).expect("known");
    for m in 0..=3 {
        for length in [0, 1, 63, 64] {
            let data = data(1, length, 1);
            let parity = codec.encode(&[&data[0]], m).expect("encodes");
            for pattern in 1u32..1 << (1 + m) {
                check_pattern(codec, &data, &parity, &|index| pattern & (1 << index) != 0);
            }
        }
    }
}

#[test]
fn copies_are_copies() {
    let codec = by_id(COPIES).expect("known");
    let parity = codec.encode(&[b"whole"], 2).expect("encodes");
    assert_eq!(parity, [b"whole".to_vec(), b"whole".to_vec()]);
    assert_eq!(codec.recover(1, 2, &[(2, b"whole")]), Ok(vec![(0, b"whole".to_vec())]));
    assert!(codec.encode(&[b"a", b"b"], 1).is_err());
}

#[test]
fn what_cannot_be_coded_is_an_error() {
    for id in CODES {
        let codec = by_id(id).expect("known");
        assert_eq!(codec.recover(2, 1, &[(0, &[0; 64])]), Err(CodecError::TooFew { present: 1, needed: 2 }));
        assert!(codec.recover(2, 1, &[(0, &[0; 64]), (0, &[0; 64])]).is_err(), "twice the same");
        assert!(codec.recover(2, 1, &[(0, &[0; 64]), (7, &[0; 64])]).is_err(), "out of range");
        assert!(codec.recover(2, 1, &[(0, &[0; 64]), (2, &[0; 128])]).is_err(), "other length");
        assert!(codec.encode(&[&[0; 64], &[0; 63]], 1).is_err(), "uneven data");
        assert!(codec.encode(&[&[0; 64], &[0; 64]], 255).is_err(), "more shards than the field has elements");
    }
    assert_eq!(by_id(9).err(), Some(CodecError::Unknown(9)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_losses_of_large_geometries_are_made_good(
        k in 1usize..=8, m in 1usize..=6, blocks in 1usize..40, seed: u64, order in any::<u64>()
    ) {
        for id in CODES {
            let codec = by_id(id).expect("known");
            let data = data(k, blocks * 64, seed);
            let slices: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
            let parity = codec.encode(&slices, m).expect("encodes");
            let mut indices: Vec<usize> = (0..k + m).collect();
            indices.sort_by_key(|index| order.rotate_left(*index as u32 * 7) % 61);
            let kept = &indices[..k];
            check_pattern(codec, &data, &parity, &|index| kept.contains(&index));
        }
    }

    #[test]
    fn the_simd_code_makes_the_parity_of_the_portable_one(
        k in 1usize..=8, m in 0usize..=8, length in 0usize..20_000, seed: u64
    ) {
        let data = data(k, length, seed);
        let slices: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
        let [portable, simd] = CODES.map(|id| by_id(id).expect("known").encode(&slices, m).expect("encodes"));
        prop_assert!(portable == simd);
    }

    #[test]
    fn a_column_of_any_k_shards_gives_that_column_of_the_others(
        k in 2usize..=6, m in 1usize..=3, blocks in 2usize..20, from in 0usize..10, seed: u64
    ) {
        let from = (from % blocks) * 64;
        for id in CODES {
            let codec = by_id(id).expect("known");
            let data = data(k, blocks * 64, seed);
            let slices: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
            let parity = codec.encode(&slices, m).expect("encodes");
            let mut present: Vec<(usize, &[u8])> =
                data.iter().enumerate().skip(1).map(|(index, shard)| (index, &shard[from..from + 64])).collect();
            present.push((k, &parity[0][from..from + 64]));
            let recovered = codec.recover(k, m, &present).expect("recovers");
            prop_assert_eq!(&recovered, &vec![(0, data[0][from..from + 64].to_vec())]);
        }
    }
}
