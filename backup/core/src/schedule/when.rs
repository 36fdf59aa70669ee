//! The times of a schedule.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::civil::{Day, Zone};
use crate::now::{DAY_MS, HOUR_MS, MINUTE_MS};

/// Times of day in one schedule, at most.
pub const TIMES_LIMIT: usize = 48;
/// Shorter intervals are what the continuous mode is for.
const INTERVAL_LEAST_MINUTES: u32 = 5;
const INTERVAL_LIMIT_MINUTES: u32 = 60 * 24 * 90;

/// A time of day in the machine's time zone. Text form: `HH:MM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay {
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// When a run is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Every hour, at this minute. Counts on through a change of the clock.
    Hourly {
        /// 0 to 59.
        minute: u8,
    },
    /// Every day at these times.
    Daily {
        /// At least one.
        at: Vec<TimeOfDay>,
    },
    /// On these days of the week.
    Weekly {
        /// At least one.
        days: Vec<Weekday>,
        /// At this time.
        at: TimeOfDay,
    },
    /// Every so many minutes.
    Interval {
        /// 5 to 129,600 (90 days).
        minutes: u32,
    },
    /// When the owner asks for it.
    OnDemand,
}

/// What is wrong with a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// No such time.
    #[error("{0} is no time of day: write 00:00 to 23:59")]
    BadTime(TimeOfDay),
    /// No such minute.
    #[error("an hour has no minute {0}: write 0 to 59")]
    BadMinute(u8),
    /// No time at all, or too many.
    #[error("{0} times of day cannot be used: write 1 to {TIMES_LIMIT}, or an interval")]
    BadTimes(usize),
    /// No day at all, or too many.
    #[error("{0} days of the week cannot be used: write 1 to 7")]
    BadDays(usize),
    /// Too short or too long.
    #[error(
        "an interval of {0} minutes cannot be used: write 5 to 129600 (90 days); for less, use the continuous mode"
    )]
    BadInterval(u32),
}

/// The shortest and the longest time between two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) shortest_ms: u64,
    pub(super) longest_ms: u64,
}

impl TimeOfDay {
    fn second(self) -> i64 {
        i64::from(self.hour) * 3600 + i64::from(self.minute) * 60
    }

    fn validate(self) -> Result<(), RuleError> {
        if self.hour < 24 && self.minute < 60 { Ok(()) } else { Err(RuleError::BadTime(self)) }
    }
}

impl When {
    pub(super) fn validate(&self) -> Result<(), RuleError> {
        match self {
            Self::Hourly { minute } if *minute > 59 => Err(RuleError::BadMinute(*minute)),
            Self::Daily { at } if !(1..=TIMES_LIMIT).contains(&at.len()) => Err(RuleError::BadTimes(at.len())),
            Self::Daily { at } => at.iter().try_for_each(|time| time.validate()),
            Self::Weekly { days, .. } if !(1..=7).contains(&days.len()) => Err(RuleError::BadDays(days.len())),
            Self::Weekly { at, .. } => at.validate(),
            Self::Interval { minutes } if !(INTERVAL_LEAST_MINUTES..=INTERVAL_LIMIT_MINUTES).contains(minutes) => {
                Err(RuleError::BadInterval(*minutes))
            }
            Self::Hourly { .. } | Self::Interval { .. } | Self::OnDemand => Ok(()),
        }
    }

    /// `None` for what is never due by itself.
    pub(super) fn period(&self) -> Option<Period> {
        let even = |ms| Period { shortest_ms: ms, longest_ms: ms };
        match self {
            Self::Hourly { .. } => Some(even(HOUR_MS)),
            Self::Interval { minutes } => Some(even(u64::from((*minutes).max(INTERVAL_LEAST_MINUTES)) * MINUTE_MS)),
            Self::Daily { at } => gaps(at.iter().map(|time| time.second()).collect(), DAY_MS / 1000),
            Self::Weekly { days, at } => {
                let seconds = days.iter().map(|day| *day as i64 * 86_400 + at.second()).collect();
                gaps(seconds, 7 * DAY_MS / 1000)
            }
            Self::OnDemand => None,
        }
    }

    /// The first moment after `after_ms`, in ms since 1970.
    pub(super) fn next_after_ms(&self, after_ms: u64, zone: &Zone) -> Option<u64> {
        match self {
            Self::Hourly { minute } => {
                let in_hour_ms = u64::try_from(zone.local(after_ms).1.rem_euclid(3600)).ok()? * 1000 + after_ms % 1000;
                let wanted_ms = u64::from(*minute) * MINUTE_MS;
                let ahead_ms = (wanted_ms + HOUR_MS - in_hour_ms) % HOUR_MS;
                Some(after_ms.saturating_add(if ahead_ms == 0 { HOUR_MS } else { ahead_ms }))
            }
            Self::Interval { minutes } => {
                let period_ms = u64::from((*minutes).max(INTERVAL_LEAST_MINUTES)) * MINUTE_MS;
                Some((after_ms / period_ms + 1).saturating_mul(period_ms))
            }
            Self::Daily { at } => next_of(after_ms, zone, at, |_| true),
            Self::Weekly { days, at } => {
                next_of(after_ms, zone, &[*at], |day| days.iter().any(|wanted| *wanted as u8 == day.weekday()))
            }
            Self::OnDemand => None,
        }
    }
}

/// The first moment after `after_ms` that is one of these times on one of these days.
fn next_of(after_ms: u64, zone: &Zone, times: &[TimeOfDay], on: impl Fn(Day) -> bool) -> Option<u64> {
    let (today, _) = zone.local(after_ms);
    // A day before and one after the week: a change of the clock may push a time over midnight.
    let days = (-1..=8).map(|ahead| Day(today.0 + ahead)).filter(|day| on(*day));
    let moments = days.flat_map(|day| times.iter().map(move |time| zone.moment_ms(day, time.second())));
    moments.filter(|moment_ms| *moment_ms > after_ms).min()
}

fn gaps(mut seconds: Vec<i64>, round_s: u64) -> Option<Period> {
    seconds.sort_unstable();
    seconds.dedup();
    let round = i64::try_from(round_s).ok()?;
    let next = seconds.iter().skip(1).copied().chain(seconds.first().map(|first| first + round));
    let gaps: Vec<u64> = seconds.iter().zip(next).filter_map(|(at, next)| u64::try_from(next - at).ok()).collect();
    Some(Period { shortest_ms: gaps.iter().min()? * 1000, longest_ms: gaps.iter().max()? * 1000 })
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}

/// A text is no time of day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time of day: write HH:MM, such as 12:30")]
pub struct NotATime(String);

impl FromStr for TimeOfDay {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || NotATime(text.chars().take(80).collect());
        let number = |digits: &str| {
            let plain = (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| digits.parse().ok()).flatten()
        };
        let (hour, minute) = text.split_once(':').ok_or_else(error)?;
        let time = Self { hour: number(hour).ok_or_else(error)?, minute: number(minute).ok_or_else(error)? };
        time.validate().map_err(|_| error())?;
        Ok(time)
    }
}

impl Serialize for TimeOfDay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
