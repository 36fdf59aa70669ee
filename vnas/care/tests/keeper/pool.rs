//! A pool of agents that do at once what they are told.

use std::collections::BTreeMap;
use std::time::Duration;

use dci_proto::{AgentId, ContentId, ShardHash, StripeId};
use shoal_care::{AgentFacts, CleaningGrace, Done, Effect, Keeper, KeeperConfig, RebuildJob, Wanted, droppable};
use shoal_ledger::{
    AgentState, ChunkRef, Command, FileContent, Guard, LocalLedger, NewStripe, NodePath, Outcome, ShardPlace,
    StripeRecord, query, validate,
};
use shoal_placement::{Geometry, choose, geometry};

/// Bytes of a chunk and of everything that is counted: 4 MiB.
pub(crate) const CHUNK: u32 = 4 * 1024 * 1024;

pub(crate) struct Pool {
    pub(crate) ledger: LocalLedger,
    pub(crate) keeper: Keeper,
    pub(crate) now: Duration,
    pub(crate) facts: BTreeMap<AgentId, AgentFacts>,
    pub(crate) wanted: Wanted,
    /// Shards copied or rebuilt, in order.
    pub(crate) rebuilt: Vec<RebuildJob>,
    pub(crate) recuts: usize,
    /// Agents whose disk fails.
    pub(crate) broken: Vec<AgentId>,
    next_stripe: u32,
}

pub(crate) fn id(number: u8) -> AgentId {
    AgentId([number; 32])
}

impl Pool {
    /// Agents 1 to `agents`.
    pub(crate) fn new(agents: u8) -> Self {
        let ids: Vec<AgentId> = (1..=agents).map(id).collect();
        let ledger = LocalLedger::with_pool(&ids, "pool").expect("a pool");
        let mut pool = Self {
            ledger,
            keeper: Keeper::new(KeeperConfig::default()),
            now: Duration::ZERO,
            facts: BTreeMap::new(),
            wanted: Wanted { pool: 2, ..Wanted::default() },
            rebuilt: Vec::new(),
            recuts: 0,
            broken: Vec::new(),
            next_stripe: 1,
        };
        ids.iter().for_each(|agent| pool.meet(*agent));
        pool
    }

    fn meet(&mut self, agent: AgentId) {
        let facts = AgentFacts {
            id: agent,
            stores: true,
            mounts: true,
            state: AgentState::Active,
            answers: true,
            doubtful: false,
            absent: false,
            failing: false,
            standing: 100,
            site: String::new(),
            capacity_bytes: 100 << 30,
            free_bytes: 50 << 30,
            used_bytes: 0,
            owed_bytes: 0,
        };
        self.facts.insert(agent, facts);
    }

    pub(crate) fn join(&mut self, number: u8) {
        let agents = query::agents(&*self.ledger.snapshot()).expect("memory");
        let mut agent = agents.first().expect("a member").clone();
        agent.id = id(number);
        self.submit(Command::RequestJoin { agent });
        self.submit(Command::ApproveJoin { agent: id(number) });
        self.meet(id(number));
    }

    pub(crate) fn facts_of(&mut self, number: u8) -> &mut AgentFacts {
        self.facts.get_mut(&id(number)).expect("a member")
    }

    pub(crate) fn submit(&self, command: Command) -> Outcome {
        self.ledger.submit_now(command).expect("taken")
    }

    /// Writes files of one chunk each, cut for the agents there are.
    pub(crate) fn write(&mut self, files: u32) {
        let present = self.facts.values().filter(|facts| facts.answers && !facts.absent).count();
        let cut = geometry(self.wanted.pool, present);
        for _ in 0..files {
            self.write_as(cut);
        }
    }

    pub(crate) fn write_as(&mut self, cut: Geometry) {
        let number = self.next_stripe;
        self.next_stripe += 1;
        let new = self.stripe(number, cut, None);
        let volume = query::volumes(&*self.ledger.snapshot()).expect("memory")[0].id;
        let content = new.record.content;
        self.submit(Command::CommitFile {
            path: NodePath::new(volume, vec![format!("file-{number}")]).expect("a path"),
            guard: Guard::default(),
            content: FileContent::Chunks(vec![ChunkRef { content, plain_bytes: CHUNK, new_stripe: Some(new) }]),
            size_bytes: u64::from(CHUNK),
            modified_ms: None,
            sha1: None,
            media_type: None,
        });
    }

    fn stripe(&self, number: u32, cut: Geometry, replaces: Option<StripeId>) -> NewStripe {
        let mut stripe = [7; 16];
        stripe[..4].copy_from_slice(&number.to_be_bytes());
        let mut content = [9; 32];
        content[..4].copy_from_slice(&number.to_be_bytes());
        self.cut(StripeId(stripe), ContentId(content), cut, replaces)
    }

    fn cut(&self, stripe: StripeId, content: ContentId, cut: Geometry, replaces: Option<StripeId>) -> NewStripe {
        let width = usize::from(cut.k) + usize::from(cut.m);
        let shard_bytes = CHUNK.div_ceil(u32::from(cut.k));
        let situation =
            shoal_care::Situation::new(&self.facts.values().cloned().collect::<Vec<_>>(), self.wanted.clone());
        let seed = u64::from_be_bytes(*stripe.0.first_chunk().expect("eight bytes"));
        let places = choose(&situation.candidates(), width, u64::from(shard_bytes), seed, &[]);
        let shards =
            (0..width).map(|index| ShardPlace { agent: places.get(index).copied(), hash: ShardHash::default() });
        let record = StripeRecord {
            content,
            codec: 2,
            k: cut.k,
            m: cut.m,
            plain_bytes: CHUNK,
            stored_bytes: CHUNK,
            shard_bytes,
            compression: 0,
            key_epoch: 1,
            shards: shards.collect(),
        };
        NewStripe { id: stripe, record, replaces }
    }

    /// Lets the keeper work until it has had nothing to do for a while; panics if it never comes to rest.
    pub(crate) fn settle(&mut self) {
        let mut idle = 0;
        for _ in 0..20_000 {
            idle = if self.step() { 0 } else { idle + 1 };
            if idle > 3_000 {
                return;
            }
        }
        panic!("the keeper never comes to rest: {:?}", self.keeper.progress());
    }

    /// One round, a second later; whether there was anything to do.
    pub(crate) fn step(&mut self) -> bool {
        self.step_after(Duration::from_secs(1))
    }

    /// One round, so much later; whether there was anything to do.
    pub(crate) fn step_after(&mut self, time: Duration) -> bool {
        self.now += time;
        for facts in self.facts.values_mut() {
            facts.used_bytes = query::agent_usage(&*self.ledger.snapshot(), facts.id).expect("memory").bytes;
        }
        let agents: Vec<AgentFacts> = self.facts.values().cloned().collect();
        let view = self.ledger.snapshot();
        let effects = self.keeper.step(self.now, &*view, &agents, &self.wanted).expect("memory");
        let any = !effects.is_empty();
        for effect in effects {
            let done = self.carry_out(effect);
            self.keeper.done(self.now, done);
        }
        any
    }

    /// One round, a second later, in which agents are given work and none of them is done with it.
    pub(crate) fn step_without_an_answer(&mut self) {
        self.now += Duration::from_secs(1);
        let agents: Vec<AgentFacts> = self.facts.values().cloned().collect();
        let view = self.ledger.snapshot();
        let effects = self.keeper.step(self.now, &*view, &agents, &self.wanted).expect("memory");
        for effect in effects.into_iter().filter(|effect| matches!(effect, Effect::Submit(..))) {
            let done = self.carry_out(effect);
            self.keeper.done(self.now, done);
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Done {
        match effect {
            Effect::Submit(ticket, command) => {
                let outcome = self.ledger.submit_now(command).ok();
                validate(&*self.ledger.snapshot()).expect("the ledger holds");
                Done::Submitted(ticket, outcome)
            }
            Effect::Rebuild(ticket, job) => {
                let well = self.facts[&job.to].answers && !self.broken.contains(&job.to);
                self.rebuilt.push(job);
                Done::Worked(ticket, well)
            }
            Effect::Recut(ticket, job) => {
                self.recuts += 1;
                let record = query::stripe(&*self.ledger.snapshot(), job.stripe).expect("memory").expect("there");
                let room = |facts: &&AgentFacts| facts.duty() == shoal_care::Duty::Takes && facts.free_bytes > 0;
                let takers = self.facts.values().filter(room).count();
                let mut stripe = job.stripe;
                stripe.0[15] = stripe.0[15].wrapping_add(1);
                let new = self.cut(stripe, record.content, geometry(job.survive, takers), Some(job.stripe));
                self.submit(Command::ReplaceStripes { stripes: vec![new] });
                Done::Worked(ticket, true)
            }
        }
    }

    pub(crate) fn stripes(&self) -> Vec<(StripeId, StripeRecord)> {
        let mut all = Vec::new();
        query::stripes(&*self.ledger.snapshot(), None, &mut |stripe, record| {
            all.push((stripe, record));
            true
        })
        .expect("memory");
        all
    }

    pub(crate) fn shards_on(&self, number: u8) -> u64 {
        query::agent_usage(&*self.ledger.snapshot(), id(number)).expect("memory").shards
    }

    /// Shards an agent is to drop.
    pub(crate) fn surplus_on(&self, number: u8) -> usize {
        let grace = CleaningGrace { garbage_ms: 0, surplus_ms: 0 };
        let due = droppable(&*self.ledger.snapshot(), grace, &|_| true, 100_000).expect("memory");
        due.surplus.iter().filter(|one| one.agent == id(number)).count()
    }
}
