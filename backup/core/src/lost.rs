//! What the owner's disk lost of its own repository: does it come back, or has nobody got it?
//!
//! Bytes can rot before the first copy of them was made. Then no PC has them, and to wait for them would keep everything
//! that came later from being copied too. What was in them is packed again by the next run where the files are still there; what a
//! whole run could not pack again is *gone*, and the owner is told which archives lack it.

use std::collections::BTreeSet;

use dci_proto::AgentId;

use crate::object::ObjectName;
use crate::replication::Replication;

/// Objects of these that no holder says it has. `heard`: whether a holder said all that it has since it came into sight; while one
/// has not, nothing is known: absence is no proof.
#[must_use]
pub fn with_nobody(
    missing: impl IntoIterator<Item = ObjectName>,
    replication: &Replication,
    heard: impl Fn(AgentId) -> bool,
) -> BTreeSet<ObjectName> {
    if !replication.peers().all(heard) {
        return BTreeSet::new();
    }
    missing.into_iter().filter(|name| !replication.is_claimed(name)).collect()
}

/// Objects that are gone for good: with nobody, missing since before a run that looked at every file, and missing still.
#[must_use]
pub fn gone(
    before_run: &BTreeSet<ObjectName>,
    missing: impl IntoIterator<Item = ObjectName>,
    replication: &Replication,
    heard: impl Fn(AgentId) -> bool,
) -> BTreeSet<ObjectName> {
    with_nobody(missing.into_iter().filter(|name| before_run.contains(name)), replication, heard)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test says what failed")]
mod tests {
    use super::*;
    use crate::catalogue::tests::object;
    use crate::object::ObjectKind;
    use crate::replication::Lie;

    #[test]
    fn what_somebody_may_have_is_waited_for() {
        let (ana, ben) = (AgentId([1; 32]), AgentId([2; 32]));
        let things: Vec<_> = (1..=3).map(|number| object(number, ObjectKind::Pack, 1)).collect();
        let names: Vec<_> = things.iter().map(|thing| thing.name).collect();
        let mut replication = Replication::new(2);
        (1..).zip(&things).for_each(|(sequence, thing)| replication.added(*thing, sequence).unwrap());
        replication.assign(ana).unwrap();
        replication.assign(ben).unwrap();
        replication.reported(ana, [names[0]]);
        let all: BTreeSet<_> = names.iter().copied().collect();
        let found = |replication: &Replication, heard: fn(AgentId) -> bool| {
            with_nobody(all.iter().copied(), replication, heard)
        };
        assert_eq!(found(&replication, |agent| agent.0[0] == 1), BTreeSet::new(), "one was not heard yet");
        replication.reported(ben, [names[1]]);
        assert_eq!(found(&replication, |_| true), BTreeSet::from([names[2]]));
        // Who lied once may have it nevertheless.
        replication.lied(ben, &names[0], Lie::WrongBytes);
        assert_eq!(found(&replication, |_| true), BTreeSet::from([names[2]]));

        assert_eq!(gone(&BTreeSet::new(), all.clone(), &replication, |_| true), BTreeSet::new(), "no run looked yet");
        assert_eq!(gone(&all, all.clone(), &replication, |_| true), BTreeSet::from([names[2]]));
        assert_eq!(gone(&all, [], &replication, |_| true), BTreeSet::new(), "it came back");
    }
}
