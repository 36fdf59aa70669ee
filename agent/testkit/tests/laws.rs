//! The laws of all decoders of what comes from disk or wire, tried on the seed corpus of `fuzz/` and on mutations of
//! it. cargo-fuzz tries the same laws for longer (`cargo xtask fuzz`); this needs nothing but a stable compiler.

#![allow(clippy::expect_used, reason = "a failing test says what failed")]

use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;

/// Inputs tried of each law, besides its seeds.
const MUTATIONS: u64 = 20_000;
/// A mutated input is cut off here.
const INPUT_LIMIT_BYTES: usize = 16 * 1024;
/// Changes made to one input, at most.
const CHANGES_LIMIT: usize = 8;

type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
}

/// The seeds in `fuzz/corpus`, in the order of their names.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = corpus(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("lists").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).expect("reads")).collect()
}

/// The same numbers for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit.max(1) as u64) as usize
    }
}

fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    const TELLING: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, b'(', b'<', b'%'];
    let at = random.below(bytes.len() + 1);
    let to = at + random.below((bytes.len() - at).min(64) + 1);
    match random.below(7) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 if at < bytes.len() => bytes[at] = TELLING[random.below(TELLING.len())],
        2 => bytes.insert(at, random.below(256) as u8),
        3 => drop(bytes.drain(at..to)),
        4 => {
            let copied = bytes[at..to].to_vec();
            let into = random.below(bytes.len() + 1);
            bytes.splice(into..into, copied);
        }
        5 => bytes.truncate(at),
        _ => {
            let other = &others[random.below(others.len())];
            bytes.truncate(at);
            bytes.extend_from_slice(&other[random.below(other.len())..]);
        }
    }
    bytes.truncate(INPUT_LIMIT_BYTES);
}

fn hold(targets: &[Target]) {
    for (name, law, _) in targets {
        let seeds = seeds(name);
        let mut random = Random(0);
        let mutated = (0..MUTATIONS).map(|_| {
            let mut bytes = seeds[random.below(seeds.len())].clone();
            for _ in 0..=random.below(CHANGES_LIMIT) {
                mutate(&mut bytes, &seeds, &mut random);
            }
            bytes
        });
        for bytes in seeds.iter().cloned().chain(mutated) {
            if catch_unwind(|| law(&bytes)).is_err() {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                panic!("{name} is broken by these bytes: {hex}");
            }
        }
    }
}

#[test]
fn shards_on_disk_keep_their_laws() {
    hold(shoal_store::fuzzing::TARGETS);
}

#[test]
fn commands_and_rows_of_the_ledger_keep_their_laws() {
    hold(shoal_ledger::fuzzing::TARGETS);
}

#[test]
fn the_ledgers_log_and_messages_keep_their_laws() {
    hold(shoal_consensus::fuzzing::TARGETS);
}

#[test]
fn frames_of_the_data_channel_keep_their_laws() {
    hold(shoal_net::fuzzing::TARGETS);
}

#[test]
fn messages_of_peerlets_keep_their_laws() {
    hold(dci_proto::fuzzing::TARGETS);
}

#[test]
fn rows_of_mailboxes_keep_their_laws() {
    hold(shoal_mailbox::fuzzing::TARGETS);
}

#[test]
fn requests_of_webdav_clients_keep_their_laws() {
    hold(shoal_dav::fuzzing::TARGETS);
}

#[test]
fn heads_tickets_and_copies_of_the_ledger_keep_their_laws() {
    hold(shoal::fuzzing::TARGETS);
}

/// `SHOAL_WRITE_SEEDS=1 cargo test -p shoal-testkit --test laws every_target` writes them anew.
#[test]
fn every_target_has_its_seeds_in_the_corpus() {
    let all = [
        shoal_store::fuzzing::TARGETS,
        shoal_ledger::fuzzing::TARGETS,
        shoal_consensus::fuzzing::TARGETS,
        shoal_mailbox::fuzzing::TARGETS,
        shoal_net::fuzzing::TARGETS,
        shoal_dav::fuzzing::TARGETS,
        dci_proto::fuzzing::TARGETS,
        shoal::fuzzing::TARGETS,
    ];
    let write = std::env::var_os("SHOAL_WRITE_SEEDS").is_some();
    for (name, _, made) in all.concat() {
        for (number, seed) in made().into_iter().enumerate().filter(|_| write) {
            fs::create_dir_all(corpus(name)).expect("creates");
            fs::write(corpus(name).join(format!("seed-{number:02}")), seed).expect("writes");
        }
        assert!(!seeds(name).is_empty(), "{name} has none");
    }
}
