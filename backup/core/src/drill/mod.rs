//! Proof that restoring works: by schedule another agent restores a sample and compares; and what the owner is told.
//!
//! ```text
//! sample   which files a drill restores, from a listing that may be long
//! result   what the comparison says, and how long a full restore would take
//! alerts   what the owner has to know: too few copies, an archive that is late, a drill that failed, …
//! ```

mod alerts;
mod result;
mod sample;

use dci_proto::AgentId;

use crate::now::{DAY_MS, mix_ids};

pub use alerts::{Alert, AlertFacts, COPIES_PATIENCE_MS, alerts};
pub use result::{DIFFERENCES_LIMIT, DrillResult, Proof, compare, full_restore_ms};
pub use sample::{SAMPLE_FILES, SAMPLE_LIMIT_BYTES, Sample};

/// Whether a drill is due: so many days after the last one, the first a day after there is an archive. Each owner at an
/// hour of its own. A last drill that lies in the future (the clock went back) counts as one of now: the shell notes that.
#[must_use]
pub fn is_due(owner: AgentId, last_drill_ms: Option<u64>, first_archive_ms: u64, now_ms: u64, every_days: u16) -> bool {
    if every_days == 0 {
        return false;
    }
    let offset_ms = mix_ids(0xd711, &[&owner.0]) % DAY_MS;
    let due_ms = match last_drill_ms {
        Some(last_ms) => last_ms.saturating_add(u64::from(every_days) * DAY_MS),
        None => first_archive_ms.saturating_add(DAY_MS),
    };
    // Not before the owner's own hour of the day on which it is due.
    let at_ms = (due_ms / DAY_MS * DAY_MS).saturating_add(offset_ms);
    now_ms >= at_ms && now_ms >= due_ms.saturating_sub(DAY_MS)
}

/// Who does drill number `number`: another agent than the owner, one that can be reached, each in its turn. One that holds
/// no copy proves most, because all bytes come over the network; so `holders` are taken only if there is nobody else.
#[must_use]
pub fn tester(owner: AgentId, number: u64, reachable: &[AgentId], holders: &[AgentId]) -> Option<AgentId> {
    let mut others: Vec<AgentId> = reachable.iter().filter(|agent| **agent != owner).copied().collect();
    others.sort_by_key(|agent| (mix_ids(0x7e57, &[&owner.0, &agent.0]), *agent));
    others.dedup();
    let outside: Vec<AgentId> = others.iter().filter(|agent| !holders.contains(agent)).copied().collect();
    let from = if outside.is_empty() { others } else { outside };
    let turn = usize::try_from(number % (from.len().max(1) as u64)).unwrap_or(0);
    from.get(turn).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn agents(numbers: &[u8]) -> Vec<AgentId> {
        numbers.iter().map(|number| AgentId([*number; 32])).collect()
    }

    #[test]
    fn drills_are_due_by_schedule_at_an_hour_of_each_owners_own() {
        let (owner, day) = (AgentId([1; 32]), DAY_MS);
        assert!(!is_due(owner, None, 10 * day, 11 * day - 1, 0));
        assert!(!is_due(owner, None, 10 * day, 10 * day, 30) && is_due(owner, None, 10 * day, 12 * day, 30));
        assert!(!is_due(owner, Some(10 * day), 0, 39 * day, 30) && is_due(owner, Some(10 * day), 0, 41 * day, 30));
        let first_hour =
            |owner| (0..24).find(|hour| is_due(AgentId([owner; 32]), Some(0), 0, 30 * day + hour * day / 24, 30));
        assert!((0..50).map(first_hour).collect::<BTreeSet<_>>().len() > 10);
    }

    #[test]
    fn others_take_turns_and_holders_only_if_there_is_nobody_else() {
        let owner = AgentId([1; 32]);
        let of = |reachable: &[u8], holders: &[u8]| -> BTreeSet<u8> {
            let test = |number| tester(owner, number, &agents(reachable), &agents(holders));
            (0..6).filter_map(test).map(|agent| agent.0[0]).collect()
        };
        assert_eq!(of(&[1, 2, 3, 4], &[2]), BTreeSet::from([3, 4]));
        assert_eq!(of(&[1, 2, 3], &[2, 3]), BTreeSet::from([2, 3]));
        assert_eq!(of(&[1], &[]), BTreeSet::new());
    }
}
