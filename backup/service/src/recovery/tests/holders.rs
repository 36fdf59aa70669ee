//! Over a real holder: on another PC, and on the PC that restores.

use std::fs;
use std::sync::Arc;

use bytes::Bytes;
use shoal_backup::aging::GRACE_MS;
use shoal_backup::peers::MachineId;

use super::super::*;
use super::stage::*;
use crate::call::{PIECE_LIMIT_BYTES, entries_to_bytes};
use crate::holder::{Holder, HolderParts, ShareSettings};
use crate::testing::{Hub, TestMachine, TestVerifier};

/// A holder that took all of this owner's backup as it takes everything: from the owner, piece by piece.
async fn holder_with_all(owner: &Owner, hub: &Hub, number: u8, folder: PathBuf) -> Arc<Holder> {
    let share = ShareSettings { limit_bytes: 1 << 30, reserve_bytes: 0, machine: MachineId([number; 16]) };
    let parts = HolderParts {
        folder,
        network: hub.seen_by(agent(number)),
        machine: Arc::new(TestMachine::default()),
        verifier: Arc::new(TestVerifier),
        share,
        grace_ms: GRACE_MS,
    };
    let holder = Arc::new(Holder::open(parts).unwrap());
    holder.answer(OWNER, Ask::Hold, Bytes::new()).await.unwrap();
    let entries = entries_to_bytes(owner.catalogue.entries());
    holder.answer(OWNER, Ask::Entries { owner: OWNER }, entries).await.unwrap();
    let mut objects: Vec<_> = owner.catalogue.state().iter().map(|(_, object)| *object).collect();
    objects.sort_by_key(|object| object.kind);
    let from = crate::files::Objects::open(owner.engine.folder());
    for object in objects {
        let mut offset = 0;
        while offset < object.size_bytes {
            let piece = from.read(&object.name, offset, PIECE_LIMIT_BYTES as usize).unwrap();
            let length = piece.len() as u64;
            let kept = holder.answer(OWNER, Ask::Put { name: object.name, offset }, piece).await.unwrap();
            offset += length;
            let is_stored = offset == object.size_bytes;
            assert!(matches!(kept.0, Answer::Kept { stored, .. } if stored == is_stored), "{object:?}: {kept:?}");
        }
    }
    holder
}

fn with_files() -> Owner {
    let mut owner = Owner::new();
    for number in 0..8 {
        owner.write(&format!("f{number}"), &noise(number + 1, 3 << 20));
    }
    owner.back_up();
    owner.write("later", b"added by a delta");
    owner.back_up();
    owner
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_from_a_real_holder() {
    let owner = with_files();
    let stage = Stage::new(&owner, &[]);
    let holder = holder_with_all(&owner, &stage.hub, 7, stage.target("held")).await;
    let answers: Arc<dyn Answers> = holder.clone();
    stage.hub.join(agent(7), &answers);
    let seen = stage.recovery.owners().await;
    assert_eq!((seen[0].owner, seen[0].archives, &seen[0].holders[..]), (OWNER, 2, &[agent(7)][..]));
    let out = stage.target("out");
    let done = stage.restore(&RestoreRequest::all(kit(), ArchiveRef::Latest, out.clone())).await;
    assert_eq!(done.state, RestoreState::Done, "{done:#?}");
    assert_eq!(tree(&owner.below(&out)), tree(&owner.home()));

    // Damage that it finds when it is asked is a no, not wrong bytes; a pack that is cut is no endless wait.
    stage.recovery.close(OWNER).await.unwrap();
    let name = owner.data_packs()[0].name.to_string();
    let pack = holder.repository(OWNER).unwrap().join("data").join(&name[..2]).join(&name);
    let bytes = fs::read(&pack).unwrap();
    fs::write(&pack, &bytes[..bytes.len() / 2]).unwrap();
    let out = stage.target("again");
    let done = stage.restore(&RestoreRequest::all(kit(), ArchiveRef::Latest, out.clone())).await;
    assert_eq!(done.state, RestoreState::DoneWithFailures, "{done:#?}");
    assert_eq!(done.failures.packs.iter().map(|(pack, _)| pack.to_string()).collect::<Vec<_>>(), [name]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_this_pc_holds_itself_is_used_too() {
    let owner = with_files();
    let (hub, dir) = (Hub::default(), tempfile::tempdir().unwrap());
    let holder = holder_with_all(&owner, &hub, RESTORER, dir.path().join("held")).await;
    let local: Arc<dyn Answers> = holder.clone();
    let held = holder.clone();
    let recovery = Recovery::open(RecoveryParts {
        folder: dir.path().join("recover"),
        network: hub.seen_by(agent(RESTORER)),
        verifier: Arc::new(TestVerifier),
        machine: Arc::new(TestMachine::default()),
        own: Arc::new(|| None),
        local: Some(local),
        holds_copy_of: Arc::new(move |owner| held.repository(owner).is_some()),
        tell_liar: Arc::new(|_| ()),
        patience: Patience::default(),
    })
    .unwrap();
    assert_eq!(recovery.sources(OWNER).await[0].name, "this PC");
    assert_eq!(recovery.archives(&kit()).await.unwrap().len(), 2);
    let found = recovery.find(&kit(), "later".to_owned(), 9).await.unwrap();
    assert_eq!(found.found[0].archives.iter().map(|number| number.0).collect::<Vec<_>>(), [2]);
    // Who holds must not read: no drill here.
    let drill = Drill {
        passphrase: PASSPHRASE.to_owned(),
        archive: owner.engine.archives().unwrap()[0].name,
        seed: 1,
        limit_bytes: 1 << 20,
        holders: Vec::new(),
    };
    let refused = recovery.answer(OWNER, Ask::Drill, serde_json::to_vec(&drill).unwrap().into()).await;
    assert!(matches!(refused, Err(CallError::No { no: No::Refused, .. })), "{refused:?}");
}
