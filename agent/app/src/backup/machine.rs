//! The computer as backup sees it: clocks, time zone, battery and link, and which computer it is.

use std::fs;
use std::path::Path;
use std::time::{Instant, UNIX_EPOCH};

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use shoal_backup::peers::MachineId;
use shoal_backup::plan::Conditions;
use shoal_backup::{Now, ZONE_CHANGES_LIMIT, Zone, ZoneChange};
use shoal_backup_service::network::Machine;

/// What the system says of batteries and mains.
const POWER_SUPPLIES: &str = "/sys/class/power_supply";
/// What the system says of itself.
const MACHINE_ID: &str = "/etc/machine-id";
/// So far back changes of the clock are looked for: longer than archives are kept hourly or daily.
const YEARS_BACK: i64 = 5;

/// This computer.
pub(super) struct Computer {
    begun: Instant,
    /// Its owner said that the link is paid by volume.
    metered: bool,
}

impl Computer {
    pub(super) fn new(metered: bool) -> Self {
        Self { begun: Instant::now(), metered }
    }
}

impl Machine for Computer {
    fn now(&self) -> Now {
        let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Now { steady_ms: ms(self.begun.elapsed()), wall_ms: UNIX_EPOCH.elapsed().map_or(0, ms) }
    }

    fn zone(&self) -> Zone {
        zone_of(&TimeZone::system(), Timestamp::now())
    }

    fn conditions(&self) -> Conditions {
        Conditions {
            on_battery: on_battery(Path::new(POWER_SUPPLIES)),
            on_metered_link: self.metered,
            ..Conditions::default()
        }
    }
}

/// Which computer this is: what the owner said, else the system's own number, else the agent's name, which is better than taking
/// all for one. Hashed: the system's number is nobody else's business.
pub(super) fn machine_id(said: Option<&str>, agent_name: &str) -> MachineId {
    let system = || fs::read_to_string(MACHINE_ID).ok().map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
    let id = said.map(str::to_owned).or_else(system).unwrap_or_else(|| agent_name.to_owned());
    let hash = blake3::derive_key("shoal 2026-11 which computer an agent runs on", id.as_bytes());
    let mut machine = [0; 16];
    machine.copy_from_slice(&hash[..16]);
    MachineId(machine)
}

/// A computer runs on battery if it has one and no mains is on.
fn on_battery(supplies: &Path) -> bool {
    let Ok(entries) = fs::read_dir(supplies) else { return false };
    let read = |path: &Path, name: &str| fs::read_to_string(path.join(name)).unwrap_or_default().trim().to_owned();
    let (mut discharging, mut mains) = (false, false);
    for path in entries.flatten().map(|entry| entry.path()) {
        // A mouse has a battery too: its scope is a device.
        match read(&path, "type").as_str() {
            "Battery" if read(&path, "scope") != "Device" => discharging |= read(&path, "status") == "Discharging",
            "Mains" | "USB" => mains |= read(&path, "online") == "1",
            _ => {}
        }
    }
    discharging && !mains
}

/// A zone of the system as a list of changes.
fn zone_of(zone: &TimeZone, now: Timestamp) -> Zone {
    let begin = now.checked_sub((YEARS_BACK * 365 * 24).hours()).unwrap_or(now);
    let changes = zone.following(begin).take(ZONE_CHANGES_LIMIT);
    let change = |it: jiff::tz::TimeZoneTransition<'_>| ZoneChange {
        from_s: it.timestamp().as_second(),
        offset_s: it.offset().seconds(),
    };
    Zone::new(zone.to_offset(begin).seconds(), changes.map(change).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_has_its_changes_and_one_without_has_none() {
        let now: Timestamp = "2026-06-01T00:00:00Z".parse().expect("a time");
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone");
        let zone = zone_of(&berlin, now);
        let text = serde_json::to_value(&zone).expect("json");
        assert_eq!(text["changes"].as_array().map(Vec::len), Some(ZONE_CHANGES_LIMIT));
        assert!(text.to_string().contains("7200") && text.to_string().contains("3600"));
        assert_eq!(zone_of(&TimeZone::UTC, now), Zone::UTC);
    }

    #[test]
    fn a_laptop_off_the_mains_runs_on_battery_and_a_mouse_does_not_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let say = |supply: &str, what: &[(&str, &str)]| {
            fs::create_dir_all(folder.path().join(supply)).expect("made");
            what.iter().for_each(|(name, text)| {
                fs::write(folder.path().join(supply).join(name), format!("{text}\n")).expect("written");
            });
        };
        assert!(!on_battery(folder.path()) && !on_battery(Path::new("/nowhere")));
        say("mouse", &[("type", "Battery"), ("scope", "Device"), ("status", "Discharging")]);
        assert!(!on_battery(folder.path()));
        say("BAT0", &[("type", "Battery"), ("status", "Discharging")]);
        assert!(on_battery(folder.path()));
        say("AC", &[("type", "Mains"), ("online", "1")]);
        assert!(!on_battery(folder.path()));
    }

    #[test]
    fn a_computer_is_told_by_what_its_owner_says() {
        assert_eq!(machine_id(Some("a"), "x"), machine_id(Some("a"), "y"));
        assert_ne!(machine_id(Some("a"), "x"), machine_id(Some("b"), "x"));
    }
}
