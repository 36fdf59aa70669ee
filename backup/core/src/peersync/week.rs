//! A holder that was away for a week catches up over links that break: little more travels than is missing.

use dci_proto::AgentId;

use super::{Copy, FetchFailure, Fetched, Fetcher};
use crate::catalogue::tests::{Verify, object, owner};
use crate::catalogue::{Catalogue, ENTRY_BYTES, Op};
use crate::now::{Now, mix};
use crate::object::{Object, ObjectKind};

const SOURCES: u8 = 3;
const PACK_BYTES: u64 = 256 * 1024;

/// Packs of a week, an index and a snapshot a day.
fn week() -> Catalogue {
    let mut catalogue = Catalogue::new(owner(1).0);
    for number in 0..200 {
        let kind = match number % 30 {
            28 => ObjectKind::Index,
            29 => ObjectKind::Snapshot,
            _ => ObjectKind::Pack,
        };
        let thing = Object { size_bytes: PACK_BYTES, ..object(number, kind, number / 30 + 1) };
        catalogue.append(&owner(1), 0, Op::Add(thing)).unwrap();
    }
    catalogue
}

#[test]
fn little_more_travels_than_is_missing_though_every_third_transfer_breaks() {
    let source = week();
    let mut now = Now::default();
    let mut copy = Copy::new(owner(1).0, now);
    let tail = source.tail(0);
    let mut wire_bytes = (tail.entries.len() * ENTRY_BYTES) as u64;
    let taken = copy.take_in(&tail, &Verify, now).unwrap();
    let missing_bytes: u64 = taken.lacks.iter().map(|object| object.size_bytes).sum();
    let mut fetcher = Fetcher::default();
    for number in 0..SOURCES {
        // Each is asked which of these it has: 32 bytes for each there, a bit back.
        wire_bytes += taken.lacks.len() as u64 * 33;
        let has = taken.lacks.iter().map(|object| object.name);
        fetcher.source(AgentId([number; 32]), u64::from(number) * 10, has);
    }
    let (mut random, mut from_each) = (7u64, [0u64; SOURCES as usize]);
    while !copy.lacking().is_empty() {
        now.steady_ms += 100;
        assert!(now.steady_ms < 24 * 60 * 60 * 1_000, "it never ends");
        for fetch in fetcher.due(copy.lacking(), now.steady_ms) {
            random = mix(random);
            let left_bytes = fetch.object.size_bytes - fetch.offset;
            let breaks = random % 3 == 0;
            let comes_bytes = if breaks { mix(random ^ 1) % left_bytes } else { left_bytes };
            wire_bytes += comes_bytes;
            from_each[usize::from(fetch.from.0[0])] += comes_bytes;
            fetcher.came(&fetch.object.name, fetch.offset + comes_bytes, now.steady_ms);
            if breaks {
                fetcher.failed(&fetch.object.name, FetchFailure::Unreachable, now.steady_ms);
            } else if fetcher.ended(&fetch.object.name, true) == Some(Fetched::Good) {
                assert!(copy.may_take(&fetch.object.name));
                copy.stored(&fetch.object.name);
            }
        }
    }
    let per_mille = wire_bytes * 1000 / missing_bytes;
    assert!((1000..=1020).contains(&per_mille), "{per_mille} per mille of what was missing");
    assert!(from_each.iter().all(|bytes| *bytes > 0), "the load is shared: {from_each:?}");
}
