//! Bad luck: wrong passphrases, liars, holders that die, full disks, paths that lead away.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use shoal_backup::ObjectName;

use super::super::*;
use super::stage::*;

fn with_files() -> Owner {
    let mut owner = Owner::new();
    for number in 0..20 {
        owner.write(&format!("f{number:02}"), &noise(number + 1, 1 << 20));
    }
    owner.back_up();
    owner
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_passphrase_is_a_clear_error_and_leaves_nothing() {
    let owner = with_files();
    let stage = Stage::new(&owner, &[1]);
    let wrong = Which::kit(OWNER, "a-passphrase-for-test");
    let error = stage.recovery.archives(&wrong).await.unwrap_err();
    assert!(matches!(error, RecoveryError::WrongPassphrase(owner) if owner == OWNER), "{error}");
    assert!(stage.fetched().is_empty(), "{:?}", stage.fetched());
    // Also when somebody with the right one has it open.
    stage.recovery.archives(&kit()).await.unwrap();
    assert!(matches!(stage.recovery.archives(&wrong).await, Err(RecoveryError::WrongPassphrase(_))));
    let request = RestoreRequest::all(wrong, ArchiveRef::Latest, stage.target("out"));
    assert!(matches!(stage.recovery.restore(&request).await, Err(RecoveryError::WrongPassphrase(_))));
    assert!(!stage.target("out").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_with_a_copy_no_own_backup_and_no_such_archive_are_clear_errors() {
    let owner = with_files();
    let stage = Stage::new(&owner, &[1]);
    let nobody = stage.recovery.archives(&Which::kit(agent(99), "x")).await;
    assert!(matches!(nobody, Err(RecoveryError::NoSource { asked: 1, .. })), "{nobody:?}");
    assert!(matches!(stage.recovery.archives(&Which::Own).await, Err(RecoveryError::NoOwnBackup)));
    let missing = RestoreRequest::all(kit(), 7.into(), stage.target("out"));
    assert!(matches!(stage.recovery.restore(&missing).await, Err(RecoveryError::NoArchive(_))));
    stage.hub.set_away(agent(1), true);
    stage.recovery.close(OWNER).await.unwrap();
    assert!(matches!(stage.recovery.archives(&kit()).await, Err(RecoveryError::NoSource { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_room_for_what_is_fetched_is_one_sentence() {
    let owner = with_files();
    let stage = Stage::new(&owner, &[1, 2]);
    stage.machine.set_free_bytes(Some(5 << 20));
    let error = stage.recovery.archives(&kit()).await.unwrap_err();
    assert!(matches!(error, RecoveryError::NoRoom { .. }), "{error}");
    assert!(error.to_string().ends_with("5 MiB are free. Make room there, or restore on another PC"), "{error}");
    assert!(stage.fetched().is_empty(), "{:?}", stage.fetched());
    stage.machine.set_free_bytes(None);
    stage.recovery.archives(&kit()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_holder_alive_is_enough() {
    let owner = with_files();
    let stage = Stage::new(&owner, &[1, 2, 3]);
    stage.hub.set_away(agent(1), true);
    stage.hub.set_away(agent(2), true);
    let out = stage.target("out");
    let done = stage.restore(&RestoreRequest::all(kit(), ArchiveRef::Latest, out.clone())).await;
    assert_eq!(done.state, RestoreState::Done, "{done:#?}");
    assert_eq!(tree(&owner.below(&out)), tree(&owner.home()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_liar_is_left_aside_and_named() {
    let owner = with_files();
    let stage = Stage::new(&owner, &[1, 40]);
    let packs: BTreeSet<ObjectName> = owner.data_packs().iter().map(|pack| pack.name).collect();
    stage.hub.twist(
        agent(1),
        Arc::new(move |_, ask, reply| match (ask, reply) {
            (Ask::Get { name, .. }, Ok((answer, body))) if packs.contains(name) => {
                let mut body = body.to_vec();
                if let Some(byte) = body.get_mut(1_000) {
                    *byte ^= 1;
                }
                Ok((answer, Bytes::from(body)))
            }
            (_, reply) => reply,
        }),
    );
    let out = stage.target("out");
    let done = stage.restore(&RestoreRequest::all(kit(), ArchiveRef::Latest, out.clone())).await;
    assert_eq!(done.state, RestoreState::Done, "{done:#?}");
    assert_eq!(tree(&owner.below(&out)), tree(&owner.home()));
    assert_eq!(done.liars, [agent(1)]);
    let told = stage.liars.lock().unwrap().clone();
    assert!(matches!(told[..], [Liar { agent: liar, owner: OWNER, object: Some(_) }] if liar == agent(1)), "{told:?}");
    let sources = stage.recovery.sources(OWNER).await;
    assert_eq!(sources.iter().map(|source| source.is_liar).collect::<Vec<_>>(), [true, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_catalogue_is_not_taken() {
    let owner = with_files();
    let stage = Stage::new(&owner, &[1, 40]);
    stage.hub.twist(
        agent(1),
        Arc::new(|_, ask, reply| match (ask, reply) {
            (Ask::Tail { .. }, Ok((answer, body))) => {
                let mut body = body.to_vec();
                // The size of an object.
                body[125] ^= 1;
                Ok((answer, body.into()))
            }
            (_, reply) => reply,
        }),
    );
    assert_eq!(stage.recovery.archives(&kit()).await.unwrap().len(), 1);
    assert_eq!(stage.liars.lock().unwrap().iter().map(|liar| liar.agent).collect::<Vec<_>>(), [agent(1)]);
    // If there is nobody else, there is no restore.
    let alone = Stage::new(&owner, &[1]);
    alone.hub.twist(
        agent(1),
        Arc::new(|_, ask, reply| match ask {
            Ask::Tail { .. } => Ok((Answer::Tail { base: None, more: true }, Bytes::new())),
            _ => reply,
        }),
    );
    let error = alone.recovery.archives(&kit()).await.unwrap_err();
    assert!(matches!(error, RecoveryError::NoUsableCopy { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_dies_midway_is_replaced_and_the_transfer_goes_on_where_it_was() {
    let owner = with_files();
    let stage = Stage::new(&owner, &[1, 40]);
    let packs: BTreeSet<ObjectName> = owner.data_packs().iter().map(|pack| pack.name).collect();
    let (hub, pieces) = (stage.hub.clone(), Arc::new(AtomicUsize::new(0)));
    stage.hub.twist(
        agent(1),
        Arc::new(move |_, ask, reply| {
            let is_pack = matches!(ask, Ask::Get { name, .. } if packs.contains(name));
            if is_pack && pieces.fetch_add(1, Ordering::SeqCst) >= 2 {
                hub.set_away(agent(1), true);
                return Err(CallError::Unreachable("it fell silent".into()));
            }
            reply
        }),
    );
    let out = stage.target("out");
    let done = stage.restore(&RestoreRequest::all(kit(), ArchiveRef::Latest, out.clone())).await;
    assert_eq!(done.state, RestoreState::Done, "{done:#?}");
    assert_eq!(tree(&owner.below(&out)), tree(&owner.home()));
    assert!(done.liars.is_empty());
    let gets = stage.gets();
    // Several are on their way at once; of what had begun to come, the rest came from the other one.
    let taken_over = gets.iter().find(|(to, _, offset, _)| *to == agent(40) && *offset > 0);
    let taken_over = taken_over.unwrap_or_else(|| panic!("all began anew: {gets:#?}"));
    assert_eq!(gets.iter().filter(|(_, name, ..)| *name == taken_over.1).map(|(.., offset, _)| *offset).min(), Some(0));
    let all: u64 = owner.catalogue.state().size_bytes();
    assert_eq!(
        stage.recovery.restored(done.id).unwrap().fetched_bytes + fetched_first(&owner),
        all,
        "nothing came twice"
    );
}

/// Bytes of all but packs, which came before the restore began.
fn fetched_first(owner: &Owner) -> u64 {
    let objects = owner.catalogue.state().iter().map(|(_, object)| object);
    let first = objects.filter(|object| object.kind != shoal_backup::ObjectKind::Pack);
    first.map(|object| object.size_bytes).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_nobody_has_costs_its_files_and_is_named() {
    let owner = with_files();
    let stage = Stage::new(&owner, &[1, 2]);
    let bad = owner.data_packs()[0].name;
    for holder in [1, 2] {
        stage.hub.twist(
            agent(holder),
            Arc::new(move |_, ask, reply| match ask {
                Ask::Get { name, .. } if *name == bad => Err(CallError::no(No::Damaged, "its disk is bad")),
                _ => reply,
            }),
        );
    }
    let out = stage.target("out");
    let done = stage.restore(&RestoreRequest::all(kit(), ArchiveRef::Latest, out.clone())).await;
    assert_eq!(done.state, RestoreState::DoneWithFailures, "{done:#?}");
    assert_eq!(done.failures.packs.iter().map(|(pack, _)| *pack).collect::<Vec<_>>(), [bad]);
    let named = &done.failures.named[0];
    assert!(named.why.contains("its disk is bad") && named.pack == Some(bad), "{}", named.why);
    let (there, whole) = (tree(&owner.below(&out)), tree(&owner.home()));
    assert_eq!(there.len() as u64 + done.failures.count, whole.len() as u64);
    assert!(there.iter().all(|(path, content)| whole.get(path) == Some(content)) && there.len() > 1);
    assert_eq!(stage.recovery.failures(done.id).unwrap().count, done.failures.count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_the_way_leads_nowhere() {
    let mut owner = Owner::new();
    owner.write("folder/file", b"from the archive");
    owner.back_up();
    let stage = Stage::new(&owner, &[1]);
    let (out, outside) = (stage.target("out"), stage.target("outside"));
    fs::create_dir_all(owner.below(&out)).unwrap();
    fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, owner.below(&out).join("folder")).unwrap();
    let done = stage.restore(&RestoreRequest::all(kit(), ArchiveRef::Latest, out)).await;
    assert_eq!(done.state, RestoreState::DoneWithFailures, "{done:#?}");
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
}

/// A small disk of its own; `None` where this process may not mount.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf, size_bytes: u64) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size_bytes}"), "tmpfs"]).arg(&path);
        let may = rustix::process::geteuid().is_root() && mount.output().is_ok_and(|output| output.status.success());
        may.then(|| Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_a_restore_with_what_is_there_whole() {
    let owner = with_files();
    let stage = Stage::new(&owner, &[1]);
    let Some(disk) = SmallDisk::mount(stage.target("disk"), 8 << 20) else { return };
    let request = RestoreRequest::all(kit(), ArchiveRef::Latest, disk.0.join("out"));
    assert!(!stage.recovery.plan(&request).await.unwrap().fits);
    let done = stage.restore(&request).await;
    assert_eq!(done.state, RestoreState::Failed, "{done:#?}");
    assert!(done.error.as_ref().unwrap().contains("full"), "{:?}", done.error);
    let (there, whole) = (tree(&owner.below(&disk.0.join("out"))), tree(&owner.home()));
    assert!(there.iter().all(|(path, content)| whole.get(path) == Some(content)), "no half file, no leftover");
    assert!(there.len() > 1 && there.len() < whole.len(), "{}", there.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_what_is_fetched_is_said() {
    let owner = with_files();
    let stage = Stage::new(&owner, &[1]);
    let Some(_disk) = SmallDisk::mount(stage.dir.path().join("recover"), 1 << 20) else { return };
    let error = stage.recovery.archives(&kit()).await.unwrap_err();
    assert!(error.to_string().contains("no room"), "{error}");
}
