//! Printing for people.

use std::io::Write as _;

use serde::Serialize;
use shoal_backup::plan::is_plain;

use super::CliError;

/// A line of standard output. Unlike `println!` it does not panic when nobody reads on (`shoal status | head -1`).
macro_rules! say {
    ($($argument:tt)*) => { $crate::cli::print::line(&format!($($argument)*)) };
}
pub(crate) use say;

/// Prints a line; when the reader has gone there is nobody left to tell, so it ends the program. A full disk under a
/// file it is written to is no reason to.
pub(crate) fn line(text: &str) {
    raw(&harmless_lines(text));
}

/// Prints a line as it is, for what is harmless or coloured already.
pub(super) fn raw(text: &str) {
    let printed = writeln!(std::io::stdout(), "{text}");
    if printed.is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
        std::process::exit(0);
    }
}

/// The API's answer as JSON.
pub(super) fn answer(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| CliError::Failed(error.to_string()))?;
    raw(&harmless_json(&text));
    Ok(())
}

/// JSON in which what [`harmless`] takes out of a text stands as `\uXXXX`, so that it is JSON still.
pub(super) fn harmless_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for char in json.chars() {
        if char == '\n' || is_plain(char) {
            text.push(char);
        } else {
            char.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        }
    }
    text
}

/// Columns as wide as what is in them.
pub(super) fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    open_table(heads, rows);
}

/// Prints a table that goes on: further rows stand below it.
pub(super) fn open_table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Columns {
    let mut all = vec![heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>()];
    all.extend(rows);
    let columns = Columns::of(heads.len(), &all);
    all.iter().for_each(|row| say!("{}", columns.line(row)));
    columns
}

/// How wide the columns of a table are.
pub(super) struct Columns(Vec<usize>);

impl Columns {
    fn of(count: usize, rows: &[Vec<String>]) -> Self {
        let width =
            |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max().unwrap_or(0);
        Self((0..count).map(width).collect())
    }

    /// A row of the table.
    pub(super) fn line(&self, row: &[String]) -> String {
        let cells = row.iter().zip(&self.0).map(|(cell, width)| format!("{:<width$}", harmless(cell)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

/// So many of something.
pub(crate) fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Text without what a terminal takes for orders, or turns the direction of other text or is not seen: names of files are
/// anybody's.
pub(super) fn harmless(text: &str) -> String {
    let shown = |char: char| if is_plain(char) { char.to_string() } else { char.escape_default().collect() };
    text.chars().map(shown).collect()
}

/// The same for a text of several lines.
pub(super) fn harmless_lines(text: &str) -> String {
    text.split('\n').map(harmless).collect::<Vec<_>>().join("\n")
}

/// Bytes as people read them: decimal units, three digits.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    match (unit, value) {
        (0, _) => format!("{count} B"),
        (_, value) if value < 9.995 => format!("{value:.2} {}", UNITS[unit]),
        (_, value) if value < 99.95 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// A length of time as people say it when it need not be exact: rounded up, one unit.
pub(crate) fn about(seconds: u64) -> String {
    const MINUTE_S: u64 = 60;
    const HOUR_S: u64 = 60 * MINUTE_S;
    const DAY_S: u64 = 24 * HOUR_S;
    let (unit_s, unit) = match seconds {
        0..=99 => (1, "second"),
        100..=7_199 => (MINUTE_S, "minute"),
        7_200..=172_799 => (HOUR_S, "hour"),
        _ => (DAY_S, "day"),
    };
    let number = seconds.div_ceil(unit_s);
    let number = if unit_s == 1 && number > 10 { number.div_ceil(10) * 10 } else { number };
    format!("about {number} {unit}{}", if number == 1 { "" } else { "s" })
}

/// A time in UTC to the minute.
pub(crate) fn time(ms_since_1970: u64) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    utc(ms_since_1970).and_then(|time| time.format(&format).ok()).unwrap_or_else(|| "?".into())
}

/// A time in UTC to the second, for what several things happen of in a minute.
pub(crate) fn moment(ms_since_1970: u64) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    utc(ms_since_1970).and_then(|time| time.format(&format).ok()).unwrap_or_else(|| "?".into())
}

fn utc(ms_since_1970: u64) -> Option<time::OffsetDateTime> {
    i64::try_from(ms_since_1970 / 1000).ok().and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok())
}

#[cfg(test)]
mod tests {
    use super::{Columns, about, bytes, count, harmless, harmless_json, harmless_lines, moment, time};

    #[test]
    fn nothing_orders_a_terminal_about_or_turns_text_round() {
        assert_eq!(harmless("a\u{1b}[2J\u{202e}b\nc"), "a\\u{1b}[2J\\u{202e}b\\nc");
        assert_eq!(harmless_lines("a\n\u{9b}b"), "a\n\\u{9b}b");
        assert_eq!(harmless("Grüße, тест 😀"), "Grüße, тест 😀");
    }

    #[test]
    fn json_stays_json_and_says_the_same() {
        let value = serde_json::json!({ "a\u{202e}": "\u{7f}\u{9b}\u{e0041}\n\u{1b} é😀" });
        let text = harmless_json(&serde_json::to_string_pretty(&value).expect("json"));
        assert!(!text.contains(['\u{202e}', '\u{7f}', '\u{9b}', '\u{e0041}']) && text.contains("é😀"), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).ok(), Some(value));
    }

    #[test]
    fn lengths_of_time_are_rounded_up_to_one_unit() {
        let cases = [
            (0, "about 0 seconds"),
            (1, "about 1 second"),
            (11, "about 20 seconds"),
            (110, "about 2 minutes"),
            (1_800, "about 30 minutes"),
            (7_201, "about 3 hours"),
            (172_800, "about 2 days"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(about(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn bytes_read_in_three_digits() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (12_345, "12.3 kB"),
            (999_600, "1.00 MB"),
            (5_000_000_000, "5.00 GB"),
        ];
        for (count, expected) in cases {
            assert_eq!(bytes(count), expected);
        }
    }

    #[test]
    fn times_read_to_the_minute() {
        assert_eq!(time(1_795_251_600_000), "2026-11-21 09:00 UTC");
        assert_eq!(moment(1_795_251_601_000), "2026-11-21 09:00:01 UTC");
        assert_eq!((time(u64::MAX), moment(u64::MAX)), ("?".into(), "?".into()));
    }

    #[test]
    fn one_is_not_several_and_later_rows_stand_below_the_first() {
        assert_eq!((count(1, "file"), count(0, "file")), ("1 file".into(), "0 files".into()));
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let columns = Columns::of(2, &[row(["PLACE", "WAY"]), row(["7", "received"])]);
        assert_eq!(columns.line(&row(["12", "sent"])), "12     sent");
        assert_eq!(columns.line(&row(["1", "\u{1b}[2J"])), "1      \\u{1b}[2J");
    }
}
