//! What can be asked of the ledger, and what it answers.

use bytes::Bytes;
use dci_proto::message::{GroupName, MessageType};
use dci_proto::{AgentId, CommandId, ContentId, InodeId, PoolId, ShardKey, StripeId, VolumeId};
use serde::{Deserialize, Serialize};

use crate::{
    Accepted, AgentRecord, AgentState, CarePolicy, DrainCertificate, Lock, LockScope, MoveId, Node, NodePath,
    NodePathError, PropertyName, ShardMove, StripeRecord, SurplusShard, TicketRecord, TrashTotals, TypePolicy,
    UserRecord, VolumePolicy, VolumeRecord,
};

/// One entry of the replicated log: commands of many callers, made durable together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The leader's clock when it proposed the entry, in ms since 1970 UTC. The state machine never lets time go
    /// back: an earlier stamp counts as the latest one seen.
    pub time_ms: u64,
    /// The commands, in order.
    pub submissions: Vec<Submission>,
}

/// A command under the id that makes it take effect once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Made at random by the submitter.
    pub id: CommandId,
    /// What to do.
    pub command: Command,
}

/// What must hold of the target for a change to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expect {
    /// Nothing is there (`If-None-Match: *`).
    Absent,
    /// Something is there (`If-Match: *`).
    Present,
    /// This very version is there (`If-Match: "etag"`).
    Version {
        /// The inode seen.
        inode: InodeId,
        /// The version seen.
        version: u64,
    },
}

/// Who changes the namespace and on what conditions; checked in the same step as the change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Guard {
    /// The user: a lock protects from everyone but its owner who submits its token.
    pub user: String,
    /// Lock tokens submitted with the request.
    pub tokens: Vec<String>,
    /// What must hold of the target.
    pub expect: Option<Expect>,
}

/// A chunk of a file that is being committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRef {
    /// Its plain content.
    pub content: ContentId,
    /// Its plain bytes: [`crate::CHUNK_BYTES`] for all but a file's last.
    pub plain_bytes: u32,
    /// The stripe just written for it; `None` where the pool had the content already. If that content has gone
    /// meanwhile the command is refused with [`Rejection::MissingContent`] and the writer writes it after all. If
    /// the content has come meanwhile, the new stripe becomes garbage and the old one counts one more reference.
    pub new_stripe: Option<NewStripe>,
}

/// A stripe whose shards are durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewStripe {
    /// Its id.
    pub id: StripeId,
    /// What and where it is.
    pub record: StripeRecord,
    /// A stripe that holds the content already but was found unfit: not to be read, or kept with less care than is
    /// asked now. If the content still stands on it, this stripe takes its place and it becomes garbage.
    pub replaces: Option<StripeId>,
}

/// The bytes of a file that is being committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileContent {
    /// Few enough to keep in the ledger.
    Inline(Bytes),
    /// In chunks, all named here.
    Chunks(Vec<ChunkRef>),
    /// In chunks staged before under this upload ([`Command::StageChunks`]), then these.
    Staged(InodeId, Vec<ChunkRef>),
}

/// A lock that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRequest {
    /// Its token, made by the caller.
    pub token: String,
    /// The node. One that is not there is made an empty file (RFC 4918 §7.3); its folder must be there.
    pub path: NodePath,
    /// Whether it covers everything below.
    pub deep: bool,
    /// Exclusive or shared.
    pub scope: LockScope,
    /// The `owner` element as sent.
    pub owner_xml: Bytes,
    /// Seconds asked for, already cut to the limit.
    pub timeout_s: u32,
}

/// One step of a change of dead properties.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PropertyPatch {
    /// Set it to this element.
    Set(PropertyName, Bytes),
    /// Remove it; one that is not there is no error.
    Remove(PropertyName),
}

/// Everything that can be asked for.
#[allow(missing_docs, reason = "each command's own sentence says what its fields are")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Makes the pool, in an empty ledger, with its first member.
    CreatePool { id: PoolId, name: String, survive: u8, first: AgentRecord },
    /// Sets how many agents may be lost, for volumes that do not say otherwise.
    SetSurvive { survive: u8 },

    /// Gives out a ticket.
    CreateTicket(TicketRecord),
    /// Joins with a ticket: checks that it is known, unused and unexpired, uses it up, adds the member (its roles cut
    /// to the ticket's). A member who joins again keeps its place and gets its addresses renewed.
    RedeemTicket { secret_hash: [u8; 32], agent: AgentRecord },
    /// Asks to join without a ticket.
    RequestJoin { agent: AgentRecord },
    /// Lets in who asked.
    ApproveJoin { agent: AgentId },
    /// Turns away who asked.
    RejectJoin { agent: AgentId },
    /// Renews what a member says of itself: addresses, capacity, version. Id, name, roles, state, site stay.
    UpdateAgent { agent: AgentRecord },
    /// Renames a member.
    RenameAgent { agent: AgentId, name: String },
    /// Pauses, resumes or drains a member.
    SetAgentState { agent: AgentId, state: AgentState },
    /// Strikes a member off. Refused while stripes still count on it, unless forced.
    RemoveAgent { agent: AgentId, force: bool },

    /// Adds a user, or changes their password and role.
    PutUser(UserRecord),
    /// Removes a user. The last admin stays.
    RemoveUser { name: String },

    /// Makes a volume.
    CreateVolume { name: String, policy: VolumePolicy },
    /// Changes how a volume keeps what is written from now on.
    SetVolumePolicy { volume: VolumeId, policy: VolumePolicy },
    /// Renames a volume.
    RenameVolume { volume: VolumeId, name: String },
    /// Removes a volume; one with files in it only when forced.
    RemoveVolume { volume: VolumeId, force: bool },

    /// Makes a folder; its parent must be there, itself not.
    MakeFolder { path: NodePath, guard: Guard, modified_ms: Option<i64> },
    /// Makes a file or replaces its content, in one step.
    CommitFile {
        /// Where.
        path: NodePath,
        /// Who, on what conditions.
        guard: Guard,
        /// The bytes.
        content: FileContent,
        /// How many bytes; must equal the sum of the parts.
        size_bytes: u64,
        /// The client's modification time, where it gave one.
        modified_ms: Option<i64>,
        /// SHA-1 of the bytes, where computed.
        sha1: Option<[u8; 20]>,
        /// The media type the client gave.
        media_type: Option<String>,
    },
    /// Removes a file, or a folder with everything in it, its locks and its properties.
    Remove { path: NodePath, guard: Guard },
    /// Renames or moves a node. `overwrite`: what is at the destination goes in the same step. Locks do not travel.
    Rename { from: NodePath, to: NodePath, overwrite: bool, guard: Guard },
    /// Copies a file, or a folder (`deep`: with everything in it). Content is shared, not copied.
    Copy { from: NodePath, to: NodePath, overwrite: bool, deep: bool, guard: Guard },
    /// Sets times of a node.
    SetTimes { path: NodePath, guard: Guard, modified_ms: Option<i64>, created_ms: Option<i64> },
    /// Changes dead properties, all or none.
    PatchProperties { path: NodePath, guard: Guard, patches: Vec<PropertyPatch> },

    /// Reserves a number under which chunks of a large file are staged by `agent`, in its run `run`.
    BeginUpload { agent: AgentId, run: u64 },
    /// Records durable chunks of an upload, in order; they hold references from now on.
    StageChunks { upload: InodeId, first_index: u32, chunks: Vec<ChunkRef> },
    /// Gives an upload up.
    AbortUpload { upload: InodeId },
    /// Gives up all uploads an agent began in runs other than this one: it has restarted.
    AbortOldUploads { agent: AgentId, run: u64 },

    /// Takes a lock.
    Lock { request: LockRequest, guard: Guard },
    /// Lets a lock live longer.
    RefreshLock { token: String, path: NodePath, user: String, timeout_s: u32 },
    /// Ends a lock.
    Unlock { token: String, path: NodePath, user: String },

    /// Forgets garbage stripes all of whose holders have dropped their shards.
    ForgetGarbage { stripes: Vec<StripeId> },
    /// Lets time pass: expired locks, tickets and join requests go.
    Tick,

    /// Sets the pool's patience.
    SetCarePolicy { policy: CarePolicy },
    /// Announces moves of shards, each for itself: refused where the shard is not where it is said to be, is moved already, or
    /// the new agent holds a shard of that stripe or is still to drop this one. Until finished or given up nobody drops
    /// what is copied. Answers [`Outcome::Accepted`].
    BeginMoves { moves: Vec<ShardMove> },
    /// Has stripes count on the new agents, which have the shards durable; what the old ones hold becomes surplus. Answers
    /// [`Outcome::Accepted`].
    FinishMoves { moves: Vec<MoveId> },
    /// Gives moves up; what was copied becomes surplus. Answers [`Outcome::Accepted`].
    AbortMoves { moves: Vec<MoveId> },
    /// Forgets surplus shards that their holders have dropped.
    ForgetSurplus { shards: Vec<SurplusShard> },
    /// Has contents stand on stripes cut anew, each where it still stands on the stripe replaced; else the new stripe
    /// becomes garbage. Answers [`Outcome::Accepted`].
    ReplaceStripes { stripes: Vec<NewStripe> },
    /// Keeps the proof that an agent was emptied. Refused while anything counts on it.
    PutCertificate { certificate: DrainCertificate },
    /// Puts a version from the trash back where it was, or to another path; folders that are missing are made. Refused
    /// where something stands, unless `overwrite`: then a file there goes to the trash in turn. Folders stay.
    RestoreTrash { volume: VolumeId, id: u64, to: Option<NodePath>, overwrite: bool, guard: Guard },
    /// Makes a file of a version in the trash, which stays there. As [`Command::Copy`]; content is shared, not copied.
    CopyTrash { volume: VolumeId, id: u64, to: NodePath, overwrite: bool, guard: Guard },
    /// Lets go for good of versions in a volume's trash; numbers that are not there are no error.
    PurgeTrash { volume: VolumeId, ids: Vec<u64> },
    /// Makes surplus shards of garbage stripes, so that a holder that is away holds up nobody but itself.
    SplitGarbage { stripes: Vec<StripeId> },

    /// Does what the command says unless more than `within_ms` of the ledger's time have passed since `begun_ms`, the ledger's time
    /// before the first shard it names was sent out; then it is refused with [`Rejection::TooLate`]. Holders drop shards that the
    /// ledger has not named for a whole grace time: a writer that slept meanwhile must not name them after all.
    Fresh { begun_ms: u64, within_ms: u64, command: Box<Command> },

    /// Notes shards an agent is counted on for and has found missing, damaged or unreadable on disks that are there, and could not
    /// mend in place. They count as lost until it says otherwise or nothing counts on them there any more. What it is not
    /// counted on for, and what is beyond [`crate::limits::BAD_SHARDS_PER_AGENT`], is not noted. Answers
    /// [`Outcome::Accepted`], `true` for each that is noted now.
    ReportBad { agent: AgentId, keys: Vec<ShardKey> },
    /// Takes that back; shards that are not noted are no error. Answers [`Outcome::Accepted`], `true` for each that was noted.
    ReportSound { agent: AgentId, keys: Vec<ShardKey> },
    /// Shards that were sent to agents for stripes the writer will not name any more: they are surplus from now on, and a stripe
    /// any of them is of is refused should it be named after all. Those of stripes the ledger knows are left as they are.
    GiveUp { shards: Vec<(AgentId, ShardKey)> },

    /// Has a name stand for these agents, all of them members; in the place of what it stood for.
    PutGroup { name: GroupName, agents: Vec<AgentId> },
    /// Has a name stand for nothing.
    RemoveGroup { name: GroupName },
    /// Says what it takes to send messages of a type; `None`: what its peerlet asks for.
    SetTypePolicy { kind: MessageType, policy: Option<TypePolicy> },
    /// Gives a user the right to send messages of a type that needs one, in the place of one given before.
    GrantRight { user: String, kind: MessageType, expires_ms: Option<u64>, granted_by: String },
    /// Takes it back.
    RevokeRight { user: String, kind: MessageType },
}

/// What came of a command that was carried out.
#[allow(missing_docs, reason = "each outcome's own sentence says what its fields are")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It is done.
    Done,
    /// A file or folder stands there now; `created` unless it replaced one.
    Node { node: Node, created: bool },
    /// The lock as granted; `created` if the file had to be made.
    Lock { lock: Lock, created: bool },
    /// The number of an upload.
    Upload(InodeId),
    /// The volume as made.
    Volume(VolumeRecord),
    /// The member as it stands.
    Agent(AgentRecord),
    /// What became of each part of the command.
    Accepted(Accepted),
    /// A version from the trash stands at this path now; `created` unless it replaced a file.
    Restored { path: NodePath, created: bool },
    /// What went from the trash for good.
    Purged(TrashTotals),
}

/// Why a command was refused. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Rejection {
    /// No pool yet, or one already.
    #[error("{0}")]
    Pool(String),
    /// Nothing is there.
    #[error("{0} is not there")]
    NotFound(String),
    /// The folder it should be in is not there (or is a file).
    #[error("the folder of {0} is not there")]
    ParentMissing(String),
    /// Something is there already.
    #[error("{0} exists already")]
    Exists(String),
    /// A folder is needed.
    #[error("{0} is not a folder")]
    NotAFolder(String),
    /// A file is needed.
    #[error("{0} is a folder")]
    IsAFolder(String),
    /// A volume with files is not removed unasked.
    #[error("{0} is not empty")]
    NotEmpty(String),
    /// The source lies above or is the destination.
    #[error("{0} cannot go into itself")]
    IntoItself(String),
    /// A condition of the guard does not hold.
    #[error("{0} has changed meanwhile")]
    PreconditionFailed(String),
    /// A lock stands against it.
    #[error("{} is locked by {}", .0.path, .0.user)]
    Locked(Box<Lock>),
    /// No such lock on that path, or not this user's.
    #[error("no such lock")]
    NoSuchLock,
    /// More of something than the ledger keeps.
    #[error("too many {0}")]
    TooMany(String),
    /// Contents the command counts on are not in the pool (any more); write them and try again.
    #[error("{} chunks are not in the pool any more", .0.len())]
    MissingContent(Vec<ContentId>),
    /// Sizes do not add up, chunks out of order, a stripe with one agent twice, an unknown upload.
    #[error("the command contradicts itself: {0}")]
    Inconsistent(String),
    /// The ticket is unknown, used or expired; which of these is not told.
    #[error("the ticket is not valid (any more); ask for a new one with `shoal invite`")]
    BadTicket,
    /// No member of that id or name.
    #[error("{0} is not a member of this pool")]
    UnknownAgent(String),
    /// Stripes still count on the member.
    #[error("{stripes} stripes still count on {agent}")]
    StillNeeded {
        /// The member.
        agent: String,
        /// How many.
        stripes: u64,
    },
    /// The last admin cannot be removed or demoted.
    #[error("the last admin stays")]
    LastAdmin,
    /// Names that are no path.
    #[error(transparent)]
    Path(#[from] NodePathError),
    /// A value out of its range.
    #[error("{0}")]
    Invalid(String),
    /// The member was not emptied first.
    #[error("{0} was not drained; without its certificate it is removed only by force")]
    NotDrained(String),
    /// The writer took longer than shards that nobody names are kept; write the bytes anew.
    #[error("the upload took too long; its bytes have to be written again")]
    TooLate,
    /// Of the agents that new stripes of these contents name, too few are members (any more) to read them; write them and try again.
    #[error("agents that {} chunks were put on have been removed from the pool; their bytes have to be written again", .0.len())]
    HoldersGone(Vec<ContentId>),
}
