//! The hour of the day where a machine stands: what schedules and "keep one of each month" count in.
//!
//! The shell reads the machine's time zone and hands it in as a [`Zone`]: an offset, and the coming and past changes of
//! it. So nothing here depends on a table of time zones, and a test can make up any. Defined once, for all schedules:
//! a time of day that a change of the clock skips is the moment of the change; one that comes twice is its first.

use serde::{Deserialize, Serialize};

/// Changes of the offset a [`Zone`] may have: a hundred years of two each.
pub const ZONE_CHANGES_LIMIT: usize = 200;
/// No place on earth is further from UTC; what is handed in beyond is cut.
const OFFSET_LIMIT_S: i32 = 18 * 3600;
const DAY_S: i64 = 86_400;

/// A change of the offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneChange {
    /// From this second since 1970 (UTC) on …
    pub from_s: i64,
    /// … local time is ahead of UTC by this much, in s; negative west of Greenwich.
    pub offset_s: i32,
}

/// How local time follows from UTC.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Zone {
    offset_s: i32,
    changes: Vec<ZoneChange>,
}

/// A day, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Day(pub(crate) i64);

impl Zone {
    /// UTC.
    pub const UTC: Self = Self { offset_s: 0, changes: Vec::new() };

    /// A zone that is ahead of UTC by `offset_s` before its first change. Of more than [`ZONE_CHANGES_LIMIT`] changes
    /// the latest are taken.
    #[must_use]
    pub fn new(offset_s: i32, mut changes: Vec<ZoneChange>) -> Self {
        changes.sort_by_key(|change| change.from_s);
        changes.drain(..changes.len().saturating_sub(ZONE_CHANGES_LIMIT));
        changes.iter_mut().for_each(|change| change.offset_s = cut(change.offset_s));
        Self { offset_s: cut(offset_s), changes }
    }

    fn offset_at(&self, utc_s: i64) -> i64 {
        let before = self.changes.partition_point(|change| change.from_s <= utc_s);
        let offset_s = if before == 0 { self.offset_s } else { self.changes[before - 1].offset_s };
        i64::from(offset_s)
    }

    /// Hour and minute there, for people.
    #[must_use]
    pub fn clock(&self, wall_ms: u64) -> String {
        let second = self.local(wall_ms).1;
        format!("{:02}:{:02}", second / 3_600, second / 60 % 60)
    }

    /// The local day and the second in it. A day with a change has more or fewer seconds.
    pub(crate) fn local(&self, wall_ms: u64) -> (Day, i64) {
        let utc_s = i64::try_from(wall_ms / 1000).unwrap_or(i64::MAX / 2);
        let local_s = utc_s + self.offset_at(utc_s);
        (Day(local_s.div_euclid(DAY_S)), local_s.rem_euclid(DAY_S))
    }

    /// The moment at which it is that second of that day, in ms since 1970 (see the module for skipped and double ones).
    pub(crate) fn moment_ms(&self, day: Day, second: i64) -> u64 {
        let local_s = day.0.saturating_mul(DAY_S).saturating_add(second);
        // Each stretch of one offset that has this local time in it; the first is meant.
        let starts =
            std::iter::once((i64::MIN, self.offset_s)).chain(self.changes.iter().map(|c| (c.from_s, c.offset_s)));
        let ends = self.changes.iter().map(|change| change.from_s).chain([i64::MAX]);
        for ((from_s, offset_s), until_s) in starts.zip(ends) {
            let utc_s = local_s - i64::from(offset_s);
            if utc_s < until_s {
                // Before the start of this stretch, yet not in the one before: it is skipped.
                return u64::try_from(utc_s.max(from_s)).unwrap_or(0).saturating_mul(1000);
            }
        }
        0
    }
}

fn cut(offset_s: i32) -> i32 {
    offset_s.clamp(-OFFSET_LIMIT_S, OFFSET_LIMIT_S)
}

impl Day {
    /// 0 is Monday.
    pub(crate) fn weekday(self) -> u8 {
        u8::try_from((self.0 + 3).rem_euclid(7)).unwrap_or(0)
    }

    /// Year and month (1 to 12), by the Gregorian calendar. After Hinnant, "chrono-compatible low-level date algorithms".
    pub(crate) fn month(self) -> (i64, u8) {
        let shifted = self.0 + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        (year_of_era + era * 400 + i64::from(month <= 2), u8::try_from(month).unwrap_or(1))
    }

    /// Weeks begin on Monday; counted from the one of 1970-01-01.
    pub(crate) fn week(self) -> i64 {
        (self.0 + 3).div_euclid(7)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Central Europe in 2026: summer time from 29 March to 25 October, both at 01:00 UTC.
    pub(crate) fn berlin() -> Zone {
        let changes = [(1_774_746_000, 7200), (1_792_890_000, 3600)];
        Zone::new(3600, changes.map(|(from_s, offset_s)| ZoneChange { from_s, offset_s }).into())
    }

    fn naive(zone: &Zone, day: Day, second: i64, around_s: i64) -> u64 {
        let wanted = (day, second);
        let first =
            (around_s - 198_000..around_s + 198_000).step_by(1800).find(|s| zone.local(*s as u64 * 1000) >= wanted);
        first.unwrap() as u64 * 1000
    }

    #[test]
    fn skipped_times_are_the_moment_of_the_change_and_double_ones_their_first() {
        let zone = berlin();
        let (spring, autumn) = (zone.local(1_774_746_000_000).0, zone.local(1_792_890_000_000).0);
        assert_eq!(zone.moment_ms(spring, 3600 + 1800), (1_774_746_000 - 1800) * 1000);
        assert_eq!(zone.moment_ms(spring, 2 * 3600 + 1800), 1_774_746_000_000, "02:30 is skipped");
        assert_eq!(zone.moment_ms(spring, 3 * 3600), 1_774_746_000_000);
        assert_eq!(zone.moment_ms(autumn, 2 * 3600 + 1800), (1_792_890_000 - 1800) * 1000, "the first 02:30");
        assert_eq!(zone.moment_ms(autumn, 3 * 3600), 1_792_890_000_000 + 3_600_000);
    }

    #[test]
    fn the_clock_on_the_wall() {
        assert_eq!(berlin().clock(1_774_746_000_000 - 1), "01:59");
        assert_eq!(berlin().clock(1_774_746_000_000), "03:00");
        assert_eq!(Zone::UTC.clock(0), "00:00");
    }

    #[test]
    fn months_and_weekdays() {
        for (day, month, weekday) in
            [(0, (1970, 1), 3), (-1, (1969, 12), 2), (59, (1970, 3), 6), (20_512, (2026, 2), 5), (11_016, (2000, 2), 1)]
        {
            assert_eq!((Day(day).month(), Day(day).weekday()), (month, weekday), "{day}");
        }
    }

    proptest! {
        #[test]
        fn a_local_time_and_its_moment_agree(half_hours in 0i64..48 * 300) {
            let zone = berlin();
            let at_s = 1_770_000_000 / 1800 * 1800 + half_hours * 1800;
            let (day, second) = zone.local(at_s as u64 * 1000);
            prop_assert_eq!(zone.moment_ms(day, second), naive(&zone, day, second, at_s));
        }
    }
}
