//! With any two of six agents in trouble reading goes on; with a third, it says so soon.

use std::time::Duration;

use shoal_volume::DriveError;
use shoal_volume::testing::Mood;
use tokio::time::Instant;

use crate::pool::*;

const SIZES: [usize; 3] = [10_000, 300_000, CHUNK + 1000];

#[tokio::test]
async fn any_two_agents_may_be_down() {
    let pool = pool();
    for bytes in SIZES {
        write(&pool.drive, &format!("{bytes}"), &noise(1, bytes)).await.expect("written");
    }
    for first in 0..6 {
        for second in 0..first {
            pool.set_moods(0..6, Mood::Well);
            pool.peers.set_mood(pool.agent(first), Mood::Down);
            pool.peers.set_mood(pool.agent(second), Mood::Down);
            let drive = pool.fresh();
            for bytes in SIZES {
                let read = read(&drive, &format!("{bytes}")).await.expect("read");
                assert_same(&read, &noise(1, bytes));
            }
            let part = read_range(&drive, "300000", 100_000..105_000).await.expect("read");
            assert_same(&part, &noise(1, 300_000)[100_000..105_000]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_third_agent_gone_is_told_within_a_second() {
    for mood in [Mood::Down, Mood::Hung] {
        let pool = pool();
        write(&pool.drive, "file", &noise(1, 2 * CHUNK)).await.expect("written");
        pool.set_moods(0..3, mood);
        for _ in 0..2 {
            let asked_at = Instant::now();
            let error = read(&pool.fresh(), "file").await.expect_err("three of six hold too little");
            assert!(matches!(error, DriveError::Unavailable(_)), "{error}");
            if pool.peers.suspects().len() == 3 {
                assert!(asked_at.elapsed() <= Duration::from_secs(1), "{mood:?}: {:?}", asked_at.elapsed());
            }
        }
        assert_eq!(pool.peers.suspects().len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn agents_known_to_be_silent_cost_nothing() {
    let pool = pool();
    let written = noise(1, 2 * CHUNK);
    write(&pool.drive, "file", &written).await.expect("written");
    pool.set_moods(4..6, Mood::Hung);
    shoal_volume::ShardPeers::suspect(&*pool.peers, pool.agent(4), "told");
    shoal_volume::ShardPeers::suspect(&*pool.peers, pool.agent(5), "told");
    let asked_at = Instant::now();
    assert_same(&read(&pool.fresh(), "file").await.expect("read"), &written);
    assert_eq!(asked_at.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_slow_agent_is_overtaken_by_another() {
    let pool = pool();
    let written = noise(1, CHUNK);
    write(&pool.drive, "file", &written).await.expect("written");
    let drive = pool.fresh();
    for index in 0..4 {
        pool.peers.set_mood(pool.shard(index).0, Mood::Slow(Duration::from_millis(5)));
    }
    pool.peers.set_mood(pool.shard(0).0, Mood::Slow(Duration::from_secs(3)));
    let asked_at = Instant::now();
    assert_same(&read(&drive, "file").await.expect("read"), &written);
    assert!(asked_at.elapsed() <= Duration::from_millis(110), "{:?}", asked_at.elapsed());
    assert!(drive.stats().hedges >= 1);
    assert_eq!(drive.stats().degraded_reads, 1);
    assert!(pool.peers.suspects().is_empty(), "slow is not silent");
}

#[tokio::test(start_paused = true)]
async fn what_is_slow_for_an_agent_is_learnt() {
    let pool = pool();
    let drive = drive_over(pool.ledger.clone(), &pool.peers, |config| config.cache_bytes = 0);
    write(&pool.drive, "file", &noise(1, 10_000)).await.expect("written");
    pool.set_moods(0..6, Mood::Slow(Duration::from_millis(150)));
    for _ in 0..40 {
        read(&drive, "file").await.expect("read");
    }
    let hedges = drive.stats().hedges;
    for _ in 0..10 {
        read(&drive, "file").await.expect("read");
    }
    assert!(drive.stats().hedges <= hedges + 1, "150 ms are usual here: {hedges}, {}", drive.stats().hedges);
}

#[tokio::test]
async fn damaged_and_lost_shards_are_worked_around_and_reported() {
    for bytes in [10_000, 300_000, CHUNK] {
        let pool = pool();
        let written = noise(1, bytes);
        write(&pool.drive, "file", &written).await.expect("written");
        // The sources that are asked first, whichever they are, hold false bytes or nothing.
        let (first, second) = (pool.shard(0), pool.shard(1));
        pool.peers.falsify(first.0, first.1);
        pool.peers.lose(second.0, second.1);
        for _ in 0..3 {
            let drive = pool.fresh();
            assert_same(&read(&drive, "file").await.expect("read"), &written);
            let part = read_range(&drive, "file", 1..5000).await.expect("read");
            assert_same(&part, &written[1..5000]);
            for bad in drive.take_bad_shards() {
                assert!([first, second].contains(&(bad.agent, bad.key)), "{bad:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_false_shard_is_found_by_its_hash() {
    let pool = pool();
    write(&pool.drive, "file", &noise(1, CHUNK)).await.expect("written");
    let (agent, key) = pool.shard(2);
    pool.peers.falsify(agent, key);
    let drive = pool.fresh();
    read(&drive, "file").await.expect("read");
    let bad = drive.take_bad_shards();
    assert_eq!(bad.iter().map(|bad| (bad.agent, bad.key)).collect::<Vec<_>>(), [(agent, key)]);
    assert!(drive.take_bad_shards().is_empty());
}

#[tokio::test]
async fn more_damage_than_parity_is_an_error_and_never_false_bytes() {
    let pool = pool();
    write(&pool.drive, "file", &noise(1, CHUNK)).await.expect("written");
    for index in 0..3 {
        let (agent, key) = pool.shard(index);
        pool.peers.falsify(agent, key);
    }
    let error = read(&pool.fresh(), "file").await.expect_err("beyond repair");
    assert!(matches!(error, DriveError::Damaged(_)), "{error}");
}
