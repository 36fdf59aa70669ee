//! What a peerlet may use at most: what a manifest leaves out, and what none may ask for.

use super::raw::RawLimits;
use super::{ManifestError, Mode, Output};

/// What one peerlet may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Seconds until a oneshot must have ended, or a session or service must have answered, and must be ready.
    pub time_s: u64,
    /// MiB of memory: of each process of an instance (private, writable), and of all of them together.
    pub memory_mib: u64,
    /// KiB of output: of a oneshot, or of an instance since a message was fed to it.
    pub output_kib: u64,
    /// MiB of one file that it writes.
    pub file_mib: u64,
    /// Processes and threads of one instance.
    pub processes: u64,
    /// Messages that wait for it.
    pub queue: usize,
    /// Seconds without messages after which a session or service is ended.
    pub idle_s: u64,
    /// Seconds it has to end when it is asked to.
    pub grace_s: u64,
    /// Processes at once: of a oneshot, sessions at once.
    pub instances: usize,
}

/// What no manifest may exceed, in the order of [`Limits`].
pub struct LimitsCeiling;

impl LimitsCeiling {
    /// A day.
    pub const TIME_S: u64 = 24 * 60 * 60;
    /// 64 GiB.
    pub const MEMORY_MIB: u64 = 64 * 1024;
    /// 1 GiB, in many replies.
    pub const OUTPUT_KIB: u64 = 1024 * 1024;
    /// What fits into one reply, though all of it be written as entities.
    pub const REPLY_KIB: u64 = 160;
    /// 1 TiB.
    pub const FILE_MIB: u64 = 1024 * 1024;
    /// Enough for a build on a large machine.
    pub const PROCESSES: u64 = 4_096;
    /// Each message may have 1 MiB.
    pub const QUEUE: u64 = 1_000;
    /// A week.
    pub const IDLE_S: u64 = 7 * 24 * 60 * 60;
    /// A minute.
    pub const GRACE_S: u64 = 60;
    /// As many as sessions of a busy chat.
    pub const INSTANCES: u64 = 256;
}

/// Memory that even a small interpreter needs to start.
const MEMORY_LEAST_MIB: u64 = 16;

pub(super) fn check(raw: &RawLimits, mode: Mode, output: Output) -> Result<Limits, ManifestError> {
    if mode == Mode::Oneshot && raw.idle_s.is_some() {
        return Err(ManifestError::field("limits.idle_s", "is for sessions and services; a oneshot ends by itself"));
    }
    let instances = match mode {
        Mode::Oneshot => 4,
        Mode::Session => 16,
        Mode::Service => 1,
    };
    let instances_most = if mode == Mode::Service { 1 } else { LimitsCeiling::INSTANCES };
    let output_most = if output == Output::Text { LimitsCeiling::REPLY_KIB } else { LimitsCeiling::OUTPUT_KIB };
    Ok(Limits {
        time_s: within("time_s", raw.time_s, 60, (1, LimitsCeiling::TIME_S))?,
        memory_mib: within("memory_mib", raw.memory_mib, 512, (MEMORY_LEAST_MIB, LimitsCeiling::MEMORY_MIB))?,
        output_kib: within("output_kib", raw.output_kib, LimitsCeiling::REPLY_KIB, (1, output_most))?,
        file_mib: within("file_mib", raw.file_mib, 1_024, (1, LimitsCeiling::FILE_MIB))?,
        processes: within("processes", raw.processes, 64, (1, LimitsCeiling::PROCESSES))?,
        queue: within("queue", raw.queue, 100, (1, LimitsCeiling::QUEUE))? as usize,
        idle_s: within("idle_s", raw.idle_s, 300, (1, LimitsCeiling::IDLE_S))?,
        grace_s: within("grace_s", raw.grace_s, 5, (0, LimitsCeiling::GRACE_S))?,
        instances: within("instances", raw.instances, instances, (1, instances_most))? as usize,
    })
}

fn within(name: &str, given: Option<u64>, usual: u64, (least, most): (u64, u64)) -> Result<u64, ManifestError> {
    match given {
        None => Ok(usual),
        Some(value) if (least..=most).contains(&value) => Ok(value),
        Some(value) => {
            let why = format!("{value} is not taken; it must be {least} to {most}");
            Err(ManifestError::field(format!("limits.{name}"), why))
        }
    }
}
