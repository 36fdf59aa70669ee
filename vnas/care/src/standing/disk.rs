//! What a disk says of itself.

/// Sectors a disk has replaced or wants to replace from which it is not merely old.
const MANY_SECTORS: u64 = 100;
/// Percent of its life used at which a flash disk is worn out.
const WORN_OUT_PERCENT: u64 = 100;

/// What a disk says of itself, as far as it says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Smart {
    /// Its own verdict: whether it expects to live on.
    pub passed: Option<bool>,
    /// Sectors it has replaced.
    pub reallocated_sectors: u64,
    /// Sectors it could not read and waits to replace.
    pub pending_sectors: u64,
    /// Reads it could not answer, of an NVMe disk.
    pub media_errors: u64,
    /// Percent of its life used, of a flash disk; may be over 100.
    pub used_percent: u64,
    /// Whether it warns of itself: little spare left, read-only, unreliable.
    pub warns: bool,
}

/// A disk under a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskHealth {
    /// Its device, such as `/dev/sda`.
    pub device: String,
    /// What it says.
    pub smart: Smart,
}

impl DiskHealth {
    /// Why it will fail soon by its own word; `None` if it does not say so.
    #[must_use]
    pub fn failing(&self) -> Option<String> {
        let says = match self.smart {
            Smart { passed: Some(false), .. } => "its self-test (SMART) says FAILED",
            Smart { warns: true, .. } => "it warns of itself (SMART critical warning)",
            _ => return None,
        };
        Some(format!("disk {}: {says}", self.device))
    }

    /// What lowers the standing, with points off.
    #[must_use]
    pub fn warnings(&self) -> Vec<(u64, String)> {
        let smart = &self.smart;
        let by_number = |number: u64| if number >= MANY_SECTORS { 40 } else { 20 };
        let counts = [
            (smart.pending_sectors, "sectors cannot be read"),
            (smart.reallocated_sectors, "sectors were replaced"),
            (smart.media_errors, "media errors"),
        ];
        let told = |(number, what): (u64, &str)| (by_number(number), format!("disk {}: {number} {what}", self.device));
        let mut warnings: Vec<_> = counts.into_iter().filter(|(number, _)| *number > 0).map(told).collect();
        if smart.used_percent >= WORN_OUT_PERCENT {
            warnings.push((20, format!("disk {}: worn out ({} % of its life used)", self.device, smart.used_percent)));
        }
        warnings
    }
}
