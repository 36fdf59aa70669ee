//! Times as HTTP, WebDAV and Windows write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

/// The latest time an HTTP date can say: the end of the year 9999.
const LATEST_S: i64 = 253_402_300_799;

/// Whole seconds since 1970, as far as an HTTP date can say them.
pub(crate) fn seconds(ms: i64) -> i64 {
    ms.div_euclid(1000).clamp(0, LATEST_S)
}

/// An HTTP date (`Sun, 06 Nov 1994 08:49:37 GMT`) of a time in ms since 1970 UTC.
pub(crate) fn http_date(ms: i64) -> String {
    let since = Duration::from_secs(seconds(ms).unsigned_abs());
    httpdate::fmt_http_date(UNIX_EPOCH + since)
}

/// The time an HTTP date says, in seconds since 1970 UTC.
pub(crate) fn parse_http_date(text: &str) -> Option<i64> {
    let time: SystemTime = httpdate::parse_http_date(text.trim()).ok()?;
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

/// RFC 3339 in UTC, as `creationdate` wants it.
pub(crate) fn rfc3339(ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds(ms)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

/// What RFC 3339 in UTC says, in ms since 1970 UTC; other zones are not read.
pub(crate) fn parse_rfc3339(text: &str) -> Option<i64> {
    let text = text.trim().strip_suffix('Z')?;
    let (date, clock) = text.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<u16>().ok());
    let clock = clock.split_once('.').map_or(clock, |(whole, _)| whole);
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<u8>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(i32::from(year), month, u8::try_from(day).ok()?).ok()?;
    let time = Time::from_hms(clock.next()??, clock.next()??, clock.next()??).ok()?;
    Some(PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp() * 1000)
}

/// `X-OC-Mtime`: seconds since 1970, some clients with a fraction; in ms.
pub(crate) fn parse_oc_mtime(text: &str) -> Option<i64> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let whole: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction = format!("{fraction:0<3}");
    let ms: i64 = fraction[..3].parse().ok()?;
    (0..=LATEST_S).contains(&whole).then(|| whole * 1000 + ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read_in_each_form() {
        let ms = 784_111_777_999;
        assert_eq!(http_date(ms), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(rfc3339(ms), "1994-11-06T08:49:37Z");
        assert_eq!(parse_rfc3339("1994-11-06T08:49:37.5Z"), Some(784_111_777_000));
        assert_eq!(parse_oc_mtime("1500000000"), Some(1_500_000_000_000));
        assert_eq!(parse_oc_mtime("1500000000.25"), Some(1_500_000_000_250));
    }

    #[test]
    fn times_out_of_range_or_malformed_do_no_harm() {
        assert_eq!(http_date(-5), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(i64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(rfc3339(i64::MIN), "1970-01-01T00:00:00Z");
        for bad in ["", "x", "1e9", "-1", "99999999999999999999", "170000000170000000", "1.x", "1.é"] {
            assert_eq!(parse_oc_mtime(bad), None, "{bad}");
        }
        for bad in ["", "2020-13-01T00:00:00Z", "2020-01-01", "2020-01-01T00:00:00+01:00", "2020-1-1TZ"] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }
}
