//! What every implementation of [`Network`] promises, run over sockets and in memory.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::world::*;
use futures::future::join_all;
use shoal_net::{
    BODY_LIMIT_BYTES, CONTROL_BODY_LIMIT_BYTES, HEAD_LIMIT_BYTES, IN_FLIGHT_FOREGROUND, Lane, NetworkError,
    WAITING_REQUESTS,
};

const LANES: [Lane; 3] = [Lane::Control, Lane::Foreground, Lane::Background];

async fn a_request_is_answered_on_every_lane<W: World>(world: W) {
    let pair = pair(world).await;
    for lane in LANES {
        for size in [0, 1, 20_000, 100_000, 1 << 20, CONTROL_BODY_LIMIT_BYTES] {
            let body: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
            let response = pair.call(lane, request(ECHO, b"head", body.clone())).await.expect("answers");
            assert_eq!(response.status, ECHO);
            assert_eq!(&response.head[..], b"head");
            assert!(response.body == body, "{size} bytes came back changed on {lane:?}");
        }
    }
    let status = pair.asking.status(agent(ANSWERING));
    assert!(status.connected);
    assert!(status.direct);
    until("the one that was asked knows its neighbour too", async || pair.answering.status(agent(ASKING)).direct).await;
    assert!(status.round_trip_us > 0);
    assert_eq!(status.in_flight, 0);
}

async fn a_thousand_requests_at_once_are_each_answered_with_their_own<W: World>(world: W) {
    let pair = pair(world).await;
    for lane in LANES {
        let calls = (0..1000u32).map(|number| pair.call(lane, request(ECHO, &number.to_be_bytes(), vec![])));
        for (number, response) in join_all(calls).await.into_iter().enumerate() {
            assert_eq!(&response.expect("answers").head[..], &(number as u32).to_be_bytes());
        }
    }
}

async fn a_stranger_is_not_asked<W: World>(world: W) {
    let pair = pair(world).await;
    let error = pair.asking.call(agent(9), Lane::Control, request(ECHO, b"", vec![]), DEADLINE).await;
    assert!(matches!(error, Err(NetworkError::UnknownPeer(stranger)) if stranger == agent(9)));
}

async fn an_agent_that_does_not_know_us_does_not_answer<W: World>(world: W) {
    let pair = pair(world).await;
    pair.answering.set_peers(vec![]);
    for lane in LANES {
        let error = pair.call(lane, request(ECHO, b"", vec![])).await;
        assert!(matches!(error, Err(NetworkError::Unreachable { .. })), "{error:?} on {lane:?}");
    }
    assert_eq!(pair.handler.calls(), 0);
}

async fn an_answer_that_never_comes_costs_only_whoever_waits_for_it<W: World>(world: W) {
    let pair = pair(world).await;
    for lane in LANES {
        let short = Duration::from_millis(50);
        let (never, answered) = tokio::join!(
            pair.asking.call(agent(ANSWERING), lane, request(NEVER, b"", vec![]), short),
            pair.call(lane, request(ECHO, b"", vec![])),
        );
        let late = |error: &NetworkError| matches!(error, NetworkError::Timeout { after, .. } if *after == short);
        assert!(never.as_ref().is_err_and(late), "{never:?} on {lane:?}");
        answered.expect("answers");
    }
}

async fn beyond_the_bound_requests_are_refused_as_busy<W: World>(world: W) {
    let pair = pair(world).await;
    let lane = Lane::Foreground;
    pair.call(lane, request(ECHO, b"", vec![])).await.expect("answers");
    let fits = IN_FLIGHT_FOREGROUND + WAITING_REQUESTS;
    let waiting: Vec<_> = (0..fits)
        .map(|_| {
            let network = pair.asking.clone();
            tokio::spawn(
                async move { network.call(agent(ANSWERING), lane, request(GATED, b"", vec![]), DEADLINE).await },
            )
        })
        .collect();
    until("as many requests as fit are at work", async || {
        pair.handler.at_work.load(Ordering::SeqCst) == IN_FLIGHT_FOREGROUND
    })
    .await;
    assert_eq!(pair.asking.status(agent(ANSWERING)).in_flight as usize, IN_FLIGHT_FOREGROUND);
    let error = pair.call(lane, request(ECHO, b"", vec![])).await;
    assert!(matches!(error, Err(NetworkError::Busy(_))), "{error:?}");
    pair.handler.gate.add_permits(fits);
    for waited in waiting {
        waited.await.expect("no panic").expect("answers");
    }
}

async fn messages_over_the_limit_are_refused<W: World>(world: W) {
    let pair = pair(world).await;
    let over = |lane| if lane == Lane::Control { CONTROL_BODY_LIMIT_BYTES + 1 } else { BODY_LIMIT_BYTES + 1 };
    for lane in LANES {
        let long_head = request(ECHO, &[0; HEAD_LIMIT_BYTES + 1], vec![]);
        let long_body = request(ECHO, b"", vec![0; over(lane)]);
        for too_long in [long_head, long_body, request(TOO_MUCH, b"", vec![])] {
            let error = pair.call(lane, too_long).await;
            assert!(matches!(error, Err(NetworkError::TooLarge(_))), "{error:?} on {lane:?}");
        }
        pair.call(lane, request(ECHO, b"", vec![])).await.expect("the connection lives on");
    }
}

async fn a_peer_that_restarts_is_reached_again<W: World>(world: W) {
    let mut pair = pair(world).await;
    for lane in LANES {
        pair.call(lane, request(ECHO, b"", vec![])).await.expect("answers");
    }
    pair.world.stop(ANSWERING).await;
    until("it is a neighbour no more", async || !pair.asking.status(agent(ANSWERING)).direct).await;
    for lane in LANES {
        let error = pair.call(lane, request(ECHO, b"", vec![])).await;
        assert!(matches!(error, Err(NetworkError::Unreachable { .. })), "{error:?} on {lane:?}");
    }
    let answering = pair.world.start(ANSWERING, Obedient::new()).await;
    answering.set_peers(vec![pair.world.peer(ASKING)]);
    pair.asking.set_peers(vec![pair.world.peer(ANSWERING)]);
    for lane in LANES {
        until("the restarted peer answers", async || pair.call(lane, request(ECHO, b"", vec![])).await.is_ok()).await;
    }
}

async fn those_who_wait_learn_at_once_that_the_peer_is_gone<W: World>(world: W) {
    let mut pair = pair(world).await;
    for lane in LANES {
        pair.call(lane, request(ECHO, b"", vec![])).await.expect("answers");
    }
    let network = pair.asking.clone();
    let waiting = tokio::spawn(async move {
        let never = LANES.map(|lane| network.call(agent(ANSWERING), lane, request(NEVER, b"", vec![]), DEADLINE * 2));
        join_all(never).await
    });
    until("all are at work", async || pair.handler.at_work.load(Ordering::SeqCst) == LANES.len()).await;
    pair.world.stop(ANSWERING).await;
    let answers = tokio::time::timeout(DEADLINE, waiting).await.expect("long before their time is up");
    for answer in answers.expect("no panic") {
        assert!(matches!(answer, Err(NetworkError::Unreachable { .. })), "{answer:?}");
    }
}

async fn an_agent_may_ask_itself<W: World>(world: W) {
    let pair = pair(world).await;
    let own = pair.asking.local();
    let answer = pair.asking.call(own, Lane::Foreground, request(ECHO, b"me", vec![]), DEADLINE).await;
    assert_eq!(&answer.expect("answers").head[..], b"me");
}

macro_rules! contract {
    ($($promise:ident),* $(,)?) => {
        mod over_sockets {
            $(#[tokio::test] async fn $promise() { super::$promise(super::RealWorld::default()).await; })*
        }
        mod in_memory {
            $(#[tokio::test] async fn $promise() { super::$promise(super::MemoryWorld::default()).await; })*
        }
    };
}

contract!(
    a_request_is_answered_on_every_lane,
    a_thousand_requests_at_once_are_each_answered_with_their_own,
    a_stranger_is_not_asked,
    an_agent_that_does_not_know_us_does_not_answer,
    an_answer_that_never_comes_costs_only_whoever_waits_for_it,
    beyond_the_bound_requests_are_refused_as_busy,
    messages_over_the_limit_are_refused,
    a_peer_that_restarts_is_reached_again,
    those_who_wait_learn_at_once_that_the_peer_is_gone,
    an_agent_may_ask_itself,
);
