//! Volumes.

use bytes::Bytes;
use dci_proto::VolumeId;
use shoal_ledger::{
    Command, LockScope, NodePath, Outcome, PropertyName, PropertyPatch, Rejection, VolumePolicy, VolumeRecord, query,
};

use crate::harness::{Ledger, ana, chunked, file, folder, fresh, lock, path};

fn create(name: &str) -> Command {
    Command::CreateVolume { name: name.to_owned(), policy: VolumePolicy::default() }
}

fn named(ledger: &Ledger, name: &str) -> Option<VolumeRecord> {
    query::volume_by_name(&ledger.kv, name).expect("memory does not fail")
}

#[test]
fn volumes_are_found_by_unique_names_that_can_change() {
    let mut ledger = Ledger::new();
    let Outcome::Volume(second) = ledger.ok(create("photos")) else { panic!("no volume") };
    assert_eq!((second.id, second.files), (VolumeId(2), 0));
    assert_eq!(named(&ledger, "photos"), Some(second.clone()));
    let rename = |name: &str| Command::RenameVolume { volume: VolumeId(2), name: name.to_owned() };
    for command in [create("pool"), rename("pool")] {
        assert!(matches!(ledger.refused(command), Rejection::Exists(_)));
    }
    for command in [create("a/b"), rename("..")] {
        assert!(matches!(ledger.refused(command), Rejection::Path(_)));
    }
    ledger.ok(rename("pictures"));
    ledger.ok(rename("pictures"));
    assert_eq!(named(&ledger, "photos"), None);
    let names: Vec<String> = query::volumes(&ledger.kv).expect("memory").into_iter().map(|it| it.name).collect();
    assert_eq!(names, ["pool", "pictures"]);
}

#[test]
fn a_policy_is_set_within_its_range() {
    let mut ledger = Ledger::new();
    let set = |survive| {
        let policy = VolumePolicy { survive: Some(survive), compress: false };
        Command::SetVolumePolicy { volume: VolumeId(1), policy }
    };
    ledger.ok(set(3));
    assert_eq!(named(&ledger, "pool").expect("there").policy.survive, Some(3));
    assert!(matches!(ledger.refused(set(17)), Rejection::Invalid(_)));
    let other = Command::SetVolumePolicy { volume: VolumeId(9), policy: VolumePolicy::default() };
    assert!(matches!(ledger.refused(other), Rejection::NotFound(_)));
}

#[test]
fn a_volume_with_files_goes_by_force_only_and_leaves_nothing() {
    let mut ledger = Ledger::new();
    let before: Vec<u8> = tables(&ledger);
    ledger.ok(create("second"));
    ledger.ok(folder("/a"));
    ledger.ok(file("/a/f", "in the trash soon"));
    ledger.ok(chunked("/a/f", vec![fresh(1, 1, 10)]));
    ledger.ok(lock("t", "/a", true, LockScope::Exclusive, ana()));
    let name = PropertyName { namespace: String::new(), name: "p".to_owned() };
    let patches = vec![PropertyPatch::Set(name, Bytes::from_static(b"<p/>"))];
    ledger.ok(Command::PatchProperties { path: path("/"), guard: ana(), patches });
    let remove = |force| Command::RemoveVolume { volume: VolumeId(1), force };
    assert_eq!(ledger.refused(remove(false)), Rejection::NotEmpty("pool".to_owned()));
    ledger.ok(remove(true));
    assert!(matches!(ledger.refused(remove(true)), Rejection::NotFound(_)));
    let garbage = query::garbage(&ledger.kv, 9).expect("memory");
    ledger.ok(Command::ForgetGarbage { stripes: garbage.iter().map(|garbage| garbage.stripe).collect() });
    assert_eq!((garbage.len(), tables(&ledger)), (1, before), "but for the volume of another name, as before");
    assert_eq!(ledger.trash(), [], "nor is there anything in its trash");
    assert!(matches!(ledger.refused(file("/f", "")), Rejection::NotFound(_)));
    ledger.ok(create("pool"));
    assert_eq!(named(&ledger, "pool").expect("there").id, VolumeId(3), "numbers do not come again");
}

#[test]
fn folders_alone_do_not_keep_a_volume() {
    let mut ledger = Ledger::new();
    ledger.ok(folder("/a"));
    ledger.ok(Command::RemoveVolume { volume: VolumeId(1), force: false });
    assert_eq!(query::volumes(&ledger.kv).expect("memory"), []);
}

#[test]
fn what_moves_to_another_volume_is_counted_there() {
    let mut ledger = Ledger::new();
    ledger.ok(create("second"));
    ledger.ok(folder("/a"));
    ledger.ok(file("/a/f", "four"));
    ledger.ok(file("/g", "x"));
    let to = NodePath::new(VolumeId(2), vec!["a".to_owned()]).expect("a path");
    ledger.ok(Command::Rename { from: path("/a"), to: to.clone(), overwrite: false, guard: ana() });
    ledger.ok(Command::Copy { from: to, to: path("/back"), overwrite: false, deep: true, guard: ana() });
    let counters = |name| named(&ledger, name).map(|volume| (volume.files, volume.bytes));
    assert_eq!((counters("pool"), counters("second")), (Some((2, 5)), Some((1, 4))));
}

/// The tables of all rows, one number a row; the books on outcomes and those on the trash left out.
fn tables(ledger: &Ledger) -> Vec<u8> {
    ledger.kv.rows().map(|(key, _)| key[0]).filter(|table| !matches!(table, 0x40 | 0x41 | 0x53)).collect()
}
