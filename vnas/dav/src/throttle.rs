//! Slows down who guesses passwords.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures that cost nothing: people mistype, and clients retry with what they have stored.
const FREE_FAILURES: u32 = 5;
/// The first wait; it doubles with every further failure.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Failures are forgotten so long after the last one.
const FORGET_AFTER: Duration = Duration::from_secs(15 * 60);
/// Sources remembered, at most; beyond it the one that failed longest ago is forgotten. About 1 MB.
const SOURCES_LIMIT: usize = 8192;
/// Bytes of a user name that count: longer ones are made up.
const USER_KEY_BYTES: usize = 64;

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

/// Remembers failed sign-ins by address and user. After five failures each further one makes the next wait, half a
/// second first and a minute at most. Time is an argument.
#[derive(Default)]
pub struct Throttle {
    sources: Mutex<HashMap<(IpAddr, String), Failures>>,
}

impl Throttle {
    /// One that remembers nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a password may be looked at now.
    ///
    /// # Errors
    /// How long to wait first.
    pub fn check(&self, remote: IpAddr, user: &str, now: Instant) -> Result<(), Duration> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(failures) = sources.get(&key(remote, user)) else { return Ok(()) };
        let until = failures.last + wait(failures.count);
        if until > now { Err(until - now) } else { Ok(()) }
    }

    /// A password was wrong.
    pub fn failed(&self, remote: IpAddr, user: &str, now: Instant) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.len() >= SOURCES_LIMIT {
            sources.retain(|_, failures| now.saturating_duration_since(failures.last) < FORGET_AFTER);
        }
        if sources.len() >= SOURCES_LIMIT {
            let oldest = sources.iter().min_by_key(|(_, failures)| failures.last).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                sources.remove(&oldest);
            }
        }
        let failures = sources.entry(key(remote, user)).or_insert(Failures { count: 0, last: now });
        if now.saturating_duration_since(failures.last) >= FORGET_AFTER {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
    }

    /// A password was right: what failed before is forgiven.
    pub fn succeeded(&self, remote: IpAddr, user: &str) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(remote, user));
    }
}

fn key(remote: IpAddr, user: &str) -> (IpAddr, String) {
    let end = (0..=USER_KEY_BYTES.min(user.len())).rev().find(|end| user.is_char_boundary(*end)).unwrap_or(0);
    (remote, user[..end].to_owned())
}

fn wait(failures: u32) -> Duration {
    match failures.checked_sub(FREE_FAILURES + 1) {
        None => Duration::ZERO,
        Some(doublings) => FIRST_WAIT.saturating_mul(1 << doublings.min(16)).min(LONGEST_WAIT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn fail(throttle: &Throttle, user: &str, times: u32, now: Instant) {
        (0..times).for_each(|_| throttle.failed(HERE, user, now));
    }

    #[test]
    fn five_failures_are_free_then_waits_double_up_to_a_minute() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        fail(&throttle, "ana", 5, now);
        assert_eq!(throttle.check(HERE, "ana", now), Ok(()));
        fail(&throttle, "ana", 1, now);
        assert_eq!(throttle.check(HERE, "ana", now), Err(Duration::from_millis(500)));
        fail(&throttle, "ana", 1, now);
        assert_eq!(throttle.check(HERE, "ana", now), Err(Duration::from_secs(1)));
        fail(&throttle, "ana", 100, now);
        assert_eq!(throttle.check(HERE, "ana", now), Err(Duration::from_secs(60)));
        assert_eq!(throttle.check(HERE, "ana", now + Duration::from_secs(60)), Ok(()));
    }

    #[test]
    fn a_right_password_or_time_forgives_and_others_are_not_slowed() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        fail(&throttle, "ana", 9, now);
        assert_eq!(throttle.check(HERE, "ben", now), Ok(()));
        assert_eq!(throttle.check("::1".parse().expect("an address"), "ana", now), Ok(()));
        throttle.succeeded(HERE, "ana");
        assert_eq!(throttle.check(HERE, "ana", now), Ok(()));
        fail(&throttle, "ana", 9, now);
        throttle.failed(HERE, "ana", now + FORGET_AFTER);
        assert_eq!(throttle.check(HERE, "ana", now + FORGET_AFTER), Ok(()));
    }

    #[test]
    fn memory_is_bounded_however_many_names_are_tried() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        for number in 0..SOURCES_LIMIT + 10 {
            throttle.failed(HERE, &format!("{number}{}", "x".repeat(1000)), now);
        }
        let sources = throttle.sources.lock().expect("not poisoned");
        assert_eq!(sources.len(), SOURCES_LIMIT);
        assert!(sources.keys().all(|(_, user)| user.len() <= USER_KEY_BYTES));
    }
}
