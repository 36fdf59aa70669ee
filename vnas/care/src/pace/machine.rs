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
        u8::try_from(self.share_since(before, 100)).unwrap_or(100)
    }

    /// Of so many parts, those at work since `before`; 0 when no time has passed.
    fn share_since(self, before: Self, parts: u16) -> u16 {
        let busy = u128::from(self.busy.saturating_sub(before.busy));
        let total = u128::from(self.total.saturating_sub(before.total));
        let share = (busy * u128::from(parts)).checked_div(total).unwrap_or(0);
        u16::try_from(share).unwrap_or(parts).min(parts)
    }
}

/// How busy a machine has been lately, told from looks at its processors every few seconds: a look counts a quarter, so that a
/// short burst, such as a program that starts, says little.
#[derive(Debug, Clone, Copy, Default)]
pub struct Busyness {
    last: Option<CpuTimes>,
    permille: Option<u16>,
}

impl Busyness {
    /// Takes in a look. Answers how busy it is, 0 to 1000; `None` until there were two.
    pub fn look(&mut self, times: CpuTimes) -> Option<u16> {
        if let Some(last) = self.last.replace(times)
            && times.total > last.total
        {
            let now = times.share_since(last, 1_000);
            self.permille = Some(self.permille.map_or(now, |before| (3 * before + now) / 4));
        }
        self.permille
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
    fn how_busy_a_machine_is_follows_slowly_what_each_look_tells() {
        let mut busyness = Busyness::default();
        let mut at = CpuTimes::default();
        let mut look = |busy, total| {
            at = CpuTimes { busy: at.busy + busy, total: at.total + total };
            busyness.look(at)
        };
        assert_eq!(look(500, 1_000), None, "one look tells nothing");
        assert_eq!(look(100, 200), Some(500));
        assert_eq!(look(200, 200), Some(625), "a burst");
        assert_eq!(look(0, 0), Some(625), "no time passed");
        let busiest = (0..20).filter_map(|_| look(200, 200)).last();
        assert!(busiest.is_some_and(|busy| (990..=1_000).contains(&busy)), "{busiest:?}");
        let idle = (0..30).filter_map(|_| look(0, 200)).last();
        assert_eq!(idle, Some(0));
        // Counters that go back, as after a restore of the machine, are no load.
        assert_eq!(busyness.look(CpuTimes::default()), Some(0));
        assert_eq!(busyness.look(CpuTimes { busy: 300, total: 300 }), Some(250));
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
