//! What else goes on at this machine, looked at once a second at most, and only when somebody asks.

use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use shoal_care::pace::{CpuTimes, Load, Supply, on_battery};
use shoal_dav::DoorStats;
use tokio::time::Instant;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So many bytes of a body count as one request: one upload may go on for minutes.
const BYTES_OF_ONE_REQUEST: u64 = 256 * 1024;
/// Power supplies looked at, at most.
const SUPPLIES_LIMIT: usize = 16;
/// Bytes of a file of the system read, at most.
const FILE_LIMIT_BYTES: u64 = 64 * 1024;

/// Tells what else goes on.
pub trait LoadSource: Send + Sync {
    /// As it is now, or was within the last second.
    fn load(&self) -> Load;
}

/// Counts what people wait for at this agent: requests at the drive's door, and shards asked for by doors elsewhere.
#[derive(Default)]
pub struct Foreground {
    shards: AtomicU64,
    door: OnceLock<Arc<DoorStats>>,
}

impl Foreground {
    /// A shard was asked for by somebody who waits.
    pub fn count_shard(&self) {
        self.shards.fetch_add(1, Ordering::Relaxed);
    }

    /// The drive's door is open; what it counts counts here from now on.
    pub fn set_door(&self, stats: Arc<DoorStats>) {
        // A second door would be a mistake here; the first goes on to count.
        let _ = self.door.set(stats);
    }

    /// All so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        let door = self.door.get().map_or(0, |stats| {
            let requests: u64 = stats.latencies().iter().sum();
            requests + (stats.received_bytes() + stats.sent_bytes()) / BYTES_OF_ONE_REQUEST
        });
        self.shards.load(Ordering::Relaxed) + door
    }
}

/// What this system tells. What it does not tell counts as quiet.
pub struct SystemLoad {
    foreground: Arc<Foreground>,
    last: Mutex<Option<Look>>,
}

#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    requests: u64,
    cpu: CpuTimes,
    load: Load,
}

impl SystemLoad {
    /// Of this machine, and of the people `foreground` counts.
    #[must_use]
    pub fn new(foreground: Arc<Foreground>) -> Self {
        Self { foreground, last: Mutex::new(None) }
    }

    fn look(&self, before: Option<Look>, now: Instant) -> Look {
        let requests = self.foreground.total();
        let cpu = cpu_times().unwrap_or_default();
        let load = before.map_or_else(Load::default, |before| Load {
            foreground_per_s: per_second(requests.saturating_sub(before.requests), now.duration_since(before.at)),
            cpu_busy_percent: cpu.busy_percent_since(before.cpu),
            on_battery: on_battery(&supplies(Path::new("/sys/class/power_supply"))),
        });
        Look { at: now, requests, cpu, load }
    }
}

impl LoadSource for SystemLoad {
    fn load(&self) -> Load {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(look) = last.filter(|look| now.duration_since(look.at) < LOOK_EVERY) {
            return look.load;
        }
        let look = self.look(*last, now);
        *last = Some(look);
        look.load
    }
}

/// What the processors have done so far; `None` where the system does not tell.
pub(super) fn cpu_times() -> Option<CpuTimes> {
    read(Path::new("/proc/stat")).and_then(|text| CpuTimes::parse(&text))
}

/// Rounded up: one request in a while is one too many to be called none.
fn per_second(requests: u64, passed: Duration) -> u32 {
    let passed_s = passed.as_secs().max(1);
    u32::try_from(requests.div_ceil(passed_s)).unwrap_or(u32::MAX)
}

fn supplies(directory: &Path) -> Vec<Supply> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let told = |path: &Path, name: &str| read(&path.join(name)).unwrap_or_default().trim().to_owned();
    let supply = |path: &Path| Supply {
        kind: told(path, "type"),
        online: told(path, "online"),
        status: told(path, "status"),
        scope: told(path, "scope"),
    };
    entries.flatten().take(SUPPLIES_LIMIT).map(|entry| supply(&entry.path())).collect()
}

fn read(path: &Path) -> Option<String> {
    read_up_to(path, FILE_LIMIT_BYTES)
}

/// The text of a file of the system, as far as the limit; `None` if it is not there or no text.
pub(super) fn read_up_to(path: &Path, limit_bytes: u64) -> Option<String> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(limit_bytes).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_people_asked_for_in_the_last_second_is_load_and_later_none() {
        let foreground = Arc::new(Foreground::default());
        let system = SystemLoad::new(foreground.clone());
        assert_eq!(system.load().foreground_per_s, 0);
        foreground.count_shard();
        assert_eq!(system.load().foreground_per_s, 0, "not looked yet");
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(system.load().foreground_per_s, 1);
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(system.load().foreground_per_s, 0);
    }

    #[test]
    fn supplies_are_read_as_the_system_tells_of_them() {
        let folder = tempfile::tempdir().expect("folder");
        let battery = folder.path().join("BAT0");
        std::fs::create_dir(&battery).expect("made");
        std::fs::write(battery.join("type"), "Battery\n").expect("written");
        std::fs::write(battery.join("status"), "Discharging\n").expect("written");
        assert!(on_battery(&supplies(folder.path())));
        std::fs::write(battery.join("status"), "Charging\n").expect("written");
        assert!(!on_battery(&supplies(folder.path())));
        assert!(supplies(&folder.path().join("missing")).is_empty());
    }
}
