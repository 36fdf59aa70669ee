//! Agents in memory, in this process, that can be made to fail: what tests of this crate and of the doors run against.
//!
//! Stricter than real ones: a shard whose bytes do not match its hash, a key with other bytes, and a second shard of
//! one stripe are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::{AgentId, ShardHash, ShardKey, shard_hash};
use shoal_placement::Candidate;

use crate::{PeerError, ShardPeers, Urgency};

/// An agent that does not answer is given up by the connection after this long.
const HUNG_FOR: Duration = Duration::from_secs(20);

/// How an agent behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It answers at once.
    Well,
    /// It refuses connections.
    Down,
    /// It takes requests and never answers.
    Hung,
    /// It answers after this long.
    Slow(Duration),
    /// It takes no shards, though its last report says it has room.
    Full,
}

/// What was asked of all agents together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// Shards they were to keep.
    pub puts: u64,
    /// Shards, or parts, they were to give.
    pub gets: u64,
    /// Bytes they gave.
    pub given_bytes: u64,
}

/// A pool's agents in memory. The first is the local one.
pub struct MemoryPeers {
    state: Mutex<State>,
}

struct State {
    agents: BTreeMap<AgentId, Agent>,
    asked: Asked,
}

struct Agent {
    local: bool,
    mood: Mood,
    suspect: bool,
    free_bytes: u64,
    capacity_bytes: u64,
    shards: BTreeMap<ShardKey, Bytes>,
}

impl MemoryPeers {
    /// So many agents, each with room for so many bytes.
    #[must_use]
    pub fn new(count: u8, free_bytes: u64) -> Self {
        let agent = |local| Agent {
            local,
            mood: Mood::Well,
            suspect: false,
            free_bytes,
            capacity_bytes: 1 << 40,
            shards: BTreeMap::new(),
        };
        let agents = (1..=count).map(|number| (AgentId([number; 32]), agent(number == 1))).collect();
        Self { state: Mutex::new(State { agents, asked: Asked::default() }) }
    }

    /// Their ids, in order.
    #[must_use]
    pub fn agents(&self) -> Vec<AgentId> {
        self.lock().agents.keys().copied().collect()
    }

    /// Sets an agent's mood; nobody knows of it yet, and a suspicion against it is over.
    pub fn set_mood(&self, agent: AgentId, mood: Mood) {
        self.change(agent, |agent| {
            agent.mood = mood;
            agent.suspect = false;
        });
    }

    /// Sets the room an agent has and reports.
    pub fn set_free_bytes(&self, agent: AgentId, free_bytes: u64) {
        self.change(agent, |agent| agent.free_bytes = free_bytes);
    }

    /// Has an agent be given nothing new.
    pub fn pause(&self, agent: AgentId) {
        self.change(agent, |agent| (agent.free_bytes, agent.capacity_bytes) = (0, 0));
    }

    /// Flips a bit in a shard, unnoticed by its holder.
    pub fn falsify(&self, agent: AgentId, key: ShardKey) {
        self.change(agent, |agent| {
            if let Some(shard) = agent.shards.get_mut(&key) {
                let mut bytes = shard.to_vec();
                if let Some(byte) = bytes.get_mut(shard.len() / 2) {
                    *byte ^= 1;
                }
                *shard = bytes.into();
            }
        });
    }

    /// Has an agent lose a shard.
    pub fn lose(&self, agent: AgentId, key: ShardKey) {
        self.change(agent, |agent| {
            agent.shards.remove(&key);
        });
    }

    /// The shards an agent holds.
    #[must_use]
    pub fn shards(&self, agent: AgentId) -> Vec<ShardKey> {
        self.lock().agents.get(&agent).map(|agent| agent.shards.keys().copied().collect()).unwrap_or_default()
    }

    /// Shards that all agents together hold.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.lock().agents.values().map(|agent| agent.shards.len()).sum()
    }

    /// Agents that were found not to answer.
    #[must_use]
    pub fn suspects(&self) -> BTreeSet<AgentId> {
        self.lock().agents.iter().filter(|(_, agent)| agent.suspect).map(|(id, _)| *id).collect()
    }

    /// What was asked of them since the last call.
    pub fn take_asked(&self) -> Asked {
        std::mem::take(&mut self.lock().asked)
    }

    fn change(&self, agent: AgentId, change: impl FnOnce(&mut Agent)) {
        if let Some(agent) = self.lock().agents.get_mut(&agent) {
            change(agent);
        }
    }

    async fn answer(&self, id: AgentId) -> Result<(), PeerError> {
        let mood = self.lock().agents.get(&id).map(|agent| agent.mood);
        let unreachable = |reason: &str| PeerError::Unreachable { agent: id, reason: reason.to_owned() };
        match mood {
            None => Err(unreachable("no such agent")),
            Some(Mood::Down) => Err(unreachable("connection refused")),
            Some(Mood::Hung) => {
                tokio::time::sleep(HUNG_FOR).await;
                Err(unreachable("no answer"))
            }
            Some(Mood::Slow(delay)) => {
                tokio::time::sleep(delay).await;
                Ok(())
            }
            Some(Mood::Well | Mood::Full) => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ShardPeers for MemoryPeers {
    async fn put(
        &self,
        agent: AgentId,
        key: ShardKey,
        hash: ShardHash,
        data: Bytes,
        _urgency: Urgency,
    ) -> Result<(), PeerError> {
        self.lock().asked.puts += 1;
        self.answer(agent).await?;
        let mut state = self.lock();
        let Some(holder) = state.agents.get_mut(&agent) else { return Err(PeerError::NotFound(agent)) };
        let refused = |reason: &str| Err(PeerError::Failed { agent, reason: reason.to_owned() });
        if holder.mood == Mood::Full || holder.free_bytes < data.len() as u64 {
            return Err(PeerError::Full(agent));
        }
        if shard_hash(&data) != hash {
            return refused("the shard does not match its hash");
        }
        if holder.shards.get(&key).is_some_and(|there| *there != data) {
            return refused("another shard is there under that key");
        }
        if holder.shards.keys().any(|there| there.stripe == key.stripe && there.index != key.index) {
            return refused("another shard of that stripe is there");
        }
        holder.free_bytes -= data.len() as u64;
        holder.shards.insert(key, data);
        Ok(())
    }

    async fn get(
        &self,
        agent: AgentId,
        key: ShardKey,
        range: Option<Range<u32>>,
        _urgency: Urgency,
    ) -> Result<Bytes, PeerError> {
        self.lock().asked.gets += 1;
        self.answer(agent).await?;
        let mut state = self.lock();
        let shard = state.agents.get(&agent).and_then(|agent| agent.shards.get(&key));
        let Some(shard) = shard.cloned() else { return Err(PeerError::NotFound(agent)) };
        let range = range.map_or(0..shard.len(), |range| range.start as usize..range.end as usize);
        if range.is_empty() || range.end > shard.len() {
            return Err(PeerError::Failed {
                agent,
                reason: format!("a shard of {} bytes has no {range:?}", shard.len()),
            });
        }
        state.asked.given_bytes += range.len() as u64;
        Ok(shard.slice(range))
    }

    async fn delete(&self, agent: AgentId, key: ShardKey) -> Result<(), PeerError> {
        self.answer(agent).await?;
        self.lose(agent, key);
        Ok(())
    }

    fn candidates(&self) -> Vec<Candidate> {
        let state = self.lock();
        let candidate = |(id, agent): (&AgentId, &Agent)| Candidate {
            agent: *id,
            local: agent.local,
            site: String::new(),
            free_bytes: agent.free_bytes,
            capacity_bytes: agent.capacity_bytes,
            suspect: agent.suspect,
            latency_us: 0,
            in_flight: 0,
            standing: 100,
        };
        state.agents.iter().map(candidate).collect()
    }

    fn suspect(&self, agent: AgentId, _reason: &str) {
        self.change(agent, |agent| agent.suspect = true);
    }
}
