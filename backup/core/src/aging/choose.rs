//! Which archives stay, and why; which go.
//!
//! Archives are ordered by their number, never by a clock. Days, weeks and months are counted among those that have an
//! archive, so they need no "now"; only the greatest age does, and it is taken from the peers' clocks together with the
//! owner's.

use std::collections::{BTreeMap, BTreeSet};

use super::Ages;
use crate::civil::Zone;
use crate::now::DAY_MS;
use crate::object::ArchiveId;

/// Archives forgotten in one go, at most: the others follow in the next.
pub const FORGET_LIMIT: usize = 256;
/// A clock this far from the peers' is wrong, or they are; nothing is too old then.
pub const CLOCK_TOLERANCE_MS: u64 = DAY_MS;

/// What is known of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveFacts {
    /// Its number.
    pub id: ArchiveId,
    /// When it was begun, ms since 1970.
    pub taken_ms: u64,
    /// Whether every file could be read.
    pub complete: bool,
}

/// Why an archive stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It is the newest one in which nothing is missing.
    NewestComplete,
    /// It is among the last.
    Last,
    /// It is the last one of its day.
    Daily,
    /// It is the last one of its week.
    Weekly,
    /// It is the last one of its month.
    Monthly,
    /// Its turn to go comes later.
    Later,
}

/// What becomes of archives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    /// These stay, each for the first reason there is.
    pub keep: BTreeMap<ArchiveId, Why>,
    /// These go, the oldest first.
    pub forget: Vec<ArchiveId>,
}

/// The time to reckon ages with: the owner's, if at least one peer's clock was heard and the middle one agrees with it.
#[must_use]
pub fn agreed_now_ms(own_ms: u64, mut peers_ms: Vec<u64>) -> Option<u64> {
    peers_ms.sort_unstable();
    let middle_ms = *peers_ms.get(peers_ms.len() / 2)?;
    (own_ms.abs_diff(middle_ms) <= CLOCK_TOLERANCE_MS).then_some(own_ms.min(middle_ms))
}

/// Chooses among all archives of an owner. `now_ms`: as [`agreed_now_ms`] has it; without it nothing is too old.
#[must_use]
pub fn choose(archives: &[ArchiveFacts], ages: &Ages, zone: &Zone, now_ms: Option<u64>) -> Choice {
    let mut newest_first = archives.to_vec();
    newest_first.sort_by_key(|archive| std::cmp::Reverse(archive.id));
    newest_first.dedup_by_key(|archive| archive.id);
    let mut keep: BTreeMap<ArchiveId, Why> = BTreeMap::new();
    if let Some(newest) = newest_first.iter().find(|archive| archive.complete) {
        keep.insert(newest.id, Why::NewestComplete);
    }
    for archive in newest_first.iter().take(usize::try_from(ages.keep_last.max(1)).unwrap_or(usize::MAX)) {
        keep.entry(archive.id).or_insert(Why::Last);
    }
    let limit_ms = ages.max_age_days.map(|days| u64::from(days) * DAY_MS);
    let too_old = |archive: &ArchiveFacts| match (limit_ms, now_ms) {
        (Some(limit_ms), Some(now_ms)) => now_ms.saturating_sub(archive.taken_ms) > limit_ms,
        _ => false,
    };
    // One with gaps does not stand for its day if there is any other.
    let young: Vec<&ArchiveFacts> =
        newest_first.iter().filter(|archive| !too_old(archive) && archive.complete).collect();
    let day = |archive: &ArchiveFacts| zone.local(archive.taken_ms).0;
    keep_one_of_each(&young, ages.keep_daily, Why::Daily, &mut keep, |archive| (day(archive).0, 0));
    keep_one_of_each(&young, ages.keep_weekly, Why::Weekly, &mut keep, |archive| (day(archive).week(), 0));
    keep_one_of_each(&young, ages.keep_monthly, Why::Monthly, &mut keep, |archive| day(archive).month());
    let mut forget: Vec<ArchiveId> = newest_first.iter().rev().map(|archive| archive.id).collect();
    forget.retain(|id| !keep.contains_key(id));
    for id in forget.drain(FORGET_LIMIT.min(forget.len())..) {
        keep.insert(id, Why::Later);
    }
    Choice { keep, forget }
}

fn keep_one_of_each(
    newest_first: &[&ArchiveFacts],
    count: u32,
    why: Why,
    keep: &mut BTreeMap<ArchiveId, Why>,
    span: impl Fn(&ArchiveFacts) -> (i64, u8),
) {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut seen = BTreeSet::new();
    for archive in newest_first {
        if seen.len() < count && seen.insert(span(archive)) {
            keep.entry(archive.id).or_insert(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::civil::tests::berlin;
    use crate::now::HOUR_MS;

    /// Every six hours from 2026-01-01 on.
    fn archives(count: u64) -> Vec<ArchiveFacts> {
        let at = |number: u64| 1_767_225_600_000 + number * 6 * HOUR_MS;
        (0..count)
            .map(|number| ArchiveFacts { id: ArchiveId(number + 1), taken_ms: at(number), complete: true })
            .collect()
    }

    const NONE: Ages = Ages { keep_last: 1, keep_daily: 0, keep_weekly: 0, keep_monthly: 0, max_age_days: None };

    fn kept(ages: &Ages, count: u64, now_ms: Option<u64>) -> Vec<u64> {
        choose(&archives(count), ages, &Zone::UTC, now_ms).keep.into_keys().map(|id| id.0).collect()
    }

    #[test]
    fn the_last_of_days_weeks_and_months_stay() {
        assert_eq!(kept(&Ages { keep_last: 2, ..NONE }, 9, None), [8, 9]);
        assert_eq!(kept(&Ages { keep_daily: 3, ..NONE }, 10, None), [4, 8, 10]);
        // 2026-01-04 and 11 are Sundays: archives 16 and 44 are their last ones.
        assert_eq!(kept(&Ages { keep_weekly: 3, ..NONE }, 50, None), [16, 44, 50]);
        // January ends with 124, February with 236.
        assert_eq!(kept(&Ages { keep_monthly: 9, ..NONE }, 240, None), [124, 236, 240]);
    }

    #[test]
    fn what_is_too_old_goes_only_by_a_clock_that_others_agree_with() {
        let ages = Ages { keep_last: 1, keep_daily: 99, max_age_days: Some(1), ..NONE };
        let last_ms = archives(12)[11].taken_ms;
        assert_eq!(kept(&ages, 12, Some(last_ms)), [8, 12]);
        assert_eq!(kept(&ages, 12, None), [4, 8, 12]);
        assert_eq!(kept(&ages, 12, Some(last_ms + 999 * DAY_MS)), [12], "the last stays whatever its age");
        assert_eq!(agreed_now_ms(10 * DAY_MS, vec![]), None);
        assert_eq!(agreed_now_ms(10 * DAY_MS, vec![9 * DAY_MS, 10 * DAY_MS, 0]), Some(9 * DAY_MS));
        assert_eq!(agreed_now_ms(999 * DAY_MS, vec![10 * DAY_MS, 11 * DAY_MS]), None);
    }

    proptest! {
        #[test]
        fn the_newest_complete_one_stays_and_each_archive_stays_or_goes(
            facts in proptest::collection::vec((0u64..4_000, any::<bool>()), 0..60),
            (keep_last, keep_daily, keep_weekly, keep_monthly) in (0u32..4, 0u32..4, 0u32..4, 0u32..4),
            max_age_days in proptest::option::of(0u32..100), now_hours in proptest::option::of(0u64..9_000),
        ) {
            let archives: Vec<ArchiveFacts> = (1..).zip(facts).map(|(id, (hours, complete))| {
                ArchiveFacts { id: ArchiveId(id), taken_ms: hours * HOUR_MS, complete }
            }).collect();
            let ages = Ages { keep_last, keep_daily, keep_weekly, keep_monthly, max_age_days };
            let choice = choose(&archives, &ages, &berlin(), now_hours.map(|hours| hours * HOUR_MS));
            if let Some(newest) = archives.iter().rev().find(|archive| archive.complete) {
                prop_assert!(choice.keep.contains_key(&newest.id));
            }
            let all: BTreeSet<ArchiveId> = archives.iter().map(|archive| archive.id).collect();
            let told: Vec<ArchiveId> = choice.keep.keys().chain(&choice.forget).copied().collect();
            prop_assert_eq!(told.len(), all.len());
            prop_assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), all);
            prop_assert!(choice.forget.is_sorted() && choice.forget.len() <= FORGET_LIMIT);
            // What goes once stays gone: choosing among the kept ones forgets none of them.
            let left: Vec<_> = archives.iter().filter(|archive| choice.keep.contains_key(&archive.id)).copied().collect();
            let again = choose(&left, &ages, &berlin(), now_hours.map(|hours| hours * HOUR_MS));
            prop_assert_eq!(again.forget, vec![]);
        }
    }
}
