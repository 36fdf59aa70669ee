//! What the run says, one line each with its time: on the terminal and in `chaos.log`.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use shoal_testkit::history::Recorder;

/// Violations told in full; more are only counted.
const TOLD_LIMIT: usize = 50;

/// The log of a run, and what it found wrong.
pub(super) struct Journal {
    file: Mutex<File>,
    /// What clients did; its clock is the run's.
    pub(super) recorder: Recorder,
    violations: Mutex<Vec<String>>,
}

impl Journal {
    pub(super) fn new(folder: &Path) -> Result<Self> {
        let file = File::create(folder.join("chaos.log"))?;
        Ok(Self { file: Mutex::new(file), recorder: Recorder::default(), violations: Mutex::default() })
    }

    /// Tells one thing.
    pub(super) fn tell(&self, what: &str) {
        let line = format!("{:9.3} s  {what}", self.recorder.now_us() as f64 / 1e6);
        println!("{line}");
        let _ = writeln!(self.file.lock().unwrap_or_else(PoisonError::into_inner), "{line}");
    }

    /// Tells of something that must never be.
    pub(super) fn violation(&self, what: &str) {
        let count = {
            let mut all = self.violations.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(what.to_owned());
            all.len()
        };
        if count <= TOLD_LIMIT {
            self.tell(&format!("VIOLATION: {what}"));
        }
    }

    /// The first line of each violation.
    pub(super) fn violations(&self) -> Vec<String> {
        let all = self.violations.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|violation| violation.lines().next().unwrap_or_default().to_owned()).collect()
    }
}
