//! What must not wait for what.

use std::sync::atomic::Ordering;

use crate::world::*;
use shoal_net::{IN_FLIGHT_BACKGROUND, Lane};

#[tokio::test]
async fn the_foreground_and_control_do_not_wait_for_a_flood_in_the_background() {
    let pair = pair(RealWorld::default()).await;
    let flood = 4 * IN_FLIGHT_BACKGROUND;
    let background: Vec<_> = (0..flood)
        .map(|_| {
            let network = pair.asking.clone();
            tokio::spawn(async move {
                let gated = request(GATED, b"", vec![7; 1 << 20]);
                network.call(agent(ANSWERING), Lane::Background, gated, DEADLINE * 2).await
            })
        })
        .collect();
    until("the background is busy", async || pair.handler.at_work.load(Ordering::SeqCst) >= 4).await;
    // Nothing of the flood can end before this is answered.
    for lane in [Lane::Foreground, Lane::Control] {
        pair.call(lane, request(ECHO, b"", vec![1; 1 << 20])).await.expect("answers");
    }
    let most = pair.handler.most_at_work.load(Ordering::SeqCst);
    assert!(most <= 5, "{most} at work: four of the background and one other");
    pair.handler.gate.add_permits(flood);
    for flooded in background {
        flooded.await.expect("no panic").expect("answers");
    }
}
