//! A disk that misbehaves by a seed, round any other store: for tests of what stands on top.
//!
//! Stricter than reality: damage spoils a whole shard, a crash decides anew for every unfinished put whether it is
//! kept, lost or torn, and with `lost_rename` even acknowledged puts vanish in a crash, as on disks that lie.
//! All time is tokio's, so a paused clock makes slowness free.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::{ShardHash, ShardKey};

use crate::{ShardInfo, ShardStore, StoreError, StoreSpace};

/// How often what goes wrong: 0 never, 1 always.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FaultRates {
    /// A call fails with an I/O error and has no effect.
    pub io_error: f64,
    /// A put finds the disk full.
    pub full: f64,
    /// A put that a crash interrupts is torn: there under its name, but damaged. (Else kept or lost, evenly.)
    pub torn_write: f64,
    /// A put is acknowledged but its name is not durable: the next crash loses it.
    pub lost_rename: f64,
    /// A read finds a bit flipped; the shard stays damaged.
    pub bit_flip: f64,
    /// A call takes `slow_time` longer.
    pub slow: f64,
    /// How much longer.
    pub slow_time: Duration,
}

/// A store that misbehaves by a seed.
pub struct FaultyStore<S> {
    inner: S,
    state: Mutex<State>,
    /// One change of the inner store at a time, so that a crash finds each one begun or not begun.
    changing: tokio::sync::Mutex<()>,
}

struct State {
    rates: FaultRates,
    random: u64,
    crashed: bool,
    /// Crashes so far.
    crashes: u64,
    injected: u64,
    /// Puts written but not answered yet.
    pending: BTreeSet<ShardKey>,
    /// Puts answered whose names are not durable.
    unsynced: BTreeSet<ShardKey>,
    /// Lost in a crash, though the inner store still has them.
    lost: BTreeSet<ShardKey>,
    damaged: BTreeMap<ShardKey, &'static str>,
}

impl State {
    /// The next number of the seed (splitmix64).
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn strikes(&mut self, rate: f64) -> bool {
        // 53 bits make a fraction exactly.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let drawn = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        let strikes = drawn < rate;
        self.injected += u64::from(strikes);
        strikes
    }

    fn check_damage(&self, key: ShardKey) -> Result<(), StoreError> {
        match self.damaged.get(&key) {
            Some(reason) => Err(StoreError::Damaged { key, reason: (*reason).to_owned() }),
            None => Ok(()),
        }
    }
}

fn crashed() -> StoreError {
    StoreError::Io { action: "use the faulty store".into(), reason: "it has crashed".into() }
}

impl<S: ShardStore> FaultyStore<S> {
    /// Wraps a store. The same seed and the same calls in the same order give the same faults.
    pub fn new(inner: S, seed: u64, rates: FaultRates) -> Self {
        let state = State {
            rates,
            random: seed,
            crashed: false,
            crashes: 0,
            injected: 0,
            pending: BTreeSet::new(),
            unsynced: BTreeSet::new(),
            lost: BTreeSet::new(),
            damaged: BTreeMap::new(),
        };
        Self { inner, state: Mutex::new(state), changing: tokio::sync::Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on misbehaves so often.
    pub fn set_rates(&self, rates: FaultRates) {
        self.state().rates = rates;
    }

    /// Spoils a shard, as a flipped bit on the disk does.
    pub fn damage(&self, key: ShardKey) {
        self.state().damaged.insert(key, "a bit was flipped by hand");
    }

    /// Faults that struck so far.
    pub fn injected(&self) -> u64 {
        self.state().injected
    }

    /// Power is cut: what is not answered is kept, lost or torn, and every call fails until [`FaultyStore::restart`].
    pub fn crash(&self) {
        let mut state = self.state();
        state.crashed = true;
        state.crashes += 1;
        let torn_rate = state.rates.torn_write;
        for key in std::mem::take(&mut state.pending) {
            if state.strikes(torn_rate) {
                state.damaged.insert(key, "a crash tore it");
            } else if state.next() & 1 == 0 {
                state.lost.insert(key);
            }
        }
        let mut unsynced = std::mem::take(&mut state.unsynced);
        state.lost.append(&mut unsynced);
    }

    /// Power is back.
    pub fn restart(&self) {
        self.state().crashed = false;
    }

    /// What precedes every call; answers how many crashes there were.
    async fn begin(&self) -> Result<u64, StoreError> {
        let (delay, result) = {
            let mut state = self.state();
            let (slow, io_error) = (state.rates.slow, state.rates.io_error);
            let delay = state.strikes(slow).then_some(state.rates.slow_time);
            let result = if state.crashed {
                Err(crashed())
            } else if state.strikes(io_error) {
                Err(StoreError::Io { action: "use the faulty store".into(), reason: "input/output error".into() })
            } else {
                Ok(state.crashes)
            };
            (delay, result)
        };
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        result
    }

    /// What precedes every read of a shard.
    async fn begin_read(&self, key: ShardKey) -> Result<(), StoreError> {
        self.begin().await?;
        let mut state = self.state();
        if state.lost.contains(&key) {
            return Err(StoreError::NotFound(key));
        }
        state.check_damage(key)?;
        let rate = state.rates.bit_flip;
        if state.strikes(rate) {
            state.damaged.insert(key, "a bit was flipped");
        }
        Ok(())
    }

    /// Error if the power was cut since `crashes` were counted.
    fn survived(&self, crashes: u64) -> Result<(), StoreError> {
        if self.state().crashes == crashes { Ok(()) } else { Err(crashed()) }
    }

    /// Makes what a crash lost, or damaged beyond use, really gone before the key is written.
    async fn clear(&self, key: ShardKey) -> Result<(), StoreError> {
        let gone = {
            let state = self.state();
            state.lost.contains(&key) || state.damaged.contains_key(&key)
        };
        if gone {
            self.inner.delete(key).await?;
            let mut state = self.state();
            state.lost.remove(&key);
            state.damaged.remove(&key);
        }
        Ok(())
    }

    /// Writes it, and answers whether it is new.
    async fn change(
        &self,
        key: ShardKey,
        data: Bytes,
        expected: Option<ShardHash>,
    ) -> Result<(ShardHash, bool), StoreError> {
        let fresh = self.inner.info(key).await?.is_none();
        let hash = self.inner.put(key, data, expected).await?;
        if fresh {
            self.state().pending.insert(key);
        }
        Ok((hash, fresh))
    }
}

#[async_trait]
impl<S: ShardStore> ShardStore for FaultyStore<S> {
    async fn put(&self, key: ShardKey, data: Bytes, expected: Option<ShardHash>) -> Result<ShardHash, StoreError> {
        let crashes = self.begin().await?;
        let full = {
            let mut state = self.state();
            let rate = state.rates.full;
            state.strikes(rate)
        };
        if full {
            return Err(StoreError::Full("no space left on the faulty store".into()));
        }
        let (hash, fresh) = {
            let _one = self.changing.lock().await;
            self.survived(crashes)?;
            self.clear(key).await?;
            self.change(key, data, expected).await?
        };
        // Between written and answered: the moment at which crashes hurt.
        let delay = {
            let mut state = self.state();
            let slow = state.rates.slow;
            state.strikes(slow).then_some(state.rates.slow_time)
        };
        match delay {
            Some(delay) => tokio::time::sleep(delay).await,
            None => tokio::task::yield_now().await,
        }
        self.survived(crashes)?;
        let mut state = self.state();
        state.pending.remove(&key);
        let rate = state.rates.lost_rename;
        if fresh && state.strikes(rate) {
            state.unsynced.insert(key);
        }
        Ok(hash)
    }

    async fn get(&self, key: ShardKey, range: Option<Range<u32>>) -> Result<Bytes, StoreError> {
        self.begin_read(key).await?;
        let data = self.inner.get(key, range).await?;
        self.state().check_damage(key)?;
        Ok(data)
    }

    async fn info(&self, key: ShardKey) -> Result<Option<ShardInfo>, StoreError> {
        self.begin().await?;
        if self.state().lost.contains(&key) {
            return Ok(None);
        }
        self.inner.info(key).await
    }

    async fn verify(&self, key: ShardKey) -> Result<ShardInfo, StoreError> {
        self.begin_read(key).await?;
        let info = self.inner.verify(key).await?;
        self.state().check_damage(key)?;
        Ok(info)
    }

    async fn delete(&self, key: ShardKey) -> Result<(), StoreError> {
        let crashes = self.begin().await?;
        let _one = self.changing.lock().await;
        self.survived(crashes)?;
        self.inner.delete(key).await?;
        let mut state = self.state();
        state.lost.remove(&key);
        state.damaged.remove(&key);
        state.unsynced.remove(&key);
        state.pending.remove(&key);
        Ok(())
    }

    async fn list(&self, after: Option<ShardKey>, limit: usize) -> Result<Vec<ShardInfo>, StoreError> {
        self.begin().await?;
        let (mut listed, mut after) = (Vec::new(), after);
        while listed.len() < limit {
            let page = self.inner.list(after, limit).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key);
            let state = self.state();
            listed.extend(page.into_iter().filter(|info| !state.lost.contains(&info.key)));
        }
        listed.truncate(limit);
        Ok(listed)
    }

    fn space(&self) -> StoreSpace {
        self.inner.space()
    }
}
