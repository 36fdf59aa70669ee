//! Lengths of time as people type them.

use super::CliError;

const MINUTE_S: u64 = 60;
const HOUR_S: u64 = 60 * MINUTE_S;
const DAY_S: u64 = 24 * HOUR_S;

/// Seconds of `45s`, `30m`, `30 min`, `1h30m`, `2 hours`, `14d`, `2w`; `0` needs no unit. `option` is named when it is not.
pub(super) fn seconds(option: &str, text: &str) -> Result<u64, CliError> {
    let wrong = || CliError::Usage(format!("{option} {text}: a length of time such as 45s, 30m, 12h or 14d"));
    if text.trim() == "0" {
        return Ok(0);
    }
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.find(|letter: char| !letter.is_alphabetic()).unwrap_or(after.len());
        let (unit, more) = after.split_at(letters);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let part = number.checked_mul(unit_s(unit).ok_or_else(wrong)?).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = more.trim_start();
    }
    Ok(total)
}

fn unit_s(unit: &str) -> Option<u64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "s" | "sec" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => MINUTE_S,
        "h" | "hour" | "hours" => HOUR_S,
        "d" | "day" | "days" => DAY_S,
        "w" | "week" | "weeks" => 7 * DAY_S,
        _ => return None,
    })
}

/// The time so long ago, in ms since 1970.
pub(super) fn ago_ms(option: &str, text: &str) -> Result<u64, CliError> {
    Ok(crate::ticket::now_ms().saturating_sub(seconds(option, text)?.saturating_mul(1_000)))
}

/// A length of time exactly, in the largest unit that divides it, such as `30m` or `14d`.
pub(super) fn exact(seconds: u64) -> String {
    for (unit_s, unit) in [(DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "m")] {
        if seconds > 0 && seconds.is_multiple_of(unit_s) {
            return format!("{}{unit}", seconds / unit_s);
        }
    }
    format!("{seconds}s")
}

#[cfg(test)]
mod tests {
    use super::{exact, seconds};

    #[test]
    fn lengths_of_time_are_read_kindly_and_never_guessed() {
        let cases = [
            ("45s", 45),
            ("30m", 1_800),
            ("30 min", 1_800),
            ("12h", 43_200),
            ("1h30m", 5_400),
            ("1 hour 30 minutes", 5_400),
            ("14d", 1_209_600),
            ("2W", 1_209_600),
            ("0", 0),
            ("0s", 0),
        ];
        for (text, expected) in cases {
            assert_eq!(seconds("--x", text).ok(), Some(expected), "{text}");
        }
        for wrong in
            ["", "3", "d", "3y", "-1d", "3.5h", "é", "5é", "3d 5", "99999999999999999999d", "9999999999999999999d"]
        {
            assert!(seconds("--x", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_can_be_typed_again() {
        for (number, shown) in [(0, "0s"), (45, "45s"), (1_800, "30m"), (5_400, "90m"), (86_400, "1d"), (90_000, "25h")]
        {
            assert_eq!(exact(number), shown);
            assert_eq!(seconds("--x", shown).ok(), Some(number));
        }
    }
}
