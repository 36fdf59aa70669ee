//! Which objects nothing needs any more.

use std::collections::BTreeSet;

use crate::catalogue::State;
use crate::object::{ArchiveId, ObjectKind, ObjectName};
use crate::planted;

/// Objects that may be deleted, in the order in which to do it: snapshots, then indexes, then packs.
///
/// Called when the engine has written the indexes that list what stays and they are in the catalogue, as objects of
/// archive 0 ([`crate::order`]). `needed`: the snapshot,
/// the indexes and the packs of every archive that stays, and what the archive being made already relies on. `making`: the archive that is being made, or was when the run was
/// cut short; what was added for it and later ones stays, though nothing needs it yet. A pack of which any part is needed
/// stays whole.
#[must_use]
pub fn unused(state: &State, needed: &BTreeSet<ObjectName>, making: Option<ArchiveId>) -> Vec<ObjectName> {
    let kinds = [ObjectKind::Snapshot, ObjectKind::Index, ObjectKind::Pack];
    let is_made = |archive: ArchiveId| {
        !planted::has(planted::Bug::DropsTheMaking) && making.is_some_and(|making| archive >= making)
    };
    let of_kind = |kind: ObjectKind| state.iter().map(|(_, object)| object).filter(move |object| object.kind == kind);
    let unused = kinds.into_iter().flat_map(of_kind);
    unused
        .filter(|object| !needed.contains(&object.name) && !is_made(object.archive))
        .map(|object| object.name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::tests::{object, owner};
    use crate::catalogue::{Catalogue, Op};

    #[test]
    fn what_nothing_needs_goes_snapshots_first_and_what_is_being_made_stays() {
        let mut catalogue = Catalogue::new(owner(1).0);
        let things = [
            object(1, ObjectKind::Config, 0),
            object(2, ObjectKind::Pack, 1),
            object(3, ObjectKind::Index, 1),
            object(4, ObjectKind::Snapshot, 1),
            object(5, ObjectKind::Pack, 1),
            object(6, ObjectKind::Pack, 3),
        ];
        things.iter().for_each(|thing| _ = catalogue.append(&owner(1), 0, Op::Add(*thing)).unwrap());
        let unused = |needed: &[usize], making: Option<u64>| -> Vec<usize> {
            let needed = needed.iter().map(|index| things[*index].name).collect();
            let names = unused(catalogue.state(), &needed, making.map(ArchiveId));
            names.iter().map(|name| things.iter().position(|thing| thing.name == *name).unwrap()).collect()
        };
        assert_eq!(unused(&[], None), [3, 2, 1, 4, 5]);
        assert_eq!(unused(&[], Some(3)), [3, 2, 1, 4]);
        assert_eq!(unused(&[1, 2, 3], Some(2)), [4]);
    }
}
