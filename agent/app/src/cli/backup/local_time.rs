//! Times of archives: people know when they lost something by the clock on the wall, so these are local.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

const MINUTE_MS: i64 = 60_000;
const SECOND_MS: i64 = 1_000;

/// A time to the minute.
pub(super) fn local(ms_since_1970: i64) -> String {
    shown(ms_since_1970, TimeZone::system())
}

/// The same of what cannot lie before 1970.
pub(super) fn local_unsigned(ms_since_1970: u64) -> String {
    i64::try_from(ms_since_1970).map_or_else(|_| "?".to_owned(), local)
}

fn shown(ms_since_1970: i64, zone: TimeZone) -> String {
    let Ok(at) = Timestamp::from_millisecond(ms_since_1970) else { return "?".to_owned() };
    at.to_zoned_datetime(zone).strftime("%Y-%m-%d %H:%M %Z").to_string()
}

/// The first moment after what was typed, in ms since 1970: after the whole day, minute or second that is named.
pub(super) fn after(text: &str) -> Option<i64> {
    after_in(text, &TimeZone::system())
}

fn after_in(text: &str, zone: &TimeZone) -> Option<i64> {
    let text = text.trim().replace('T', " ");
    if let Ok(date) = Date::strptime("%Y-%m-%d", &text) {
        return Some(date.tomorrow().ok()?.to_zoned_datetime(zone.clone()).ok()?.timestamp().as_millisecond());
    }
    let forms = [("%Y-%m-%d %H:%M", MINUTE_MS), ("%Y-%m-%d %H:%M:%S", SECOND_MS)];
    forms.iter().find_map(|(form, length_ms)| {
        let time = DateTime::strptime(form, &text).ok()?.to_zoned_datetime(zone.clone()).ok()?;
        time.timestamp().as_millisecond().checked_add(*length_ms)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone")
    }

    #[test]
    fn times_are_shown_as_the_clock_on_the_wall() {
        assert_eq!(shown(1_795_870_800_000, berlin()), "2026-11-28 14:00 CET");
        assert_eq!(shown(i64::MAX, berlin()), "?");
    }

    #[test]
    fn a_date_means_all_of_it() {
        let after = |text| after_in(text, &berlin());
        // 14:00 there is 13:00 UTC, and what is shown as 14:00 may have been made at 14:00:59.
        assert_eq!(after("2026-11-28 14:00"), Some(1_795_870_800_000 + MINUTE_MS));
        assert_eq!(after("2026-11-28T14:00"), after("2026-11-28 14:00"));
        assert_eq!(after("2026-11-28 14:00:00"), Some(1_795_870_800_000 + SECOND_MS));
        assert_eq!(after("2026-11-28"), Some(1_795_870_800_000 + 10 * 3_600_000));
        // A day of 25 hours.
        let day = |text| after(text).expect("a date");
        assert_eq!(day("2026-10-25") - day("2026-10-24"), 25 * 3_600_000);
        for wrong in ["", "yesterday", "2026-13-01", "2026-11-31", "28.11.2026", "2026-11-28 25:00", "2026-11-28 14"] {
            assert_eq!(after(wrong), None, "{wrong}");
        }
    }
}
