//! Why backup does not go on right now.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Limits;
use crate::now::Now;

/// What the shell sees of the machine and its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conditions {
    /// It runs on battery.
    pub on_battery: bool,
    /// The link is paid by volume.
    pub on_metered_link: bool,
    /// The owner asked for peace until then, on the steady clock.
    pub paused_until_steady_ms: Option<u64>,
    /// No peer can be reached and the outbox is full: a run would have nowhere to go.
    pub nowhere_to_go: bool,
    /// The disk that the repository is on has too little room for a run.
    pub no_room: bool,
}

/// Why it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pause {
    /// The owner asked for it.
    Asked,
    /// The PC runs on battery.
    Battery,
    /// The link is paid by volume.
    Metered,
    /// No peer, and no room to wait for one.
    NoPeers,
    /// The disk is full.
    NoRoom,
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "paused by its owner",
            Self::Battery => "waits until this PC is off battery",
            Self::Metered => "waits for a link that is not paid by volume",
            Self::NoPeers => "waits for a peer: none answers, and the outbox is full",
            Self::NoRoom => "waits for room on the disk",
        })
    }
}

impl Conditions {
    /// Why backup waits under these limits, if it does. A run that its owner asked for (`asked`) does not wait for mains
    /// or another link: the owner knows.
    #[must_use]
    pub fn pause(&self, limits: &Limits, now: Now, asked: bool) -> Option<Pause> {
        if !asked && self.paused_until_steady_ms.is_some_and(|until| now.steady_ms < until) {
            return Some(Pause::Asked);
        }
        if !asked && limits.pause_on_battery && self.on_battery {
            return Some(Pause::Battery);
        }
        if !asked && limits.pause_on_metered && self.on_metered_link {
            return Some(Pause::Metered);
        }
        if self.no_room {
            return Some(Pause::NoRoom);
        }
        self.nowhere_to_go.then_some(Pause::NoPeers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_for_what_the_limits_say() {
        let (limits, now) = (Limits::default(), Now { steady_ms: 100, wall_ms: 0 });
        let calm = Conditions::default();
        let battery = Conditions { on_battery: true, ..calm };
        assert_eq!(calm.pause(&limits, now, false), None);
        assert_eq!(battery.pause(&limits, now, false), Some(Pause::Battery));
        assert_eq!(battery.pause(&limits, now, true), None);
        assert_eq!(battery.pause(&Limits { pause_on_battery: false, ..limits }, now, false), None);
        assert_eq!(Conditions { on_metered_link: true, ..calm }.pause(&limits, now, false), Some(Pause::Metered));
        assert_eq!(Conditions { nowhere_to_go: true, ..calm }.pause(&limits, now, true), Some(Pause::NoPeers));
        assert_eq!(Conditions { no_room: true, ..calm }.pause(&limits, now, true), Some(Pause::NoRoom));
        let asked = |until| Conditions { paused_until_steady_ms: Some(until), ..calm }.pause(&limits, now, false);
        assert_eq!((asked(101), asked(100)), (Some(Pause::Asked), None));
    }
}
