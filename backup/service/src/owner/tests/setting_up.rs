//! Set up, opened again, set back, lost and taken up again.

use shoal_backup::plan::PlanError;

use super::*;
use crate::owner::{OwnerError, Passphrase};

#[tokio::test(flavor = "multi_thread")]
async fn it_is_set_up_once_and_its_plan_is_checked() {
    let pool = Pool::new(2);
    let owner = pool.owner();
    assert!(matches!(owner.plan(), Err(OwnerError::NotSetUp)) && !owner.status().is_set_up);
    let plan = pool.plan();
    let bad = Plan { copies: 0, ..plan.clone() };
    assert!(matches!(owner.init(bad.clone()).await, Err(OwnerError::Plan(PlanError::BadCopies(0)))));
    let kit = pool.init().await;
    assert!(kit.text.contains(kit.passphrase.as_str()));
    assert!(matches!(owner.init(plan.clone()).await, Err(OwnerError::AlreadySetUp)));
    assert!(matches!(owner.set_plan(bad), Err(OwnerError::Plan(PlanError::BadCopies(0)))));
    let none = Plan { roots: Vec::new(), ..plan.clone() };
    assert!(matches!(owner.set_plan(none), Err(OwnerError::Plan(PlanError::NoRoots))));
    let three = Plan { copies: 3, ..plan };
    owner.set_plan(three.clone()).unwrap();
    assert_eq!((*owner.plan().unwrap()).clone(), three);
    let secret = fs::metadata(pool.folder().join("passphrase")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&secret.permissions()) & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_own_data_is_not_kept_in_itself() {
    let pool = Pool::new(0);
    let above = pool.owner().propose(vec![PathBytes::new(pool.dir.path().as_os_str().as_bytes())]);
    let data = PathBytes::new(pool.dir.path().join("data").as_os_str().as_bytes());
    assert_eq!(above.excluded.directories, [data]);
    assert!(pool.plan().excluded.directories.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_between_repository_and_catalogue_is_said_after_the_start() {
    let mut pool = Pool::new(2);
    pool.write("letter.txt", b"Dear Ana,\n");
    let kit = pool.init().await;
    let before = pool.back_up().await;
    pool.stop().await;
    // A run whose end nobody noted: the engine did all of its work, the catalogue has none of it.
    pool.write("second", &noise(1, 50_000));
    let engine = Engine::open(&pool.folder().join("repo"), kit.passphrase.as_str()).unwrap();
    let plan: Plan = serde_json::from_slice(&fs::read(pool.folder().join("plan.json")).unwrap()).unwrap();
    let what = shoal_archive::BackUp {
        plan: Arc::new(plan),
        host: "pc-1".into(),
        number: shoal_backup::ArchiveId(2),
        mode: Mode::Delta,
        parent: None,
        reread: false,
        only_changes: false,
    };
    engine.back_up(&what, &Arc::new(Watch::silent())).unwrap();
    pool.start();
    let status = pool
        .until("the second one", |status| {
            status.archives == 2 && status.newest.as_ref().is_some_and(|newest| newest.copies == 2)
        })
        .await;
    assert!(status.sequence > before.sequence);
    let third = pool.back_up().await;
    assert_eq!(third.newest.unwrap().number.unwrap().0, 3, "a number is used once");
    let repository = pool.holder(3).repository(agent(1)).unwrap();
    assert_eq!(pool.restored(&repository, kit.passphrase.as_str()), pool.files());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pc_that_was_set_back_takes_its_words_from_a_holder_and_does_not_fork() {
    let mut pool = Pool::new(2);
    pool.write("letter.txt", b"Dear Ana,\n");
    pool.init().await;
    pool.back_up().await;
    pool.stop().await;
    let image = pool.dir.path().join("image");
    copy_folder(&pool.folder(), &image);
    pool.start();
    pool.write("second", &noise(1, 50_000));
    let before = pool.back_up().await;
    pool.stop().await;
    fs::remove_dir_all(pool.folder()).unwrap();
    copy_folder(&image, &pool.folder());
    // While no holder answers nothing is said, though a run is made.
    [2, 3].iter().for_each(|number| pool.hub.set_away(agent(*number), true));
    pool.start();
    pool.write("third", &noise(2, 50_000));
    pool.owner().ask_run(Mode::Delta).unwrap();
    let status = pool.until("a run", |status| status.archives == 2 && status.run.is_none()).await;
    assert!(status.sequence < before.sequence && status.trouble.is_some(), "{status:#?}");
    [2, 3].iter().for_each(|number| pool.hub.set_away(agent(*number), false));
    let status = pool
        .until("all of it", |status| {
            status.sequence > before.sequence
                && status.lost_here == 0
                && status.newest.as_ref().is_some_and(|newest| newest.copies == 2)
                && status.unsent_bytes == 0
        })
        .await;
    assert_eq!((status.archives, status.trouble), (3, None));
    for number in [2, 3] {
        let copies = pool.holder(number).status().copies;
        assert!(copies.iter().all(|copy| copy.forked.is_none()), "{copies:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pc_that_lost_its_disk_takes_its_backup_up_again_with_the_kit() {
    let mut pool = Pool::new(2);
    pool.write("letter.txt", b"Dear Ana,\n");
    pool.write("second", &noise(1, 50_000));
    let kit = pool.init().await;
    pool.back_up().await;
    pool.stop().await;
    let plan: Plan = serde_json::from_slice(&fs::read(pool.folder().join("plan.json")).unwrap()).unwrap();
    fs::remove_dir_all(pool.folder()).unwrap();
    pool.start();
    // A second one beside it would be a fork.
    let refused = pool.owner().init(plan.clone()).await;
    assert!(matches!(&refused, Err(OwnerError::CopiesExist(names)) if names.len() == 2), "{refused:?}");
    let wrong = pool.owner().take_up(plan.clone(), Passphrase::typed("not this one")).await;
    assert!(matches!(&wrong, Err(OwnerError::Archive(_))), "{wrong:?}");
    assert!(!pool.status().is_set_up);
    pool.owner().take_up(plan, Passphrase::typed(&kit.passphrase.as_str().to_uppercase())).await.unwrap();
    pool.until("everything", |status| {
        status.archives == 1 && status.lost_here == 0 && status.newest.as_ref().is_some_and(|newest| newest.copies == 2)
    })
    .await;
    assert_eq!(pool.restored(&pool.folder().join("repo"), kit.passphrase.as_str()), pool.files());
    let status = pool.back_up().await;
    assert_eq!(status.newest.unwrap().number.unwrap().0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_disk_lost_comes_back_from_a_holder_and_is_deleted_nowhere() {
    let mut pool = Pool::new(2);
    pool.write("second", &noise(1, 50_000));
    let kit = pool.init().await;
    let before = pool.back_up().await;
    pool.stop().await;
    let repository = pool.folder().join("repo");
    for folder in ["data", "index", "snapshots"] {
        fs::remove_dir_all(repository.join(folder)).unwrap();
    }
    pool.start();
    let status = pool
        .until("all of it", |status| {
            status.lost_here == 0 && status.newest.as_ref().is_some_and(|newest| newest.copies == 2)
        })
        .await;
    assert_eq!((status.objects, status.sequence), (before.objects, before.sequence));
    assert_eq!(pool.restored(&repository, kit.passphrase.as_str()), pool.files());
}
