//! What the calls about files say and take, as JSON.

use dci_proto::{AgentId, MessageId};
use serde::{Deserialize, Serialize};

use super::super::messages::types::{AgentView, To};

/// A file or folder that will be handed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEntry {
    /// Where it lies among what is sent: names with slashes between.
    pub path: String,
    /// A folder; then only its path counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub folder: bool,
    /// Its length in bytes.
    #[serde(default)]
    pub size_bytes: u64,
    /// When it was changed last, in ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_ms: Option<u64>,
    /// Whether it may be run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}

/// Something that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTransfer {
    /// Its files and folders; files are handed in by their place here.
    pub entries: Vec<NewEntry>,
    /// What is said of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// On whose behalf; only who signs in with the token of this computer may say.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// Something that can be handed in now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BegunTransfer {
    /// Its id.
    pub transfer: String,
}

/// How much of a file is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploaded {
    /// Bytes.
    pub there_bytes: u64,
}

/// Whom it is offered to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferTransfer {
    /// Whom.
    pub to: To,
    /// Seconds it can be fetched; seven days unless said otherwise, 30 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_s: Option<u64>,
    /// On whose behalf; only who signs in with the token of this computer may say.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// How far a recipient is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientProgress {
    /// The recipient.
    pub agent: AgentId,
    /// Its name.
    pub name: String,
    /// `waiting`, `accepted`, `receiving`, `done` or `failed`.
    pub state: String,
    /// Since when, in ms since 1970.
    pub since_ms: u64,
    /// Bytes it has.
    pub have_bytes: u64,
    /// Bytes it was given since this agent started.
    pub served_bytes: u64,
    /// Bytes a second of late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bytes_s: Option<u64>,
    /// Seconds until it has all, at that pace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_s: Option<u64>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Something that is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutgoingView {
    /// Its id.
    pub transfer: String,
    /// `uploading`, `sending`, `offered` or `ended`.
    pub state: String,
    /// What is said of it.
    pub note: String,
    /// On whose behalf.
    pub user: String,
    /// To whom, for people.
    pub to: String,
    /// When it was begun, in ms since 1970.
    pub created_ms: u64,
    /// Until when it can be fetched, in ms since 1970.
    pub expires_ms: u64,
    /// Files in it.
    pub files: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// The messages that offer it.
    pub messages: Vec<MessageId>,
    /// Why it was given up before it was offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How far each recipient is.
    pub recipients: Vec<RecipientProgress>,
}

/// Something that came or is coming.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncomingView {
    /// Its id.
    pub transfer: String,
    /// From which agent.
    pub from: AgentView,
    /// On whose behalf.
    pub user: String,
    /// What is said of it.
    pub note: String,
    /// `waiting`, `receiving`, `done` or `failed`.
    pub state: String,
    /// When it was offered, in ms since 1970.
    pub received_ms: u64,
    /// Until when it can be fetched, in ms since 1970.
    pub expires_ms: u64,
    /// Files in it.
    pub files: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Bytes that are there.
    pub have_bytes: u64,
    /// Bytes fetched since this agent started.
    pub pulled_bytes: u64,
    /// Bytes a second of late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bytes_s: Option<u64>,
    /// Seconds until it has all, at that pace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_s: Option<u64>,
    /// What it waits for, or why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Where it lies on that computer.
    pub folder: String,
}

/// All transfers of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FilesList {
    /// What came or is coming, the newest first.
    pub incoming: Vec<IncomingView>,
    /// What is sent, the newest first.
    pub outgoing: Vec<OutgoingView>,
    /// Bytes kept of all of them, those that are to come too.
    pub kept_bytes: u64,
    /// Bytes that may be kept.
    pub cap_bytes: u64,
}

/// One transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "way", rename_all = "kebab-case")]
pub enum TransferView {
    /// It came or is coming.
    Incoming(IncomingView),
    /// It is sent.
    Outgoing(OutgoingView),
}

/// A file or folder of a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryOfTransfer {
    /// By which it is fetched.
    pub number: u32,
    /// Where it lies.
    pub path: String,
    /// Whether it is a folder.
    pub folder: bool,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// BLAKE3 of its bytes, in hexadecimal; of folders, and of files that are not all handed in: empty.
    pub hash: String,
    /// When it was changed last, in ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_ms: Option<u64>,
    /// Whether it may be run.
    pub executable: bool,
    /// Bytes of it that are there; all or none of one that is coming.
    pub there_bytes: u64,
}

/// What is in a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntriesView {
    /// All of it.
    pub entries: Vec<EntryOfTransfer>,
}
