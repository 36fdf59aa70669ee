//! Waiting for a condition, never for a length of time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition that cannot be waited on is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks at a condition until it holds (then gives what it found), or fails after `deadline` naming what was awaited.
///
/// # Errors
/// If the deadline passes, with the last error the condition gave.
pub fn wait_until<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begin = Instant::now();
    loop {
        let last = match condition() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => String::new(),
            Err(error) => format!(" (last error: {error:#})"),
        };
        if begin.elapsed() >= deadline {
            bail!("waited {} s in vain for {what}{last}", deadline.as_secs_f32());
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}
