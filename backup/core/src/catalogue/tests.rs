use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::object::{ArchiveId, Object, ObjectKind, sha256};

/// Signs with a hash that only it can make, as far as tests go.
pub(crate) struct Owner(pub(crate) AgentId);

pub(crate) fn owner(number: u8) -> Owner {
    Owner(AgentId([number; 32]))
}

impl Signer for Owner {
    fn owner(&self) -> AgentId {
        self.0
    }

    fn sign(&self, bytes: &[u8]) -> Signature {
        let hash = sha256(&[b"secret", &self.0.0, bytes]);
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&hash);
        signature
    }
}

pub(crate) struct Verify;

impl Verifier for Verify {
    fn verify(&self, owner: AgentId, bytes: &[u8], signature: &Signature) -> bool {
        Owner(owner).sign(bytes) == *signature
    }
}

pub(crate) fn object(number: u64, kind: ObjectKind, archive: u64) -> Object {
    let name = ObjectName(sha256(&[&number.to_be_bytes()]));
    Object { name, kind, size_bytes: 100 + number, archive: ArchiveId(archive) }
}

fn pack(number: u64) -> Object {
    object(number, ObjectKind::Pack, 1)
}

/// Adds (true) and deletes packs.
fn filled(changes: &[(bool, u64)]) -> Catalogue {
    let mut catalogue = Catalogue::new(owner(1).0);
    for (add, number) in changes {
        let op = if *add { Op::Add(pack(*number)) } else { Op::Delete(pack(*number).name) };
        let _ = catalogue.append(&owner(1), 5, op);
    }
    catalogue
}

fn all(catalogue: &Catalogue) -> Tail {
    catalogue.tail(0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn entries_are_encoded_byte_for_byte_as_documented_for_ever() {
    let catalogue = filled(&[(true, 1), (false, 1)]);
    let entries: Vec<_> = catalogue.entries().map(|entry| hex(&entry.to_bytes())).collect();
    let name = hex(&pack(1).name.0);
    let owner = "01".repeat(32);
    let zero = "00".repeat(32);
    let added =
        format!("53424331{owner}0000000000000001{zero}000000000000000501{name}0300000000000000650000000000000001");
    assert_eq!(entries[0][..268], added);
    let head = hex(&catalogue.entries().next().unwrap().hash());
    let deleted = format!("53424331{owner}0000000000000002{head}000000000000000502{name}{}", "00".repeat(17));
    assert_eq!(entries[1][..268], deleted);
    assert_eq!((entries[0].len(), hex(&sha256(&[b"x"])).len()), (ENTRY_BYTES * 2, 64));
}

#[test]
fn what_is_not_the_owners_word_is_refused_and_nothing_is_taken_in() {
    let source = filled(&[(true, 1), (true, 2), (false, 1), (true, 3)]);
    let mut holder = Catalogue::new(owner(1).0);
    holder.take_in(&Tail { entries: all(&source).entries[..1].to_vec(), ..Tail::default() }, &Verify).unwrap();
    let before = holder.state().clone();
    let mut refused = |change: &dyn Fn(&mut Vec<Entry>)| {
        let mut entries = all(&source).entries;
        change(&mut entries);
        let error = holder.take_in(&Tail { entries, ..Tail::default() }, &Verify).unwrap_err();
        assert_eq!(holder.state(), &before, "{error}");
        error
    };
    assert_eq!(refused(&|entries| entries[3].time_ms = 6), CatalogueError::BadSignature(4));
    assert_eq!(refused(&|entries| _ = entries.remove(2)), CatalogueError::Gap { expected: 3, found: 4 });
    assert!(matches!(refused(&|entries| entries[2].owner = owner(2).0), CatalogueError::OtherOwner { .. }));
    // Two histories from the first entry on.
    let other = filled(&[(true, 1), (true, 9), (true, 8)]);
    assert_eq!(refused(&|entries| entries[2] = all(&other).entries[2].clone()), CatalogueError::Forked(2));
    let other = filled(&[(true, 7)]);
    assert_eq!(refused(&|entries| entries[0] = all(&other).entries[0].clone()), CatalogueError::Forked(1));
    // Known, with another size.
    let mut liar = filled(&[(true, 1), (true, 2)]);
    let twisted = Object { size_bytes: 9, ..pack(2) };
    assert_eq!(liar.append(&owner(1), 5, Op::Add(twisted)), Err(CatalogueError::Contradiction(pack(2).name)));
    assert!(matches!(liar.append(&owner(1), 5, Op::Add(pack(2))), Err(CatalogueError::NoChange(..))));
    assert!(matches!(liar.append(&owner(1), 5, Op::Delete(pack(9).name)), Err(CatalogueError::NoChange(..))));
    assert!(matches!(liar.append(&owner(2), 5, Op::Add(pack(9))), Err(CatalogueError::OtherOwner { .. })));
}

#[test]
fn a_fork_hidden_in_a_base_is_found_too() {
    let mut holder = Catalogue::new(owner(1).0);
    holder.take_in(&all(&filled(&[(true, 1), (true, 2)])), &Verify).unwrap();
    let mut other = filled(&[(true, 1), (true, 7), (true, 8)]);
    assert!(other.compact_to(&owner(1), 6, 0));
    assert_eq!(holder.take_in(&all(&other), &Verify), Err(CatalogueError::Forked(2)));
    let mut same_length = filled(&[(true, 1), (true, 7)]);
    assert!(same_length.compact_to(&owner(1), 6, 0));
    assert_eq!(holder.take_in(&all(&same_length), &Verify), Err(CatalogueError::Forked(2)));
}

#[test]
fn it_is_compacted_when_entries_are_many_and_old() {
    let mut catalogue = Catalogue::new(owner(1).0);
    for number in 0..COMPACT_FROM as u64 / 2 {
        assert!(!catalogue.compact(&owner(1), 1));
        catalogue.append(&owner(1), 1, Op::Add(pack(number))).unwrap();
        catalogue.append(&owner(1), 1, Op::Delete(pack(number).name)).unwrap();
    }
    let state = catalogue.state().clone();
    assert!(catalogue.compact(&owner(1), 1));
    assert_eq!((catalogue.entries().count(), catalogue.state()), (KEEP_ENTRIES, &state));
    let tail = catalogue.tail(0);
    assert!(tail.base.is_some() && tail.more && tail.entries.len() == TAIL_LIMIT);
}

fn changes() -> impl Strategy<Value = Vec<(bool, u64)>> {
    proptest::collection::vec((proptest::bool::weighted(0.6), 0u64..8), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_tail_from_anywhere_brings_all_to_the_same_state(
        changes in changes(), known in 0usize..40, keep in 0usize..40, compacts in any::<bool>(), doubled in 0u64..40,
    ) {
        let mut source = filled(&changes);
        let mut holder = Catalogue::new(owner(1).0);
        let first = Tail { entries: all(&source).entries.into_iter().take(known).collect(), ..Tail::default() };
        holder.take_in(&first, &Verify).unwrap();
        let had: BTreeMap<_, _> = holder.state().iter().map(|(_, object)| (object.name, *object)).collect();
        if compacts {
            source.compact_to(&owner(1), 9, keep);
        }
        // It may ask from an earlier place than where it is: a late answer.
        let tail = source.tail(holder.state().sequence().saturating_sub(doubled));
        let taken_in = holder.take_in(&tail, &Verify).unwrap();
        prop_assert_eq!(holder.state(), source.state());
        let mut has = had.clone();
        for object in &taken_in.deleted {
            prop_assert!(has.remove(&object.name).is_some());
        }
        for object in &taken_in.added {
            prop_assert!(has.insert(object.name, *object).is_none());
        }
        let expected: BTreeMap<_, _> = source.state().iter().map(|(_, object)| (object.name, *object)).collect();
        prop_assert_eq!(has, expected);
        // What it took in it hands on.
        let mut third = Catalogue::new(owner(1).0);
        third.take_in(&holder.tail(0), &Verify).unwrap();
        prop_assert_eq!(third.state(), source.state());
    }

    #[test]
    fn what_is_written_is_read_again_and_no_bit_can_be_changed(changes in changes(), at in any::<usize>(), bit in 0u8..8) {
        let mut catalogue = filled(&changes);
        for entry in catalogue.entries() {
            let mut bytes = entry.to_bytes();
            prop_assert_eq!(&Entry::from_bytes(&bytes).unwrap(), entry);
            let length = bytes.len();
            bytes[at % length] ^= 1 << bit;
            let changed = Entry::from_bytes(&bytes).and_then(|entry| entry.verify(&Verify));
            prop_assert!(changed.is_err(), "byte {}", at % length);
        }
        if catalogue.compact_to(&owner(1), 9, 0) {
            let base = catalogue.base().unwrap();
            let mut bytes = base.to_bytes();
            prop_assert_eq!(&Base::from_bytes(&bytes).unwrap(), base);
            let length = bytes.len();
            bytes[at % length] ^= 1 << bit;
            prop_assert!(Base::from_bytes(&bytes).and_then(|base| base.verify(&Verify)).is_err(), "byte {}", at % length);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Entry::from_bytes(&bytes);
        let _ = Base::from_bytes(&[b"SBB1".as_slice(), &bytes].concat());
    }
}
