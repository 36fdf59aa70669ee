//! The network: delay, reordering, duplicates that come late, loss, partitions, links cut one way.

use crate::exec::{MS, Owner, SECOND, Slot};
use crate::rng::Rng;
use crate::serve::{Reply, Request, serve};
use crate::world::{AGENTS_LIMIT, Sim, World};

/// Nobody answered in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Silence;

/// What the network does to messages now.
pub(crate) struct Net {
    /// From, to.
    cut: [[bool; AGENTS_LIMIT]; AGENTS_LIMIT],
    pub(crate) loss_per_mille: u64,
    pub(crate) duplicates_per_mille: u64,
    pub(crate) usual_duplicates_per_mille: u64,
    /// Delays are up to this many times as long.
    pub(crate) slowness: u64,
}

impl Default for Net {
    fn default() -> Self {
        let cut = [[false; AGENTS_LIMIT]; AGENTS_LIMIT];
        Self { cut, loss_per_mille: 0, duplicates_per_mille: 0, usual_duplicates_per_mille: 20, slowness: 1 }
    }
}

impl Net {
    /// How long a message takes; `None`: it is lost.
    fn delay_us(&self, rng: &mut Rng, from: usize, to: usize) -> Option<u64> {
        if self.cut[from][to] || rng.chance(self.loss_per_mille) {
            return None;
        }
        let usual = rng.range(MS / 5, 3 * MS);
        Some(if rng.chance(20) { usual * self.slowness * 20 } else { usual * self.slowness })
    }

    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut[from][to]
    }

    pub(crate) fn set_cut(&mut self, from: usize, to: usize, cut: bool) {
        self.cut[from][to] = cut;
    }

    /// Lets everyone reach everyone.
    pub(crate) fn heal(&mut self) {
        *self = Self::default();
    }
}

impl World {
    /// Whether two agents that run reach each other both ways.
    pub(crate) fn linked(&self, one: usize, other: usize) -> bool {
        let runs = self.runs(one) && self.runs(other);
        runs && (one == other || !(self.net.is_cut(one, other) || self.net.is_cut(other, one)))
    }

    /// How long a message from one to the other takes; `None`: it does not come.
    pub(crate) fn route(&mut self, from: usize, to: usize) -> Option<u64> {
        self.counters.messages += 1;
        self.net.delay_us(&mut self.rng, from, to)
    }
}

impl Sim {
    /// Asks an agent and waits for its answer, at most `timeout_us`.
    pub(crate) async fn call(
        &self,
        from: usize,
        to: usize,
        request: Request,
        timeout_us: u64,
    ) -> Result<Reply, Silence> {
        if from == to {
            return Ok(Box::pin(serve(self.clone(), to, from, request)).await);
        }
        let slot: Slot<Result<Reply, Silence>> = Slot::default();
        let (first, copy) = self.with(|world| {
            let first = world.route(from, to);
            let duplicates = world.net.duplicates_per_mille;
            let copy = world.rng.chance(duplicates).then(|| world.rng.range(MS, 60 * SECOND));
            (first, copy)
        });
        for (after, slot) in [(first, slot.clone()), (copy, Slot::default())] {
            let Some(after) = after else { continue };
            let request = request.clone();
            self.at(after, move |sim| deliver(sim, from, to, request, slot));
        }
        let run = self.with(|world| world.agents[from].run);
        self.fill_later(Owner::Agent(from, run), timeout_us, slot.clone(), Err(Silence));
        slot.wait().await
    }
}

/// A message comes to its agent: nothing happens if that is down; one that sleeps may find it when it wakes.
fn deliver(sim: &Sim, from: usize, to: usize, request: Request, slot: Slot<Result<Reply, Silence>>) {
    let run = sim.with(|world| {
        if !world.agents[to].up || world.net.is_cut(from, to) {
            return None;
        }
        if world.agents[to].asleep {
            if world.rng.chance(500) {
                let (request, slot) = (request.clone(), slot.clone());
                world.agents[to].on_wake.push(Box::new(move |sim| deliver(sim, from, to, request, slot)));
            }
            return None;
        }
        Some(world.agents[to].run)
    });
    let Some(run) = run else { return };
    let here = sim.clone();
    sim.spawn(Owner::Agent(to, run), async move {
        let reply = serve(here.clone(), to, from, request).await;
        here.with(|world| {
            if let Some(after) = world.route(to, from) {
                world.at(after, move |_| slot.fill(Ok(reply)));
            }
        });
    });
}
