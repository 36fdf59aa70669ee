//! With any two of six agents in trouble writing goes on, and what was answered survives two more.

use std::time::Duration;

use shoal_ledger::{Guard, LedgerClient, query};
use shoal_volume::testing::Mood;
use shoal_volume::{DriveError, NewFile, ShardPeers};
use tokio::time::Instant;

use crate::pool::*;

#[tokio::test]
async fn two_agents_may_be_down() {
    for bytes in [10_000, CHUNK, 3 * CHUNK] {
        let pool = pool();
        pool.set_moods(4..6, Mood::Down);
        let written = noise(1, bytes);
        write(&pool.drive, "file", &written).await.expect("written");
        for (_, record) in pool.stripes() {
            assert_eq!(record.m, 2, "what the policy says is kept");
            assert!(record.shards.iter().all(|place| place.agent.is_some()));
        }
        eventually("what was sent in vain is dropped", || pool.peers.shard_count() == pool.known_shards()).await;
        let known: Vec<_> = pool.stripes().into_iter().map(|(stripe, _)| stripe).collect();
        let given_up = query::surplus(&*pool.ledger.view().expect("memory"), 100).expect("memory does not fail");
        let resealed = pool.drive.stats().resealed_chunks > 0;
        assert_eq!(!given_up.is_empty(), resealed, "the ledger knows, and will not take these stripes any more");
        assert!(given_up.iter().all(|one| !known.contains(&one.key.stripe)));
        pool.set_moods(2..4, Mood::Down);
        pool.set_moods(4..6, Mood::Well);
        assert_same(&read(&pool.fresh(), "file").await.expect("read"), &written);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_agent_costs_less_than_a_second_once() {
    let pool = pool();
    pool.peers.set_mood(pool.agent(3), Mood::Hung);
    let (bytes, began) = (6 * CHUNK, Instant::now());
    write(&pool.drive, "first", &noise(1, bytes)).await.expect("written");
    assert!(began.elapsed() <= Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(pool.peers.suspects().contains(&pool.agent(3)));
    let again = Instant::now();
    write(&pool.drive, "second", &noise(2, bytes)).await.expect("written");
    assert_eq!(again.elapsed(), Duration::ZERO);
    for (_, record) in pool.stripes() {
        assert_eq!((record.k, record.m), (3, 2));
        assert!(record.shards.iter().all(|place| place.agent.is_some()));
    }
    assert!(pool.drive.stats().resealed_chunks > 0);
}

#[tokio::test(start_paused = true)]
async fn a_silent_agents_shard_goes_to_a_spare_one() {
    let pool = pool_of(9, ROOM_BYTES, |_| {});
    write(&pool.drive, "small", &noise(1, 10_000)).await.expect("written");
    let (agent, _) = pool.shard(1);
    pool.peers.set_mood(agent, Mood::Hung);
    for seed in 2..40 {
        write(&pool.drive, &format!("{seed}"), &noise(seed, 10_000)).await.expect("written");
    }
    let stats = pool.drive.stats();
    assert_eq!((stats.replaced_shards, stats.resealed_chunks), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_way_that_is_slow_for_all_is_waited_for() {
    let pool = pool();
    pool.set_moods(0..6, Mood::Slow(Duration::from_secs(3)));
    write(&pool.drive, "file", &noise(1, CHUNK)).await.expect("written");
    assert!(pool.peers.suspects().is_empty());
    assert_eq!((pool.stripes()[0].1.k, pool.stripes()[0].1.m), (4, 2));
}

#[tokio::test]
async fn what_a_full_agent_refuses_another_takes() {
    let pool = pool_of(8, ROOM_BYTES, |_| {});
    pool.set_moods(0..2, Mood::Full);
    for seed in 0..5 {
        let written = noise(seed, CHUNK);
        write(&pool.drive, &format!("{seed}"), &written).await.expect("written");
        assert_same(&read(&pool.fresh(), &format!("{seed}")).await.expect("read"), &written);
    }
    for (_, record) in pool.stripes() {
        assert!(record.shards.iter().all(|place| place.agent.is_some_and(|agent| agent != pool.agent(0))));
        assert_eq!(record.m, 2);
    }
    assert!(pool.peers.suspects().is_empty(), "full is not silent");
}

#[tokio::test]
async fn with_all_agents_full_nothing_is_half_written() {
    for bytes in [10_000, CHUNK, 3 * CHUNK] {
        let pool = pool();
        pool.set_moods(0..6, Mood::Full);
        let error = write(&pool.drive, "file", &noise(1, bytes)).await.expect_err("full");
        assert!(matches!(error, DriveError::Full), "{error}");
        assert!(pool.drive.node(&path("file")).expect("read").is_none());
        assert_eq!(pool.peers.shard_count(), 0);
    }
}

#[tokio::test]
async fn a_pool_that_fills_up_during_an_upload_says_so_and_gives_the_room_back() {
    let pool = pool_of(6, 3 * CHUNK as u64, |_| {});
    let mut writer = pool.drive.create(&path("file"), NewFile::default(), Guard::default()).await.expect("created");
    let mut result = Ok(());
    for seed in 0..20 {
        result = writer.write(noise(seed, CHUNK)).await;
        if result.is_err() {
            break;
        }
    }
    assert!(matches!(result, Err(DriveError::Full)), "{result:?}");
    assert!(matches!(writer.commit().await, Err(DriveError::Full)), "bytes are missing");
    eventually("the shards are gone", || pool.peers.shard_count() == 0).await;
    assert!(pool.drive.node(&path("file")).expect("read").is_none());
}

#[tokio::test]
async fn few_agents_keep_what_they_can() {
    for (agents, expected) in [(1, (1, 0)), (2, (1, 1)), (3, (1, 2)), (4, (2, 2)), (5, (3, 2))] {
        let pool = pool_of(agents, ROOM_BYTES, |_| {});
        let written = noise(1, CHUNK);
        write(&pool.drive, "file", &written).await.expect("written");
        let (_, record) = &pool.stripes()[0];
        let placed = record.shards.iter().flat_map(|place| place.agent).count();
        assert_eq!((usize::from(record.k), placed - usize::from(record.k)), expected, "{agents} agents");
        assert_same(&read(&pool.fresh(), "file").await.expect("read"), &written);
    }
}

#[tokio::test]
async fn agents_wrongly_suspected_still_keep_what_the_policy_says() {
    let pool = pool();
    for number in 1..6 {
        pool.peers.suspect(pool.agent(number), "a hiccup of all at once");
    }
    for bytes in [10_000, CHUNK] {
        write(&pool.drive, &format!("{bytes}"), &noise(1, bytes)).await.expect("written");
    }
    for (_, record) in pool.stripes() {
        assert_eq!((record.k, record.m), (1, 2));
        assert!(record.shards.iter().all(|place| place.agent.is_some()));
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_agents_one_may_fall_silent() {
    let pool = pool_of(2, ROOM_BYTES, |_| {});
    pool.peers.set_mood(pool.agent(1), Mood::Hung);
    let (written, began) = (noise(1, CHUNK), Instant::now());
    write(&pool.drive, "file", &written).await.expect("written");
    assert!(began.elapsed() <= Duration::from_secs(1), "{:?}", began.elapsed());
    let mut places: Vec<_> = pool.stripes()[0].1.shards.iter().map(|place| place.agent).collect();
    places.sort();
    assert_eq!(places, [None, Some(pool.agent(0))], "it stands in the ledger as degraded");
    assert_same(&read(&pool.fresh(), "file").await.expect("read"), &written);
}

#[tokio::test]
async fn paused_agents_are_read_from_and_not_waited_for() {
    let pool = pool_of(2, ROOM_BYTES, |_| {});
    write(&pool.drive, "before", &noise(1, CHUNK)).await.expect("written");
    pool.peers.pause(pool.agent(1));
    write(&pool.drive, "while", &noise(2, CHUNK)).await.expect("one agent keeps what it can");
    pool.peers.set_mood(pool.agent(0), Mood::Down);
    assert_same(&read(&pool.fresh(), "before").await.expect("read"), &noise(1, CHUNK));
}

#[tokio::test]
async fn one_agent_with_room_of_six_is_a_full_pool() {
    let pool = pool();
    for number in 1..6 {
        pool.peers.set_free_bytes(pool.agent(number), 1000);
    }
    let error = write(&pool.drive, "file", &noise(1, CHUNK)).await.expect_err("a single copy is none");
    assert!(matches!(error, DriveError::Full), "{error}");
}

#[tokio::test]
async fn with_nobody_up_writing_is_refused() {
    let pool = pool();
    pool.set_moods(0..6, Mood::Down);
    let error = write(&pool.drive, "file", &noise(1, CHUNK)).await.expect_err("nobody");
    assert!(matches!(error, DriveError::Unavailable(_)), "{error}");
    assert!(pool.drive.node(&path("file")).expect("read").is_none());
}

#[tokio::test]
async fn bytes_written_again_heal_what_the_pool_had_lost() {
    let pool = pool();
    let written = noise(1, 300_000);
    write(&pool.drive, "file", &written).await.expect("written");
    for index in 0..3 {
        let (agent, key) = pool.shard(index);
        pool.peers.falsify(agent, key);
    }
    read(&pool.fresh(), "file").await.expect_err("three of six shards are false");
    write(&pool.fresh(), "again", &written).await.expect("written");
    for name in ["again", "file"] {
        assert_same(&read(&pool.fresh(), name).await.expect("read"), &written);
    }
}

#[tokio::test]
async fn what_the_pool_has_with_fewer_agents_is_written_anew() {
    let pool = pool();
    let written = noise(1, 300_000);
    write(&pool.drive, "file", &written).await.expect("written");
    let (agent, _) = pool.shard(0);
    pool.peers.set_mood(agent, Mood::Down);
    pool.peers.suspect(agent, "it is down");
    write(&pool.drive, "again", &written).await.expect("written");
    let stripes = pool.stripes();
    let [(_, record)] = &stripes[..] else { panic!("{} stripes", stripes.len()) };
    assert_eq!((record.k, record.m), (3, 2), "two more agents may be lost, as the policy says");
    assert!(record.shards.iter().all(|place| place.agent.is_some_and(|holder| holder != agent)));
}
