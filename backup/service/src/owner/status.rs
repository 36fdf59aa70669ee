//! What a person is told of the backup of this PC. All of it can be shown as JSON.

use dci_proto::AgentId;
use serde::{Deserialize, Serialize};
use shoal_backup::drill::Proof;
use shoal_backup::plan::Pause;
use shoal_backup::schedule::Mode;
use shoal_backup::{ArchiveId, ObjectName};

/// How the backup of this PC is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerStatus {
    /// Whose backup.
    pub owner: AgentId,
    /// Whether it was set up.
    pub is_set_up: bool,
    /// In one sentence.
    pub verdict: String,
    /// The run that is on.
    pub run: Option<RunStatus>,
    /// Why a run that is due, or copying, waits.
    pub waits_for: Option<WaitsFor>,
    /// When the next run by the schedules begins.
    pub next_run: Option<NextRun>,
    /// How the last run ended.
    pub last_run: Option<LastRun>,
    /// The newest archive.
    pub newest: Option<ArchiveStatus>,
    /// Archives there are.
    pub archives: u64,
    /// Objects of the repository.
    pub objects: u64,
    /// Their bytes.
    pub repository_bytes: u64,
    /// The last sequence of the catalogue.
    pub sequence: u64,
    /// Copies that are wanted.
    pub copies_wanted: u8,
    /// Copies that no PC was found for.
    pub copies_missing: u64,
    /// Who holds copies.
    pub peers: Vec<PeerCopy>,
    /// Assigned PCs that cannot hold one, and why.
    pub unusable: Vec<UnusablePeer>,
    /// Bytes that some peer lacks still, all peers together.
    pub unsent_bytes: u64,
    /// Objects that this PC lost and fetches back from its peers.
    pub lost_here: u64,
    /// What the owner has to know, the worst first.
    pub alerts: Vec<AlertStatus>,
    /// The last restore that was proven.
    pub proof: Option<Proof>,
    /// How long a full restore of the newest archive would take, going by that proof.
    pub full_restore_ms: Option<u64>,
    /// What does not work at all, if something does not.
    pub trouble: Option<String>,
}

/// Why something waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitsFor {
    /// Which reason.
    pub pause: Pause,
    /// In words.
    pub text: String,
}

/// A run that is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStatus {
    /// What it makes.
    pub mode: Mode,
    /// Whether the continuous mode began it.
    pub is_continuous: bool,
    /// The number of the archive.
    pub archive: ArchiveId,
    /// When it began, ms since 1970.
    pub began_ms: u64,
    /// Files looked at so far.
    pub files: u64,
    /// Bytes looked at so far.
    pub bytes: u64,
    /// Files there probably are: those of the last archive.
    pub files_expected: Option<u64>,
    /// Bytes there probably are.
    pub bytes_expected: Option<u64>,
    /// Bytes a second.
    pub bytes_per_s: u64,
    /// How long it probably takes still.
    pub eta_ms: Option<u64>,
    /// Why it stands still, if it does.
    pub waits_for: Option<WaitsFor>,
}

/// When the next run is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextRun {
    /// What it makes.
    pub mode: Mode,
    /// When, ms since 1970.
    pub at_ms: u64,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastRun {
    /// What it made.
    pub mode: Mode,
    /// Whether the continuous mode began it.
    pub is_continuous: bool,
    /// The archive it made or would have made.
    pub archive: ArchiveId,
    /// When it began, ms since 1970.
    pub began_ms: u64,
    /// How long it took.
    pub took_ms: u64,
    /// Files in the archive.
    pub files: u64,
    /// Bytes of the files in it.
    pub bytes: u64,
    /// Bytes that were added for it, compressed.
    pub added_bytes: u64,
    /// Files that could not be read as they were.
    pub unreadable: u64,
    /// The first of them, in sentences.
    pub problems: Vec<String>,
    /// Why there is no archive, if there is none.
    pub error: Option<String>,
}

impl Default for LastRun {
    fn default() -> Self {
        Self {
            mode: Mode::Delta,
            is_continuous: false,
            archive: ArchiveId(0),
            began_ms: 0,
            took_ms: 0,
            files: 0,
            bytes: 0,
            added_bytes: 0,
            unreadable: 0,
            problems: Vec::new(),
            error: None,
        }
    }
}

/// An archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveStatus {
    /// Its number; `None` if another program made it.
    pub number: Option<ArchiveId>,
    /// Its name: that of its snapshot.
    pub name: ObjectName,
    /// How it was made.
    pub mode: Option<Mode>,
    /// Whether the continuous mode made it: it goes when a scheduled one follows.
    pub is_continuous: bool,
    /// When it was begun, ms since 1970.
    pub made_ms: u64,
    /// The PC that made it.
    pub host: String,
    /// Whether every file is in it as it was.
    pub is_complete: bool,
    /// Whether it lacks what the disk of this PC damaged before there was a copy of it.
    pub is_damaged: bool,
    /// Which are not, and why.
    pub description: String,
    /// Files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that were added for it, compressed.
    pub added_bytes: u64,
    /// The folders that it is of.
    pub roots: Vec<String>,
    /// PCs that hold all of it.
    pub copies: u64,
    /// Those of them that answer now.
    pub copies_reachable: u64,
    /// How many should.
    pub copies_wanted: u64,
}

/// The copy of one peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerCopy {
    /// Which.
    pub agent: AgentId,
    /// Its nickname.
    pub name: String,
    /// Where it is.
    pub site: Option<String>,
    /// Whether an admin assigned it.
    pub is_assigned: bool,
    /// Whether it answers.
    pub is_reachable: bool,
    /// For how long it has not, ms.
    pub away_ms: Option<u64>,
    /// Whether it has everything there is.
    pub is_whole: bool,
    /// Bytes that count there.
    pub held_bytes: u64,
    /// Objects it lacks.
    pub lacks: u64,
    /// Their bytes.
    pub lacks_bytes: u64,
    /// How long sending them takes at the rate of the last minutes, if anything was sent.
    pub eta_ms: Option<u64>,
    /// Objects on their way to it.
    pub in_flight: u64,
    /// It has no room for more.
    pub is_full: bool,
    /// It lied and has not proven its copy since.
    pub is_distrusted: bool,
    /// Why it takes nothing, if it said so.
    pub refuses: Option<String>,
}

/// An assigned PC that cannot hold a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnusablePeer {
    /// Which.
    pub agent: AgentId,
    /// As people call it.
    pub name: String,
    /// Why.
    pub why: String,
}

/// Something the owner has to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertStatus {
    /// Which kind, for programs: `no_archive`, `few_copies`, `late`, `incomplete`, `damaged`, `lost_here`,
    /// `drill_failed`, `distrusted`, `bad_disk`, `full`.
    pub kind: String,
    /// In words.
    pub text: String,
}
