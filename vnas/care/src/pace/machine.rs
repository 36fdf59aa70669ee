//! What the system tells of processors and power.

/// Lines of `/proc/stat` looked at; the sum of all processors is the first.
const LINES_LIMIT: usize = 4;

/// Time all processors together have spent, in ticks of the system, since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuTimes {
    /// At work.
    pub busy: u64,
    /// At work or idle.
    pub total: u64,
}

impl CpuTimes {
    /// From the text of `/proc/stat`; `None` if that is not what it says.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let line = text.lines().take(LINES_LIMIT).find_map(|line| line.strip_prefix("cpu "))?;
        // user nice system idle iowait irq softirq steal; guests are part of user already.
        let ticks =
            line.split_ascii_whitespace().take(8).map(|tick| tick.parse::<u64>().ok()).collect::<Option<Vec<_>>>()?;
        let [_, _, _, idle, iowait, ..] = *ticks.as_slice() else { return None };
        let total = ticks.iter().fold(0, |sum: u64, tick| sum.saturating_add(*tick));
        Some(Self { busy: total.saturating_sub(idle).saturating_sub(iowait), total })
    }

    /// Share at work since `before`, in percent; 0 when no time has passed.
    #[must_use]
    pub fn busy_percent_since(self, before: Self) -> u8 {
        let busy = u128::from(self.busy.saturating_sub(before.busy));
        let total = u128::from(self.total.saturating_sub(before.total));
        let percent = (busy * 100).checked_div(total).unwrap_or(0);
        u8::try_from(percent.min(100)).unwrap_or(100)
    }
}

/// A power supply as `/sys/class/power_supply` tells of it; what it does not tell is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Supply {
    /// `type`: `Battery`, `Mains`, `UPS`, `USB`.
    pub kind: String,
    /// `online`: `1` while it gives power.
    pub online: String,
    /// `status`: `Discharging`, `Charging`, `Full`.
    pub status: String,
    /// `scope`: `Device` for the battery of a mouse.
    pub scope: String,
}

/// Whether the machine lives on a battery now.
#[must_use]
pub fn on_battery(supplies: &[Supply]) -> bool {
    let own = || supplies.iter().filter(|supply| supply.scope != "Device");
    let plugged_in = own().any(|supply| matches!(supply.kind.as_str(), "Mains" | "USB") && supply.online == "1");
    let drains =
        own().any(|supply| matches!(supply.kind.as_str(), "Battery" | "UPS") && supply.status == "Discharging");
    drains && !plugged_in
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_the_processors_at_work_is_told_from_two_looks() {
        let before = CpuTimes::parse("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3").expect("parses");
        assert_eq!(before, CpuTimes { busy: 150, total: 1000 });
        let after = CpuTimes::parse("cpu  170 0 60 815 55 0 0 0 0 0\n").expect("parses");
        assert_eq!(after.busy_percent_since(before), 80);
        assert_eq!(before.busy_percent_since(before), 0, "no time passed");
        assert_eq!(before.busy_percent_since(after), 0, "counters that go back");
        for text in ["", "cpu", "cpu 1 2 3", "cpu  1 2 x 4 5", "intr 1 2 3 4 5"] {
            assert_eq!(CpuTimes::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_machine_is_on_battery_when_one_of_its_own_drains_and_nothing_is_plugged_in() {
        let supply = |kind: &str, online: &str, status: &str, scope: &str| Supply {
            kind: kind.into(),
            online: online.into(),
            status: status.into(),
            scope: scope.into(),
        };
        let battery = |status| supply("Battery", "", status, "");
        let check = |supplies: &[Supply], expected, what| assert_eq!(on_battery(supplies), expected, "{what}");
        check(&[], false, "a desktop");
        check(&[battery("Discharging"), supply("Mains", "0", "", "")], true, "unplugged");
        check(&[battery("Charging"), supply("Mains", "1", "", "")], false, "charging");
        check(&[battery("Discharging"), supply("Mains", "1", "", "")], false, "a weak charger");
        check(&[battery("Discharging"), supply("USB", "1", "", "")], false, "charged over USB");
        check(&[supply("Battery", "", "Discharging", "Device")], false, "a mouse");
        check(&[supply("UPS", "", "Discharging", "")], true, "a power cut");
    }
}
