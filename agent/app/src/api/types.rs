//! What the API says and takes, as JSON; the CLI and the page use the same.

use dci_proto::AgentId;
use serde::{Deserialize, Serialize};
use shoal_care::Progress;
use shoal_ledger::{AgentState, TrashReason, UserRole};

use crate::census::StripeCounts;
use crate::outlook::{DrainStatus, SwitchOff};
use crate::status::RepairStatus;

/// How this machine's CLI signs in at this machine's agent: a file only its owner can read, renewed at every start.
#[derive(Clone, Serialize, Deserialize)]
pub struct LocalCredentials {
    /// Base URL of the agent's API.
    pub api: String,
    /// What is sent as a bearer token.
    pub token: String,
}

impl LocalCredentials {
    /// Its name in the data directory.
    pub const FILE_NAME: &str = "credentials.json";
}

/// Why a call failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApiError {
    /// In a sentence.
    pub error: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl ApiError {
    /// A failure nobody can do anything about.
    #[must_use]
    pub fn new(error: impl Into<String>) -> Self {
        Self { error: error.into(), hint: None }
    }
}

/// `GET nodes`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeList {
    /// The members.
    pub nodes: Vec<NodeView>,
    /// Agents that wait for an admin.
    pub waiting: Vec<WaitingView>,
}

/// A member.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeView {
    /// Its id.
    pub id: AgentId,
    /// Its nickname.
    pub name: String,
    /// The end of its id, to compare by eye.
    pub fingerprint: String,
    /// `up`, `suspect`, `absent`, `paused`, `draining`.
    pub state: String,
    /// Where it stands by an admin's decision.
    pub set: AgentState,
    /// `store`, `mount`, `vote`.
    pub roles: Vec<String>,
    /// Whether it votes on the ledger now.
    pub voter: bool,
    /// Whether it leads the ledger now.
    pub leader: bool,
    /// Its site; empty when nobody said.
    pub site: String,
    /// Bytes it gives.
    pub capacity_bytes: u64,
    /// Bytes of them in use.
    pub used_bytes: u64,
    /// How far it can be relied on, 0 to 100.
    pub standing: u8,
    /// Whether it is likely to fail soon.
    pub failing: bool,
    /// What speaks against it.
    pub reasons: Vec<String>,
    /// Version of Shoal it runs.
    pub version: String,
    /// Where it is reached.
    pub addresses: Vec<String>,
}

/// An agent that asks to join.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WaitingView {
    /// Its id.
    pub id: AgentId,
    /// Its nickname.
    pub name: String,
    /// The end of its id, to compare by eye.
    pub fingerprint: String,
    /// When it asked, in ms since 1970 UTC.
    pub asked_ms: u64,
}

/// `POST invite`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InviteRequest {
    /// Seconds the ticket is good for.
    pub expires_s: u64,
    /// The new agent only holds shards.
    #[serde(default)]
    pub store_only: bool,
}

/// A ticket.
#[derive(Clone, Serialize, Deserialize)]
pub struct InviteAnswer {
    /// Its text. Whoever has it can join, once.
    pub ticket: String,
    /// Not taken after this time, in ms since 1970 UTC.
    pub expires_ms: u64,
}

/// A change of a member.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "action")]
pub enum NodeAction {
    /// Let in.
    Approve,
    /// Turn away.
    Reject,
    /// Give it nothing new.
    Pause,
    /// End a pause, or cancel its emptying.
    Resume,
    /// Empty it: everything on it goes to the others.
    Drain,
    /// Change its nickname.
    Rename {
        /// The new one.
        name: String,
    },
    /// Strike off.
    Remove {
        /// Even though data counts on it.
        #[serde(default)]
        force: bool,
    },
}

/// A volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VolumeView {
    /// Its name.
    pub name: String,
    /// How many agents it survives the loss of; `None` follows the pool.
    pub survive: Option<u8>,
    /// Whether it compresses.
    pub compress: bool,
    /// Files in it.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// Versions of files in its trash; not counted in `files`.
    pub trash_files: u64,
    /// Bytes of those; not counted in `bytes`.
    pub trash_bytes: u64,
    /// Bytes that can still be stored.
    pub free_bytes: Option<u64>,
    /// When it was made, in ms since 1970 UTC.
    pub created_ms: u64,
}

/// `POST volumes`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewVolume {
    /// Its name.
    pub name: String,
    /// How many agents it survives the loss of.
    #[serde(default)]
    pub survive: Option<u8>,
    /// Whether it compresses.
    #[serde(default)]
    pub compress: Option<bool>,
}

/// `PATCH volumes/NAME`: what is left out stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct VolumeChange {
    /// A new name.
    #[serde(default)]
    pub name: Option<String>,
    /// `Some(None)` (`null`) follows the pool.
    #[serde(default, with = "double_option", skip_serializing_if = "Option::is_none")]
    pub survive: Option<Option<u8>>,
    /// Whether it compresses.
    #[serde(default)]
    pub compress: Option<bool>,
}

/// Tells a field that is left out from one that is null.
mod double_option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Option<Option<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        value.flatten().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u8>>, D::Error> {
        Option::<u8>::deserialize(deserializer).map(Some)
    }
}

/// The pool's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyView {
    /// How many agents may be lost without losing data.
    pub survive: u8,
    /// Seconds an agent may be silent before what it holds is made anew elsewhere.
    pub absent_after_s: u64,
    /// Seconds agents must have come or gone unchanged before stripes are cut anew for those there are.
    pub restripe_after_s: u64,
    /// Seconds in which every agent reads all its shards again.
    pub scrub_period_s: u64,
    /// Seconds deleted and overwritten files are kept; 0: not at all.
    pub trash_keep_s: u64,
    /// Members that hold shards: one more than may be lost is needed.
    #[serde(default)]
    pub stores: usize,
}

/// `PUT policy`: what is left out stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyChange {
    /// How many agents may be lost without losing data.
    pub survive: Option<u8>,
    /// As in [`PolicyView`].
    pub absent_after_s: Option<u64>,
    /// As in [`PolicyView`].
    pub restripe_after_s: Option<u64>,
    /// As in [`PolicyView`].
    pub scrub_period_s: Option<u64>,
    /// As in [`PolicyView`].
    pub trash_keep_s: Option<u64>,
}

/// `GET repair`: what is done to keep the volume whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RepairView {
    /// The status sentence.
    pub verdict: String,
    /// Stripes by how safe they are.
    pub stripes: StripeCounts,
    /// What waits, in all.
    pub repair: RepairStatus,
    /// By reason, as the agent that leads tells it; null where it does not say.
    pub work: Option<Progress>,
}

/// `GET nodes/NODE/safe`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SafeView {
    /// Its id.
    pub id: AgentId,
    /// Its nickname.
    pub name: String,
    /// Whether it can be switched off now.
    #[serde(flatten)]
    pub switch_off: SwitchOff,
    /// How far its emptying is, while it is emptied.
    pub drain: Option<DrainStatus>,
}

/// `GET nodes/NODE/drain`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DrainView {
    /// Its id.
    pub id: AgentId,
    /// Its nickname.
    pub name: String,
    /// How far its emptying is; null when it is not emptied.
    pub drain: Option<DrainStatus>,
}

/// `GET nodes/NODE/certificate`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CertificateView {
    /// Who was emptied.
    pub agent: AgentId,
    /// Its nickname.
    pub name: String,
    /// Position of the ledger at which nothing counted on it.
    pub position: u64,
    /// When it was issued, in ms since 1970 UTC by the signer's clock.
    pub issued_ms: u64,
    /// The agent that signed.
    pub signer: AgentId,
    /// Its nickname; null when it is no member any more.
    pub signer_name: Option<String>,
    /// What was signed, to the letter.
    pub statement: String,
    /// The ed25519 signature over the statement, in base64; the signer's id is the key.
    pub signature: String,
    /// Whether the signature holds.
    pub genuine: bool,
    /// Whether nothing has come to be counted on there since.
    pub empty_now: bool,
}

/// `GET trash?volume=NAME&path=/PATH&limit=N`: all of these may be left out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrashList {
    /// Versions at and below the path, in the order of paths, those of one path oldest first.
    pub entries: Vec<TrashView>,
    /// Whether there are more than are listed.
    pub more: bool,
    /// Versions in the trash of the volumes, wherever they were.
    pub files: u64,
    /// Bytes of those.
    pub bytes: u64,
}

/// A version of a file in the trash.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrashView {
    /// Its number, to restore it by.
    pub id: u64,
    /// The volume it was in.
    pub volume: String,
    /// Where it was there.
    pub path: String,
    /// Its bytes.
    pub bytes: u64,
    /// When its content was last changed, in ms since 1970 UTC.
    pub modified_ms: i64,
    /// When it went, in ms since 1970 UTC.
    pub since_ms: u64,
    /// Until when it is kept if there is room, in ms since 1970 UTC.
    pub expires_ms: u64,
    /// Who deleted or overwrote it.
    pub user: String,
    /// Why it went.
    pub reason: TrashReason,
}

/// `POST trash/restore`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RestoreRequest {
    /// The volume of `path`; may be left out where there is only one.
    #[serde(default)]
    pub volume: Option<String>,
    /// A file, whose newest version is restored, or a folder, of which all that was deleted is.
    #[serde(default)]
    pub path: Option<String>,
    /// The number of a version; goes before `path`.
    #[serde(default)]
    pub id: Option<u64>,
    /// Where to put it instead of where it was.
    #[serde(default)]
    pub to: Option<String>,
    /// Replace a file that stands there.
    #[serde(default)]
    pub overwrite: bool,
}

/// What was restored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestoreAnswer {
    /// Where the files are now.
    pub restored: Vec<String>,
    /// Files of a folder left alone, as something stands there.
    pub skipped: u64,
    /// Whether there is more to restore: repeat the call.
    pub more: bool,
}

/// `POST trash/empty`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EmptyRequest {
    /// Of which volume; all when left out.
    #[serde(default)]
    pub volume: Option<String>,
    /// Only what went longer ago than so many seconds.
    #[serde(default)]
    pub older_than_s: u64,
}

/// What went for good.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EmptyAnswer {
    /// Versions.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether there is more to let go of: repeat the call.
    pub more: bool,
}

/// A user.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UserView {
    /// The name.
    pub name: String,
    /// What they may do.
    pub role: UserRole,
    /// When they were added, in ms since 1970 UTC.
    pub created_ms: u64,
}

/// `PUT users/NAME`: adds a user or changes one; what is left out stays.
#[derive(Clone, Serialize, Deserialize)]
pub struct UserChange {
    /// What they may do; a new user is a `user` unless said.
    #[serde(default)]
    pub role: Option<UserRole>,
    /// The password; left out for a new user or with `generate`, one is made up and told once.
    #[serde(default)]
    pub password: Option<String>,
    /// Make a password up.
    #[serde(default)]
    pub generate: bool,
    /// Fail if there is such a user already.
    #[serde(default)]
    pub only_new: bool,
}

/// The answer to `PUT users/NAME`.
#[derive(Clone, Serialize, Deserialize)]
pub struct UserAnswer {
    /// The name.
    pub name: String,
    /// What they may do.
    pub role: UserRole,
    /// The password that was made up; told only here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::VolumeChange;

    #[test]
    fn a_field_that_is_null_is_not_one_left_out() {
        let parse = |text: &str| serde_json::from_str::<VolumeChange>(text).map(|change| change.survive).ok();
        assert_eq!(parse("{}"), Some(None));
        assert_eq!(parse(r#"{"survive":null}"#), Some(Some(None)));
        assert_eq!(parse(r#"{"survive":1}"#), Some(Some(Some(1))));
    }
}
