//! Everything comes back, and only what is asked for; what somebody waits for first.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use shoal_backup::ObjectName;
use shoal_backup::recovery::Existing;

use super::super::*;
use super::stage::*;

/// Sixty files of 1 MiB: four packs.
fn with_large_files() -> Owner {
    let mut owner = Owner::new();
    for number in 0..60 {
        owner.write(&format!("f{number:02}"), &noise(number + 1, 1 << 20));
    }
    owner.write("letters/one.txt", b"Dear Ana,");
    owner.back_up();
    owner
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_onto_another_pc_with_no_more_than_id_and_passphrase() {
    let mut owner = Owner::new();
    owner.write("letters/one.txt", b"Dear Ana,");
    owner.write("large", &noise(1, 9 << 20));
    owner.back_up();
    let first = tree(&owner.home());
    owner.write("letters/one.txt", b"Dear Ana, dear Tom,");
    fs::remove_file(owner.home().join("large")).unwrap();
    owner.back_up();
    let second = tree(&owner.home());

    let stage = Stage::new(&owner, &[1, 2]);
    let seen = stage.recovery.owners().await;
    assert_eq!((seen.len(), seen[0].owner, &seen[0].holders[..]), (1, OWNER, &[agent(1), agent(2)][..]));
    assert_eq!(stage.recovery.sources(OWNER).await.len(), 2);
    let archives = stage.recovery.archives(&kit()).await.unwrap();
    assert_eq!(archives.iter().map(|archive| archive.number.unwrap().0).collect::<Vec<_>>(), [1, 2]);

    let out = stage.target("latest");
    let done = stage.restore(&RestoreRequest::all(kit(), ArchiveRef::Latest, out.clone())).await;
    assert_eq!(done.state, RestoreState::Done, "{done:#?}");
    assert_eq!(tree(&owner.below(&out)), second);
    let out = stage.target("first");
    let done = stage.restore(&RestoreRequest::all(kit(), 1.into(), out.clone())).await;
    assert_eq!((done.state, tree(&owner.below(&out))), (RestoreState::Done, first.clone()));

    // Up to the second: the later letter, and the file that was there only before.
    let out = stage.target("up to");
    let request = RestoreRequest { up_to: true, ..RestoreRequest::all(kit(), 2.into(), out.clone()) };
    let plan = stage.recovery.plan(&request).await.unwrap();
    assert!(!out.exists() && plan.fits && plan.archives.len() == 2, "{plan:#?}");
    let done = stage.restore(&request).await;
    assert_eq!((done.state, done.archives), (RestoreState::Done, 2));
    assert_eq!(done.totals.unwrap(), plan.totals);
    let all: BTreeMap<_, _> = first.into_iter().chain(second).collect();
    assert_eq!(tree(&owner.below(&out)), all);

    // What was fetched goes when it is not used any more.
    assert_eq!(stage.fetched().len(), 1);
    stage.recovery.close(OWNER).await.unwrap();
    assert!(stage.fetched().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_ticked_files_need_is_fetched() {
    let owner = with_large_files();
    let stage = Stage::new(&owner, &[1]);
    let out = stage.target("out");
    let all = RestoreRequest::all(kit(), ArchiveRef::Latest, out.clone());
    let request = RestoreRequest { paths: vec![owner.path("f07"), owner.path("letters")], ..all.clone() };
    let done = stage.restore(&request).await;
    assert_eq!(done.state, RestoreState::Done, "{done:#?}");
    let restored = tree(&owner.below(&out));
    assert_eq!(
        restored.keys().map(|path| path.to_str().unwrap()).collect::<Vec<_>>(),
        ["f07", "letters", "letters/one.txt"]
    );
    assert_eq!(fs::read(owner.below(&out).join("f07")).unwrap(), noise(8, 1 << 20));

    let got: BTreeSet<ObjectName> = stage.gets().iter().map(|(_, name, ..)| *name).collect();
    let packs = owner.data_packs();
    let fetched: Vec<_> = packs.iter().filter(|pack| got.contains(&pack.name)).collect();
    assert!(packs.len() >= 4 && (1..=2).contains(&fetched.len()), "{} of {} packs", fetched.len(), packs.len());
    let rest: u64 = owner.catalogue.state().iter().map(|(_, it)| it.size_bytes).sum::<u64>()
        - packs.iter().map(|pack| pack.size_bytes).sum::<u64>();
    let needed: u64 = fetched.iter().map(|pack| pack.size_bytes).sum();
    let bytes: u64 = stage.gets().iter().map(|(.., length)| length).sum();
    assert!(bytes <= needed + rest, "{bytes} bytes came, {needed} and at most {rest} were needed");

    // A ticked path that is not there is not passed over in silence.
    let request = RestoreRequest { paths: vec![owner.path("f7"), owner.path("f08")], ..all };
    assert_eq!(stage.recovery.plan(&request).await.unwrap().not_found, [owner.path("f7")]);
    let done = stage.restore(&request).await;
    assert_eq!((done.state, done.failures.count), (RestoreState::DoneWithFailures, 1));
    assert_eq!(done.failures.named[0].path, Some(owner.path("f7")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_comes_before_the_rest() {
    let owner = with_large_files();
    let stage = Stage::new(&owner, &[1]);
    let packs: BTreeSet<ObjectName> = owner.data_packs().iter().map(|pack| pack.name).collect();
    let gate = Arc::new(Gate::default());
    let (door, gated) = (Arc::clone(&gate), packs.clone());
    stage.hub.twist(
        agent(1),
        Arc::new(move |_, ask, reply| {
            if matches!(ask, Ask::Get { name, .. } if gated.contains(name)) {
                door.pass();
            }
            reply
        }),
    );
    let out = stage.target("out");
    let request = RestoreRequest::all(kit(), ArchiveRef::Latest, out.clone());
    let id = stage.recovery.restore(&request).await.unwrap();
    stage.wait_for("the first pack", || gate.waiting() > 0).await;
    stage.recovery.ask_first(id, owner.path("f59")).unwrap();
    assert_eq!(stage.recovery.restored(id).unwrap().asked, 1);
    gate.open();
    let done = stage.ended(id).await;
    assert_eq!((done.state, done.asked), (RestoreState::Done, 0), "{done:#?}");
    assert_eq!(tree(&owner.below(&out)), tree(&owner.home()));

    let mut order: Vec<ObjectName> = Vec::new();
    for (_, name, ..) in stage.gets() {
        if packs.contains(&name) && !order.contains(&name) {
            order.push(name);
        }
    }
    let added: Vec<ObjectName> = owner.data_packs().iter().map(|pack| pack.name).collect();
    assert_eq!(order.len(), added.len());
    let needs = |name: &str| {
        let one = Stage::new(&owner, &[1]);
        let request = RestoreRequest { paths: vec![owner.path(name)], ..request.clone() };
        let request = RestoreRequest { target: Some(one.target("out")), ..request };
        async move {
            assert_eq!(one.restore(&request).await.state, RestoreState::Done);
            one.gets().into_iter().map(|(_, name, ..)| name).collect::<BTreeSet<_>>()
        }
    };
    let (first, asked) = (needs("f00").await, needs("f59").await);
    assert!(first.contains(&order[0]) && !asked.contains(&order[0]), "the first file was begun already");
    assert!(asked.contains(&order[1]), "then what was asked for, not what follows");
    assert!(stage.recovery.ask_first(99, owner.path("f01")).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_was_cut_short_is_begun_again_and_leaves_alone_what_is_there() {
    let owner = with_large_files();
    let stage = Stage::new(&owner, &[1]);
    let packs: Vec<ObjectName> = owner.data_packs().iter().map(|pack| pack.name).collect();
    let gate = Arc::new(Gate::default());
    let (door, seen) = (Arc::clone(&gate), Arc::new(Mutex::new(BTreeSet::new())));
    stage.hub.twist(
        agent(1),
        Arc::new(move |_, ask, reply| {
            // The third pack that is asked for waits.
            if let Ask::Get { name, .. } = ask
                && packs.contains(name)
            {
                let mut seen = seen.lock().unwrap();
                seen.insert(*name);
                let waits = seen.len() >= 3;
                drop(seen);
                if waits {
                    door.pass();
                }
            }
            reply
        }),
    );
    let out = stage.target("out");
    let request = RestoreRequest::all(kit(), ArchiveRef::Latest, out.clone());
    let id = stage.recovery.restore(&request).await.unwrap();
    stage.wait_for("the third pack", || gate.waiting() > 0).await;
    stage.recovery.cancel(id).unwrap();
    gate.open();
    let cut = stage.ended(id).await;
    assert_eq!(cut.state, RestoreState::Cancelled, "{cut:#?}");
    let there = tree(&owner.below(&out));
    let whole = tree(&owner.home());
    assert!(there.len() > 10 && there.len() < whole.len(), "{}", there.len());
    assert!(there.iter().all(|(path, content)| whole.get(path) == Some(content)), "what is there is whole");

    // A restart: another Recovery, nothing is remembered.
    let again = Stage::new(&owner, &[1]);
    let done = again.restore(&request).await;
    assert_eq!(done.state, RestoreState::Done, "{done:#?}");
    assert_eq!(tree(&owner.below(&out)), whole);
    let files = there.values().filter(|content| content.is_some()).count() as u64;
    assert!(done.totals.unwrap().unchanged.count >= files, "{:?}", done.totals);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_there_stay_if_they_are_to() {
    let mut owner = Owner::new();
    owner.write("letter", b"as it was");
    owner.back_up();
    let stage = Stage::new(&owner, &[1]);
    let out = stage.target("out");
    fs::create_dir_all(owner.below(&out)).unwrap();
    fs::write(owner.below(&out).join("letter"), b"mine").unwrap();
    fs::write(owner.below(&out).join("other"), b"mine too").unwrap();
    let all = RestoreRequest::all(kit(), ArchiveRef::Latest, out.clone());
    let done = stage.restore(&RestoreRequest { existing: Existing::Keep, ..all.clone() }).await;
    assert_eq!(done.state, RestoreState::Done);
    assert_eq!(fs::read(owner.below(&out).join("letter")).unwrap(), b"mine");
    stage.restore(&all).await;
    assert_eq!(fs::read(owner.below(&out).join("letter")).unwrap(), b"as it was");
    assert_eq!(fs::read(owner.below(&out).join("other")).unwrap(), b"mine too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_is_missing_or_damaged_here_comes_from_a_peer() {
    let owner = with_large_files();
    // The holder has a copy of its own.
    let copy = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp").arg("-a").arg(owner.engine.folder()).arg(copy.path()).status();
    assert!(copied.unwrap().success());
    let holder = Owner { engine: Arc::new(Engine::open(&copy.path().join("repo"), PASSPHRASE).unwrap()), ..owner };
    let own = Arc::new(Engine::open(&holder.dir.path().join("own/repo"), PASSPHRASE).unwrap());
    let stage = Stage::as_seen_by(OWNER, &holder, &[1], &[], Some(Arc::clone(&own)));
    let packs = holder.data_packs();
    let path = |at: usize| {
        let name = packs[at].name.to_string();
        own.folder().join("data").join(&name[..2]).join(name)
    };
    fs::remove_file(path(0)).unwrap();
    let mut bytes = fs::read(path(1)).unwrap();
    bytes.iter_mut().step_by(1 << 16).for_each(|byte| *byte ^= 1);
    fs::write(path(1), &bytes).unwrap();

    let out = stage.target("out");
    let done = stage.restore(&RestoreRequest::all(Which::Own, ArchiveRef::Latest, out.clone())).await;
    assert_eq!(done.state, RestoreState::Done, "{done:#?}");
    assert_eq!(tree(&holder.below(&out)), tree(&holder.home()));
    assert!(own.check(true).unwrap().is_sound(), "both packs are in their places again");
    let got: BTreeSet<ObjectName> = stage.gets().into_iter().map(|(_, name, ..)| name).collect();
    assert_eq!(got, BTreeSet::from([packs[0].name, packs[1].name]));
}
