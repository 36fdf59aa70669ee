//! Agents that cannot dial each other reach each other over those in between; and when they can, directly.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::world::*;
use async_trait::async_trait;
use dci_proto::AgentId;
use shoal_net::{Handler, Lane, Net, Network, NetworkError, Peer, Request, Response};
use tokio::net::TcpSocket;

const LANES: [Lane; 3] = [Lane::Control, Lane::Foreground, Lane::Background];
/// Shorter than a direct attempt takes to fail where nobody answers.
const AT_ONCE: Duration = Duration::from_millis(1000);

pub(crate) const A: u8 = 11;
pub(crate) const B: u8 = 12;
pub(crate) const C: u8 = 13;
pub(crate) const D: u8 = 14;

/// Answers with what was asked and remembers who asked on which lane.
#[derive(Default)]
pub(crate) struct Witness(Mutex<Vec<(AgentId, Lane)>>);

#[async_trait]
impl Handler for Witness {
    async fn handle(&self, from: AgentId, lane: Lane, request: Request) -> Response {
        self.0.lock().expect("not poisoned").push((from, lane));
        Response { status: 0, head: request.head, body: request.body }
    }
}

/// Members of one pool, each of which reaches only some of the others.
pub(crate) struct Town {
    pub(crate) nets: BTreeMap<u8, Arc<Net>>,
    pub(crate) witnesses: BTreeMap<u8, Arc<Witness>>,
    /// Who dials whom.
    ways: BTreeSet<(u8, u8)>,
    /// Nobody listens there.
    nowhere: SocketAddr,
    _held: TcpSocket,
}

impl Town {
    /// Agents with streets between them that can be walked both ways.
    pub(crate) async fn new(seeds: &[u8], streets: &[(u8, u8)]) -> Self {
        let held = TcpSocket::new_v4().expect("a socket");
        held.bind(LOOPBACK).expect("binds");
        let nowhere = held.local_addr().expect("bound");
        let ways = streets.iter().flat_map(|&(one, other)| [(one, other), (other, one)]).collect();
        let (nets, witnesses) = (BTreeMap::new(), BTreeMap::new());
        let mut town = Self { nets, witnesses, ways, nowhere, _held: held };
        for seed in seeds {
            town.start(*seed).await;
        }
        town.meet();
        town
    }

    async fn start(&mut self, seed: u8) {
        let witness = Arc::new(Witness::default());
        self.nets.insert(seed, start_net(seed, witness.clone()).await);
        self.witnesses.insert(seed, witness);
    }

    /// A row of four.
    pub(crate) async fn row() -> Self {
        Self::new(&[A, B, C, D], &[(A, B), (B, C), (C, D)]).await
    }

    /// Tells everyone who is a member, and where those are that it can dial.
    pub(crate) fn meet(&self) {
        for (seed, net) in &self.nets {
            net.set_peers(self.nets.keys().map(|other| self.seen(*seed, *other)).collect());
        }
    }

    fn seen(&self, from: u8, other: u8) -> Peer {
        if self.ways.contains(&(from, other)) {
            return peer_of(&self.nets[&other]);
        }
        Peer { agent: agent(other), control_addresses: vec![self.nowhere], data_addresses: vec![self.nowhere] }
    }

    async fn stop(&mut self, seed: u8) {
        self.nets.remove(&seed).expect("it was started").shutdown().await;
    }

    pub(crate) async fn call(&self, from: u8, to: u8, lane: Lane, size: usize) -> Result<(), NetworkError> {
        let body: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
        let response = self.nets[&from].call(agent(to), lane, request(ECHO, b"head", body.clone()), DEADLINE).await?;
        assert!(response.body == body && &response.head[..] == b"head", "{size} bytes came back changed");
        Ok(())
    }

    pub(crate) fn is_direct(&self, from: u8, to: u8) -> bool {
        self.nets[&from].status(agent(to)).direct
    }

    fn last(&self, of: u8) -> (AgentId, Lane) {
        *self.witnesses[&of].0.lock().expect("not poisoned").last().expect("it was asked something")
    }

    pub(crate) fn asked(&self, of: u8) -> usize {
        self.witnesses[&of].0.lock().expect("not poisoned").len()
    }
}

#[tokio::test]
async fn the_ends_of_a_row_reach_each_other_on_all_lanes_over_two_in_between() {
    let town = Town::row().await;
    for lane in LANES {
        for size in [0, 20_000, 100_000, 4 << 20] {
            town.call(A, D, lane, size).await.expect("answers");
            assert_eq!(town.last(D), (agent(A), lane), "the end sees who asks, and on which lane");
        }
        town.call(D, A, lane, 1000).await.expect("answers");
    }
    let status = town.nets[&A].status(agent(D));
    assert!(status.connected && status.round_trip_us > 0 && !status.direct, "{status:?}");
    assert!(!town.is_direct(D, A));
    for (one, other) in [(A, B), (B, C), (C, D)] {
        town.call(one, other, Lane::Control, 0).await.expect("answers");
        assert!(town.is_direct(one, other));
    }
    assert_eq!(town.asked(B) + town.asked(C), 2, "those in between are asked nothing of what they carry");
}

#[tokio::test]
async fn another_machine_at_the_same_address_is_not_taken_for_the_target() {
    let mut town = Town::row().await;
    town.nowhere = town.nets[&B].data_addresses()[0];
    town.meet();
    for lane in LANES {
        town.call(A, D, lane, 1000).await.expect("answers");
        assert_eq!(town.last(D), (agent(A), lane));
    }
}

#[tokio::test]
async fn many_requests_at_once_go_through_a_tunnel_and_none_is_mixed_up() {
    let town = Town::row().await;
    for lane in LANES {
        let calls = (0..200).map(|number| town.call(A, D, lane, number * 97));
        for answered in futures::future::join_all(calls).await {
            answered.expect("answers");
        }
    }
}

#[tokio::test]
async fn once_a_tunnel_stands_nobody_waits_for_direct_attempts_that_fail() {
    // Accepts connections and never says a word: an attempt ends only when its time is up.
    let silent = tokio::net::TcpListener::bind(LOOPBACK).await.expect("binds");
    let mut town = Town::row().await;
    town.nowhere = silent.local_addr().expect("bound");
    town.meet();
    // Neighbours are known, as they are in a pool that pings.
    for (one, other) in [(A, B), (B, C), (C, D)] {
        town.call(one, other, Lane::Control, 0).await.expect("answers");
    }
    // The first on each port pays for finding out.
    for lane in [Lane::Control, Lane::Foreground] {
        town.call(A, D, lane, 0).await.expect("answers");
    }
    // Each of these needs a connection of its own.
    for (lane, size) in [(Lane::Control, 100_000), (Lane::Background, 0)] {
        let begin = Instant::now();
        town.call(A, D, lane, size).await.expect("answers");
        assert!(begin.elapsed() < AT_ONCE, "{lane:?} waited {:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn when_the_direct_way_works_the_tunnel_is_given_up() {
    let mut town = Town::row().await;
    for lane in LANES {
        town.call(A, D, lane, 1000).await.expect("answers");
    }
    assert!(!town.is_direct(A, D) && !town.is_direct(D, A));
    town.ways.extend([(A, D)]);
    town.meet();
    until("the way is direct, at both ends", async || town.is_direct(A, D) && town.is_direct(D, A)).await;
    // Nobody is needed in between any more.
    town.stop(B).await;
    town.stop(C).await;
    for lane in LANES {
        until("it answers without those in between", async || town.call(A, D, lane, 1000).await.is_ok()).await;
    }
}

#[tokio::test]
async fn requests_under_way_are_answered_while_the_way_changes() {
    let mut town = Town::row().await;
    town.call(A, D, Lane::Foreground, 0).await.expect("answers");
    let net = town.nets[&A].clone();
    let changing = std::sync::atomic::AtomicBool::new(true);
    let asking = async {
        while changing.load(std::sync::atomic::Ordering::SeqCst) {
            let asked = net.call(agent(D), Lane::Foreground, request(ECHO, b"", vec![7; 50_000]), DEADLINE).await;
            asked.expect("no request is lost");
        }
    };
    let change = async {
        town.ways.extend([(A, D)]);
        town.meet();
        until("the way is direct", async || town.is_direct(A, D)).await;
        changing.store(false, std::sync::atomic::Ordering::SeqCst);
    };
    tokio::join!(asking, change);
}

#[tokio::test]
async fn a_ring_that_loses_its_middle_is_gone_round_the_other_way() {
    // First there is only one way round.
    let mut town = Town::new(&[A, B, C, D], &[(A, B), (B, D)]).await;
    for lane in LANES {
        town.call(A, D, lane, 0).await.expect("answers");
    }
    town.ways.extend([(A, C), (C, A), (C, D), (D, C)]);
    town.meet();
    town.stop(B).await;
    for lane in LANES {
        until("it is reached the other way round", async || town.call(A, D, lane, 1000).await.is_ok()).await;
        assert_eq!(town.last(D), (agent(A), lane));
    }
    assert!(!town.is_direct(A, D));
}

#[tokio::test]
async fn an_agent_that_nobody_can_dial_is_reached_by_those_it_dials_and_over_them() {
    // A is behind a router: it dials B, nobody dials it.
    let mut town = Town::new(&[A, B, C], &[(B, C)]).await;
    town.ways.insert((A, B));
    town.meet();
    town.call(A, B, Lane::Control, 0).await.expect("A asks B");
    for lane in LANES {
        town.call(B, A, lane, 100_000).await.expect("B asks A");
        assert_eq!(town.last(A), (agent(B), lane));
    }
    assert!(town.is_direct(A, B) && town.is_direct(B, A));
    for lane in LANES {
        town.call(C, A, lane, 100_000).await.expect("C asks A over B");
        assert_eq!(town.last(A), (agent(C), lane));
        town.call(A, C, lane, 100_000).await.expect("A asks C over B");
    }
    assert!(!town.is_direct(C, A) && !town.is_direct(A, C));
}

#[tokio::test]
async fn where_one_end_cannot_dial_the_other_it_goes_over_a_third() {
    // B cannot dial A, and A has not dialled B yet; C and A can dial each other, and C and B.
    let town = Town::new(&[A, B, C], &[(A, C), (C, B)]).await;
    for lane in LANES {
        town.call(B, A, lane, 1000).await.expect("B asks A");
    }
    assert!(!town.is_direct(A, B) && !town.is_direct(B, A));
}

#[tokio::test]
async fn where_there_is_no_way_that_is_said_soon_and_the_search_is_not_repeated_at_once() {
    let town = Town::new(&[A, B, C, D], &[(A, B), (B, C), (A, C)]).await;
    town.call(A, B, Lane::Control, 0).await.expect("answers");
    let begin = Instant::now();
    let first = town.call(A, D, Lane::Foreground, 0).await;
    assert!(matches!(first, Err(NetworkError::Unreachable { .. })), "{first:?}");
    assert!(begin.elapsed() < AT_ONCE * 2, "it took {:?}", begin.elapsed());
    let second = town.call(A, D, Lane::Background, 0).await;
    let said = second.expect_err("still unreachable").to_string();
    assert!(said.contains("a moment ago"), "{said}");
}
