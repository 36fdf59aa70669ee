//! The faults of the network within the process: each does what its name says, and the seed decides.

use std::sync::Arc;
use std::time::Duration;

use crate::world::*;
use futures::future::join_all;
use shoal_net::{Faults, Lane, MemoryHub, Network, NetworkError};
use tokio::time::Instant;

const SHORT: Duration = Duration::from_millis(500);

async fn memory_pair() -> Pair<MemoryWorld> {
    pair(MemoryWorld::default()).await
}

async fn echo(from: &Arc<dyn Network>, to: u8) -> Result<(), NetworkError> {
    from.call(agent(to), Lane::Control, request(ECHO, b"", vec![]), SHORT).await.map(|_| ())
}

#[tokio::test(start_paused = true)]
async fn a_cut_way_loses_requests_without_a_word_until_it_is_healed() {
    let pair = memory_pair().await;
    pair.world.hub.cut(agent(ASKING), agent(ANSWERING));
    assert!(matches!(echo(&pair.asking, ANSWERING).await, Err(NetworkError::Timeout { .. })));
    assert_eq!(pair.handler.calls(), 0, "the request was lost");
    pair.world.hub.heal();
    echo(&pair.asking, ANSWERING).await.expect("healed");
}

#[tokio::test(start_paused = true)]
async fn a_cut_way_back_loses_the_answer_to_what_was_done() {
    let pair = memory_pair().await;
    pair.world.hub.cut(agent(ANSWERING), agent(ASKING));
    assert!(matches!(echo(&pair.asking, ANSWERING).await, Err(NetworkError::Timeout { .. })));
    assert_eq!(pair.handler.calls(), 1, "the request arrived");
}

#[tokio::test(start_paused = true)]
async fn a_partition_separates_groups_and_nobody_within() {
    let mut world = MemoryWorld::default();
    let mut nets = Vec::new();
    for seed in 1..=3 {
        nets.push(world.start(seed, Obedient::new()).await);
    }
    let everyone: Vec<_> = (1..=3).map(|seed| world.peer(seed)).collect();
    nets.iter().for_each(|net| net.set_peers(everyone.clone()));
    world.hub.partition(&[&[agent(1), agent(2)], &[agent(3)]]);
    echo(&nets[0], 2).await.expect("same side");
    assert!(echo(&nets[0], 3).await.is_err());
    assert!(echo(&nets[2], 1).await.is_err());
    world.hub.heal();
    echo(&nets[2], 1).await.expect("healed");
}

/// Which of a hundred requests are answered, and after how long.
async fn history(seed: u64) -> Vec<Option<Duration>> {
    let world = MemoryWorld { hub: MemoryHub::new(seed), ..MemoryWorld::default() };
    let pair = pair(world).await;
    pair.world.hub.set_faults(Faults {
        lost_per_mille: 200,
        twice_per_mille: 100,
        delay_min: Duration::from_millis(1),
        delay_max: Duration::from_millis(80),
    });
    let started = Instant::now();
    let calls = (0..100).map(|_| async { echo(&pair.asking, ANSWERING).await.ok().map(|()| started.elapsed()) });
    join_all(calls).await
}

#[tokio::test(start_paused = true)]
async fn a_seed_replays_what_went_wrong() {
    let first = history(7).await;
    assert_eq!(first, history(7).await);
    assert_ne!(first, history(8).await);
    let lost = first.iter().filter(|answer| answer.is_none()).count();
    assert!((20..60).contains(&lost), "a fifth each way: {lost} of 100");
    let answered: Vec<_> = first.iter().flatten().collect();
    assert!(answered.windows(2).any(|two| two[0] > two[1]), "delays reorder");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_twice_is_answered_once() {
    let pair = memory_pair().await;
    pair.world.hub.set_faults(Faults { twice_per_mille: 1000, ..Faults::default() });
    echo(&pair.asking, ANSWERING).await.expect("answers");
    assert_eq!(pair.handler.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_agent_neither_asks_nor_answers_until_it_is_resumed() {
    let pair = memory_pair().await;
    pair.world.hub.stop(agent(ANSWERING));
    assert!(matches!(echo(&pair.asking, ANSWERING).await, Err(NetworkError::Unreachable { .. })));
    assert!(matches!(echo(&pair.answering, ASKING).await, Err(NetworkError::Unreachable { .. })));
    pair.world.hub.resume(agent(ANSWERING));
    echo(&pair.asking, ANSWERING).await.expect("back");
    echo(&pair.answering, ASKING).await.expect("back");
}
