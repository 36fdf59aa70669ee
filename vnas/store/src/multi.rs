//! Several stores as one: each directory fails for itself.
//!
//! A put goes where most room is, a get asks all. A store that cannot be asked never turns "I do not know" into "not
//! here": as long as one is unplugged or failing, what the others lack is answered with that store's error.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::{ShardHash, ShardKey};

use crate::key_locks::KeyLocks;
use crate::{DiskStore, DiskStoreConfig, ShardInfo, ShardStore, StoreError, StoreSpace};

/// How one of the stores does.
#[derive(Debug, Clone)]
pub struct StoreState {
    /// Its name: the directory.
    pub name: String,
    /// What it has room for; nothing while it is away.
    pub space: StoreSpace,
    /// What is wrong with it as far as the last calls show; `None` if nothing.
    pub problem: Option<StoreError>,
}

/// Several stores as one.
pub struct MultiStore {
    members: Vec<Member>,
    locks: Arc<KeyLocks>,
}

/// A store, or why it could not be opened.
type Opened = Result<Arc<dyn ShardStore>, StoreError>;

struct Member {
    name: String,
    store: Opened,
    problem: Mutex<Option<StoreError>>,
}

impl Member {
    fn opened(&self) -> Result<&Arc<dyn ShardStore>, StoreError> {
        self.store.as_ref().map_err(Clone::clone)
    }

    /// Notes what a call shows of the store itself, and hands the result on.
    fn noting<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        let mut problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        match &result {
            Err(error @ (StoreError::Unplugged(_) | StoreError::Io { .. })) => {
                if problem.is_none() {
                    tracing::warn!(store = %self.name, %error, "a store does not answer");
                }
                *problem = Some(error.clone());
            }
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::warn!(store = %self.name, %error, "a damaged shard");
            }
            _ => *problem = None,
        }
        result
    }

    fn space(&self) -> StoreSpace {
        let unplugged = || StoreSpace { unplugged: true, ..StoreSpace::default() };
        self.store.as_ref().map_or_else(|_| unplugged(), |store| store.space())
    }
}

impl MultiStore {
    /// Joins stores that are open, each under a name for people.
    #[must_use]
    pub fn new(stores: Vec<(String, Arc<dyn ShardStore>)>) -> Self {
        Self::join(stores.into_iter().map(|(name, store)| (name, Ok(store))).collect())
    }

    fn join(stores: Vec<(String, Opened)>) -> Self {
        let members = stores
            .into_iter()
            .map(|(name, store)| Member { name, problem: Mutex::new(store.as_ref().err().cloned()), store })
            .collect();
        Self { members, locks: Arc::default() }
    }

    /// Opens a store in each directory. One that cannot be opened takes no other down; [`MultiStore::states`] tells of
    /// it, and until a restart it counts as unplugged. Blocks.
    ///
    /// # Errors
    /// If none can be opened: the first one's error.
    pub fn open(configs: Vec<DiskStoreConfig>) -> Result<Self, StoreError> {
        let mut stores = Vec::new();
        for config in configs {
            let name = config.directory.display().to_string();
            let store = DiskStore::open(config).map(|store| Arc::new(store) as Arc<dyn ShardStore>);
            if let Err(error) = &store {
                tracing::warn!(store = %name, %error, "a store cannot be opened; going on without it");
            }
            stores.push((name, store));
        }
        if stores.iter().all(|(_, store)| store.is_err()) {
            let nothing = StoreError::Invalid("no store directory is configured".into());
            return Err(stores.into_iter().find_map(|(_, store)| store.err()).unwrap_or(nothing));
        }
        Ok(Self::join(stores))
    }

    /// How each store does.
    #[must_use]
    pub fn states(&self) -> Vec<StoreState> {
        let problem = |member: &Member| member.problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.members
            .iter()
            .map(|member| StoreState { name: member.name.clone(), space: member.space(), problem: problem(member) })
            .collect()
    }

    /// The first store that has the shard. An error only if none has it and one could not say.
    async fn holder(&self, key: ShardKey) -> (Option<&Member>, Option<StoreError>) {
        let mut unsure = None;
        for member in &self.members {
            let info = match member.opened() {
                Ok(store) => member.noting(store.info(key).await),
                Err(error) => Err(error),
            };
            match info {
                Ok(Some(_)) | Err(StoreError::Damaged { .. }) => return (Some(member), None),
                Ok(None) => {}
                Err(error) => unsure = Some(error),
            }
        }
        (None, unsure)
    }

    /// Members by free space, most first.
    fn by_free_space(&self) -> Vec<&Member> {
        let mut members: Vec<_> = self.members.iter().map(|member| (member.space().free_bytes, member)).collect();
        members.sort_by_key(|(free, _)| std::cmp::Reverse(*free));
        members.into_iter().map(|(_, member)| member).collect()
    }
}

/// Which of two refusals says more: damage over a failing disk, a failing disk over a full one, all over "not here".
fn weightier(a: StoreError, b: StoreError) -> StoreError {
    let weight = |error: &StoreError| match error {
        StoreError::Damaged { .. } => 4,
        StoreError::Io { .. } => 3,
        StoreError::Unplugged(_) => 2,
        StoreError::Full(_) => 1,
        StoreError::NotFound(_) | StoreError::Conflict(_) | StoreError::Invalid(_) => 0,
    };
    if weight(&b) > weight(&a) { b } else { a }
}

/// Asks members one after the other until one has the shard.
macro_rules! ask_each {
    ($self:ident, $key:ident, $store:ident => $call:expr) => {{
        let mut refusal = StoreError::NotFound($key);
        for member in &$self.members {
            let answer = match member.opened() {
                Ok($store) => member.noting($call.await),
                Err(error) => Err(error),
            };
            match answer {
                Ok(found) => return Ok(found),
                Err(error @ StoreError::Invalid(_)) => return Err(error),
                Err(error) => refusal = weightier(refusal, error),
            }
        }
        Err(refusal)
    }};
}

#[async_trait]
impl ShardStore for MultiStore {
    async fn put(&self, key: ShardKey, data: Bytes, expected: Option<ShardHash>) -> Result<ShardHash, StoreError> {
        let _guard = self.locks.lock(key).await;
        if let [only] = self.members.as_slice() {
            return only.noting(only.opened()?.put(key, data, expected).await);
        }
        if let (Some(holder), _) = self.holder(key).await {
            return holder.noting(holder.opened()?.put(key, data, expected).await);
        }
        let mut refusal: Option<StoreError> = None;
        for member in self.by_free_space() {
            let result = match member.opened() {
                Ok(store) => member.noting(store.put(key, data.clone(), expected).await),
                Err(error) => Err(error),
            };
            match result {
                Err(error @ (StoreError::Full(_) | StoreError::Unplugged(_) | StoreError::Io { .. })) => {
                    // A full store that works says more of the whole than one that is away.
                    refusal = match (refusal, error) {
                        (Some(full @ StoreError::Full(_)), _) | (_, full @ StoreError::Full(_)) => Some(full),
                        (earlier, error) => earlier.or(Some(error)),
                    };
                }
                decided => return decided,
            }
        }
        Err(refusal.unwrap_or_else(|| StoreError::Full("there is no store".into())))
    }

    async fn get(&self, key: ShardKey, range: Option<Range<u32>>) -> Result<Bytes, StoreError> {
        ask_each!(self, key, store => store.get(key, range.clone()))
    }

    async fn info(&self, key: ShardKey) -> Result<Option<ShardInfo>, StoreError> {
        let mut unsure: Option<StoreError> = None;
        for member in &self.members {
            let answer = match member.opened() {
                Ok(store) => member.noting(store.info(key).await),
                Err(error) => Err(error),
            };
            match answer {
                Ok(Some(info)) => return Ok(Some(info)),
                Ok(None) => {}
                Err(error) => unsure = Some(unsure.map_or(error.clone(), |earlier| weightier(earlier, error))),
            }
        }
        unsure.map_or(Ok(None), Err)
    }

    async fn verify(&self, key: ShardKey) -> Result<ShardInfo, StoreError> {
        ask_each!(self, key, store => store.verify(key))
    }

    /// Drops it wherever it can be found; an error if it was found nowhere and a store could not be asked.
    async fn delete(&self, key: ShardKey) -> Result<(), StoreError> {
        let _guard = self.locks.lock(key).await;
        let (mut found, mut unsure) = (false, None);
        for member in &self.members {
            let here = match member.opened() {
                Ok(store) => member.noting(store.info(key).await),
                Err(error) => Err(error),
            };
            match here {
                Ok(None) => {}
                Ok(Some(_)) | Err(StoreError::Damaged { .. }) => {
                    member.noting(member.opened()?.delete(key).await)?;
                    found = true;
                }
                // It may lie there on a bad sector, which does not keep it from being dropped.
                Err(StoreError::Io { .. }) => match member.noting(member.opened()?.delete(key).await) {
                    Ok(()) => found = true,
                    Err(error) => unsure = Some(error),
                },
                Err(error) => unsure = Some(error),
            }
        }
        unsure.filter(|_| !found).map_or(Ok(()), Err)
    }

    /// Lists what the stores that answer hold: not being listed proves nothing while [`MultiStore::states`] shows a
    /// problem. An error only if none answers.
    async fn list(&self, after: Option<ShardKey>, limit: usize) -> Result<Vec<ShardInfo>, StoreError> {
        let (mut listed, mut refusal, mut answered) = (Vec::new(), None, false);
        for member in &self.members {
            let answer = match member.opened() {
                Ok(store) => member.noting(store.list(after, limit).await),
                Err(error) => Err(error),
            };
            match answer {
                Ok(mut shards) => {
                    answered = true;
                    listed.append(&mut shards);
                }
                Err(error) => refusal = Some(error),
            }
        }
        if !answered && let Some(error) = refusal {
            return Err(error);
        }
        listed.sort_by_key(|info| info.key);
        listed.dedup_by_key(|info| info.key);
        listed.truncate(limit);
        Ok(listed)
    }

    fn space(&self) -> StoreSpace {
        self.members.iter().map(Member::space).fold(StoreSpace::default(), |sum, space| StoreSpace {
            capacity_bytes: sum.capacity_bytes.saturating_add(space.capacity_bytes),
            used_bytes: sum.used_bytes.saturating_add(space.used_bytes),
            free_bytes: sum.free_bytes.saturating_add(space.free_bytes),
            shards: sum.shards.saturating_add(space.shards),
            unplugged: sum.unplugged || space.unplugged,
        })
    }
}
