//! What processes cost, read from `/proc` (Linux).

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};

/// Ticks a second of the times in `/proc/PID/stat`; fixed at 100 for user space by Linux.
const TICKS_A_SECOND: f64 = 100.0;

/// Processor time and memory of some processes together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// User plus system time since their start, in seconds.
    pub cpu_s: f64,
    /// Resident memory now, in bytes.
    pub resident_bytes: u64,
    /// The largest peak of resident memory of one of them, in bytes.
    pub peak_bytes: u64,
}

/// Usage of these processes, those that have ended left out.
#[must_use]
pub fn usage(pids: &[u32]) -> Usage {
    let mut total = Usage::default();
    for pid in pids {
        if let Ok(one) = usage_of(*pid) {
            total.cpu_s += one.cpu_s;
            total.resident_bytes += one.resident_bytes;
            total.peak_bytes = total.peak_bytes.max(one.peak_bytes);
        }
    }
    total
}

fn usage_of(pid: u32) -> Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; the fields after it are numbers.
    let fields: Vec<&str> = stat.rsplit_once(')').context("no name in stat")?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0)
    };
    Ok(Usage {
        cpu_s: (ticks(11) + ticks(12)) as f64 / TICKS_A_SECOND,
        resident_bytes: kib("VmRSS:") * 1024,
        peak_bytes: kib("VmHWM:") * 1024,
    })
}

/// These processes and all their descendants.
#[must_use]
pub fn with_descendants(roots: &[u32]) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        parents.extend(parent.map(|parent| (parent, pid)));
    }
    let mut found: BTreeSet<u32> = roots.iter().copied().collect();
    loop {
        let more: Vec<u32> =
            parents.iter().filter(|(p, c)| found.contains(p) && !found.contains(c)).map(|(_, c)| *c).collect();
        if more.is_empty() {
            return found.into_iter().collect();
        }
        found.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_is_its_own_descendant() {
        let me = std::process::id();
        assert!(usage(&[me]).peak_bytes > 0);
        assert!(with_descendants(&[me]).contains(&me));
        assert_eq!(usage(&[]), Usage::default());
    }
}
