//! From whom what is fetched next, and what to do when that fails.
//!
//! An object is fetched from one source at a time. If that breaks off, what has come is kept, and the rest is fetched from
//! the next one. When the whole then has the wrong hash and it came from several, nobody can say who lied: it is fetched once
//! more, from one source alone. One that alone gave wrong bytes is a liar and not asked any more.

use std::collections::{BTreeMap, BTreeSet};

use dci_proto::AgentId;

use super::sources::{Candidate, SOURCES_LIMIT, nearest};
use crate::now::{HOUR_MS, SECOND_MS, backoff_ms};
use crate::object::{Object, ObjectName};
use crate::order::Lacking;

/// Objects fetched at once.
pub const FETCHES: usize = 8;
/// Of these from one source, at most.
pub const FETCHES_OF_SOURCE: usize = 4;
/// A fetch of which no byte came for this time has broken off.
pub const STALL_MS: u64 = 30 * SECOND_MS;
/// Begun objects that are kept, at most.
const BEGUN_LIMIT: usize = 64;
const RETRY_FIRST_MS: u64 = 2 * SECOND_MS;
const RETRY_LIMIT_MS: u64 = HOUR_MS;

/// Fetch (the rest of) an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetch {
    /// From whom.
    pub from: AgentId,
    /// What.
    pub object: Object,
    /// From which byte on. What came before is kept by the shell; from 0 on, nothing is.
    pub offset: u64,
}

/// Why a fetch ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchFailure {
    /// No answer, or the connection broke.
    Unreachable,
    /// It does not have it.
    Missing,
}

/// What became of an object of which all bytes came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// It is good: store it.
    Good,
    /// It is not, and this source alone gave it.
    Lied(AgentId),
    /// It is not, and nobody knows whose fault it is. What came is thrown away.
    Unclear,
}

#[derive(Debug, Clone, Default)]
struct Source {
    distance_ms: u64,
    has: BTreeSet<ObjectName>,
    lied: bool,
    failures: u32,
    not_before_ms: u64,
}

#[derive(Debug, Clone)]
struct Running {
    from: AgentId,
    object: Object,
    heard_ms: u64,
}

/// What has come of an object.
#[derive(Debug, Clone, Default)]
struct Begun {
    bytes: u64,
    from: BTreeSet<AgentId>,
    alone: bool,
}

/// Fetches of one owner's objects.
#[derive(Debug, Clone, Default)]
pub struct Fetcher {
    sources: BTreeMap<AgentId, Source>,
    running: BTreeMap<ObjectName, Running>,
    begun: BTreeMap<ObjectName, Begun>,
}

impl Fetcher {
    /// Somebody can be asked, and has these of the objects that are lacking. Said anew, it takes the place of what was said.
    /// A liar stays one. Of more than [`SOURCES_LIMIT`] the further ones are not taken.
    pub fn source(&mut self, agent: AgentId, distance_ms: u64, has: impl IntoIterator<Item = ObjectName>) {
        if self.sources.len() >= SOURCES_LIMIT && !self.sources.contains_key(&agent) {
            return;
        }
        let source = self.sources.entry(agent).or_default();
        source.distance_ms = distance_ms;
        source.has = has.into_iter().collect();
        (source.failures, source.not_before_ms) = (0, 0);
    }

    /// Somebody cannot be asked any more. What it was asked for is asked of others.
    pub fn source_gone(&mut self, agent: AgentId) {
        if let Some(source) = self.sources.get_mut(&agent) {
            source.has.clear();
        }
        let lost: Vec<ObjectName> = self.of_source(agent).collect();
        lost.into_iter().for_each(|name| self.break_off(&name));
    }

    fn of_source(&self, agent: AgentId) -> impl Iterator<Item = ObjectName> {
        self.running.iter().filter(move |(_, running)| running.from == agent).map(|(name, _)| *name)
    }

    /// These travel along with a tail from somebody ([`super::ship()`]): they are on their way, and fetched only if they fail.
    pub fn shipped(&mut self, from: AgentId, objects: impl IntoIterator<Item = Object>, steady_ms: u64) {
        for object in objects {
            if !self.running.contains_key(&object.name) {
                self.begun.entry(object.name).or_default().bytes = 0;
                self.running.insert(object.name, Running { from, object, heard_ms: steady_ms });
            }
        }
    }

    /// What is to be fetched now, of what is lacking.
    pub fn due(&mut self, lacking: &Lacking<Object>, steady_ms: u64) -> Vec<Fetch> {
        self.expire(steady_ms);
        let mut fetches = Vec::new();
        let mut busy: BTreeMap<AgentId, usize> = BTreeMap::new();
        for running in self.running.values() {
            *busy.entry(running.from).or_default() += 1;
        }
        for object in lacking.ready() {
            if self.running.len() >= FETCHES {
                break;
            }
            if self.running.contains_key(&object.name) {
                continue;
            }
            let candidates = self.sources.iter().filter(|(_, source)| source.can_give(&object.name, steady_ms));
            let candidates = candidates.map(|(agent, source)| Candidate {
                agent: *agent,
                distance_ms: source.distance_ms,
                busy: busy.get(agent).copied().unwrap_or(0),
            });
            let free = candidates.filter(|candidate| candidate.busy < FETCHES_OF_SOURCE);
            let Some(from) = nearest(free, &object.name) else { continue };
            *busy.entry(from).or_default() += 1;
            fetches.push(Fetch { from, object: *object, offset: self.begin(from, object, steady_ms) });
        }
        fetches
    }

    fn begin(&mut self, from: AgentId, object: &Object, steady_ms: u64) -> u64 {
        let running = Running { from, object: *object, heard_ms: steady_ms };
        self.running.insert(object.name, running);
        while self.begun.len() >= BEGUN_LIMIT && !self.begun.contains_key(&object.name) {
            let idle = self.begun.keys().find(|name| !self.running.contains_key(name)).copied();
            let Some(idle) = idle else { break };
            self.begun.remove(&idle);
        }
        let begun = self.begun.entry(object.name).or_default();
        if begun.alone && !begun.from.contains(&from) {
            (begun.bytes, begun.from) = (0, BTreeSet::new());
        }
        begun.bytes
    }

    /// From whom an object comes now. Bytes of it that come late from anybody else are to be thrown away.
    #[must_use]
    pub fn from_whom(&self, name: &ObjectName) -> Option<AgentId> {
        self.running.get(name).map(|running| running.from)
    }

    /// So many bytes of an object have come and are kept.
    pub fn came(&mut self, name: &ObjectName, bytes: u64, steady_ms: u64) {
        let Some(running) = self.running.get_mut(name) else { return };
        running.heard_ms = steady_ms;
        let begun = self.begun.entry(*name).or_default();
        let bytes = bytes.min(running.object.size_bytes);
        if bytes > begun.bytes {
            begun.bytes = bytes;
            begun.from.insert(running.from);
        }
    }

    /// All bytes of an object have come; whether its hash is right. `None` if it was not on its way.
    pub fn ended(&mut self, name: &ObjectName, hash_is_right: bool) -> Option<Fetched> {
        let running = self.running.remove(name)?;
        let begun = self.begun.remove(name).unwrap_or_default();
        if hash_is_right {
            if let Some(source) = self.sources.get_mut(&running.from) {
                source.failures = 0;
            }
            return Some(Fetched::Good);
        }
        if begun.from.iter().any(|from| *from != running.from) {
            self.begun.insert(*name, Begun { alone: true, ..Begun::default() });
            return Some(Fetched::Unclear);
        }
        if let Some(source) = self.sources.get_mut(&running.from) {
            source.lied = true;
        }
        Some(Fetched::Lied(running.from))
    }

    /// A fetch ended early.
    pub fn failed(&mut self, name: &ObjectName, why: FetchFailure, steady_ms: u64) {
        let Some(running) = self.running.get(name) else { return };
        if let Some(source) = self.sources.get_mut(&running.from) {
            match why {
                FetchFailure::Missing => _ = source.has.remove(name),
                FetchFailure::Unreachable => {
                    source.failures = source.failures.saturating_add(1);
                    let wait_ms = backoff_ms(source.failures, RETRY_FIRST_MS, RETRY_LIMIT_MS);
                    source.not_before_ms = steady_ms.saturating_add(wait_ms);
                }
            }
        }
        self.break_off(name);
    }

    fn break_off(&mut self, name: &ObjectName) {
        self.running.remove(name);
        if self.begun.get(name).is_some_and(|begun| begun.bytes == 0 && !begun.alone) {
            self.begun.remove(name);
        }
    }

    fn expire(&mut self, steady_ms: u64) {
        let stalled = |running: &Running| steady_ms.saturating_sub(running.heard_ms) >= STALL_MS;
        let stalled: Vec<ObjectName> =
            self.running.iter().filter(|(_, running)| stalled(running)).map(|(name, _)| *name).collect();
        stalled.iter().for_each(|name| self.failed(name, FetchFailure::Unreachable, steady_ms));
    }

    /// An object need not be fetched any more. What has come of it may go.
    pub fn given_up(&mut self, name: &ObjectName) {
        self.running.remove(name);
        self.begun.remove(name);
    }

    /// Objects on their way.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }
}

impl Source {
    fn can_give(&self, name: &ObjectName, steady_ms: u64) -> bool {
        !self.lied && steady_ms >= self.not_before_ms && self.has.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::tests::object;
    use crate::object::ObjectKind;

    const NEAR: AgentId = AgentId([1; 32]);
    const FAR: AgentId = AgentId([2; 32]);

    fn pack(number: u64) -> Object {
        object(number, ObjectKind::Pack, 1)
    }

    fn setting(count: u64) -> (Fetcher, Lacking<Object>) {
        let (mut fetcher, mut lacking) = (Fetcher::default(), Lacking::default());
        (0..count).for_each(|number| lacking.insert(&pack(number), number + 1, pack(number)));
        for (source, distance_ms) in [(NEAR, 1), (FAR, 500)] {
            fetcher.source(source, distance_ms, (0..count).map(|number| pack(number).name));
        }
        (fetcher, lacking)
    }

    #[test]
    fn near_first_bounded_for_each_and_in_all() {
        let (mut fetcher, lacking) = setting(20);
        let fetches = fetcher.due(&lacking, 0);
        assert_eq!((fetches.len(), fetches.iter().filter(|fetch| fetch.from == NEAR).count()), (FETCHES, 4));
        assert_eq!(fetcher.due(&lacking, 0), []);
    }

    #[test]
    fn what_breaks_off_goes_on_where_it_was_from_another() {
        let (mut fetcher, mut lacking) = setting(1);
        let name = pack(0).name;
        assert_eq!(fetcher.due(&lacking, 0), [Fetch { from: NEAR, object: pack(0), offset: 0 }]);
        fetcher.came(&name, 60, 10);
        fetcher.failed(&name, FetchFailure::Unreachable, 10);
        assert_eq!(fetcher.due(&lacking, 10), [Fetch { from: FAR, object: pack(0), offset: 60 }]);
        fetcher.came(&name, 70, 20);
        assert_eq!(
            fetcher.due(&lacking, 20 + STALL_MS),
            [Fetch { from: NEAR, object: pack(0), offset: 70 }],
            "it stalled"
        );
        assert_eq!(fetcher.ended(&name, true), Some(Fetched::Good));
        lacking.remove(&pack(0), 1);
        assert_eq!((fetcher.due(&lacking, 99), fetcher.ended(&name, true)), (vec![], None));
    }

    #[test]
    fn a_liar_is_found_even_if_the_bytes_came_from_two() {
        let (mut fetcher, lacking) = setting(1);
        let name = pack(0).name;
        fetcher.due(&lacking, 0);
        fetcher.came(&name, 60, 0);
        fetcher.failed(&name, FetchFailure::Unreachable, 0);
        assert_eq!(fetcher.due(&lacking, 0)[0].from, FAR);
        fetcher.came(&name, 100, 0);
        assert_eq!(fetcher.ended(&name, false), Some(Fetched::Unclear));
        let again = RETRY_FIRST_MS;
        assert_eq!(fetcher.due(&lacking, again), [Fetch { from: NEAR, object: pack(0), offset: 0 }]);
        fetcher.came(&name, 60, again);
        fetcher.failed(&name, FetchFailure::Unreachable, again);
        assert_eq!(
            fetcher.due(&lacking, again),
            [Fetch { from: FAR, object: pack(0), offset: 0 }],
            "alone, from the start"
        );
        fetcher.came(&name, 100, again);
        assert_eq!(fetcher.ended(&name, false), Some(Fetched::Lied(FAR)));
        fetcher.source(FAR, 0, [name]);
        assert_eq!(fetcher.due(&lacking, u64::MAX)[0].from, NEAR, "a liar is not asked any more");
    }

    #[test]
    fn what_travels_along_is_not_fetched_and_what_somebody_has_not_is_asked_of_another() {
        let (mut fetcher, lacking) = setting(2);
        fetcher.shipped(FAR, [pack(0), pack(1)], 0);
        assert_eq!((fetcher.due(&lacking, 0), fetcher.running()), (vec![], 2));
        assert_eq!(fetcher.ended(&pack(0).name, true), Some(Fetched::Good));
        fetcher.failed(&pack(1).name, FetchFailure::Missing, 0);
        fetcher.given_up(&pack(0).name);
        let mut lacking = lacking;
        lacking.remove(&pack(0), 1);
        assert_eq!(fetcher.due(&lacking, 0), [Fetch { from: NEAR, object: pack(1), offset: 0 }]);
        fetcher.source_gone(NEAR);
        assert_eq!((fetcher.due(&lacking, 0), fetcher.running()), (vec![], 0));
    }
}
