//! What a holder has of one owner's repository.
//!
//! It takes objects in the order of [`crate::order`], and drops what its owner deleted when the grace time is over: in the
//! order of the deletions, and nothing while it lacks any object that was there before the deletion. Otherwise it might drop
//! an old index when it has not yet got the new one that took its place.

use std::collections::{BTreeMap, BTreeSet};

use dci_proto::AgentId;
use serde::{Deserialize, Serialize};

use crate::aging::{GraceClock, Trash, Trashed};
use crate::catalogue::{Catalogue, CatalogueError, State, Tail, Verifier};
use crate::now::Now;
use crate::object::{Object, ObjectKind, ObjectName};
use crate::order::Lacking;
use crate::planted;

/// One owner's repository as one holder has it.
#[derive(Debug, Clone)]
pub struct Copy {
    catalogue: Catalogue,
    held: BTreeSet<ObjectName>,
    lacking: Lacking<Object>,
    state: CopyState,
}

/// What of a copy is kept over restarts, beside the catalogue and the objects themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CopyState {
    /// What the owner deleted and is kept for a while; also what of that was lost.
    pub trash: Trash,
    /// By which time.
    pub clock: GraceClock,
    /// What the catalogue has, was here, and is to come again.
    pub lost: BTreeSet<ObjectName>,
}

/// What a tail brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taken {
    /// What it lacks now and did not before.
    pub lacks: Vec<Object>,
    /// What it need not get any more.
    pub given_up: Vec<Object>,
    /// The owner deleted all its archives: perhaps it was not the owner. Its admin is told.
    pub all_deleted: bool,
}

impl Copy {
    /// An empty one.
    #[must_use]
    pub fn new(owner: AgentId, now: Now) -> Self {
        let state = CopyState { clock: GraceClock::new(now), ..CopyState::default() };
        Self { catalogue: Catalogue::new(owner), held: BTreeSet::new(), lacking: Lacking::default(), state }
    }

    /// A copy as the disk has it: the catalogue, the names of all objects that are there, the state. Time goes on from now.
    #[must_use]
    pub fn recover(
        catalogue: Catalogue,
        held: impl IntoIterator<Item = ObjectName>,
        mut state: CopyState,
        now: Now,
    ) -> Self {
        state.clock.tick(now);
        let held: BTreeSet<ObjectName> = held.into_iter().collect();
        let gone: Vec<ObjectName> = state.trash.iter().map(|trashed| trashed.object.name).collect();
        for name in gone {
            // The catalogue has the last word, whichever of the two was written last.
            if catalogue.state().get(&name).is_some() {
                state.trash.take_back(&name);
            }
        }
        state.lost.retain(|name| !held.contains(name) && catalogue.state().get(name).is_some());
        let mut lacking = Lacking::default();
        for (sequence, object) in catalogue.state().iter().filter(|(_, object)| !held.contains(&object.name)) {
            lacking.insert(object, sequence, *object);
        }
        Self { catalogue, held, lacking, state }
    }

    /// The owner's catalogue as far as it is known here.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// What is to be kept over restarts. It changes with every call here.
    #[must_use]
    pub fn state(&self) -> &CopyState {
        &self.state
    }

    /// Objects the catalogue has and this copy lacks.
    #[must_use]
    pub fn lacking(&self) -> &Lacking<Object> {
        &self.lacking
    }

    /// Names of all that is held, the trash aside: what the owner is told.
    pub fn held(&self) -> impl Iterator<Item = &ObjectName> {
        self.held.iter().filter(|name| !self.state.trash.contains(name))
    }

    /// Whether an object is held, in the trash or not.
    #[must_use]
    pub fn has(&self, name: &ObjectName) -> bool {
        self.held.contains(name)
    }

    /// Whether an object is held for good: what the owner may count on. What is in the trash will go, though its owner may
    /// just have added it again: that is not known here before the catalogue says so.
    #[must_use]
    pub fn holds(&self, name: &ObjectName) -> bool {
        self.held.contains(name) && !self.state.trash.contains(name)
    }

    /// Takes in a tail of the catalogue. Both are to be durable before anything of it is told or dropped.
    ///
    /// # Errors
    /// As [`Catalogue::take_in`] says; nothing has changed then.
    pub fn take_in(&mut self, tail: &Tail, verifier: &dyn Verifier, now: Now) -> Result<Taken, CatalogueError> {
        let learnt_ms = self.state.clock.tick(now);
        let before = self.places_of_lacking();
        let snapshots = self.snapshots();
        let news = self.catalogue.take_in(tail, verifier)?;
        let mut taken = Taken::default();
        let state = self.catalogue.state();
        for object in &news.deleted {
            let is_held = self.held.contains(&object.name);
            if self.state.lost.remove(&object.name) || is_held {
                let (sequence, added_at) = (state.sequence(), snapshots.get(&object.name).copied().unwrap_or(0));
                self.state.trash.put(Trashed { object: *object, sequence, added_at, learnt_ms });
            }
            if !is_held {
                taken.given_up.push(*object);
            }
        }
        for object in &news.added {
            self.state.trash.take_back(&object.name);
        }
        // An object that was deleted and added again within the tail has another place.
        for (sequence, object) in before {
            if state.added_at(&object.name) != Some(sequence) {
                self.lacking.remove(&object, sequence);
            }
            if let Some(added_at) = state.added_at(&object.name) {
                self.lacking.insert(&object, added_at, object);
            }
        }
        for object in news.added.iter().filter(|object| !self.held.contains(&object.name)) {
            if let Some(sequence) = state.added_at(&object.name) {
                self.lacking.insert(object, sequence, *object);
                taken.lacks.push(*object);
            }
        }
        taken.all_deleted = !snapshots.is_empty() && self.snapshots().is_empty();
        Ok(taken)
    }

    fn places_of_lacking(&self) -> Vec<(u64, Object)> {
        let state: &State = self.catalogue.state();
        self.lacking.iter().filter_map(|object| Some((state.added_at(&object.name)?, *object))).collect()
    }

    /// The catalogue's snapshots, with the sequences with which they were added.
    fn snapshots(&self) -> BTreeMap<ObjectName, u64> {
        let objects = self.catalogue.state().iter().filter(|(_, object)| object.kind == ObjectKind::Snapshot);
        objects.map(|(sequence, object)| (object.name, sequence)).collect()
    }

    /// Whether an object that somebody sends may be stored now: the catalogue has it, it is not here, and all is here that
    /// must be before it.
    #[must_use]
    pub fn may_take(&self, name: &ObjectName) -> bool {
        let Some((sequence, object)) = self.live(name) else { return false };
        !self.held.contains(name) && self.lacking.may_take(&object, sequence)
    }

    fn live(&self, name: &ObjectName) -> Option<(u64, Object)> {
        let state = self.catalogue.state();
        Some((state.added_at(name)?, *state.get(name)?))
    }

    /// An object is on this holder's disk, durably, and its hash was right.
    pub fn stored(&mut self, name: &ObjectName) {
        self.held.insert(*name);
        self.state.lost.remove(name);
        if let Some((sequence, object)) = self.live(name) {
            self.lacking.remove(&object, sequence);
        }
    }

    /// An object is not on the disk any more, or a scrub found it damaged. It is fetched again, unless its owner deleted it:
    /// then it stays in the trash as one that is not here, so that it can be told.
    pub fn lost(&mut self, name: &ObjectName) {
        let was_held = self.held.remove(name);
        if let Some((sequence, object)) = self.live(name) {
            self.lacking.insert(&object, sequence, object);
            if was_held {
                self.state.lost.insert(*name);
            }
        }
    }

    /// What is in the trash and was lost: archives that its owner deleted may lack it, and an index in the trash may name it.
    pub fn lost_of_trash(&self) -> impl Iterator<Item = &Trashed> {
        self.state.trash.iter().filter(|trashed| !self.held.contains(&trashed.object.name))
    }

    /// What may be dropped now, to be dropped in this order. Each is told with [`Self::dropped`] when it is gone.
    ///
    /// An index goes after all snapshots that there were when it was deleted, also if these were deleted later: the index that took
    /// its place for them may have been deleted with them, and never have come here. No pack goes before an index that waits so.
    pub fn droppable(&mut self, now: Now, grace_ms: u64) -> Vec<Object> {
        let passed_ms = self.state.clock.tick(now);
        let leant_on = self.leant_on();
        let due = self.state.trash.due(passed_ms, grace_ms);
        let whole = |trashed: &&Trashed| {
            planted::has(planted::Bug::DropsEarly) || self.lacking.is_whole_before(trashed.sequence.saturating_add(1))
        };
        let mut waits = false;
        let may_go = |trashed: &&Trashed| {
            waits |= leant_on.contains(&trashed.object.name);
            !waits || trashed.object.kind == ObjectKind::Snapshot
        };
        due.take_while(whole).filter(may_go).map(|trashed| trashed.object).collect()
    }

    /// Indexes in the trash behind which there is a snapshot that may need them.
    fn leant_on(&self) -> BTreeSet<ObjectName> {
        let mut leant_on = BTreeSet::new();
        let mut oldest_behind = u64::MAX;
        for trashed in self.state.trash.iter().rev() {
            let object = &trashed.object;
            match object.kind {
                ObjectKind::Snapshot if self.held.contains(&object.name) => {
                    oldest_behind = oldest_behind.min(trashed.added_at);
                }
                ObjectKind::Index if oldest_behind <= trashed.sequence => _ = leant_on.insert(object.name),
                _ => {}
            }
        }
        leant_on
    }

    /// An object of the trash is gone from the disk.
    pub fn dropped(&mut self, name: &ObjectName) {
        self.held.remove(name);
        self.state.trash.take_back(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aging::GRACE_MS;
    use crate::catalogue::Op;
    use crate::catalogue::tests::{Verify, object, owner};
    use crate::now::HOUR_MS;
    use crate::planted::{self, Bug};

    const LATE: Now = Now { steady_ms: GRACE_MS + HOUR_MS, wall_ms: GRACE_MS + HOUR_MS };

    fn old_index() -> Object {
        object(2, ObjectKind::Index, 1)
    }

    fn new_index() -> Object {
        object(4, ObjectKind::Index, 0)
    }

    /// A holder has a pack, its index and a snapshot; then the owner puts a new index in the place of the old one.
    fn with_a_new_index() -> Copy {
        let mut source = Catalogue::new(owner(1).0);
        let things = [object(1, ObjectKind::Pack, 1), old_index(), object(3, ObjectKind::Snapshot, 1)];
        things.iter().for_each(|thing| _ = source.append(&owner(1), 0, Op::Add(*thing)).unwrap());
        let mut copy = Copy::new(owner(1).0, Now::default());
        assert_eq!(copy.take_in(&source.tail(0), &Verify, Now::default()).unwrap().lacks, things);
        for thing in things {
            assert!(copy.may_take(&thing.name));
            copy.stored(&thing.name);
        }
        source.append(&owner(1), 0, Op::Add(new_index())).unwrap();
        source.append(&owner(1), 0, Op::Delete(old_index().name)).unwrap();
        copy.take_in(&source.tail(3), &Verify, Now::default()).unwrap();
        copy
    }

    #[test]
    fn the_old_index_stays_until_the_new_one_is_here_however_long_that_takes() {
        let mut copy = with_a_new_index();
        assert!(copy.has(&old_index().name) && !copy.holds(&old_index().name));
        assert_eq!(copy.droppable(LATE, GRACE_MS), []);
        assert_eq!(
            planted::with(Bug::DropsEarly, || copy.droppable(LATE, GRACE_MS)),
            [old_index()],
            "this test would find it"
        );
        copy.stored(&new_index().name);
        assert_eq!(copy.droppable(LATE, GRACE_MS), [old_index()]);
        copy.dropped(&old_index().name);
        assert!(!copy.has(&old_index().name) && copy.lacking().is_empty() && copy.droppable(LATE, GRACE_MS).is_empty());
    }

    #[test]
    fn an_index_stays_until_snapshots_are_gone_that_were_deleted_after_it_and_whose_new_index_never_came() {
        let mut copy = with_a_new_index();
        let (pack, snapshot) = (object(1, ObjectKind::Pack, 1), object(3, ObjectKind::Snapshot, 1));
        let mut source = copy.catalogue().clone();
        // An hour later, before the new index came, all of it is deleted. What came after needs nothing of it.
        for thing in [snapshot, new_index(), pack] {
            source.append(&owner(1), 0, Op::Delete(thing.name)).unwrap();
        }
        let hour = Now { steady_ms: HOUR_MS, wall_ms: HOUR_MS };
        copy.take_in(&source.tail(5), &Verify, hour).unwrap();
        let due = Now { steady_ms: GRACE_MS + 1, wall_ms: GRACE_MS + 1 };
        assert_eq!(copy.droppable(due, GRACE_MS), [], "the index is due, and the snapshot is not");
        assert_eq!(copy.droppable(LATE, GRACE_MS), [snapshot]);
        copy.dropped(&snapshot.name);
        assert_eq!(copy.droppable(LATE, GRACE_MS), [old_index(), pack]);
    }

    #[test]
    fn after_a_restart_it_is_as_the_disk_has_it() {
        let copy = with_a_new_index();
        let on_disk = [old_index().name, object(3, ObjectKind::Snapshot, 1).name];
        let again = Copy::recover(copy.catalogue().clone(), on_disk, copy.state().clone(), Now::default());
        let lacks: Vec<Object> = again.lacking().iter().copied().collect();
        assert_eq!(lacks, [object(1, ObjectKind::Pack, 1), new_index()], "the pack was lost");
        assert!(again.state().trash.contains(&old_index().name));
    }

    #[test]
    fn what_is_lost_and_was_deleted_is_told_until_its_grace_time_is_over() {
        let names = |copy: &Copy| copy.lost_of_trash().map(|trashed| trashed.object.name).collect::<Vec<_>>();
        let mut copy = with_a_new_index();
        copy.stored(&new_index().name);
        copy.lost(&old_index().name);
        assert_eq!(names(&copy), [old_index().name], "lost after it was deleted");
        // And before.
        let pack = object(1, ObjectKind::Pack, 1);
        let mut source = copy.catalogue().clone();
        copy.lost(&pack.name);
        assert_eq!((copy.lacking().len(), names(&copy).len()), (1, 1), "it is to come again");
        source.append(&owner(1), 0, Op::Delete(pack.name)).unwrap();
        let sequence = copy.catalogue().state().sequence();
        let taken = copy.take_in(&source.tail(sequence), &Verify, Now::default()).unwrap();
        assert_eq!((taken.given_up, copy.lacking().len()), (vec![pack], 0));
        let there = [new_index().name, object(3, ObjectKind::Snapshot, 1).name];
        let mut copy = Copy::recover(copy.catalogue().clone(), there, copy.state().clone(), Now::default());
        assert_eq!(names(&copy), [old_index().name, pack.name], "also after a restart");
        for object in copy.droppable(LATE, GRACE_MS) {
            copy.dropped(&object.name);
        }
        assert!(names(&copy).is_empty() && copy.state().trash.is_empty());
    }

    #[test]
    fn what_was_lost_and_came_again_and_what_never_came_are_no_losses() {
        let mut copy = with_a_new_index();
        let pack = object(1, ObjectKind::Pack, 1);
        copy.lost(&pack.name);
        copy.stored(&pack.name);
        let mut source = copy.catalogue().clone();
        // The new index never came.
        for object in [pack, new_index()] {
            source.append(&owner(1), 0, Op::Delete(object.name)).unwrap();
        }
        let sequence = copy.catalogue().state().sequence();
        copy.take_in(&source.tail(sequence), &Verify, Now::default()).unwrap();
        assert!(copy.state().trash.contains(&pack.name));
        assert_eq!(copy.lost_of_trash().count(), 0);
    }

    #[test]
    fn all_archives_deleted_at_once_is_told() {
        let mut copy = with_a_new_index();
        let mut source = copy.catalogue().clone();
        source.append(&owner(1), 0, Op::Delete(object(3, ObjectKind::Snapshot, 1).name)).unwrap();
        let taken = copy.take_in(&source.tail(5), &Verify, Now::default()).unwrap();
        assert!(taken.all_deleted);
        assert!(!copy.take_in(&source.tail(5), &Verify, Now::default()).unwrap().all_deleted, "once");
    }
}
