//! Broadcasts: time until the last agent has one, and copies sent; what routers remember after many.

use dci_proto::router::{Card, Effect, Event, Passing, Router, RouterLimits};
use dci_proto::{AgentId, MessageId};

use crate::network::{Network, Post, Random, agent, number};

/// Broadcasts in a row, each by another agent.
const ROUNDS: u64 = 50;
/// Hops each may go.
const TTL: u8 = 9;

struct World {
    routers: Vec<Router>,
    post: Post<Event>,
    copies: u64,
    raises: u64,
    reached: u64,
    last_ms: u64,
}

impl World {
    fn new(network: &Network, seed: u64) -> Self {
        let routers = (0..network.len()).map(|one| Router::new(agent(one), RouterLimits::default())).collect();
        let mut world = Self { routers, post: Post::new(seed), copies: 0, raises: 0, reached: 0, last_ms: 0 };
        for one in 0..network.len() {
            for other in network.neighbours(one) {
                world.routers[one].handle(0, Event::LinkUp(other));
            }
        }
        for one in 0..network.len() {
            for other in network.neighbours(one) {
                world.routers[one].handle(0, Event::Neighbours(other, network.neighbours(number(other))));
            }
        }
        world
    }

    fn card(passing: Passing, to: Option<AgentId>, at: usize) -> Card {
        Card { passing, to, mine: to.is_none_or(|to| to == agent(at)) }
    }

    fn happens(&mut self, one: usize, to: Option<AgentId>, event: Event) {
        for effect in self.routers[one].handle(self.post.now_ms, event) {
            match effect {
                Effect::Forward { to: next, passing, ttl, spread } => {
                    self.copies += 1;
                    let card = Self::card(passing, to, number(next));
                    self.post.send(number(next), Event::Receive { from: agent(one), card, ttl, spread });
                }
                Effect::Raise { to: next, passing, ttl } => {
                    self.raises += 1;
                    self.post.send(number(next), Event::Raised { from: agent(one), passing, ttl });
                }
                Effect::Deliver(_) => {
                    self.reached += 1;
                    self.last_ms = self.post.now_ms;
                }
                Effect::Expired(_) | Effect::Duplicate(_) => {}
            }
        }
    }

    /// Sends and lets all arrive; answers how long that took until the last had it.
    fn send(&mut self, from: usize, to: Option<AgentId>, number: u64) -> u64 {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        let passing = Passing { origin: agent(from), id: MessageId(id), attempt: 0 };
        let begun_ms = self.post.now_ms;
        self.happens(from, to, Event::Send(Self::card(passing, to, from), TTL));
        while let Some((at, event)) = self.post.receive() {
            self.happens(at, to, event);
        }
        self.last_ms - begun_ms
    }
}

pub(crate) fn head() {
    println!(
        "| agents | links | all have it in: median, longest | reached | copies each, least | raises | remembered: messages, ways | then a unicast: copies, those of its answer |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
}

pub(crate) fn measure(network: &Network, seed: u64) {
    let mut world = World::new(network, seed);
    let mut random = Random(seed);
    let count = network.len() as u64;
    let mut times_ms: Vec<u64> =
        (0..ROUNDS).map(|round| world.send(random.below(count) as usize, None, round)).collect();
    times_ms.sort_unstable();
    let (copies, raises, reached) = (world.copies, world.raises, world.reached);
    let tables = world.routers.iter().map(Router::table_sizes);
    let (messages, ways) = tables.fold((0, 0), |most, one| (most.0.max(one.0), most.1.max(one.1)));
    let (mut questions, mut answers) = (0, 0);
    world.copies = 0;
    for round in ROUNDS..2 * ROUNDS {
        let (from, to) = (random.below(count) as usize, random.below(count) as usize);
        // A question may have to look for its way, the answer knows it.
        world.send(from, Some(agent(to)), 2 * round);
        questions += std::mem::take(&mut world.copies);
        world.send(to, Some(agent(from)), 2 * round + 1);
        answers += std::mem::take(&mut world.copies);
    }
    let each = |sum: u64| sum as f64 / ROUNDS as f64;
    println!(
        "| {} | {} | {}, {} ms | {} of {count} | {:.0}, {} | {:.0} | {messages}, {ways} | {:.1}, {:.1} |",
        network.name,
        network.links(),
        times_ms[times_ms.len() / 2],
        times_ms[times_ms.len() - 1],
        reached / ROUNDS,
        each(copies),
        count - 1,
        each(raises),
        each(questions),
        each(answers),
    );
}
