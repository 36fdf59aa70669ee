//! Laws of the router, in networks of many shapes with messages that take their time.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failing test says what failed")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dci_proto::router::{Card, Effect, Event, Passing, Router, RouterLimits, Spread};
use dci_proto::{AgentId, MessageId};
use proptest::prelude::*;

fn agent(number: usize) -> AgentId {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&(number as u64).to_be_bytes());
    AgentId(key)
}

fn number(agent: AgentId) -> usize {
    u64::from_be_bytes(agent.0[..8].try_into().unwrap()) as usize
}

/// The same numbers for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Whom a message is for.
#[derive(Clone, Copy)]
enum To {
    One(usize),
    All,
}

/// Agents, the links between them, and what is on its way.
struct World {
    routers: Vec<Router>,
    links: BTreeSet<(usize, usize)>,
    random: Random,
    slowest_ms: u64,
    now_ms: u64,
    on_the_way: BTreeMap<(u64, u64), (usize, Event)>,
    sent: u64,
    recipients: BTreeMap<Passing, To>,
    delivered: BTreeMap<Passing, Vec<usize>>,
    expired: Vec<usize>,
    copies: BTreeMap<(Passing, usize, usize), u32>,
    raises: usize,
    last_ms: u64,
}

impl World {
    fn new(count: usize, links: &[(usize, usize)], seed: u64, slowest_ms: u64) -> Self {
        let mut world = Self {
            routers: (0..count).map(|one| Router::new(agent(one), RouterLimits::default())).collect(),
            links: BTreeSet::new(),
            random: Random(seed),
            slowest_ms,
            now_ms: 0,
            on_the_way: BTreeMap::new(),
            sent: 0,
            recipients: BTreeMap::new(),
            delivered: BTreeMap::new(),
            expired: Vec::new(),
            copies: BTreeMap::new(),
            raises: 0,
            last_ms: 0,
        };
        for (one, two) in links {
            world.link(*one, *two);
        }
        world.tell_neighbours();
        world
    }

    fn link(&mut self, one: usize, two: usize) {
        if one == two || !self.links.insert((one.min(two), one.max(two))) {
            return;
        }
        self.routers[one].handle(self.now_ms, Event::LinkUp(agent(two)));
        self.routers[two].handle(self.now_ms, Event::LinkUp(agent(one)));
    }

    fn cut(&mut self, one: usize, two: usize) {
        assert!(self.links.remove(&(one.min(two), one.max(two))));
        self.routers[one].handle(self.now_ms, Event::LinkDown(agent(two)));
        self.routers[two].handle(self.now_ms, Event::LinkDown(agent(one)));
        self.tell_neighbours();
    }

    fn neighbours(&self, one: usize) -> Vec<usize> {
        self.routers[one].neighbours().map(number).collect()
    }

    fn tell_neighbours(&mut self) {
        for one in 0..self.routers.len() {
            let known: Vec<AgentId> = self.routers[one].neighbours().collect();
            for other in self.neighbours(one) {
                self.routers[other].handle(self.now_ms, Event::Neighbours(agent(one), known.clone()));
            }
        }
    }

    fn card(&self, passing: Passing, at: usize) -> Card {
        let to = self.recipients[&passing];
        match to {
            To::One(one) => Card { passing, to: Some(agent(one)), mine: one == at },
            To::All => Card { passing, to: None, mine: true },
        }
    }

    /// Sends and lets everything arrive; answers who got it, in order of arrival.
    fn send(&mut self, id: u8, attempt: u8, origin: usize, to: To, ttl: u8) -> Vec<usize> {
        let passing = Passing { origin: agent(origin), id: MessageId([id; 16]), attempt };
        self.recipients.insert(passing, to);
        let card = self.card(passing, origin);
        let effects = self.routers[origin].handle(self.now_ms, Event::Send(card, ttl));
        self.carry_out(origin, effects);
        while let Some(((at_ms, _), (at, event))) = self.on_the_way.pop_first() {
            self.now_ms = at_ms;
            let effects = self.routers[at].handle(at_ms, event);
            self.carry_out(at, effects);
        }
        self.delivered.get(&passing).cloned().unwrap_or_default()
    }

    fn carry_out(&mut self, at: usize, effects: Vec<Effect>) {
        for effect in effects {
            let (to, event) = match effect {
                Effect::Forward { to, passing, ttl, spread } => {
                    *self.copies.entry((passing, at, number(to))).or_default() += 1;
                    let card = self.card(passing, number(to));
                    (to, Event::Receive { from: agent(at), card, ttl, spread })
                }
                Effect::Raise { to, passing, ttl } => {
                    self.raises += 1;
                    (to, Event::Raised { from: agent(at), passing, ttl })
                }
                Effect::Deliver(passing) => {
                    self.last_ms = self.now_ms;
                    self.delivered.entry(passing).or_default().push(at);
                    continue;
                }
                Effect::Expired(_) => {
                    self.expired.push(at);
                    continue;
                }
                Effect::Duplicate(_) => continue,
            };
            self.sent += 1;
            let at_ms = self.now_ms + 1 + self.random.below(self.slowest_ms);
            self.on_the_way.insert((at_ms, self.sent), (number(to), event));
        }
    }

    fn copies_of(&self, id: u8) -> u32 {
        self.copies
            .iter()
            .filter(|((passing, ..), _)| passing.id == MessageId([id; 16]))
            .map(|(_, copies)| copies)
            .sum()
    }

    /// Who is within so many hops.
    fn within(&self, origin: usize, hops: usize) -> BTreeSet<usize> {
        let mut distance = BTreeMap::from([(origin, 0)]);
        let mut queue = VecDeque::from([origin]);
        while let Some(one) = queue.pop_front() {
            for other in self.neighbours(one) {
                if !distance.contains_key(&other) {
                    distance.insert(other, distance[&one] + 1);
                    queue.push_back(other);
                }
            }
        }
        distance.into_iter().filter(|(_, far)| *far <= hops).map(|(one, _)| one).collect()
    }

    fn check_each_link_once(&self) {
        let twice: Vec<_> = self.copies.iter().filter(|(_, copies)| **copies > 1).collect();
        assert!(twice.is_empty(), "carried twice in one direction: {twice:?}");
    }
}

fn line(count: usize) -> Vec<(usize, usize)> {
    (1..count).map(|one| (one - 1, one)).collect()
}

fn ring(count: usize) -> Vec<(usize, usize)> {
    (0..count).map(|one| (one, (one + 1) % count)).collect()
}

fn mesh(count: usize) -> Vec<(usize, usize)> {
    (0..count).flat_map(|one| (0..one).map(move |two| (one, two))).collect()
}

#[test]
fn in_a_row_of_agents_a_message_reaches_its_end_and_hops_count() {
    let mut world = World::new(4, &line(4), 1, 5);
    assert_eq!(world.send(1, 0, 0, To::One(3), 9), [3]);
    assert_eq!(world.send(2, 0, 0, To::All, 9), [0, 1, 2, 3]);
    assert!(world.expired.is_empty());
    assert_eq!(world.send(3, 0, 0, To::One(3), 1), [], "TTL 1 does not pass the next agent");
    assert_eq!(world.expired, [1], "which says that it dropped it");
    assert_eq!(world.send(4, 0, 0, To::One(1), 1), [1]);
    assert_eq!(world.send(5, 0, 0, To::One(3), 3), [3]);
    assert_eq!(world.send(6, 0, 0, To::All, 0), [0], "TTL 0 goes nowhere");
    assert_eq!(world.expired, [1, 0]);
    assert_eq!(world.send(7, 0, 0, To::One(3), 200), [3], "more than 9 is 9");
}

#[test]
fn an_answer_goes_back_the_way_the_question_came() {
    let mut world = World::new(8, &ring(8), 1, 5);
    assert_eq!(world.send(1, 0, 0, To::One(3), 9), [3]);
    assert_eq!(world.send(2, 0, 3, To::One(0), 9), [0]);
    assert!(world.copies_of(1) > 3, "a way that is not known is looked for everywhere");
    assert!(world.copies_of(2) <= 5, "{} copies: one way only", world.copies_of(2));
}

#[test]
fn losing_a_link_of_a_ring_is_made_up_for_by_the_other_way() {
    let mut world = World::new(5, &ring(5), 3, 5);
    world.send(1, 0, 0, To::One(2), 9);
    world.send(2, 0, 2, To::One(0), 9);
    world.cut(0, 1);
    assert_eq!(world.send(3, 0, 0, To::One(2), 9), [2]);
    assert_eq!(world.send(4, 0, 2, To::One(0), 9), [0]);
    world.check_each_link_once();
}

#[test]
fn a_way_that_has_died_unseen_is_made_up_for_by_the_next_sending() {
    let mut world = World::new(6, &ring(6), 3, 5);
    world.send(1, 0, 3, To::One(0), 9);
    let next = number(world.routers[0].next_hop(world.now_ms, agent(3)).expect("a way is known"));
    // The agent after the next one has gone, and only the next one knows: what it sends on goes back, not on.
    let after = if next == 1 { 2 } else { 4 };
    world.cut(next, after);
    world.send(2, 0, 0, To::One(3), 9);
    assert_eq!(world.send(2, 1, 0, To::One(3), 9), [3]);
}

#[test]
fn where_everyone_sees_everyone_a_broadcast_is_sent_once_to_each() {
    let mut world = World::new(50, &mesh(50), 1, 20);
    let mut got = world.send(1, 0, 7, To::All, 9);
    got.sort_unstable();
    assert_eq!(got, (0..50).collect::<Vec<_>>());
    assert_eq!((world.copies_of(1), world.raises), (49, 0));
}

#[test]
fn a_thousand_agents_hear_a_broadcast() {
    let mut random = Random(5);
    let mut links = ring(1000);
    links.extend((0..3000).map(|one| (one % 1000, random.below(1000) as usize)));
    let mut world = World::new(1000, &links, 5, 20);
    let got: BTreeSet<usize> = world.send(1, 0, 0, To::All, 9).into_iter().collect();
    assert_eq!(got.len(), 1000);
    world.check_each_link_once();
    println!(
        "1,000 agents, {} links: {} copies, {} raises, the last has it after {} ms at up to 20 ms a hop",
        world.links.len(),
        world.copies_of(1),
        world.raises,
        world.last_ms
    );
}

#[test]
fn nobody_stops_another_agents_message_by_using_its_id() {
    let mut world = World::new(4, &line(4), 1, 5);
    assert_eq!(world.send(1, 0, 1, To::All, 9).len(), 4);
    assert_eq!(world.send(1, 0, 0, To::One(3), 9), [3]);
}

#[test]
fn what_nobody_asked_for_is_not_listened_to() {
    let mut router = Router::new(agent(0), RouterLimits::default());
    router.handle(0, Event::LinkUp(agent(1)));
    router.handle(0, Event::LinkUp(agent(0)));
    let passing = Passing { origin: agent(2), id: MessageId([1; 16]), attempt: 0 };
    let card = Card { passing, to: None, mine: true };
    let receive = |from, ttl| Event::Receive { from: agent(from), card, ttl, spread: Spread::Flood };
    assert_eq!(router.handle(0, receive(3, 9)), [], "of no neighbour");
    assert_eq!(router.handle(0, receive(1, 0)), [], "without hops");
    assert_eq!(router.handle(0, receive(0, 9)), [], "of itself");
    assert_eq!(router.handle(0, receive(1, 9)), [Effect::Deliver(card.passing)]);
    assert_eq!(router.handle(0, receive(1, 9)), [Effect::Duplicate(card.passing)]);
}

#[test]
fn memory_is_bounded_whatever_neighbours_send() {
    let limits = RouterLimits { links: 4, seen: 100, routes: 50, early_raises: 10, ..RouterLimits::default() };
    let mut router = Router::new(agent(0), limits);
    for one in 1..100 {
        router.handle(0, Event::LinkUp(agent(one)));
    }
    assert_eq!(router.neighbours().count(), 4);
    for one in 0..10_000_u64 {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&one.to_be_bytes());
        let passing = Passing { origin: agent(one as usize + 10), id: MessageId(id), attempt: 0 };
        let card = Card { passing, to: None, mine: false };
        let from = agent(1 + one as usize % 4);
        router.handle(one, Event::Receive { from, card, ttl: 9, spread: Spread::Flood });
        let unknown = Passing { origin: agent(9), id: MessageId([1; 16]), attempt: (one % 256) as u8 };
        router.handle(one, Event::Raised { from, passing: unknown, ttl: 9 });
    }
    assert_eq!(router.table_sizes(), (100, 50));
}

fn worlds() -> impl Strategy<Value = (usize, Vec<(usize, usize)>, u64, u64)> {
    (2_usize..14).prop_flat_map(|count| {
        let links = proptest::collection::vec((0..count, 0..count), 1..count * 3);
        (Just(count), links, any::<u64>(), 1_u64..200)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_broadcast_reaches_exactly_who_is_within_its_hops_once((count, links, seed, slowest_ms) in worlds(), ttl in 0_u8..=9) {
        let mut world = World::new(count, &links, seed, slowest_ms);
        let mut got = world.send(1, 0, 0, To::All, ttl);
        got.sort_unstable();
        prop_assert_eq!(got, world.within(0, usize::from(ttl)).into_iter().collect::<Vec<_>>());
        world.check_each_link_once();
    }

    #[test]
    fn who_is_within_reach_gets_what_is_for_it_once_and_nobody_else_does(
        (count, links, seed, slowest_ms) in worlds(), ttl in 1_u8..=9, pairs in proptest::collection::vec((0_usize..14, 0_usize..14), 1..12)
    ) {
        let mut world = World::new(count, &links, seed, slowest_ms);
        for (number, (from, to)) in pairs.into_iter().enumerate() {
            let (from, to, id) = (from % count, to % count, number as u8);
            let mut got = world.send(id, 0, from, To::One(to), ttl);
            if got.is_empty() {
                // A way that was learnt may be longer than another one is.
                got = world.send(id, 1, from, To::One(to), ttl);
            }
            let within = world.within(from, usize::from(ttl)).contains(&to);
            prop_assert!(got.iter().all(|one| *one == to) && got.len() <= 1, "{:?}", got);
            prop_assert!(!within || got == [to], "{from} to {to} within {ttl} hops");
        }
        world.check_each_link_once();
    }

    #[test]
    fn nobody_is_missed_where_neighbours_are_not_told_of((count, links, seed, slowest_ms) in worlds()) {
        let mut world = World::new(count, &links, seed, slowest_ms);
        for one in 0..count {
            for other in world.neighbours(one) {
                if world.random.below(2) == 0 {
                    world.routers[other].handle(0, Event::Neighbours(agent(one), Vec::new()));
                }
            }
        }
        let got: BTreeSet<usize> = world.send(1, 0, 0, To::All, 9).into_iter().collect();
        prop_assert_eq!(got, world.within(0, 9));
        world.check_each_link_once();
    }
}
