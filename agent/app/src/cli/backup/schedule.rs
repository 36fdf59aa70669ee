//! Schedules as people type them: `delta hourly`, `snapshot daily 12:30,18:00`, `snapshot weekly sun 03:00`, `delta every 30m`.

use shoal_backup::schedule::{Mode, Rule, TimeOfDay, Weekday, When};

use crate::cli::{CliError, duration};

const DAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];
/// Letters that name a day.
const DAY_LETTERS: usize = 3;
const FORMS: &str = "write such as 'delta hourly', 'snapshot daily 12:30,18:00', 'snapshot weekly sun 03:00', 'delta every 30m' or \
                     'snapshot on demand'";

/// The schedules of `--schedule`; `none` alone: none.
pub(super) fn rules(texts: &[String]) -> Result<Vec<Rule>, CliError> {
    if let [only] = texts
        && only.trim() == "none"
    {
        return Ok(Vec::new());
    }
    texts.iter().map(|text| rule(text)).collect()
}

fn rule(text: &str) -> Result<Rule, CliError> {
    let wrong = |why: &str| CliError::Usage(format!("--schedule '{text}': {why}"));
    let lower = text.to_lowercase();
    let mut words = lower.split_whitespace();
    let mode = match words.next() {
        Some("delta") => Mode::Delta,
        Some("snapshot") => Mode::Snapshot,
        _ => return Err(wrong(&format!("it begins with delta or snapshot; {FORMS}"))),
    };
    let kind = words.next().ok_or_else(|| wrong(FORMS))?;
    // `at` may stand before a time: people write it.
    let rest: Vec<&str> = words.filter(|word| *word != "at").collect();
    let when = match (kind, rest.as_slice()) {
        ("hourly", rest) => hourly(rest),
        ("daily", times) if !times.is_empty() => daily(&times.join(",")),
        ("weekly", [days @ .., time]) if !days.is_empty() => weekly(&days.join(","), time),
        ("every", length) if !length.is_empty() => every(&length.join(" ")),
        ("on", ["demand"]) | ("on-demand", []) => Ok(When::OnDemand),
        _ => Err(FORMS.to_owned()),
    };
    let rule = Rule { mode, when: when.map_err(|why| wrong(&why))? };
    rule.validate().map_err(|error| wrong(&error.to_string()))?;
    Ok(rule)
}

fn hourly(rest: &[&str]) -> Result<When, String> {
    let minute = match rest {
        [] => 0,
        [minute] => {
            let digits = minute.strip_prefix(':').unwrap_or(minute);
            digits.parse().map_err(|_| format!("{minute} is no minute: write such as 'delta hourly :15'"))?
        }
        _ => return Err("hourly takes one minute at most, such as 'delta hourly :15'".to_owned()),
    };
    Ok(When::Hourly { minute })
}

fn daily(times: &str) -> Result<When, String> {
    Ok(When::Daily { at: parts(times).map(time).collect::<Result<_, _>>()? })
}

fn weekly(days: &str, at: &str) -> Result<When, String> {
    let day = |name: &str| {
        let is_it = |(full, _): &&(&str, Weekday)| name.len() >= DAY_LETTERS && full.starts_with(name);
        let found = DAYS.iter().find(is_it);
        found.map(|(_, day)| *day).ok_or_else(|| format!("{name} is no day of the week: write such as mon or sunday"))
    };
    Ok(When::Weekly { days: parts(days).map(day).collect::<Result<_, _>>()?, at: time(at)? })
}

fn every(length: &str) -> Result<When, String> {
    let seconds = duration::seconds("every", length).map_err(|error| error.to_string())?;
    if seconds % 60 != 0 {
        return Err(format!("every {length}: whole minutes, such as 30m"));
    }
    let minutes = u32::try_from(seconds / 60).map_err(|_| format!("every {length}: that is too long"))?;
    Ok(When::Interval { minutes })
}

fn time(text: &str) -> Result<TimeOfDay, String> {
    text.parse::<TimeOfDay>().map_err(|error| error.to_string())
}

fn parts(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').filter(|part| !part.is_empty())
}

/// A schedule as it can be typed again.
pub(super) fn text(rule: &Rule) -> String {
    let mode = rule.mode;
    match &rule.when {
        When::Hourly { minute: 0 } => format!("{mode} hourly"),
        When::Hourly { minute } => format!("{mode} hourly :{minute:02}"),
        When::Daily { at } => {
            let times: Vec<String> = at.iter().map(ToString::to_string).collect();
            format!("{mode} daily {}", times.join(","))
        }
        When::Weekly { days, at } => {
            let name =
                |day: &Weekday| DAYS.iter().find(|(_, one)| one == day).and_then(|(name, _)| name.get(..DAY_LETTERS));
            let days: Vec<&str> = days.iter().filter_map(name).collect();
            format!("{mode} weekly {} {at}", days.join(","))
        }
        When::Interval { minutes } => format!("{mode} every {}", duration::exact(u64::from(*minutes) * 60)),
        When::OnDemand => format!("{mode} on demand"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<Rule, String> {
        rule(text).map_err(|error| error.to_string())
    }

    #[test]
    fn schedules_are_read_kindly_and_shown_so_that_they_can_be_typed_again() {
        let at = |hour, minute| TimeOfDay { hour, minute };
        let cases = [
            ("delta hourly", Mode::Delta, When::Hourly { minute: 0 }, "delta hourly"),
            ("Delta Hourly at :5", Mode::Delta, When::Hourly { minute: 5 }, "delta hourly :05"),
            (
                "snapshot daily 12:30, 18:00",
                Mode::Snapshot,
                When::Daily { at: vec![at(12, 30), at(18, 0)] },
                "snapshot daily 12:30,18:00",
            ),
            ("snapshot daily at 7:05", Mode::Snapshot, When::Daily { at: vec![at(7, 5)] }, "snapshot daily 07:05"),
            (
                "snapshot weekly Sunday,wed 03:00",
                Mode::Snapshot,
                When::Weekly { days: vec![Weekday::Sunday, Weekday::Wednesday], at: at(3, 0) },
                "snapshot weekly sun,wed 03:00",
            ),
            ("delta every 30m", Mode::Delta, When::Interval { minutes: 30 }, "delta every 30m"),
            ("delta every 1 hour 30 min", Mode::Delta, When::Interval { minutes: 90 }, "delta every 90m"),
            ("snapshot on demand", Mode::Snapshot, When::OnDemand, "snapshot on demand"),
        ];
        for (typed, mode, when, shown) in cases {
            let read = one(typed);
            assert_eq!(read, Ok(Rule { mode, when: when.clone() }), "{typed}");
            assert_eq!(text(&Rule { mode, when }), shown);
            assert_eq!(one(shown), read, "{shown}");
        }
    }

    #[test]
    fn what_is_no_schedule_says_what_would_be() {
        let cases = [
            ("", "begins with delta or snapshot"),
            ("hourly", "begins with delta or snapshot"),
            ("delta", "'delta hourly'"),
            ("delta yearly", "'delta hourly'"),
            ("delta hourly 61", "no minute 61"),
            ("delta hourly x", "no minute"),
            ("snapshot daily", "'snapshot daily 12:30,18:00'"),
            ("snapshot daily 25:00", "no time of day"),
            ("snapshot weekly sun", "'snapshot weekly sun 03:00'"),
            ("snapshot weekly so 03:00", "no day of the week"),
            ("delta every 1m", "5 to 129600"),
            ("delta every 90s", "whole minutes"),
            ("delta every soon", "a length of time"),
        ];
        for (typed, says) in cases {
            let said = one(typed).expect_err(typed);
            assert!(said.contains(says), "{typed}: {said}");
        }
    }

    #[test]
    fn none_stands_for_no_schedule_and_only_alone() {
        assert_eq!(rules(&["none".to_owned()]).map_err(|error| error.to_string()), Ok(Vec::new()));
        assert!(rules(&["none".to_owned(), "delta hourly".to_owned()]).is_err());
    }
}
