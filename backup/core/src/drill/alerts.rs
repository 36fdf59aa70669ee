//! What the owner has to know.

use std::fmt;

use dci_proto::AgentId;

use crate::now::{DAY_MS, HOUR_MS};
use crate::object::ArchiveId;
use crate::replication::Protection;
use crate::schedule::Mode;

/// Copying takes its time: an archive has so long before too few copies are told.
pub const COPIES_PATIENCE_MS: u64 = DAY_MS;
/// A run that is due waits for the PC to be on, for mains, for a link; before so much more than twice its period, nobody is
/// told.
const LATE_PATIENCE_MS: u64 = HOUR_MS;
/// Archives that are named in one sentence, at most.
const NAMED_LIMIT: usize = 5;

/// Something the owner has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alert {
    /// There is no archive at all.
    NoArchive,
    /// An archive has too few copies.
    FewCopies {
        /// Which: the newest one of which this is so.
        archive: ArchiveId,
        /// How many it has, and should have.
        protection: Protection,
    },
    /// No archive was made for too long.
    Late {
        /// What should have been made.
        mode: Mode,
        /// How long ago the last one was.
        age_ms: u64,
    },
    /// The newest archive lacks files that could not be read.
    Incomplete {
        /// Which.
        archive: ArchiveId,
        /// How many files.
        unreadable: u64,
    },
    /// The last drill failed.
    DrillFailed {
        /// When, ms since 1970.
        at_ms: u64,
        /// How many files did not come back.
        bad_files: u64,
    },
    /// Archives lack contents that this PC's disk damaged before there was a copy of them.
    Damaged {
        /// Which, the oldest first; not empty.
        archives: Vec<ArchiveId>,
    },
    /// Objects are damaged or lost on this PC's disk, and nobody who answers has them.
    LostHere {
        /// How many.
        objects: usize,
    },
    /// A peer lied, or its disk is bad. Its copy counts for nothing until proven.
    Distrusted(AgentId),
    /// A peer's copy lost objects, or had other bytes in their place, and it said so itself: its disk is probably bad.
    BadDisk {
        /// Which.
        peer: AgentId,
        /// How many objects, of late.
        objects: u64,
    },
    /// A peer has no room for more.
    Full(AgentId),
}

/// What is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AlertFacts {
    /// Archives with their protection and age, the newest first.
    pub archives: Vec<(ArchiveId, Protection, u64)>,
    /// Files that the newest one lacks.
    pub unreadable: u64,
    /// For each mode that has a schedule: its longest period, and how long ago its last run ended well (`None`: never).
    pub modes: Vec<(Mode, u64, Option<u64>)>,
    /// The last drill, if it failed: when, and how many files did not come back.
    pub failed_drill: Option<(u64, u64)>,
    /// Archives that lack what is gone for good, the oldest first.
    pub damaged: Vec<ArchiveId>,
    /// Objects that are missing here and with everybody who answers.
    pub lost: usize,
    /// Peers that are distrusted.
    pub distrusted: Vec<AgentId>,
    /// Peers that said of late that objects were damaged or gone, and how many.
    pub bad_disks: Vec<(AgentId, u64)>,
    /// Peers without room.
    pub full: Vec<AgentId>,
}

/// What the owner has to know, the worst first.
#[must_use]
pub fn alerts(facts: &AlertFacts) -> Vec<Alert> {
    let mut alerts = Vec::new();
    let few = facts.archives.iter().find(|(_, protection, age_ms)| {
        protection.copies < protection.of
            && (*age_ms >= COPIES_PATIENCE_MS || protection.copies == 0 && *age_ms >= HOUR_MS)
    });
    if facts.archives.is_empty() {
        alerts.push(Alert::NoArchive);
    }
    alerts.extend(facts.failed_drill.map(|(at_ms, bad_files)| Alert::DrillFailed { at_ms, bad_files }));
    if facts.lost > 0 {
        alerts.push(Alert::LostHere { objects: facts.lost });
    }
    if !facts.damaged.is_empty() {
        alerts.push(Alert::Damaged { archives: facts.damaged.clone() });
    }
    alerts.extend(few.map(|(archive, protection, _)| Alert::FewCopies { archive: *archive, protection: *protection }));
    alerts.extend(facts.modes.iter().filter_map(|(mode, period_ms, age_ms)| {
        let limit_ms = period_ms.saturating_mul(2).saturating_add(LATE_PATIENCE_MS);
        age_ms.filter(|age_ms| *age_ms > limit_ms).map(|age_ms| Alert::Late { mode: *mode, age_ms })
    }));
    if let Some((archive, ..)) = facts.archives.first().filter(|_| facts.unreadable > 0) {
        alerts.push(Alert::Incomplete { archive: *archive, unreadable: facts.unreadable });
    }
    alerts.extend(facts.distrusted.iter().copied().map(Alert::Distrusted));
    alerts.extend(facts.bad_disks.iter().map(|(peer, objects)| Alert::BadDisk { peer: *peer, objects: *objects }));
    alerts.extend(facts.full.iter().copied().map(Alert::Full));
    alerts
}

impl Alert {
    /// In words, with peers called as people call them.
    #[must_use]
    pub fn said(&self, name: impl Fn(AgentId) -> String) -> String {
        match self {
            Self::Distrusted(peer) => {
                format!("{} gave wrong bytes: its copy counts for nothing until it is proven", name(*peer))
            }
            Self::BadDisk { peer, objects } => {
                let (s, were, are) = if *objects == 1 { ("", "was", "is") } else { ("s", "were", "are") };
                let name = name(*peer);
                format!(
                    "{objects} object{s} of the copy of {name} {were} damaged or gone, and {are} made anew: check the disk of {name}"
                )
            }
            Self::Full(peer) => format!("{} has no room for more", name(*peer)),
            other => other.to_string(),
        }
    }
}

fn files(number: u64) -> String {
    format!("{number} file{}", if number == 1 { "" } else { "s" })
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoArchive => f.write_str("nothing has been backed up yet"),
            Self::FewCopies { archive, protection: Protection { copies, of, .. } } => {
                write!(
                    f,
                    "archive {} is protected {copies} of {of}: more peers must answer, or give more room",
                    archive.0
                )
            }
            Self::Late { mode, age_ms } => {
                write!(f, "the last {mode} was made {} hours ago: see what it waits for", age_ms / HOUR_MS)
            }
            Self::Incomplete { archive, unreadable } => {
                let (s, them) =
                    if *unreadable == 1 { ("file or folder", "it was") } else { ("files or folders", "they were") };
                write!(f, "archive {} lacks {unreadable} {s} that could not be read as {them}", archive.0)
            }
            Self::Damaged { archives } => {
                let mut numbers: Vec<String> =
                    archives.iter().take(NAMED_LIMIT).map(|archive| archive.0.to_string()).collect();
                let more = archives.len().saturating_sub(NAMED_LIMIT);
                numbers.extend((more > 0).then(|| format!("{more} more")));
                let (s, verb) = if archives.len() == 1 { ("", "lacks") } else { ("s", "lack") };
                write!(
                    f,
                    "archive{s} {} {verb} contents that the disk of this PC damaged before there was a copy: a restore brings \
                     back the rest and names the files. Check that disk",
                    numbers.join(", ")
                )
            }
            Self::LostHere { objects } => {
                let (s, verb, it) = if *objects == 1 { ("", "is", "it") } else { ("s", "are", "them") };
                write!(
                    f,
                    "{objects} object{s} of the backup {verb} damaged or lost on the disk of this PC, and no PC that answers has \
                     {it}: what was in {it} is backed up again by the next run. Check that disk"
                )
            }
            Self::DrillFailed { bad_files, .. } => {
                write!(f, "the last restore drill failed: {} did not come back as they were", files(*bad_files))
            }
            Self::Distrusted(_) | Self::BadDisk { .. } | Self::Full(_) => {
                f.write_str(&self.said(|peer| format!("peer …{}", peer.fingerprint())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_told_what_matters_and_not_too_early() {
        let protection = |copies| Protection { copies, reachable: copies, of: 2 };
        let archives = vec![(ArchiveId(2), protection(1), HOUR_MS), (ArchiveId(1), protection(2), 9 * DAY_MS)];
        let fine =
            AlertFacts { archives, modes: vec![(Mode::Delta, DAY_MS, Some(2 * DAY_MS))], ..AlertFacts::default() };
        assert_eq!(alerts(&fine), []);
        assert_eq!(alerts(&AlertFacts::default()), [Alert::NoArchive]);
        let mut few = fine.clone();
        few.archives[0].2 = DAY_MS;
        assert_eq!(alerts(&few), [Alert::FewCopies { archive: ArchiveId(2), protection: protection(1) }]);
        few.archives[0] = (ArchiveId(2), protection(0), HOUR_MS);
        assert_eq!(alerts(&few), [Alert::FewCopies { archive: ArchiveId(2), protection: protection(0) }]);
        let peer = AgentId([1; 32]);
        let bad = AlertFacts {
            unreadable: 3,
            modes: vec![(Mode::Snapshot, DAY_MS, Some(3 * DAY_MS))],
            failed_drill: Some((5, 1)),
            damaged: vec![ArchiveId(1), ArchiveId(2)],
            lost: 1,
            distrusted: vec![peer],
            bad_disks: vec![(peer, 2)],
            full: vec![peer],
            ..fine
        };
        let expected = [
            Alert::DrillFailed { at_ms: 5, bad_files: 1 },
            Alert::LostHere { objects: 1 },
            Alert::Damaged { archives: vec![ArchiveId(1), ArchiveId(2)] },
            Alert::Late { mode: Mode::Snapshot, age_ms: 3 * DAY_MS },
            Alert::Incomplete { archive: ArchiveId(2), unreadable: 3 },
            Alert::Distrusted(peer),
            Alert::BadDisk { peer, objects: 2 },
            Alert::Full(peer),
        ];
        assert_eq!(alerts(&bad), expected);
        assert_eq!(expected[7].said(|_| "lab-2".to_owned()), "lab-2 has no room for more");
        assert_eq!(expected[7].to_string(), format!("peer …{} has no room for more", peer.fingerprint()));
        assert!(expected[6].said(|_| "lab-2".to_owned()).starts_with("2 objects of the copy of lab-2 were damaged"));
        assert!(expected[1].to_string().starts_with("1 object of the backup is damaged or lost"));
        assert!(expected[2].to_string().starts_with("archives 1, 2 lack contents"));
        assert!(expected[3].to_string().contains("snapshot was made 72 hours ago"));
    }
}
