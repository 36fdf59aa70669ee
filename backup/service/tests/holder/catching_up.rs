//! Peersync: holders that were away, lost their disk, or are lied to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dci_proto::AgentId;
use shoal_backup_service::call::{Answer, Ask, CallError, Reply};
use shoal_backup_service::testing::Twist;
use tokio_util::sync::CancellationToken;

use crate::pool::{OWNER, Pool, noise};

/// Until when something that happens by itself has happened, by a clock that tests wind forward.
const DEADLINE: Duration = Duration::from_secs(3_600);

/// How often everything is read through.
const WEEK_MS: u64 = 7 * 24 * 60 * 60 * 1_000;

/// Counts what is asked and answered.
fn counting(bytes: &Arc<AtomicU64>) -> Twist {
    let bytes = Arc::clone(bytes);
    Arc::new(move |_, ask: &Ask, reply: Reply| {
        let answered = reply.as_ref().map_or(0, |(_, body)| body.len());
        bytes.fetch_add((answered + postcard::to_allocvec(ask).unwrap().len()) as u64, Ordering::SeqCst);
        reply
    })
}

#[tokio::test]
async fn a_week_away_costs_little_more_than_is_missing_though_the_owner_is_away_now() {
    let mut pool = Pool::new();
    pool.owner.archive(1, 4, 300_000);
    for at in 0..3 {
        pool.send_all(at).await;
    }
    pool.hub.set_away(pool.pcs[2].id, true);
    for day in 2..=8 {
        pool.owner.archive(day, 6, 700_000);
        pool.send_all(0).await;
        pool.send_all(1).await;
    }
    let missing_bytes = 7 * (6 * 700_000 + 900 + 300);
    pool.hub.set_away(OWNER, true);
    pool.hub.set_away(pool.pcs[2].id, false);
    let (wire_bytes, from_first) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    pool.hub.twist(pool.pcs[0].id, counting(&from_first));
    pool.hub.twist(pool.pcs[1].id, counting(&wire_bytes));
    pool.restart(2);
    let asked = pool.hub.calls().len();
    assert!(pool.pcs[2].holder.catch_up().await);
    pool.assert_whole(2);
    // Bodies that it sent: names, to each of the two.
    let which = pool.hub.calls()[asked..].iter().filter(|(.., ask)| matches!(ask, Ask::Which { .. })).count() as u64;
    let (first, second) = (from_first.load(Ordering::SeqCst), wire_bytes.load(Ordering::SeqCst));
    let all_bytes = first + second + which * 7 * 8 * 32;
    let per_mille = all_bytes * 1_000 / missing_bytes;
    println!("{all_bytes} bytes over the wire for {missing_bytes} missing: {per_mille} per mille");
    assert!((1_000..=1_020).contains(&per_mille), "{per_mille} per mille of what was missing");
    assert!(first > missing_bytes / 10 && second > missing_bytes / 10, "both give: {first} and {second}");
}

#[tokio::test]
async fn a_short_tail_brings_its_objects_along() {
    let pool = Pool::new();
    pool.owner.archive(1, 2, 20_000);
    pool.send_all(0).await;
    pool.owner.archive(2, 2, 20_000);
    assert!(pool.pcs[0].holder.catch_up().await);
    pool.assert_whole(0);
    let calls = pool.hub.calls();
    assert!(calls.iter().any(|(.., ask)| matches!(ask, Ask::Ship { .. })));
    assert!(!calls.iter().any(|(.., ask)| matches!(ask, Ask::Get { .. } | Ask::Which { .. })), "one exchange");
}

#[tokio::test]
async fn who_lost_its_disk_is_filled_from_the_others_and_what_breaks_off_goes_on_where_it_was() {
    let mut pool = Pool::new();
    pool.owner.archive(1, 2, 9_000_000);
    pool.send_all(0).await;
    pool.send_all(1).await;
    pool.ask(2, Ask::Hold, Bytes::new()).await.unwrap();
    pool.hub.set_away(OWNER, true);
    // Of each object, nobody gives a second piece at first.
    let silent: Twist = Arc::new(|_, ask, reply| match ask {
        Ask::Get { offset: 4_194_304.., .. } => Err(CallError::Unreachable("it fell asleep".into())),
        _ => reply,
    });
    [0, 1].iter().for_each(|at| pool.hub.twist(pool.pcs[*at].id, silent.clone()));
    assert!(!pool.pcs[2].holder.catch_up().await);
    let incoming = pool.pcs[2].copy_folder().join("incoming");
    assert_eq!(std::fs::read_dir(&incoming).unwrap().count(), 2);
    // It is ended meanwhile; then all goes well.
    pool.restart(2);
    [0, 1].iter().for_each(|at| pool.hub.untwist(pool.pcs[*at].id));
    let asked = pool.hub.calls().len();
    assert!(pool.pcs[2].holder.catch_up().await);
    pool.assert_whole(2);
    let again = pool.hub.calls()[asked..]
        .iter()
        .filter(|(.., ask)| matches!(ask, Ask::Get { offset: 0, length, .. } if *length > 4_000_000))
        .count();
    assert_eq!(again, 0, "the first pieces were there");
    assert_eq!(pool.pcs[2].holder.status().liars, []);
}

#[tokio::test]
async fn a_source_that_gives_wrong_bytes_is_passed_over_and_the_owner_is_told() {
    let pool = Pool::new();
    pool.owner.archive(1, 6, 50_000);
    pool.send_all(0).await;
    pool.send_all(1).await;
    pool.ask(2, Ask::Hold, Bytes::new()).await.unwrap();
    pool.hub.set_away(OWNER, true);
    let wrong: Twist = Arc::new(|_, ask, reply| match (ask, reply) {
        (Ask::Get { .. } | Ask::Ship { .. }, Ok((answer, body))) => Ok((answer, noise(77, body.len()))),
        (_, reply) => reply,
    });
    // The nearer one lies.
    pool.hub.twist(pool.pcs[0].id, wrong);
    assert!(pool.pcs[2].holder.catch_up().await);
    pool.assert_whole(2);
    let liars = pool.pcs[2].holder.status().liars;
    assert_eq!(liars.iter().map(|liar| liar.agent).collect::<Vec<_>>(), [pool.pcs[0].id]);
    pool.hub.set_away(OWNER, false);
    assert!(pool.pcs[2].holder.catch_up().await);
    let suspects = pool.owner.state().suspects.clone();
    assert!(!suspects.is_empty());
    assert!(suspects.iter().all(|(by, liar, _)| (*by, *liar) == (pool.pcs[2].id, pool.pcs[0].id)), "{suspects:?}");
}

#[tokio::test]
async fn a_catalogue_that_somebody_changed_is_taken_from_another() {
    let pool = Pool::new();
    pool.owner.archive(1, 2, 5_000);
    pool.send_all(0).await;
    pool.send_all(1).await;
    pool.ask(2, Ask::Hold, Bytes::new()).await.unwrap();
    pool.hub.set_away(OWNER, true);
    let forging: Twist = Arc::new(|_, ask, reply| match (ask, reply) {
        (Ask::Tail { .. }, Ok((answer, body))) => {
            let mut body = body.to_vec();
            body[90] ^= 1;
            Ok((answer, body.into()))
        }
        (Ask::Owners, reply) => reply,
        (_, Ok(_)) => Ok((Answer::Done, Bytes::from_static(b"nonsense"))),
        (_, no) => no,
    });
    pool.hub.twist(pool.pcs[0].id, forging);
    assert!(pool.pcs[2].holder.catch_up().await);
    pool.assert_whole(2);
    assert_eq!(pool.pcs[2].holder.status().liars[0].agent, pool.pcs[0].id);
}

#[tokio::test]
async fn a_full_disk_stops_catching_up_and_room_lets_it_go_on() {
    let mut pool = Pool::new();
    pool.owner.archive(1, 4, 50_000);
    pool.send_all(0).await;
    pool.restart_with(2, crate::pool::share(120_000, 0));
    pool.ask(2, Ask::Hold, Bytes::new()).await.unwrap();
    assert!(!pool.pcs[2].holder.catch_up().await);
    let used_bytes = pool.pcs[2].holder.status().share.used_bytes;
    assert!((100_000..=120_000).contains(&used_bytes), "{used_bytes}");
    pool.restart(2);
    assert!(pool.pcs[2].holder.catch_up().await);
    pool.assert_whole(2);
}

#[tokio::test]
async fn what_the_owner_sends_meanwhile_does_not_get_in_the_way() {
    let pool = Pool::new();
    pool.owner.archive(1, 20, 60_000);
    pool.send_all(0).await;
    pool.send_catalogue(2).await;
    let objects = pool.owner.all();
    let push = async {
        for object in &objects {
            // Refused and busy are answers too.
            let _ = pool.put(2, object, 10_000).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(push, pool.pcs[2].holder.catch_up());
    pool.send_all(2).await;
    pool.assert_whole(2);
}

/// Time is wound forward by itself whenever nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn by_itself_a_holder_catches_up_when_another_comes_into_sight() {
    let pool = Pool::new();
    pool.owner.archive(1, 3, 50_000);
    pool.send_all(0).await;
    pool.send_catalogue(2).await;
    for agent in [OWNER, pool.pcs[0].id, pool.pcs[1].id] {
        pool.hub.set_away(agent, true);
    }
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(pool.pcs[2].holder.clone().run(shutdown.clone()));
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(pool.pcs[2].status().lacking, 7);
    pool.hub.set_away(pool.pcs[0].id, false);
    wait_for(|| pool.pcs[2].status().lacking == 0).await;
    pool.assert_whole(2);
    // Damage is found without being asked for, and mended.
    let pack = pool.owner.all()[3];
    std::fs::write(pool.pcs[2].path(&pack), b"damaged").unwrap();
    pool.machine.pass(WEEK_MS);
    wait_for(|| pool.pcs[2].holder.status().damaged_objects == 1).await;
    wait_for(|| pool.pcs[2].status().lacking == 0).await;
    pool.assert_whole(2);
    shutdown.cancel();
    running.await.unwrap();
}

/// Waits, by the clock that is wound forward.
async fn wait_for(mut is_so: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "it has not happened after {DEADLINE:?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[test]
fn agents_of_this_pool_are_near_in_the_order_of_their_numbers() {
    let pool = tokio::runtime::Runtime::new().unwrap().block_on(async { Pool::new() });
    let members = pool.hub.seen_by(OWNER).members();
    assert_eq!(members.iter().map(|member| member.agent).collect::<Vec<_>>(), [1, 2, 3].map(|n| AgentId([n; 32])));
    assert!(members.is_sorted_by_key(|member| member.distance_ms));
}
