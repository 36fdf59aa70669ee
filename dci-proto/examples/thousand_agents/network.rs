//! Who is linked to whom, and what is on its way.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use dci_proto::AgentId;

use crate::DELAY_MS;

/// The same numbers for the same seed (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Ids as keys are: anywhere. The number is in the last bytes.
pub(crate) fn agent(number: usize) -> AgentId {
    let mut key = *blake3::hash(&number.to_le_bytes()).as_bytes();
    key[28..].copy_from_slice(&(number as u32).to_be_bytes());
    AgentId(key)
}

pub(crate) fn number(agent: AgentId) -> usize {
    u32::from_be_bytes(agent.0[28..].try_into().unwrap()) as usize
}

/// Who is linked to whom.
pub(crate) struct Network {
    pub(crate) name: String,
    pub(crate) neighbours: Vec<BTreeSet<usize>>,
}

impl Network {
    pub(crate) fn mesh(count: usize) -> Self {
        let others = |one| (0..count).filter(|other| *other != one).collect();
        Self { name: format!("{count}, all linked"), neighbours: (0..count).map(others).collect() }
    }

    /// A ring, so that all hang together, and links at random.
    pub(crate) fn random(count: usize, degree: usize, seed: u64) -> Self {
        let mut neighbours = vec![BTreeSet::new(); count];
        let mut link = |one: usize, two: usize| {
            if one != two {
                neighbours[one].insert(two);
                neighbours[two].insert(one);
            }
        };
        let mut random = Random(seed);
        for one in 0..count {
            link(one, (one + 1) % count);
            for _ in 0..degree / 2 - 1 {
                link(one, random.below(count as u64) as usize);
            }
        }
        Self { name: format!("{count}, {degree} links each"), neighbours }
    }

    pub(crate) fn len(&self) -> usize {
        self.neighbours.len()
    }

    pub(crate) fn links(&self) -> usize {
        self.neighbours.iter().map(BTreeSet::len).sum::<usize>() / 2
    }

    pub(crate) fn neighbours(&self, one: usize) -> Vec<AgentId> {
        self.neighbours[one].iter().map(|other| agent(*other)).collect()
    }
}

/// What is on its way to an agent.
struct Parcel<T> {
    to: usize,
    content: T,
}

/// All that is on its way, by when it is there.
pub(crate) struct Post<T> {
    pub(crate) now_ms: u64,
    random: Random,
    order: BinaryHeap<Reverse<(u64, usize)>>,
    parcels: Vec<Option<Parcel<T>>>,
    free: Vec<usize>,
}

impl<T> Post<T> {
    pub(crate) fn new(seed: u64) -> Self {
        Self { now_ms: 0, random: Random(seed), order: BinaryHeap::new(), parcels: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn send(&mut self, to: usize, content: T) {
        let delay_ms = DELAY_MS.start() + self.random.below(DELAY_MS.end() - DELAY_MS.start() + 1);
        let parcel = Some(Parcel { to, content });
        let place = self.free.pop().unwrap_or(self.parcels.len());
        if place == self.parcels.len() {
            self.parcels.push(parcel);
        } else {
            self.parcels[place] = parcel;
        }
        self.order.push(Reverse((self.now_ms + delay_ms, place)));
    }

    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.order.peek().map(|Reverse((at_ms, _))| *at_ms)
    }

    /// What arrives next; then it is that time.
    pub(crate) fn receive(&mut self) -> Option<(usize, T)> {
        let Reverse((at_ms, place)) = self.order.pop()?;
        self.now_ms = at_ms;
        self.free.push(place);
        self.parcels[place].take().map(|parcel| (parcel.to, parcel.content))
    }
}

/// The most memory this process has had, where the system tells.
pub(crate) fn peak_memory_kib() -> Option<u64> {
    memory_kib("VmHWM:")
}

/// What `/proc/self/status` says of memory.
pub(crate) fn memory_kib(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
