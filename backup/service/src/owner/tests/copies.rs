//! Copies: made, made anew, moved.

use super::*;
use crate::call::Answer;

const DAY_MS: u64 = 24 * 60 * 60_000;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_on_two_other_pcs_and_each_copy_restores_alone() {
    let pool = Pool::new(3);
    pool.write("letter.txt", b"Dear Ana,\n");
    pool.write("large", &noise(1, 6 << 20));
    let kit = pool.init().await;
    let status = pool.back_up().await;
    assert_eq!(status.newest.as_ref().map(|newest| (newest.copies, newest.is_complete)), Some((2, true)));
    assert_eq!((status.alerts.len(), status.unsent_bytes, status.copies_missing), (0, 0, 0), "{status:#?}");
    assert_eq!(status.verdict, "everything is kept, and on 2 other PCs");
    let kit_now = pool.owner().kit().unwrap();
    assert_eq!(kit_now.peers.iter().map(|peer| peer.agent.0[0]).collect::<BTreeSet<_>>(), pool.peers());
    for number in pool.peers() {
        let repository = pool.holder(number).repository(agent(1)).unwrap();
        assert_eq!(pool.restored(&repository, kit.passphrase.as_str()), pool.files());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_was_sent_half_goes_on_where_it_was() {
    let pool = Pool::new(2);
    pool.write("large", &noise(2, 10 << 20));
    pool.init().await;
    pool.until("peers", |status| status.peers.len() == 2).await;
    // After the first piece of a long one nothing is heard for a while.
    let cut = Arc::new(Mutex::new(true));
    for number in [2, 3] {
        let cut = Arc::clone(&cut);
        pool.hub.twist(
            agent(number),
            Arc::new(move |_, ask, reply| match ask {
                Ask::Put { offset, .. } if *offset == 4 << 20 && *cut.lock().unwrap() => {
                    Err(CallError::Unreachable("it is away".into()))
                }
                _ => reply,
            }),
        );
    }
    pool.owner().ask_run(Mode::Snapshot).unwrap();
    pool.until("a failed piece", |status| status.newest.is_some() && status.unsent_bytes > 0).await;
    *cut.lock().unwrap() = false;
    pool.until("copies", |status| status.newest.as_ref().is_some_and(|newest| newest.copies == 2)).await;
    let sent_from_begin = |to: u8| {
        let calls = pool.hub.calls();
        let mut first = std::collections::BTreeMap::<ObjectName, usize>::new();
        for (_, at, ask) in calls {
            if let Ask::Put { name, offset: 0 } = ask
                && at == agent(to)
            {
                *first.entry(name).or_default() += 1;
            }
        }
        first.into_values().max().unwrap()
    };
    assert_eq!((sent_from_begin(2), sent_from_begin(3)), (1, 1), "no long object was sent twice from its beginning");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_full_is_replaced() {
    let mut pool = Pool::new(1);
    pool.join(3, 64 * 1024);
    pool.write("large", &noise(3, 2 << 20));
    pool.init().await;
    pool.until("peers", |status| status.peers.len() == 2).await;
    pool.owner().ask_run(Mode::Snapshot).unwrap();
    let status = pool.until("a full peer", |status| status.peers.iter().any(|peer| peer.is_full)).await;
    let told: Vec<&str> = status.alerts.iter().filter(|it| it.kind == "full").map(|it| it.text.as_str()).collect();
    assert_eq!(told, ["pc-3 has no room for more"]);
    pool.join(4, ROOM_BYTES);
    pool.until("another copy", |status| status.newest.as_ref().is_some_and(|newest| newest.copies == 2)).await;
    pool.until("its end", |status| status.peers.len() == 2).await;
    assert_eq!(pool.peers(), BTreeSet::from([2, 4]));
    pool.until("its release", |_| pool.hub.calls().iter().any(|(_, to, ask)| *to == agent(3) && *ask == Ask::Release))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_was_full_goes_on_when_it_has_room_and_counts_in_the_kit_only_then() {
    let mut pool = Pool::new(1);
    pool.choose_by_events().await;
    pool.join(3, 64 * 1024);
    pool.write("large", &noise(3, 2 << 20));
    pool.init().await;
    pool.until("peers", |status| status.peers.len() == 2).await;
    pool.owner().ask_run(Mode::Snapshot).unwrap();
    let is_full = |status: &OwnerStatus| {
        status.peers.iter().any(|peer| peer.is_full && !peer.is_whole) && status.peers.iter().any(|peer| peer.is_whole)
    };
    let status = pool.until("a full peer", is_full).await;
    assert!(status.peers.iter().all(|peer| peer.refuses.is_none()), "it is told once");
    let whole = |pool: &Pool| -> Vec<(u8, bool)> {
        let peers = pool.owner().kit().unwrap().peers;
        peers.iter().map(|peer| (peer.agent.0[0], peer.whole_archive.is_some())).collect()
    };
    assert_eq!(whole(&pool), [(2, true), (3, false)]);
    assert!(pool.owner().kit().unwrap().text.contains("pc-3 (): not whole yet"));
    // It is asked, and told as full all the time.
    let looks = || pool.hub.calls().iter().filter(|(_, to, ask)| *to == agent(3) && *ask == Ask::Room).count();
    pool.until("looks", |_| looks() > 3).await;
    assert!(is_full(&pool.status()));
    pool.gives(3, ROOM_BYTES);
    let is_protected = |status: &OwnerStatus| status.newest.as_ref().is_some_and(|newest| newest.copies == 2);
    pool.until("the copy", is_protected).await;
    pool.until("the kit", |_| whole(&pool) == [(2, true), (3, true)]).await;
    // What is known of a peer that is away is known after a restart.
    pool.hub.set_away(agent(3), true);
    pool.restart().await;
    assert_eq!(whole(&pool), [(2, true), (3, true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_are_full_are_replaced_also_by_one_with_just_enough_room() {
    let mut pool = Pool::new(0);
    for number in [2, 3] {
        pool.join(number, 64 * 1024);
    }
    pool.write("large", &noise(3, 2 << 20));
    pool.init().await;
    pool.until("peers", |status| status.peers.len() == 2).await;
    pool.owner().ask_run(Mode::Snapshot).unwrap();
    let full = |status: &OwnerStatus| status.peers.iter().filter(|peer| peer.is_full).count();
    pool.until("full peers", |status| full(status) == 2).await;
    // One of them refuses: another one is asked at once.
    pool.hub.twist(
        agent(5),
        Arc::new(|_, ask, reply| match ask {
            Ask::Hold => Err(CallError::no(crate::call::No::Refused, "it is set up anew")),
            _ => reply,
        }),
    );
    pool.join(4, ROOM_BYTES);
    pool.join(5, ROOM_BYTES);
    pool.join(6, pool.status().repository_bytes * 6 / 5);
    pool.until("copies", |status| status.newest.as_ref().is_some_and(|newest| newest.copies == 2)).await;
    pool.until("their end", |status| status.peers.len() == 2).await;
    assert_eq!(pool.peers(), BTreeSet::from([4, 6]));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_an_assigned_one_replaces_ends_as_soon_as_that_one_is_whole() {
    let mut pool = Pool::new(2);
    pool.choose_by_events().await;
    pool.write("large", &noise(3, 2 << 20));
    pool.init().await;
    pool.back_up().await;
    pool.join(4, ROOM_BYTES);
    let plan = Plan { assigned: vec![agent(4)], ..(*pool.owner().plan().unwrap()).clone() };
    pool.owner().set_plan(plan).unwrap();
    let is_whole = |peer: &crate::owner::PeerCopy| peer.agent == agent(4) && peer.is_whole;
    pool.until("the assigned one", |status| status.peers.iter().any(is_whole)).await;
    pool.until("an end", |status| status.peers.len() == 2).await;
    assert!(pool.peers().contains(&4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_left_the_pool_is_replaced() {
    let pool = Pool::new(3);
    pool.write("letter.txt", b"Dear Ana,\n");
    pool.init().await;
    pool.back_up().await;
    let gone = *pool.peers().first().unwrap();
    pool.left.lock().unwrap().insert(agent(gone));
    pool.hub.set_away(agent(gone), true);
    pool.until("another copy", |status| {
        status.newest.as_ref().is_some_and(|newest| newest.copies == 2)
            && status.peers.iter().all(|peer| peer.agent != agent(gone) && peer.is_whole)
    })
    .await;
    assert_eq!(pool.peers().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_stays_away_is_replaced_also_if_this_pc_is_off_at_night() {
    let mut pool = Pool::new(2);
    pool.write("letter.txt", b"Dear Ana,\n");
    pool.init().await;
    pool.back_up().await;
    pool.join(4, ROOM_BYTES);
    pool.hub.set_away(agent(2), true);
    // On for eight hours, off for the rest of three days.
    for _ in 0..6 {
        pool.machine.pass(DAY_MS / 3);
        look_at_everybody(&pool).await;
        pool.stop().await;
        pool.machine.pass(DAY_MS * 8 / 3);
        pool.start();
        look_at_everybody(&pool).await;
    }
    let status = pool.status();
    let away_ms = status.peers.iter().find(|peer| peer.agent == agent(2)).and_then(|peer| peer.away_ms);
    assert_eq!(away_ms.map(|away_ms| away_ms / DAY_MS), Some(18));
    assert_eq!(pool.peers(), BTreeSet::from([2, 3]));
    pool.machine.pass(3 * DAY_MS);
    pool.until("another copy", |status| status.newest.as_ref().is_some_and(|newest| newest.copies == 2)).await;
    pool.until("its end", |_| pool.peers() == BTreeSet::from([3, 4])).await;
}

/// Time passes until peers are chosen anew, and that is written down.
async fn look_at_everybody(pool: &Pool) {
    let looks = || pool.hub.calls().iter().filter(|(_, to, ask)| *to == agent(4) && *ask == Ask::Room).count();
    // What the first one found is written before the next one begins.
    for _ in 0..2 {
        let before = looks();
        pool.machine.pass(pool.choose_every_ms);
        pool.until("a look at everybody", |_| looks() > before).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_assigned_and_gave_no_room_is_taken_when_it_gives_some() {
    let mut pool = Pool::new(2);
    // Only because of it: long before peers are chosen anew otherwise.
    pool.choose_by_events().await;
    pool.join(4, 0);
    pool.write("letter.txt", b"Dear Ana,\n");
    pool.init().await;
    pool.back_up().await;
    let plan = Plan { assigned: vec![agent(4)], ..(*pool.owner().plan().unwrap()).clone() };
    pool.owner().set_plan(plan).unwrap();
    let status = pool.until("why not", |status| !status.unusable.is_empty()).await;
    assert_eq!(status.unusable[0].name, "pc-4");
    assert!(status.unusable[0].why.contains("no room"), "{status:#?}");
    pool.gives(4, ROOM_BYTES);
    pool.until("the assigned one", |status| status.peers.iter().any(|peer| peer.agent == agent(4))).await;
    pool.until("no complaint", |status| status.unusable.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_away_catches_up_when_it_is_back() {
    let pool = Pool::new(2);
    pool.write("letter.txt", b"Dear Ana,\n");
    let kit = pool.init().await;
    pool.back_up().await;
    pool.hub.set_away(agent(2), true);
    pool.write("second", &noise(4, 100_000));
    pool.owner().ask_run(Mode::Delta).unwrap();
    let status = pool
        .until("one copy", |status| {
            status.archives == 2 && status.newest.as_ref().is_some_and(|newest| newest.copies == 1)
        })
        .await;
    assert!(status.peers.iter().any(|peer| peer.agent == agent(2) && !peer.is_reachable));
    pool.hub.set_away(agent(2), false);
    pool.until("both", |status| status.newest.as_ref().is_some_and(|newest| newest.copies == 2)).await;
    let repository = pool.holder(2).repository(agent(1)).unwrap();
    assert_eq!(pool.restored(&repository, kit.passphrase.as_str()), pool.files());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_liar_is_found_counts_for_nothing_and_its_copy_is_made_anew() {
    let mut pool = Pool::new(2);
    pool.write("letter.txt", b"Dear Ana,\n");
    pool.init().await;
    pool.back_up().await;
    pool.hub.twist(
        agent(2),
        Arc::new(|_, ask, reply| match (ask, reply) {
            (Ask::Prove { .. }, Ok((Answer::Proof(mut proof), body))) => {
                proof[0] ^= 1;
                Ok((Answer::Proof(proof), body))
            }
            (_, reply) => reply,
        }),
    );
    let status = pool.until("a liar", |status| status.peers.iter().any(|peer| peer.is_distrusted)).await;
    assert!(status.peers.iter().all(|peer| peer.is_distrusted == (peer.agent == agent(2))));
    assert!(status.alerts.iter().any(|alert| alert.kind == "distrusted"));
    pool.until("less protection", |status| status.newest.as_ref().is_some_and(|newest| newest.copies == 1)).await;
    // It is so after a restart, too, whatever it says it holds.
    pool.restart().await;
    let is_contacted = |status: &OwnerStatus| status.newest.as_ref().is_some_and(|newest| newest.copies == 1);
    let status = pool.until("the honest one", is_contacted).await;
    assert!(status.peers.iter().any(|peer| peer.agent == agent(2) && peer.is_distrusted && !peer.is_whole));
    pool.join(4, ROOM_BYTES);
    pool.until("another copy", |status| status.newest.as_ref().is_some_and(|newest| newest.copies == 2)).await;
    pool.until("its end", |status| status.peers.iter().all(|peer| peer.agent != agent(2))).await;
    assert_eq!(pool.peers(), BTreeSet::from([3, 4]));
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_a_holder_tells_is_made_good() {
    let pool = Pool::new(2);
    pool.write("large", &noise(5, 300_000));
    pool.init().await;
    pool.back_up().await;
    let repository = pool.holder(2).repository(agent(1)).unwrap();
    let pack = walk(&repository.join("data")).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[1_000] ^= 1;
    fs::write(&pack, bytes).unwrap();
    assert_eq!(pool.holder(2).scrub().await, 1);
    assert!(!pack.exists());
    // It tells its owner, who sends it again; it is no liar.
    pool.holder(2).catch_up().await;
    pool.until("it again", |_| pack.exists()).await;
    pool.until("protection", |status| status.newest.as_ref().is_some_and(|newest| newest.copies == 2)).await;
    assert!(pool.status().peers.iter().all(|peer| !peer.is_distrusted));
    let told: Vec<_> = pool.status().alerts.into_iter().map(|alert| (alert.kind, alert.text)).collect();
    let text = "1 object of the copy of pc-2 was damaged or gone, and is made anew: check the disk of pc-2";
    assert_eq!(told, [("bad_disk".to_owned(), text.to_owned())]);
    pool.machine.pass(DAY_MS);
    assert_eq!(pool.status().alerts, [], "not for ever");
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
