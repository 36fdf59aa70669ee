//! Times in messages: RFC 3339 (xs:dateTime) in UTC with three decimals, such as `2026-01-31T12:00:00.000Z`.

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

/// The last instant a time can have: the end of the year 9999.
pub(super) const LATEST_MS: u64 = 253_402_300_799_999;

/// Why a text is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time in UTC, such as 2026-01-31T12:00:00Z")]
pub struct TimeError(pub String);

/// A time of a message, from ms since 1970; what is later than the year 9999 is its end.
#[must_use]
pub fn format_time(ms: u64) -> String {
    let nanos = i128::from(ms.min(LATEST_MS)) * 1_000_000;
    let layout = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp_nanos(nanos).ok().and_then(|time| time.format(layout).ok()).unwrap_or_default()
}

/// Reads a time, in ms since 1970. More than three decimals are cut off.
///
/// # Errors
/// If it is none, not in UTC (`Z`), or before 1970.
pub fn parse_time(text: &str) -> Result<u64, TimeError> {
    let error = || TimeError(text.chars().take(80).collect());
    // RFC 3339 allows lower case and a space; xs:dateTime does not.
    let strict = text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T');
    let time = OffsetDateTime::parse(text, &Rfc3339).ok().filter(|time| strict && time.offset() == UtcOffset::UTC);
    let nanos = time.ok_or_else(error)?.unix_timestamp_nanos();
    u64::try_from(nanos / 1_000_000).ok().filter(|_| nanos >= 0).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for ms in [0, 1, 999, 1_769_860_800_123, LATEST_MS] {
            assert_eq!(parse_time(&format_time(ms)), Ok(ms));
        }
        assert_eq!(format_time(1_769_860_800_000), "2026-01-31T12:00:00.000Z");
        assert_eq!(parse_time("2026-01-31T12:00:00Z"), Ok(1_769_860_800_000));
        assert_eq!(parse_time("2026-01-31T12:00:00.1239Z"), Ok(1_769_860_800_123));
        assert_eq!(format_time(u64::MAX), format_time(LATEST_MS));
    }

    #[test]
    fn other_times_are_refused() {
        for bad in [
            "",
            "now",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "2026-01-31T12:00:00+01:00",
            "2026-01-31T12:00:00+00:00",
            "2026-01-31 12:00:00Z",
            "2026-01-31t12:00:00z",
            "2026-02-30T12:00:00Z",
            "1969-12-31T23:59:59.999Z",
            "-2026-01-31T12:00:00Z",
        ] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
