//! A lost shard made anew on agents in memory: every pattern of loss, sources that lie or are gone, copies, nonsense.
#![allow(clippy::expect_used, reason = "a test's helpers may fail the test")]

use bytes::Bytes;
use dci_proto::{AgentId, ShardHash, ShardKey, StripeId, shard_hash};
use shoal_volume::codec::{self, COPIES};
use shoal_volume::testing::{MemoryPeers, Mood};
use shoal_volume::{LostShard, RebuildError, Rebuilt, ShardPeers, Urgency, rebuild};

const STRIPE: StripeId = StripeId([7; 16]);
const SHARD_BYTES: usize = 128 * 1024 + 64;

/// A stripe whose shard `i` is on agent `i + 1` of the pool; the agent after all of them holds none.
struct Stripe {
    peers: MemoryPeers,
    shards: Vec<Bytes>,
    k: u8,
    m: u8,
    codec: u8,
}

fn noise(seed: usize, length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| ((at + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15 + seed as u64) >> 40) as u8).collect()
}

fn agent(number: usize) -> AgentId {
    AgentId([u8::try_from(number).expect("few agents"); 32])
}

impl Stripe {
    async fn new(k: u8, m: u8, codec: u8) -> Self {
        let data: Vec<Vec<u8>> = (0..usize::from(k)).map(|seed| noise(seed, SHARD_BYTES)).collect();
        let slices: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
        let parity = codec::by_id(codec).and_then(|codec| codec.encode(&slices, usize::from(m))).expect("encodes");
        let shards: Vec<Bytes> = data.into_iter().chain(parity).map(Bytes::from).collect();
        let peers = MemoryPeers::new(k + m + 1, 1 << 30);
        for (index, shard) in (0u8..).zip(&shards) {
            let key = ShardKey { stripe: STRIPE, index };
            let put =
                peers.put(agent(usize::from(index) + 1), key, shard_hash(shard), shard.clone(), Urgency::Background);
            put.await.expect("kept");
        }
        peers.take_asked();
        Self { peers, shards, k, m, codec }
    }

    fn spare(&self) -> AgentId {
        agent(self.shards.len() + 1)
    }

    fn key(index: usize) -> ShardKey {
        ShardKey { stripe: STRIPE, index: u8::try_from(index).expect("few shards") }
    }

    /// What is asked when these shards are on no agent, for the first of them.
    fn lost(&self, lost: &[usize]) -> LostShard {
        let place =
            |(index, shard): (usize, &Bytes)| ((!lost.contains(&index)).then(|| agent(index + 1)), shard_hash(shard));
        LostShard {
            key: Self::key(lost[0]),
            codec: self.codec,
            k: self.k,
            m: self.m,
            shard_bytes: u32::try_from(SHARD_BYTES).expect("small"),
            places: self.shards.iter().enumerate().map(place).collect(),
            copy_from: None,
        }
    }

    async fn rebuild(&self, lost: &LostShard) -> Result<Rebuilt, RebuildError> {
        rebuild(&self.peers, self.spare(), lost, Urgency::Background).await
    }
}

/// All ways to lose 1 to `m` of `width` shards, each with every one of them first.
fn losses(width: usize, m: usize) -> Vec<Vec<usize>> {
    let patterns = (1usize..1 << width).filter(|bits| (bits.count_ones() as usize) <= m);
    let lost = patterns.map(|bits| (0..width).filter(|at| bits & (1 << at) != 0).collect::<Vec<_>>());
    lost.flat_map(|all| {
        (0..all.len()).map(move |first| {
            let mut all = all.clone();
            all.swap(0, first);
            all
        })
    })
    .collect()
}

#[tokio::test]
async fn every_shard_comes_back_from_exactly_k_others_whatever_up_to_m_are_lost() {
    for (k, m, codec) in [(4, 2, 2), (4, 2, 1), (3, 1, 2), (2, 2, 2), (5, 3, 2), (1, 1, COPIES), (1, 2, COPIES)] {
        let stripe = Stripe::new(k, m, codec).await;
        for lost in losses(usize::from(k + m), usize::from(m)) {
            let rebuilt = stripe.rebuild(&stripe.lost(&lost)).await.unwrap_or_else(|error| {
                panic!("{k}+{m} of code {codec} without {lost:?}: {error}");
            });
            assert_eq!(rebuilt.bytes, stripe.shards[lost[0]], "{k}+{m} without {lost:?}");
            let asked = stripe.peers.take_asked();
            assert_eq!((asked.gets, rebuilt.read_bytes), (u64::from(k), u64::from(k) * SHARD_BYTES as u64));
            assert!(rebuilt.bad.is_empty());
        }
    }
}

#[tokio::test]
async fn a_source_that_lies_or_lacks_the_shard_is_named_and_another_is_asked() {
    let stripe = Stripe::new(4, 2, 2).await;
    let lost = stripe.lost(&[5]);
    stripe.peers.falsify(agent(1), Stripe::key(0));
    let rebuilt = stripe.rebuild(&lost).await.expect("rebuilt");
    assert_eq!((rebuilt.bytes, rebuilt.bad), (stripe.shards[5].clone(), vec![(0, agent(1))]));

    let stripe = Stripe::new(4, 2, 2).await;
    stripe.peers.lose(agent(2), Stripe::key(1));
    let rebuilt = stripe.rebuild(&lost).await.expect("rebuilt");
    assert_eq!((rebuilt.bytes, rebuilt.bad), (stripe.shards[5].clone(), vec![(1, agent(2))]));
    assert_eq!(rebuilt.read_bytes, 4 * SHARD_BYTES as u64, "never more than k were read");
}

#[tokio::test]
async fn an_agent_that_is_down_is_no_damage_but_is_avoided() {
    let stripe = Stripe::new(4, 2, 2).await;
    stripe.peers.set_mood(agent(3), Mood::Down);
    let rebuilt = stripe.rebuild(&stripe.lost(&[0])).await.expect("rebuilt");
    assert_eq!((rebuilt.bytes, rebuilt.bad), (stripe.shards[0].clone(), vec![]));
    assert!(stripe.peers.suspects().contains(&agent(3)));
}

#[tokio::test]
async fn with_too_few_left_it_says_how_many_and_why() {
    let stripe = Stripe::new(4, 2, 2).await;
    stripe.peers.set_mood(agent(3), Mood::Down);
    let error = stripe.rebuild(&stripe.lost(&[0, 1])).await.expect_err("three are left");
    assert!(matches!(error, RebuildError::TooFew { present: 3, needed: 4, .. }), "{error}");
    assert!(error.to_string().contains("connection refused"), "{error}");
}

#[tokio::test]
async fn a_shard_that_only_moves_is_copied_and_a_bad_copy_is_made_up_for() {
    let stripe = Stripe::new(4, 2, 2).await;
    let moves = LostShard { copy_from: Some(agent(3)), ..stripe.lost(&[2]) };
    let rebuilt = stripe.rebuild(&moves).await.expect("copied");
    assert_eq!((rebuilt.bytes, rebuilt.read_bytes), (stripe.shards[2].clone(), SHARD_BYTES as u64));
    stripe.peers.falsify(agent(3), Stripe::key(2));
    let rebuilt = stripe.rebuild(&moves).await.expect("from the others");
    assert_eq!((rebuilt.bytes, rebuilt.read_bytes), (stripe.shards[2].clone(), 5 * SHARD_BYTES as u64));
}

#[tokio::test]
async fn a_hash_the_stripe_does_not_have_is_never_answered_with_other_bytes() {
    let stripe = Stripe::new(4, 2, 2).await;
    let mut lost = stripe.lost(&[1]);
    lost.places[1].1 = ShardHash([9; 16]);
    assert!(matches!(stripe.rebuild(&lost).await, Err(RebuildError::Mismatch)));
}

#[tokio::test]
async fn what_no_stripe_looks_like_is_refused_before_anybody_is_asked() {
    let stripe = Stripe::new(4, 2, 2).await;
    let good = stripe.lost(&[0]);
    let twice = {
        let mut lost = good.clone();
        lost.places[2].0 = lost.places[1].0;
        lost
    };
    let held = {
        let mut lost = good.clone();
        lost.places[2].0 = Some(stripe.spare());
        lost
    };
    let nonsense = [
        LostShard { k: 0, ..good.clone() },
        LostShard { m: 3, ..good.clone() },
        LostShard { key: Stripe::key(6), ..good.clone() },
        LostShard { shard_bytes: 0, ..good.clone() },
        LostShard { shard_bytes: u32::MAX, ..good.clone() },
        twice,
        held,
    ];
    for lost in nonsense {
        assert!(matches!(stripe.rebuild(&lost).await, Err(RebuildError::Malformed(_))), "{lost:?}");
    }
    assert_eq!(stripe.peers.take_asked().gets, 0);
}
