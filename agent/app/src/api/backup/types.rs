//! What the API says and takes about backups, as JSON.

use serde::{Deserialize, Serialize};
use shoal_backup::drill::Proof;
use shoal_backup::plan::{PathBytes, Plan};
use shoal_backup::recovery::{EntryKind, Existing};
use shoal_backup::schedule::Mode;
use shoal_backup_service::holder::ScrubStatus;
use shoal_backup_service::recovery::TotalsView;

/// `GET /api/v1/backup`: how the backup of this PC stands, and what it holds for others.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BackupView {
    /// Whether this PC is backed up.
    pub is_set_up: bool,
    /// One sentence.
    pub verdict: String,
    /// What the owner has to know, in sentences; none: all is well.
    pub alerts: Vec<String>,
    /// The run that is on, or waits.
    pub run: Option<RunView>,
    /// Why a run that is due, or copying, waits.
    pub waits_for: Option<String>,
    /// What the last run that ended came to.
    pub last_run: Option<LastRunView>,
    /// When the next one is due, ms since 1970.
    pub next_ms: Option<u64>,
    /// Archives there are.
    pub archives: u64,
    /// Bytes of the repository.
    pub repository_bytes: u64,
    /// Copies that are wanted.
    pub copies_wanted: u8,
    /// Who holds copies.
    pub peers: Vec<PeerView>,
    /// Whom an admin assigned and who holds none. They are asked again and again.
    #[serde(default)]
    pub unusable: Vec<UnusableView>,
    /// The last time that restoring was proven.
    pub proof: Option<Proof>,
    /// How long a full restore would take, ms.
    pub full_restore_ms: Option<u64>,
    /// The last restore drill that was asked for.
    pub drill: Option<DrillView>,
    /// What this PC holds for others.
    pub holding: HoldingView,
}

/// A restore drill.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DrillView {
    /// It is on.
    pub is_on: bool,
    /// Why it could not be tried. What it found is the proof, or an alert.
    pub error: Option<String>,
}

/// A run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunView {
    /// What it makes.
    pub mode: Mode,
    /// Why it does not go on now, if so.
    pub waits_for: Option<String>,
    /// Files looked at.
    pub files: u64,
    /// Bytes of files looked at.
    pub bytes: u64,
    /// Bytes a second.
    pub bytes_per_s: u64,
    /// How long it will still take, going by the last archive, ms.
    pub eta_ms: Option<u64>,
}

/// A run that ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LastRunView {
    /// When it ended, ms since 1970.
    pub ended_ms: u64,
    /// The archive that it made.
    pub archive: Option<u64>,
    /// Why it made none.
    pub error: Option<String>,
    /// Files in it.
    #[serde(default)]
    pub files: u64,
    /// Their bytes.
    #[serde(default)]
    pub bytes: u64,
    /// Bytes that were added for it, compressed.
    #[serde(default)]
    pub added_bytes: u64,
    /// Files that could not be read as they were: it is incomplete if there are any.
    #[serde(default)]
    pub unreadable: u64,
    /// The first of them, in sentences.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// An agent that an admin assigned and that holds no copy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnusableView {
    /// Its id.
    pub agent: String,
    /// Its name.
    pub name: String,
    /// Why.
    pub why: String,
}

/// An agent that holds a copy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerView {
    /// Its id.
    pub agent: String,
    /// Its name.
    pub name: String,
    /// Whether an admin assigned it.
    pub assigned: bool,
    /// For how long it has not answered, ms.
    pub away_ms: Option<u64>,
    /// Bytes that count there.
    pub held_bytes: u64,
    /// Bytes that it lacks.
    pub lacking_bytes: u64,
    /// How long sending them will take at the present rate, ms.
    pub eta_ms: Option<u64>,
    /// It gave wrong bytes.
    pub is_distrusted: bool,
    /// It has no room.
    pub is_full: bool,
    /// Why it takes nothing, if it said so.
    pub refuses: Option<String>,
}

/// What this PC holds for others.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HoldingView {
    /// Bytes it gives at most.
    pub share_bytes: u64,
    /// Bytes of that which are used.
    pub used_bytes: u64,
    /// For whom.
    pub owners: Vec<HeldView>,
    /// Objects that were found damaged or gone since the agent began.
    #[serde(default)]
    pub damaged: u64,
    /// Of them made anew.
    #[serde(default)]
    pub mended: u64,
    /// When all was last read through, ms since 1970; none: not since the agent began.
    #[serde(default)]
    pub read_through_ms: Option<u64>,
    /// The last reading that was asked for, and how far it is.
    #[serde(default)]
    pub scrub: Option<ScrubStatus>,
}

/// `POST /api/v1/backup/scrub`: all copies are read through now. There is one reading at a time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScrubBegun {
    /// It began for this call; else one was on, which does for this call too.
    pub is_new: bool,
    /// How far it is.
    pub scrub: ScrubStatus,
}

/// A copy that this PC holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeldView {
    /// The owner's id.
    pub owner: String,
    /// Its name, if it is in the pool.
    pub name: Option<String>,
    /// Bytes of the copy.
    pub held_bytes: u64,
    /// Objects that are missing.
    pub lacking: u64,
    /// Objects that its owner deleted and that were damaged or lost here before their grace time was over.
    #[serde(default)]
    pub deleted_lost: u64,
    /// Archives in it.
    pub archives: u32,
}

/// `POST /api/v1/backup`: set it up.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitRequest {
    /// What to keep and how; none: the proposal of [`PlanView`].
    #[serde(default)]
    pub plan: Option<Plan>,
    /// Of an earlier backup of this PC, which is to be taken up again from its peers.
    #[serde(default)]
    pub passphrase: Option<String>,
    /// Folders that are to be kept need not be there now: they may be on a disk that is not always there.
    #[serde(default)]
    pub allow_missing: bool,
}

/// What stands behind `?` in the address of `PUT /api/v1/backup/plan`.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanQuery {
    /// As in [`InitRequest`], of folders that the plan did not have before.
    #[serde(default)]
    pub allow_missing: bool,
}

/// The recovery kit: shown to admins only.
#[derive(Clone, Serialize, Deserialize)]
pub struct KitView {
    /// Opens the repository.
    pub passphrase: String,
    /// Whose backup it is: the agent's id.
    pub owner: String,
    /// All of it as a text to print.
    pub text: String,
}

/// `GET /api/v1/backup/plan`, and what `PUT` answers; `PUT` takes a [`Plan`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlanView {
    /// The plan, or what is proposed.
    pub plan: Plan,
    /// It is proposed only.
    pub is_proposal: bool,
    /// Folders to be kept that are not there now.
    #[serde(default)]
    pub missing: Vec<PathBytes>,
}

/// `POST /api/v1/backup/run`: make an archive now. `DELETE`: end the run that is on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// What to make.
    pub mode: Mode,
}

/// What `POST /api/v1/backup/run` answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunAsked {
    /// The request's number: `GET /api/v1/backup/run/N` tells what became of it.
    pub request: u64,
    /// What a run that is on makes.
    pub on: Option<Mode>,
    /// That run does as much, and is the one; else another one begins when it has ended.
    pub is_that: bool,
}

/// `GET /api/v1/backup/run/N`: what became of a request for a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunRequestView {
    /// `waits`, `runs` or `ended`.
    pub state: String,
    /// The run that is on, be it this one or one before it.
    pub run: Option<RunView>,
    /// Why it waits, if it does.
    pub waits_for: Option<String>,
    /// What came of it.
    pub ended: Option<LastRunView>,
}

/// `PUT /api/v1/backup/peers`: who holds copies because an admin says so.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeersRequest {
    /// Names or ids of agents.
    pub assigned: Vec<String>,
}

/// Whose archives: of this PC, or of another with its recovery kit. As JSON in a body; never in an address.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// The owner's id or name; none: this PC.
    pub owner: Option<String>,
    /// Its passphrase, if it is another's.
    pub passphrase: Option<String>,
}

/// `POST /api/v1/backup/archives` with a [`Which`]: the newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ArchiveView {
    /// Its number; 0 if another program made it.
    pub number: u64,
    /// The name of its snapshot.
    pub id: String,
    /// When it was begun, ms since 1970.
    pub made_ms: i64,
    /// How; none if another program made it.
    pub mode: Option<Mode>,
    /// Whether every file is in it.
    pub is_complete: bool,
    /// Which files are not, and why.
    pub problems: String,
    /// Files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that were added for it.
    pub added_bytes: u64,
    /// Peers that have all of it; none where it is not known.
    pub copies: Option<usize>,
    /// Peers that should.
    pub copies_wanted: Option<usize>,
    /// The folders that it is of.
    pub roots: Vec<String>,
}

/// `POST /api/v1/backup/files`: what is in a folder of an archive, or one file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesRequest {
    /// Whose.
    #[serde(default)]
    pub which: Which,
    /// The archive's number.
    pub archive: u64,
    /// The folder or file; none: the top.
    #[serde(default)]
    pub folder: Option<PathBytes>,
    /// After which name, for the next page.
    #[serde(default)]
    pub after: Option<PathBytes>,
}

/// A page of entries.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FilesPage {
    /// In their order.
    pub entries: Vec<EntryView>,
    /// There are more: ask again after the last one.
    pub more: bool,
}

/// A file or folder in an archive.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EntryView {
    /// Its path.
    pub path: PathBytes,
    /// What it is.
    pub kind: EntryKind,
    /// Its length.
    pub size_bytes: u64,
    /// When it was changed, ms since 1970.
    pub modified_ms: i64,
    /// Permissions in octal digits, with set-user-id, set-group-id and sticky, such as `0644`.
    #[serde(default)]
    pub mode: Option<String>,
    /// Its owner's number.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Its group's number.
    #[serde(default)]
    pub gid: Option<u32>,
    /// What a link points to, in a listing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_target: Option<PathBytes>,
    /// What special kind it is, in a listing: `pipe`, `socket`, `block device`, `character device`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub special: Option<String>,
    /// Archives that it is in, where that was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub archives: Vec<u64>,
}

/// `POST /api/v1/backup/diff`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffRequest {
    /// Whose.
    #[serde(default)]
    pub which: Which,
    /// The older archive's number.
    pub from: u64,
    /// The newer one's.
    pub to: u64,
}

/// What differs, the first [`DIFFERENCES_LIMIT`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DiffView {
    /// In the order of paths.
    pub differences: Vec<DifferenceView>,
    /// There are more.
    pub more: bool,
    /// Folders that could not be read, in sentences.
    pub unread: Vec<String>,
}

/// Differences in an answer, at most.
pub const DIFFERENCES_LIMIT: usize = 10_000;

/// A difference.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DifferenceView {
    /// `added`, `removed` or `changed`.
    pub what: String,
    /// The entry, as the newer archive has it if it does.
    pub entry: EntryView,
    /// As the older one has it, if it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<EntryView>,
}

/// `POST /api/v1/backup/find`: entries whose name or path is like a pattern, in all archives.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FindRequest {
    /// Whose.
    #[serde(default)]
    pub which: Which,
    /// The pattern, such as `*.odt`.
    pub pattern: String,
}

/// What was found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FindView {
    /// By path, the oldest version first.
    pub entries: Vec<EntryView>,
    /// There are more.
    pub more: bool,
    /// Folders that could not be read, in sentences.
    pub unread: Vec<String>,
}

/// `POST /api/v1/backup/restore`: answers [`RestorePlanView`] if it is to be tried only, else [`RestoreBegun`].
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreRequest {
    /// Whose.
    #[serde(default)]
    pub which: Which,
    /// The archive's number.
    pub archive: u64,
    /// Everything up to it, the later ones winning, not only it.
    #[serde(default)]
    pub up_to: bool,
    /// Only these paths and what is in them; none: everything.
    #[serde(default)]
    pub paths: Vec<PathBytes>,
    /// The folder to put it under; none: where it was.
    #[serde(default)]
    pub target: Option<PathBytes>,
    /// What happens to files that are there and differ.
    #[serde(default)]
    pub existing: Existing,
    /// Only say what it would do.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a restore would do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestorePlanView {
    /// Entries that would be made, overwritten, are there already, and are left out, with their bytes.
    pub totals: TotalsView,
    /// Free where it would go.
    pub free_bytes: Option<u64>,
    /// Whether there is room for it.
    pub fits: bool,
    /// The first steps that change something or leave something out, in sentences.
    pub steps: Vec<String>,
    /// There are more of them.
    pub more_steps: bool,
    /// What could not be read.
    pub failures: Vec<String>,
}

/// A restore has begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestoreBegun {
    /// Its number.
    pub restore: u64,
}

/// `GET /api/v1/backup/restores[/N]`; `DELETE` ends one; `POST …/N/first` with a [`FirstRequest`] has a path come first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestoreView {
    /// Its number.
    pub restore: u64,
    /// Whose archive.
    pub owner: String,
    /// Which.
    pub archive: u64,
    /// Where to.
    pub target: String,
    /// `waiting`, `running`, `done`, `done with failures`, `failed` or `cancelled`.
    pub state: String,
    /// Files so far of what was asked for, links and the like too; folders are not counted.
    pub files: u64,
    /// Bytes so far.
    pub bytes: u64,
    /// All bytes, if known.
    pub bytes_total: Option<u64>,
    /// Bytes fetched from peers.
    pub fetched_bytes: u64,
    /// Bytes a second.
    pub bytes_per_s: u64,
    /// How long it will still take, ms.
    pub eta_ms: Option<u64>,
    /// Why it failed, as a whole.
    pub error: Option<String>,
    /// Files that did not come back, and why; the first of them.
    pub failures: Vec<String>,
    /// How many did not.
    pub failed_files: u64,
}

/// A path that is to come first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstRequest {
    /// As in the archive.
    pub path: PathBytes,
}

/// `GET /api/v1/backup/owners`: whose copies can be seen in the pool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OwnerView {
    /// The owner's id.
    pub owner: String,
    /// Its name, if it is in the pool.
    pub name: Option<String>,
    /// Archives, as the holder that knows most says.
    pub archives: u32,
    /// Names of the agents that hold copies and answer.
    pub holders: Vec<String>,
}
