//! What is told: archives, files in them, copies in the pool, restores.

use std::path::PathBuf;

use dci_proto::AgentId;
use serde::{Deserialize, Serialize};
use shoal_archive::{Archive, Entry, Failures, Kind};
use shoal_backup::plan::PathBytes;
use shoal_backup::recovery::{self, Action, EntryKind, Rights, Skipped, Step, Sum, Totals};
use shoal_backup::schedule::Mode;
use shoal_backup::{ArchiveId, ObjectName};

use crate::call::Standing;
use crate::owner::ArchiveStatus;

/// Failures that a status names, at most; all are counted, and more are in [`super::Recovery::failures`].
pub const NAMED_FAILURES: usize = 100;
/// Steps that a plan names, at most.
pub const NAMED_STEPS: usize = 200;

/// A member that has a copy of an owner's backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceView {
    /// Which.
    pub agent: AgentId,
    /// Its nickname.
    pub name: String,
    /// How long a small call takes, ms.
    pub distance_ms: u64,
    /// How far its copy is.
    pub standing: Standing,
    /// It gave bytes that were not those of the object, and is not asked any more.
    pub is_liar: bool,
}

/// Somebody whose backup can be seen in the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerView {
    /// Whose.
    pub owner: AgentId,
    /// Its nickname, if it is a member still.
    pub name: Option<String>,
    /// Archives in the copy that is furthest.
    pub archives: u32,
    /// Bytes of that copy.
    pub held_bytes: u64,
    /// Who has a copy and answers.
    pub holders: Vec<AgentId>,
}

/// An archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveView {
    /// Its number; `None` if another program made it.
    pub number: Option<ArchiveId>,
    /// The name of its snapshot.
    pub name: ObjectName,
    /// When it was begun, ms since 1970.
    pub made_ms: i64,
    /// How; `None` if another program made it.
    pub mode: Option<Mode>,
    /// Whether every file is in it as it was.
    pub is_complete: bool,
    /// Files in it, if known.
    pub files: u64,
    /// Their bytes, if known.
    pub bytes: u64,
    /// What it added.
    pub added_bytes: u64,
    /// The PC it is of.
    pub host: String,
    /// The folders it is of.
    pub roots: Vec<String>,
    /// Which files are missing, and why.
    pub description: String,
}

impl From<&Archive> for ArchiveView {
    fn from(archive: &Archive) -> Self {
        Self {
            number: archive.number,
            name: archive.name,
            made_ms: archive.made_ms,
            mode: archive.mode,
            is_complete: archive.is_complete,
            files: archive.files,
            bytes: archive.bytes,
            added_bytes: archive.added_bytes,
            host: archive.host.clone(),
            roots: archive.roots.clone(),
            description: archive.description.clone(),
        }
    }
}

impl From<ArchiveStatus> for ArchiveView {
    fn from(archive: ArchiveStatus) -> Self {
        Self {
            number: archive.number,
            name: archive.name,
            made_ms: i64::try_from(archive.made_ms).unwrap_or(i64::MAX),
            mode: archive.mode,
            is_complete: archive.is_complete,
            files: archive.files,
            bytes: archive.bytes,
            added_bytes: archive.added_bytes,
            host: archive.host,
            roots: archive.roots,
            description: archive.description,
        }
    }
}

/// A file or folder in an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileView {
    /// Its path.
    pub path: PathBytes,
    /// What it is.
    pub kind: EntryKind,
    /// Of a file.
    pub size_bytes: u64,
    /// When it was changed, ms since 1970.
    pub modified_ms: i64,
    /// Who may do what with it, and whose it is; as long as it is in an archive, that is known.
    pub rights: Option<Rights>,
    /// What a link points to, where that is looked at.
    pub link_target: Option<PathBytes>,
    /// What special kind it is, where that is looked at: `pipe`, `socket`, `block device`, `character device`.
    pub special: Option<String>,
}

impl From<recovery::Entry> for FileView {
    fn from(entry: recovery::Entry) -> Self {
        let recovery::Entry { path, kind, size_bytes, modified_ns, rights, .. } = entry;
        let modified_ms = modified_ns / 1_000_000;
        Self { path, kind, size_bytes, modified_ms, rights, link_target: None, special: None }
    }
}

impl From<&Entry> for FileView {
    fn from(entry: &Entry) -> Self {
        let link_target = match &entry.kind {
            Kind::Link(target) => Some(PathBytes::new(target)),
            _ => None,
        };
        let special = match entry.kind {
            Kind::Pipe => Some("pipe"),
            Kind::Socket => Some("socket"),
            Kind::BlockDevice(_) => Some("block device"),
            Kind::CharacterDevice(_) => Some("character device"),
            Kind::Folder | Kind::File(_) | Kind::Link(_) => None,
        };
        Self { link_target, special: special.map(str::to_owned), ..entry.as_listed().into() }
    }
}

/// One level of an archive, a page of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FilesPage {
    /// In order.
    pub entries: Vec<FileView>,
    /// There are more, after the last of these.
    pub more: bool,
}

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only the later archive has it.
    Added,
    /// Only the earlier archive has it.
    Removed,
    /// Both have it, otherwise, be it with other rights only.
    Changed,
}

/// A path in which two archives differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceView {
    /// How.
    pub change: Change,
    /// What it is; what it was, if it is gone.
    pub file: FileView,
    /// What it was, if it changed.
    pub before: Option<FileView>,
}

/// What differs between two archives.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DiffPage {
    /// In order.
    pub differences: Vec<DifferenceView>,
    /// There are more.
    pub more: bool,
    /// Folders that could not be read, in sentences.
    pub unread: Vec<String>,
}

/// A path that was found, one version of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundView {
    /// What.
    pub file: FileView,
    /// The archives that have it like this, by number; the oldest first.
    pub archives: Vec<ArchiveId>,
    /// The same by name.
    pub names: Vec<ObjectName>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FindPage {
    /// By path, the oldest version first.
    pub found: Vec<FoundView>,
    /// There is more.
    pub more: bool,
    /// Folders that could not be read, in sentences.
    pub unread: Vec<String>,
}

/// A number of entries and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SumView {
    /// Entries.
    pub count: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// What a restore amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TotalsView {
    /// Made.
    pub created: SumView,
    /// In the place of others.
    pub overwritten: SumView,
    /// There already.
    pub unchanged: SumView,
    /// Left out.
    pub skipped: SumView,
}

impl From<Totals> for TotalsView {
    fn from(totals: Totals) -> Self {
        let sum = |sum: Sum| SumView { count: sum.count, bytes: sum.bytes };
        Self {
            created: sum(totals.created),
            overwritten: sum(totals.overwritten),
            unchanged: sum(totals.unchanged),
            skipped: sum(totals.skipped),
        }
    }
}

impl TotalsView {
    /// Bytes that are written.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.created.bytes.saturating_add(self.overwritten.bytes)
    }

    /// Entries, all in all.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.created.count + self.overwritten.count + self.unchanged.count + self.skipped.count
    }
}

/// What is done with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepAction {
    /// It is made.
    Create,
    /// It takes the place of what is there.
    Overwrite,
    /// It is there already.
    Unchanged,
    /// What is there was to stay.
    Keep,
    /// A folder is in its place, which is left alone.
    FolderInTheWay,
    /// It is a folder, and something else is in its place, which is left alone.
    NoFolder,
    /// The folder that it is in could not be made.
    NotReached,
}

impl From<Action> for StepAction {
    fn from(action: Action) -> Self {
        match action {
            Action::Create => Self::Create,
            Action::Overwrite => Self::Overwrite,
            Action::Unchanged => Self::Unchanged,
            Action::Skip(Skipped::Kept) => Self::Keep,
            Action::Skip(Skipped::FolderInTheWay) => Self::FolderInTheWay,
            Action::Skip(Skipped::NoFolder) => Self::NoFolder,
            Action::Skip(Skipped::NotReached) => Self::NotReached,
        }
    }
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepView {
    /// What is done.
    pub action: StepAction,
    /// With what.
    pub path: PathBytes,
    /// What it is.
    pub kind: EntryKind,
    /// Of a file.
    pub size_bytes: u64,
    /// The archive that it is from.
    pub archive: ObjectName,
}

impl StepView {
    pub(super) fn of(step: &Step, archives: &[ObjectName]) -> Self {
        Self {
            action: step.action.into(),
            path: step.found.entry.path.clone(),
            kind: step.found.entry.kind,
            size_bytes: step.found.entry.size_bytes,
            archive: archives.get(step.found.archive).copied().unwrap_or_default(),
        }
    }
}

/// What a restore would do; nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PlanView {
    /// The archives, the oldest first.
    pub archives: Vec<ArchiveView>,
    /// How much it is.
    pub totals: TotalsView,
    /// What is free where it would be written.
    pub free_bytes: u64,
    /// Whether there is room for it.
    pub fits: bool,
    /// The first steps that change something, or that leave something out.
    pub steps: Vec<StepView>,
    /// There are more of them.
    pub more_steps: bool,
    /// Ticked paths that the archives do not have.
    pub not_found: Vec<PathBytes>,
    /// What could not be looked at.
    pub failures: FailuresView,
}

/// Something that was not restored, or not wholly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureView {
    /// What; `None`: `why` says it.
    pub path: Option<PathBytes>,
    /// Why.
    pub why: String,
    /// The pack that is to blame.
    pub pack: Option<ObjectName>,
}

/// What was not restored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FailuresView {
    /// How much.
    pub count: u64,
    /// The first of them.
    pub named: Vec<FailureView>,
    /// Packs that are to blame, and for how many failures.
    pub packs: Vec<(ObjectName, u64)>,
}

impl FailuresView {
    pub(super) fn of(failures: &Failures, limit: usize) -> Self {
        let named = failures.kept.iter().take(limit).map(|failure| FailureView {
            path: failure.path.clone(),
            why: failure.why.clone(),
            pack: failure.pack,
        });
        let packs = failures.packs.iter().take(limit).map(|(pack, count)| (*pack, *count));
        Self { count: failures.count, named: named.collect(), packs: packs.collect() }
    }
}

/// Where a restore stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestoreState {
    /// Others are under way.
    Waiting,
    /// It looks at what there is to do.
    Planning,
    /// It writes.
    Running,
    /// All is there.
    Done,
    /// It came to its end, and something is missing.
    DoneWithFailures,
    /// It ended before its end: [`RestoreView::error`].
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl RestoreState {
    /// Whether it has ended, one way or another.
    #[must_use]
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Done | Self::DoneWithFailures | Self::Failed | Self::Cancelled)
    }
}

/// A restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreView {
    /// Its number.
    pub id: u64,
    /// Whose archives.
    pub owner: AgentId,
    /// They are this PC's own.
    pub is_own: bool,
    /// The archive, the last one if there are several.
    pub archive: Option<ArchiveView>,
    /// So many archives one over the other.
    pub archives: usize,
    /// Where to; `/`: where everything was.
    pub target: PathBuf,
    /// Where it stands.
    pub state: RestoreState,
    /// How much it is, once that is known.
    pub totals: Option<TotalsView>,
    /// Files done of what was asked for, links and the like too; folders are not counted.
    pub files_done: u64,
    /// Bytes written.
    pub bytes_done: u64,
    /// Bytes fetched from other PCs.
    pub fetched_bytes: u64,
    /// Bytes written in a second, so far.
    pub bytes_per_s: u64,
    /// How long it will take still, if that can be said.
    pub eta_ms: Option<u64>,
    /// Paths that are asked for first and are not there yet.
    pub asked: usize,
    /// When it began, ms since 1970.
    pub began_ms: u64,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// Entries that are there now because of it.
    pub restored: u64,
    /// What is not.
    pub failures: FailuresView,
    /// Why it ended before its end.
    pub error: Option<String>,
    /// Members that gave wrong bytes and were left aside.
    pub liars: Vec<AgentId>,
}
