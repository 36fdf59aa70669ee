//! What agents ask of each other, as bytes.
//!
//! A request is a method, a small head (a version byte, then postcard) and bulk bytes that nobody copies. Numbers are
//! never used twice: what changes its meaning becomes a new method or a new version of the head. An agent that does
//! not know a method or a version says so, and the asker treats it as an agent that cannot do that yet.

use bytes::Bytes;
use dci_proto::{AgentId, ShardHash, ShardKey, StripeId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shoal_ledger::{AgentRoles, StripeRecord};
use shoal_net::{Request, Response};

/// Version of the heads below.
const HEAD_VERSION: u8 = 1;
/// Characters of a reason sent with a refusal, at most.
const REASON_LIMIT: usize = 500;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Method {
    /// A message of consensus, in the body both ways. Control.
    Consensus = 1,
    /// Keep a shard: [`ShardPut`], its bytes in the body.
    ShardPut = 3,
    /// Give a shard: [`ShardGet`]; its bytes come in the body.
    ShardGet = 4,
    /// Drop a shard: [`ShardDelete`].
    ShardDelete = 5,
    /// What the ledger says of a shard: [`ShardDelete`]; answers [`ShardNeed`]. Asked by agents without a ledger.
    ShardNeeded = 6,
    /// Who is a member: answers [`MemberList`]. Asked by agents without a ledger.
    Members = 7,
    /// Keep a piece of an encrypted copy of the ledger: [`CopyPiece`], its bytes in the body.
    CopyPiece = 8,
    /// What an agent without a ledger has to say of itself, an [`shoal_ledger::AgentRecord`]. Control.
    Renew = 9,
    /// Are you there? [`crate::health::SelfReport`] both ways. Control. (2 was one that said less.)
    Ping = 10,
    /// Make a shard anew in your own store: [`ShardRebuild`]; answers [`ShardRebuilt`] when it is durable.
    ShardRebuild = 11,
    /// Which shards are there: [`ShardList`]; answers [`ShardPage`].
    ShardList = 12,
    /// Cut a stripe anew: [`StripeRecut`]; answers [`StripeRecutDone`] when the ledger has taken the new one.
    StripeRecut = 13,
    /// How far is the keeper? Answers an optional [`shoal_care::Progress`]; none where another agent leads. Control.
    Progress = 14,
    /// Which shards the asker is expected to hold: [`ShardsExpected`]; answers [`crate::holdings::Share`]. Asked by agents
    /// without a ledger.
    ShardsExpected = 15,
    /// What it takes to make a shard of the asker's anew: a [`ShardKey`]; answers [`ShardRebuild`], or none if nothing
    /// counts on it there. Asked by agents without a ledger.
    ShardOthers = 16,
    /// How your scrub stands: [`ScrubAsk`]; a [`crate::scrub::report::ScrubReport`] comes in the body.
    Scrub = 17,
    /// What the asker has found of shards of its own: [`ShardsFound`]; answers which of its shards the ledger has as bad, when
    /// the ledger has taken it. Asked by agents without a ledger.
    ShardsFound = 18,
    /// Which shards have you found bad or met as bad and not mended yet? A list of [`BadPlace`] comes in the body.
    ShardsPending = 19,
    /// Messages for you, or to be passed on: [`crate::messages`] says how they lie in the body. Neighbours only.
    Messages = 20,
    /// Who my neighbours are: a list of [`AgentId`]; answers yours.
    Neighbours = 21,
    /// May a user send messages of a type? [`crate::messages::permission::Question`]; answers
    /// [`crate::messages::permission::Permission`]. Asked by agents without a ledger.
    Permission = 22,
    /// Which groups is the asker in? Answers their names. Asked by agents without a ledger.
    OwnGroups = 23,
    /// A word of the directory of who offers what: [`dci_proto::directory::DirectoryMessage`] in the body, postcard. Neighbours
    /// only.
    Directory = 25,
    /// A piece of a file that was offered to the asker: [`FilePiece`]; its bytes come in the body.
    FilePiece = 24,
    /// Some of the audit log, for an admin there: [`crate::audit::AuditAsk`]; a [`crate::audit::AuditPage`] comes in the body, as JSON.
    Audit = 26,
    /// Something about backups: [`shoal_backup_service::call::Ask`]; answers [`shoal_backup_service::call::Answer`], bytes beside both.
    Backup = 27,
}

impl Method {
    const ALL: [Self; 26] = [
        Self::Consensus,
        Self::ShardPut,
        Self::ShardGet,
        Self::ShardDelete,
        Self::ShardNeeded,
        Self::Members,
        Self::CopyPiece,
        Self::Renew,
        Self::Ping,
        Self::ShardRebuild,
        Self::ShardList,
        Self::StripeRecut,
        Self::Progress,
        Self::ShardsExpected,
        Self::ShardOthers,
        Self::Scrub,
        Self::ShardsFound,
        Self::ShardsPending,
        Self::Messages,
        Self::Neighbours,
        Self::Permission,
        Self::OwnGroups,
        Self::Directory,
        Self::FilePiece,
        Self::Audit,
        Self::Backup,
    ];

    pub(crate) fn of(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|method| *method as u16 == number)
    }
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Status {
    /// As asked.
    Done = 0,
    /// No such shard.
    NotFound = 1,
    /// No room.
    Full = 2,
    /// The shard is damaged.
    Damaged = 3,
    /// Not done, for a good reason.
    Refused = 4,
    /// It went wrong.
    Failed = 5,
    /// The method or the head is not understood.
    Unknown = 6,
    /// Still starting, or without what it takes.
    NotReady = 7,
    /// Too much of that is under way; ask again later.
    Busy = 8,
}

impl Status {
    const ALL: [Self; 9] = [
        Self::Done,
        Self::NotFound,
        Self::Full,
        Self::Damaged,
        Self::Refused,
        Self::Failed,
        Self::Unknown,
        Self::NotReady,
        Self::Busy,
    ];

    pub(crate) fn of(number: u16) -> Self {
        Self::ALL.into_iter().find(|status| *status as u16 == number).unwrap_or(Self::Failed)
    }
}

/// Bytes of a piece of a file, at most.
pub(crate) const FILE_PIECE_LIMIT_BYTES: u32 = 4 * 1024 * 1024;
/// The list of a transfer's files, where a piece of that is asked for.
pub(crate) const MANIFEST_NUMBER: u32 = u32::MAX;

/// Give a piece of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FilePiece {
    /// Of which transfer.
    pub(crate) transfer: [u8; 16],
    /// Which file, by its place in the list.
    pub(crate) file: u32,
    /// From which byte.
    pub(crate) offset: u64,
    /// How many.
    pub(crate) length: u32,
    /// Bytes of the transfer that the asker has, for who watches.
    pub(crate) have: u64,
}

/// Keep this shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShardPut {
    pub(crate) key: ShardKey,
    pub(crate) hash: ShardHash,
}

/// Give this shard, or a range of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShardGet {
    pub(crate) key: ShardKey,
    pub(crate) range: Option<(u32, u32)>,
}

/// Drop this shard: at this position of the ledger or before, nothing counted on it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShardDelete {
    pub(crate) key: ShardKey,
    pub(crate) position: u64,
}

/// Whether the ledger, at the position asked for or later, counts on a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShardNeed {
    pub(crate) needed: bool,
}

/// Make a shard anew, from a copy or from `k` others of its stripe, and keep it. One that is there and whole is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShardRebuild {
    pub(crate) key: ShardKey,
    pub(crate) codec: u8,
    pub(crate) k: u8,
    pub(crate) m: u8,
    pub(crate) shard_bytes: u32,
    /// Who has each shard of the stripe, by index, and its hash.
    pub(crate) places: Vec<(Option<AgentId>, ShardHash)>,
    /// Who has this very shard, where it is only to move.
    pub(crate) copy_from: Option<AgentId>,
    /// The stripe has no margin left: goes before other background work.
    pub(crate) urgent: bool,
}

impl ShardRebuild {
    /// What is asked to have a shard of a stripe of the ledger made anew from the others.
    pub(crate) fn of(key: ShardKey, record: &StripeRecord) -> Self {
        Self {
            key,
            codec: record.codec,
            k: record.k,
            m: record.m,
            shard_bytes: record.shard_bytes,
            places: record.shards.iter().map(|place| (place.agent, place.hash)).collect(),
            copy_from: None,
            urgent: false,
        }
    }
}

/// What a rebuild took.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct ShardRebuilt {
    /// Bytes read from other agents; 0 if the shard was there.
    pub(crate) read_bytes: u64,
    /// Bytes written; 0 if the shard was there.
    pub(crate) written_bytes: u64,
    /// Other shards of the stripe that were found missing or damaged, and who should have them.
    pub(crate) bad: Vec<(u8, AgentId)>,
}

/// Cut a stripe anew for the agents there are now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StripeRecut {
    pub(crate) stripe: StripeId,
    /// How many agents may be lost without losing it.
    pub(crate) survive: u8,
    /// It has no margin left: goes before other background work.
    pub(crate) urgent: bool,
    /// Only to take less room: goes after other background work.
    pub(crate) idle: bool,
}

/// What that took; nothing if there was nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct StripeRecutDone {
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
}

/// Which shards of stripes after this one the asker is expected to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShardsExpected {
    pub(crate) after: Option<StripeId>,
}

/// What a holder has found of shards that count on it; [`shoal_ledger::limits::MOVES_PER_COMMAND_LIMIT`] of each at most.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct ShardsFound {
    /// Missing, damaged or unreadable, and not to be mended there for now.
    pub(crate) bad: Vec<ShardKey>,
    /// Whole again.
    pub(crate) sound: Vec<ShardKey>,
}

/// A shard that is bad where it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BadPlace {
    pub(crate) agent: AgentId,
    pub(crate) key: ShardKey,
}

/// How your scrub stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScrubAsk {
    /// Read all your shards now.
    pub(crate) start: bool,
    /// Without what was found.
    pub(crate) brief: bool,
}

/// The members, as far as an agent without a ledger needs to know them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberList {
    pub(crate) pool_name: String,
    pub(crate) members: Vec<Member>,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) id: AgentId,
    pub(crate) control: Vec<std::net::SocketAddr>,
    pub(crate) data: Vec<std::net::SocketAddr>,
    pub(crate) roles: AgentRoles,
}

/// Shards of a page, at most.
pub(crate) const SHARD_LIST_LIMIT: usize = 1000;

/// Which shards follow this one, in the order of their keys?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShardList {
    pub(crate) after: Option<ShardKey>,
    pub(crate) limit: u32,
}

/// Shards that are there; none: no more follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShardPage {
    pub(crate) keys: Vec<ShardKey>,
}

/// A piece of a copy of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CopyPiece {
    /// The copy's number; later ones are greater.
    pub(crate) copy: u64,
    /// Where the piece belongs; pieces come in order.
    pub(crate) offset: u64,
    /// With the last piece: BLAKE3 of the whole copy.
    pub(crate) complete: Option<[u8; 32]>,
}

/// Why a message cannot be made or understood.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum WireError {
    /// Not understood, or too large to be made.
    #[error("a message does not decode: {0}")]
    Malformed(String),
    /// The other end said no.
    #[error("{reason}")]
    Refused {
        /// Which kind of no.
        status: Status,
        /// In its words.
        reason: String,
    },
}

/// A request without bulk bytes.
pub(crate) fn request<T: Serialize>(method: Method, head: &T) -> Result<Request, WireError> {
    request_with_body(method, head, Bytes::new())
}

/// A request with bulk bytes.
pub(crate) fn request_with_body<T: Serialize>(method: Method, head: &T, body: Bytes) -> Result<Request, WireError> {
    Ok(Request { method: method as u16, head: encode(head)?, body })
}

/// A good answer without bulk bytes.
pub(crate) fn answer<T: Serialize>(head: &T) -> Response {
    match encode(head) {
        Ok(head) => Response { status: Status::Done as u16, head, body: Bytes::new() },
        Err(error) => refusal(Status::Failed, &error.to_string()),
    }
}

/// A good answer with bulk bytes only.
pub(crate) fn answer_bytes(body: Bytes) -> Response {
    Response { status: Status::Done as u16, head: Bytes::new(), body }
}

/// A bad answer.
pub(crate) fn refusal(status: Status, reason: &str) -> Response {
    let reason: String = reason.chars().take(REASON_LIMIT).collect();
    Response { status: status as u16, head: Bytes::from(reason), body: Bytes::new() }
}

/// What a good answer says.
pub(crate) fn done<T: DeserializeOwned>(response: &Response) -> Result<T, WireError> {
    check(response)?;
    decode(&response.head)
}

/// Whether the answer is good.
pub(crate) fn check(response: &Response) -> Result<(), WireError> {
    match Status::of(response.status) {
        Status::Done => Ok(()),
        status => Err(WireError::Refused { status, reason: reason(response) }),
    }
}

/// A head as bytes.
pub(crate) fn encode<T: Serialize>(head: &T) -> Result<Bytes, WireError> {
    let bytes = postcard::to_extend(head, vec![HEAD_VERSION]);
    bytes.map(Bytes::from).map_err(|error| WireError::Malformed(error.to_string()))
}

/// A head from bytes.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    match bytes.split_first() {
        Some((&HEAD_VERSION, rest)) => {
            postcard::from_bytes(rest).map_err(|error| WireError::Malformed(error.to_string()))
        }
        Some((version, _)) => Err(WireError::Malformed(format!("its version is {version}, not {HEAD_VERSION}"))),
        None => Err(WireError::Malformed("it is empty".into())),
    }
}

/// Why the answer is bad, in the words of the other end.
pub(crate) fn reason(response: &Response) -> String {
    String::from_utf8_lossy(&response.head).chars().take(REASON_LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_stand_for_one_method_and_one_status_each() {
        for method in Method::ALL {
            assert_eq!(Method::of(method as u16), Some(method));
        }
        assert_eq!(Method::of(0), None);
        for status in Status::ALL {
            assert_eq!(Status::of(status as u16), status);
        }
        assert_eq!(Status::of(999), Status::Failed);
    }

    #[test]
    fn a_shard_request_of_version_1_reads_as_it_was_written_then() {
        let head = ShardPut { key: ShardKey { stripe: StripeId([1; 16]), index: 2 }, hash: ShardHash([3; 16]) };
        let mut stored = vec![1];
        stored.extend([1; 16]);
        stored.push(2);
        stored.extend([3; 16]);
        assert_eq!(encode(&head).expect("encodes"), stored);
        assert_eq!(decode::<ShardPut>(&stored).expect("decodes"), head);
    }

    #[test]
    fn a_head_of_another_version_is_told_apart() {
        let error = decode::<ShardPut>(&[2, 0, 0]).expect_err("refused");
        assert!(error.to_string().contains("version is 2"), "{error}");
    }

    proptest! {
        #[test]
        fn bytes_of_strangers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<ShardPut>(&bytes);
            let _ = decode::<MemberList>(&bytes);
            let _ = decode::<CopyPiece>(&bytes);
            let _ = decode::<ShardRebuild>(&bytes);
            let _ = decode::<ShardsExpected>(&bytes);
            let _ = decode::<ScrubAsk>(&bytes);
            let _ = decode::<ShardsFound>(&bytes);
            let _ = decode::<Vec<AgentId>>(&bytes);
            let _ = postcard::from_bytes::<dci_proto::directory::DirectoryMessage>(&bytes);
            let _ = decode::<crate::messages::permission::Question>(&bytes);
            let _ = decode::<crate::messages::permission::Permission>(&bytes);
            let _ = decode::<Vec<BadPlace>>(&bytes);
            let _ = decode::<crate::holdings::Share>(&bytes);
            let _ = decode::<crate::scrub::report::ScrubReport>(&bytes);
            let _ = crate::health::report::decode(&bytes);
            let _ = decode::<crate::audit::AuditAsk>(&bytes);
        }
    }
}
