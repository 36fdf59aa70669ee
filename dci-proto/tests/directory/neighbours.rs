//! What one directory does when its neighbours are not as they should be.

use std::collections::BTreeSet;

use dci_proto::AgentId;
use dci_proto::directory::{
    BUCKETS, Directory, DirectoryLimits, DirectoryMessage, Effect, Event, SignedOffer, Stamp, Version,
};
use proptest::prelude::*;

use crate::world::{Random, agent, offer};

fn directory(limits: DirectoryLimits, members: usize, neighbours: usize) -> Directory {
    let mut directory = Directory::new(agent(0), limits);
    directory.handle(0, Event::Members((0..members).map(agent).collect()));
    for one in 1..=neighbours {
        directory.handle(0, Event::LinkUp(agent(one)));
    }
    directory
}

fn version(whose: usize, sequence: u64) -> Version {
    Version { agent: agent(whose), stamp: offer(whose, sequence, "x").stamp() }
}

fn have(from: usize, versions: Vec<Version>) -> Event {
    Event::Message { from: agent(from), message: DirectoryMessage::Have(versions) }
}

fn answer(from: usize, offers: Vec<SignedOffer>) -> Event {
    Event::Received { from: agent(from), offers, answer: true }
}

fn want(of: usize, whose: usize) -> Effect {
    Effect::Send { to: agent(of), message: DirectoryMessage::Want(vec![agent(whose)]) }
}

#[test]
fn one_that_has_something_and_does_not_give_it_costs_patience_once() {
    let mut directory = directory(DirectoryLimits::default(), 5, 3);
    assert_eq!(directory.handle(1, have(1, vec![version(4, 5)])), [want(1, 4)]);
    assert_eq!(directory.handle(2, have(2, vec![version(4, 5)])), [], "it is on its way");
    let bogus = Version { agent: agent(4), stamp: Stamp { sequence: u64::MAX, hash: [9; 8] } };
    assert_eq!(directory.handle(3, have(1, vec![bogus])), []);
    let patience_ms = DirectoryLimits::default().patience_ms;
    assert_eq!(directory.due_ms(), Some(1 + patience_ms));
    let effects = directory.handle(1 + patience_ms, Event::Tick);
    assert!(effects.contains(&want(2, 4)), "the other one is asked: {effects:?}");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Send { message: DirectoryMessage::Digest(_), .. })));
    directory.handle(20_000, answer(2, vec![offer(4, 5, "x")]));
    assert!(directory.get(agent(4)).is_some());
}

#[test]
fn one_that_goes_away_is_made_up_for_by_the_next() {
    let mut directory = directory(DirectoryLimits::default(), 5, 3);
    assert_eq!(directory.handle(1, have(1, vec![version(4, 5)])), [want(1, 4)]);
    directory.handle(2, have(3, vec![version(4, 6)]));
    assert_eq!(directory.handle(3, Event::LinkDown(agent(1))), [want(3, 4)]);
}

#[test]
fn the_newer_of_two_is_got_even_if_the_older_was_asked_for_first() {
    let mut directory = directory(DirectoryLimits::default(), 5, 3);
    directory.handle(1, have(1, vec![version(4, 5)]));
    directory.handle(2, have(3, vec![version(4, 6)]));
    let effects = directory.handle(3, answer(1, vec![offer(4, 5, "x")]));
    assert!(effects.contains(&want(3, 4)), "{effects:?}");
    directory.handle(4, answer(3, vec![offer(4, 6, "x")]));
    directory.handle(5, answer(1, vec![offer(4, 5, "x")]));
    assert_eq!(directory.get(agent(4)).map(|offer| offer.stamp().sequence), Some(6));
}

#[test]
fn an_older_offer_of_this_agent_with_a_higher_number_is_answered_once_with_a_new_one() {
    let mut directory = directory(DirectoryLimits::default(), 5, 3);
    directory.handle(1, Event::OwnChanged(offer(0, 10, "now")));
    let old = offer(0, 50, "before");
    let effects = directory.handle(2, answer(1, vec![old.clone()]));
    assert_eq!(effects, [Effect::Reissue { above: 50 }]);
    assert_eq!(directory.handle(3, answer(2, vec![old])), [], "it is known already");
    assert_eq!(directory.get(agent(0)), Some(&offer(0, 10, "now")), "its own word stands until then");
    assert_eq!(directory.handle(4, Event::OwnChanged(offer(0, 50, "now"))), [Effect::Reissue { above: 50 }]);
    assert_eq!(directory.next_sequence(20), 51);
    directory.handle(5, Event::OwnChanged(offer(0, 51, "now")));
    assert_eq!(directory.get(agent(0)), Some(&offer(0, 51, "now")));
}

#[test]
fn who_is_no_neighbour_or_no_member_is_not_listened_to() {
    let mut directory = directory(DirectoryLimits::default(), 5, 2);
    for event in [
        have(4, vec![version(3, 5)]),
        answer(4, vec![offer(3, 5, "x")]),
        have(1, vec![version(9, 5)]),
        answer(1, vec![offer(9, 5, "x")]),
        Event::Message { from: agent(1), message: DirectoryMessage::Offers { offers: vec![], answer: true } },
        Event::LinkUp(agent(0)),
    ] {
        assert_eq!(directory.handle(1, event.clone()), [], "{event:?}");
    }
    assert_eq!(directory.iter().count(), 0);
}

#[test]
fn pages_that_are_none_are_passed_over() {
    let mut directory = directory(DirectoryLimits::default(), 5, 2);
    let bucket = agent(3).0[0] >> 4;
    let good = version(3, 5);
    let page = |bucket, after, versions: &[Version], whole| Event::Message {
        from: agent(1),
        message: DirectoryMessage::Versions { bucket, after, versions: versions.to_vec(), whole },
    };
    for bad in [
        page(bucket ^ 1, None, &[good], true),
        page(16, None, &[], true),
        page(255, None, &[good], true),
        page(bucket, Some(agent(3)), &[good], true),
        page(bucket, None, &[good, good], true),
        page(bucket, None, &[], false),
        Event::Message { from: agent(1), message: DirectoryMessage::Digest(vec![]) },
        Event::Message { from: agent(1), message: DirectoryMessage::Digest(vec![[1; 8]; BUCKETS + 1]) },
        Event::Message { from: agent(1), message: DirectoryMessage::Next { bucket: 200, after: None } },
    ] {
        assert_eq!(directory.handle(5_000, bad.clone()), [], "{bad:?}");
    }
    assert_eq!(directory.handle(5_000, page(bucket, None, &[good], true)), [want(1, 3)]);
}

#[test]
fn a_neighbour_makes_an_agent_send_only_so_much() {
    let limits = DirectoryLimits {
        offers_bytes: 5_000,
        answer_burst_bytes: 20_000,
        answer_bytes_per_s: 1_000,
        ..DirectoryLimits::default()
    };
    let mut directory = directory(limits, 50, 3);
    for one in 1..50 {
        directory.handle(1, Event::Received { from: agent(3), offers: vec![offer(one, 5, "x")], answer: false });
    }
    let mut given = 0;
    for round in 0..1_000 {
        let message = DirectoryMessage::Want((1..50).map(agent).collect());
        for effect in directory.handle(round, Event::Message { from: agent(1), message }) {
            if let Effect::Send { message: DirectoryMessage::Offers { offers, .. }, .. } = effect {
                given += offers.iter().map(|offer| offer.message.body.as_xml().len()).sum::<usize>();
            }
        }
    }
    assert!(given > 0 && given < 22_000, "{given}");
    let message = DirectoryMessage::Want(vec![agent(4)]);
    let effects = directory.handle(1_000, Event::Message { from: agent(2), message });
    let served = |effect: &Effect| matches!(effect, Effect::Send { message: DirectoryMessage::Offers { offers, .. }, .. } if offers.len() == 1);
    assert!(effects.iter().any(served), "others are served: {effects:?}");
}

/// Anything a neighbour can say.
fn anything(random: &mut Random) -> DirectoryMessage {
    let count = random.below(400) as usize;
    let whose = |random: &mut Random| match random.below(3) {
        0 => AgentId([random.below(256) as u8; 32]),
        _ => agent(random.below(60) as usize),
    };
    let version = |random: &mut Random| {
        let stamp = Stamp { sequence: random.below(u64::MAX), hash: [random.below(256) as u8; 8] };
        Version { agent: whose(random), stamp }
    };
    let bucket = random.below(20) as u8;
    match random.below(6) {
        0 => DirectoryMessage::Digest((0..BUCKETS).map(|_| [random.below(256) as u8; 8]).collect()),
        1 => {
            let mut versions: Vec<Version> = (0..count).map(|_| version(random)).collect();
            versions.retain(|version| version.agent.0[0] >> 4 == bucket);
            versions.sort_by_key(|version| version.agent);
            versions.dedup_by_key(|version| version.agent);
            DirectoryMessage::Versions { bucket, after: None, versions, whole: random.below(2) == 0 }
        }
        2 => DirectoryMessage::Next { bucket, after: (count > 99).then(|| whose(random)) },
        3 | 4 => DirectoryMessage::Have((0..count).map(|_| version(random)).collect()),
        _ => DirectoryMessage::Want((0..count).map(|_| whose(random)).collect()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_neighbours_say_memory_and_answers_are_bounded(seed in any::<u64>()) {
        let limits = DirectoryLimits { pending: 20, page_versions: 8, want_agents: 4, ..DirectoryLimits::default() };
        let mut random = Random(seed);
        let mut directory = directory(limits, 60, 5);
        directory.handle(0, Event::OwnChanged(offer(0, 10, "mine")));
        for round in 0..300 {
            let now_ms = round * random.below(200);
            let from = agent(1 + random.below(6) as usize);
            let event = match random.below(8) {
                0 => Event::Received {
                    from,
                    offers: (0..random.below(9)).map(|_| offer(1 + random.below(80) as usize, random.below(1_000_000), "y")).collect(),
                    answer: random.below(2) == 0,
                },
                1 => Event::Tick,
                2 => if random.below(2) == 0 { Event::LinkDown(from) } else { Event::LinkUp(from) },
                3 => Event::Members((0..60).filter(|_| random.below(10) > 0).map(agent).collect::<BTreeSet<_>>()),
                _ => Event::Message { from, message: anything(&mut random) },
            };
            let effects = directory.handle(now_ms, event);
            prop_assert_eq!(directory.validate(), Ok(()));
            prop_assert!(effects.len() < 200, "{} effects", effects.len());
            let (offers, pending) = directory.table_sizes();
            prop_assert!(offers <= 60 && pending <= 6 * 20);
            prop_assert_eq!(directory.get(agent(0)), Some(&offer(0, 10, "mine")));
        }
    }
}
