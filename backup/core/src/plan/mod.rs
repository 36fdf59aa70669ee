//! What the owner of a PC wants: what is kept, how often, on how many other PCs, for how long, and at what cost.
//!
//! Everything else here carries a [`Plan`] out. It is stored and shown, so it has a version, defaults that are good for
//! most people, and [`Plan::validate`], whose sentences say what to do. Paths are bytes, separated by `/`.

mod paths;
mod pattern;
mod pauses;

use std::fmt;

use dci_proto::AgentId;
use serde::{Deserialize, Serialize};

use crate::aging::Ages;
use crate::schedule::{Mode, Rule, RuleError, TimeOfDay, Weekday, When};

pub use paths::{PathBytes, Selection, is_plain};
pub use pattern::{Pattern, PatternError};
pub use pauses::{Conditions, Pause};

/// The version of [`Plan`] that this program writes.
pub const PLAN_VERSION: u16 = 1;
/// Copies on other PCs, at most.
pub const COPIES_LIMIT: u8 = 16;
/// Entries in each list of a plan, at most.
pub const LIST_LIMIT: usize = 1_024;
/// Bytes of a path or pattern in a plan, at most: what Linux allows for a path.
pub const PATH_LIMIT_BYTES: usize = 4_096;
/// Schedules in a plan, at most.
pub const RULES_LIMIT: usize = 32;
/// Less bandwidth than this would never finish.
pub const BANDWIDTH_LEAST_KIB_S: u32 = 8;

/// What backup may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Sent and received at most, in KiB/s; `None`: as much as there is.
    pub bandwidth_kib_s: Option<u32>,
    /// Share of all processors together, in percent.
    pub cpu_percent: u8,
    /// Whether it waits while the PC runs on battery.
    pub pause_on_battery: bool,
    /// Whether it waits while the link is paid by volume.
    pub pause_on_metered: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bandwidth_kib_s: None, cpu_percent: 50, pause_on_battery: true, pause_on_metered: true }
    }
}

/// What is kept, how often, on how many PCs, for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// [`PLAN_VERSION`] of the program that wrote it.
    pub version: u16,
    /// The folders that are kept, absolute.
    pub roots: Vec<PathBytes>,
    /// What within them is not.
    #[serde(default)]
    pub excluded: Excluded,
    /// How many other PCs hold a copy.
    pub copies: u8,
    /// Agents that hold a copy because an admin said so. The others are chosen.
    #[serde(default)]
    pub assigned: Vec<AgentId>,
    /// When a backup is made.
    pub rules: Vec<Rule>,
    /// How long archives are kept.
    #[serde(default)]
    pub ages: Ages,
    /// What it may cost.
    #[serde(default)]
    pub limits: Limits,
    /// Whether changed files go to the peers within seconds.
    #[serde(default)]
    pub continuous: bool,
    /// Days between two restore drills; 0: none.
    #[serde(default = "drill_days")]
    pub drill_days: u16,
}

fn drill_days() -> u16 {
    30
}

/// What is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Excluded {
    /// Folders, absolute.
    pub directories: Vec<PathBytes>,
    /// Endings of file names without the dot, in lower case; case does not matter.
    pub extensions: Vec<String>,
    /// See [`Pattern`].
    pub patterns: Vec<Pattern>,
}

/// What is wrong with a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It comes from a newer program.
    #[error(
        "the backup plan has version {0}, this program reads versions up to {PLAN_VERSION}: update Shoal on this PC"
    )]
    NewerVersion(u16),
    /// Nothing is to be kept.
    #[error("no folder is to be kept: name at least one with `shoal backup set --root FOLDER`")]
    NoRoots,
    /// A list is too long.
    #[error(
        "{what}: {count} are too many, at most {limit} are possible: name a folder that has them in it, or a pattern"
    )]
    TooMany {
        /// Which list.
        what: &'static str,
        /// How many are in it.
        count: usize,
        /// How many may be.
        limit: usize,
    },
    /// A path cannot be meant.
    #[error("{path} {why}")]
    BadPath {
        /// The path.
        path: PathBytes,
        /// What is wrong and what to do.
        why: &'static str,
    },
    /// An extension cannot be meant.
    #[error("the extension {0:?} cannot be meant: write the ending of the names without dot or slash, such as `tmp`")]
    BadExtension(String),
    /// A root is excluded as a whole.
    #[error("{root} is to be kept, but {excluded}, which has it in it, is excluded: leave one of them out")]
    RootExcluded {
        /// The root.
        root: PathBytes,
        /// The excluded folder.
        excluded: PathBytes,
    },
    /// So many copies are not possible.
    #[error("{0} copies are not possible: choose 1 to {COPIES_LIMIT}; 2 survive the loss of one peer at any moment")]
    BadCopies(u8),
    /// More PCs are assigned than copies are wanted.
    #[error("{assigned} PCs are assigned, but {copies} copies are wanted: raise the copies or take some back")]
    TooManyAssigned {
        /// How many are assigned.
        assigned: usize,
        /// How many copies are wanted.
        copies: u8,
    },
    /// The same agent is assigned twice.
    #[error("{0} is assigned twice: two copies on one PC are lost together")]
    AssignedTwice(AgentId),
    /// A schedule cannot be meant.
    #[error("schedule {number}: {source}")]
    BadRule {
        /// Which one, from 1.
        number: usize,
        /// What is wrong.
        source: RuleError,
    },
    /// Ages that would keep nothing.
    #[error("these ages would keep no archive: keep at least the last one (`--keep-last 1`)")]
    KeepsNothing,
    /// A bandwidth with which it would never end.
    #[error("{0} KiB/s would never finish: allow at least {BANDWIDTH_LEAST_KIB_S}, or no limit")]
    BandwidthTooSmall(u32),
    /// A share that is none.
    #[error("{0} % of the processors is no share: choose 1 to 100")]
    BadCpuShare(u8),
}

impl Default for Plan {
    /// Without roots: which folders are the users' only the shell knows.
    fn default() -> Self {
        let excluded = Excluded {
            directories: Vec::new(),
            extensions: ["tmp", "temp", "part", "crdownload"].map(str::to_owned).into(),
            patterns: ["**/.cache", "**/Cache", "**/node_modules", "**/.Trash*", "**/lost+found"]
                .into_iter()
                .filter_map(|text| Pattern::new(text.as_bytes()).ok())
                .collect(),
        };
        let noon = TimeOfDay { hour: 12, minute: 30 };
        let rules = vec![
            Rule { mode: Mode::Delta, when: When::Hourly { minute: 0 } },
            // It reads everything: once a week, when a PC is probably on and its user at the table.
            Rule { mode: Mode::Snapshot, when: When::Weekly { days: vec![Weekday::Wednesday], at: noon } },
        ];
        Self {
            version: PLAN_VERSION,
            roots: Vec::new(),
            excluded,
            copies: 2,
            assigned: Vec::new(),
            rules,
            ages: Ages::default(),
            limits: Limits::default(),
            continuous: false,
            drill_days: drill_days(),
        }
    }
}

impl Plan {
    /// Whether it can be carried out.
    ///
    /// # Errors
    /// The first thing that is wrong, in a sentence that says what to do.
    pub fn validate(&self) -> Result<(), PlanError> {
        if self.version > PLAN_VERSION {
            return Err(PlanError::NewerVersion(self.version));
        }
        self.validate_lists()?;
        for path in self.roots.iter().chain(&self.excluded.directories) {
            path.validate_absolute().map_err(|why| PlanError::BadPath { path: path.clone(), why })?;
        }
        for root in &self.roots {
            if let Some(excluded) = self.excluded.directories.iter().find(|excluded| root.is_within(excluded)) {
                return Err(PlanError::RootExcluded { root: root.clone(), excluded: excluded.clone() });
            }
        }
        let bad = |text: &&String| text.is_empty() || text.len() > 64 || text.starts_with('.') || text.contains('/');
        if let Some(extension) = self.excluded.extensions.iter().find(bad) {
            return Err(PlanError::BadExtension(extension.clone()));
        }
        self.validate_copies()?;
        for (index, rule) in self.rules.iter().enumerate() {
            rule.validate().map_err(|source| PlanError::BadRule { number: index + 1, source })?;
        }
        if self.ages.keeps_nothing() {
            return Err(PlanError::KeepsNothing);
        }
        match self.limits {
            Limits { bandwidth_kib_s: Some(kib), .. } if kib < BANDWIDTH_LEAST_KIB_S => {
                Err(PlanError::BandwidthTooSmall(kib))
            }
            Limits { cpu_percent: share, .. } if !(1..=100).contains(&share) => Err(PlanError::BadCpuShare(share)),
            Limits { .. } => Ok(()),
        }
    }

    fn validate_lists(&self) -> Result<(), PlanError> {
        if self.roots.is_empty() {
            return Err(PlanError::NoRoots);
        }
        let lists = [
            ("folders to keep", self.roots.len(), LIST_LIMIT),
            ("excluded folders", self.excluded.directories.len(), LIST_LIMIT),
            ("excluded extensions", self.excluded.extensions.len(), LIST_LIMIT),
            ("excluded patterns", self.excluded.patterns.len(), LIST_LIMIT),
            ("schedules", self.rules.len(), RULES_LIMIT),
        ];
        match lists.into_iter().find(|(_, count, limit)| count > limit) {
            Some((what, count, limit)) => Err(PlanError::TooMany { what, count, limit }),
            None => Ok(()),
        }
    }

    fn validate_copies(&self) -> Result<(), PlanError> {
        if !(1..=COPIES_LIMIT).contains(&self.copies) {
            return Err(PlanError::BadCopies(self.copies));
        }
        if self.assigned.len() > usize::from(self.copies) {
            return Err(PlanError::TooManyAssigned { assigned: self.assigned.len(), copies: self.copies });
        }
        let twice = |(index, agent): &(usize, &AgentId)| self.assigned[..*index].contains(agent);
        match self.assigned.iter().enumerate().find(twice) {
            Some((_, agent)) => Err(PlanError::AssignedTwice(*agent)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bandwidth_kib_s {
            Some(kib) => write!(f, "at most {kib} KiB/s")?,
            None => f.write_str("any bandwidth")?,
        }
        write!(f, ", {} % of the processors", self.cpu_percent)
    }
}

#[cfg(test)]
mod tests;
