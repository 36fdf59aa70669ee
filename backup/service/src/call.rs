//! What agents ask of each other about backups.
//!
//! A call is an [`Ask`] (small, postcard) with bulk bytes beside it, and comes back as an [`Answer`] with bulk bytes or as a
//! no. Variants are told by their place: new ones go to the end, none is ever taken out or changed. What an agent does not
//! understand it refuses, and the asker treats it as one that cannot do that yet.
//!
//! Any member of the pool may ask for objects: they are encrypted, and who restores onto a new PC is a stranger to the
//! holders. Only the owner may say anything in its own name, which its signature in the catalogue proves, whoever brings it.

use bytes::Bytes;
use dci_proto::AgentId;
use serde::{Deserialize, Serialize};
use shoal_backup::ObjectName;
use shoal_backup::catalogue::{CatalogueError, ENTRY_BYTES, Entry, TAIL_LIMIT};
use shoal_backup::challenge::{Answer as Proof, Challenge};
use shoal_backup::drill::DrillResult;
use shoal_backup::peers::{MachineId, Share};

/// Bytes of a piece of an object or of a base, at most.
pub const PIECE_LIMIT_BYTES: u32 = 4 << 20;
/// Names in a list, at most.
pub const NAMES_LIMIT: usize = 65_536;
/// Owners in a list, at most.
pub const OWNERS_LIMIT: usize = 512;
/// Entries of a catalogue in one answer, at most.
pub const ENTRIES_LIMIT: usize = TAIL_LIMIT;

/// What is asked. The one who asks is known to the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// What do you give to others' backups? [`Answer::Room`].
    Room,
    /// Hold a copy of my backup from now on: [`Answer::Standing`]. Refused without a share.
    Hold,
    /// I need your copy no more. What is there goes after the grace time. [`Answer::Done`].
    Release,
    /// How far is your copy of this owner's catalogue? [`Answer::Standing`].
    Standing {
        /// Whose.
        owner: AgentId,
    },
    /// Take these entries of a catalogue, which follow what you have: [`entries_to_bytes`] in the body. [`Answer::Standing`].
    Entries {
        /// Whose.
        owner: AgentId,
    },
    /// Take this base of a catalogue, a piece of its bytes in the body; pieces come in order. [`Answer::Standing`], with the new
    /// sequence after the last piece.
    Base {
        /// Whose.
        owner: AgentId,
        /// Where the piece belongs.
        offset: u64,
        /// Bytes of the whole base.
        size_bytes: u64,
    },
    /// Which entries follow this sequence? [`Answer::Tail`]; entries in the body. If the entries are gone, the base comes first.
    Tail {
        /// Whose.
        owner: AgentId,
        /// The last sequence that the asker has.
        after: u64,
    },
    /// A piece of the base of a catalogue: in the body, [`Answer::Done`].
    BasePiece {
        /// Whose.
        owner: AgentId,
        /// Of the base that ends with this sequence.
        sequence: u64,
        /// From which byte.
        offset: u64,
    },
    /// Which objects do you hold for good, after this name, in order? Names in the body, [`NAMES_LIMIT`] at most; fewer: these
    /// were all. [`Answer::Done`].
    Held {
        /// Whose.
        owner: AgentId,
        /// After which; none: from the first on.
        after: Option<ObjectName>,
    },
    /// Which of these, whose names are in the body, can you give? Names in the body, [`Answer::Done`].
    Which {
        /// Whose.
        owner: AgentId,
    },
    /// Keep a piece of an object of mine, in the body; pieces come in order. [`Answer::Kept`].
    Put {
        /// Which.
        name: ObjectName,
        /// Where the piece belongs.
        offset: u64,
    },
    /// A piece of an object: in the body, shorter at its end. [`Answer::Done`].
    Get {
        /// Whose.
        owner: AgentId,
        /// Which.
        name: ObjectName,
        /// From which byte.
        offset: u64,
        /// How many bytes, [`PIECE_LIMIT_BYTES`] at most.
        length: u32,
    },
    /// Prove that you have these bytes. [`Answer::Proof`].
    Prove {
        /// Whose.
        owner: AgentId,
        /// Which bytes.
        challenge: Challenge,
    },
    /// Whose copies do you hold? A list of [`HeldFor`], postcard, in the body. [`Answer::Done`].
    Owners,
    /// Something of mine that you hold is not as it was; told by a holder to the owner. [`Answer::Done`].
    Damaged {
        /// Which.
        name: ObjectName,
    },
    /// Try to restore a sample of my backup from others' copies: [`Drill`], JSON, in the body. Refused by one that holds a copy:
    /// who holds must not read. [`Answer::Drilled`] when it is done.
    Drill,
    /// Objects that follow this sequence, to travel along with the catalogue: [`Answer::Shipped`]; the object's bytes in the
    /// body, whole if it is no longer than a piece.
    Ship {
        /// Of the asker's own copy of the catalogue.
        after: u64,
        /// Whose.
        owner: AgentId,
    },
    /// Which objects that the owner deleted do you keep for the grace time, after this name, in order? As [`Ask::Held`]. They can
    /// be had as all others: what somebody else deleted in the owner's name comes back from here.
    Trashed {
        /// Whose.
        owner: AgentId,
        /// After which; none: from the first on.
        after: Option<ObjectName>,
    },
    /// Somebody gave me wrong bytes for an object of yours; told by a holder to the owner, who may look into it. It is no proof:
    /// who says so may lie. [`Answer::Done`].
    Suspect {
        /// Who gave them.
        agent: AgentId,
        /// Of which object.
        name: ObjectName,
    },
    /// You gave me bytes for this object that are not its own: look at it. Told by whoever reads; a holder reads the object through
    /// then, and has it made anew if it is damaged. [`Answer::Done`].
    Doubt {
        /// Whose.
        owner: AgentId,
        /// Which.
        name: ObjectName,
    },
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// As asked; what there is to say is in the body.
    Done,
    /// What it gives.
    Room(Room),
    /// How far its copy is.
    Standing(Standing),
    /// What follows.
    Tail {
        /// Sequence and length of the base that the entries follow, if it is needed first.
        base: Option<(u64, u64)>,
        /// There is more after these entries.
        more: bool,
    },
    /// How much of an object is kept.
    Kept {
        /// Bytes that are there, from which on to send.
        have_bytes: u64,
        /// All of it is there, durable and right.
        stored: bool,
    },
    /// A proof.
    Proof(Proof),
    /// What a drill found.
    Drilled {
        /// What came back, compared.
        result: DrillResult,
        /// How long the restoring took, ms.
        took_ms: u64,
    },
    /// Objects, one after the other in the body.
    Shipped(Vec<(ObjectName, u64)>),
}

/// What an agent gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Its share.
    pub share: Share,
    /// On which computer it runs.
    pub machine: MachineId,
    /// How much of the last month it ran, in thousandths.
    pub uptime_permille: u16,
    /// Owners that it holds copies of.
    pub owners: u32,
}

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Standing {
    /// The last sequence of the catalogue that is there; 0: none.
    pub sequence: u64,
    /// Whether the agent holds, or begins to hold, a copy.
    pub holds: bool,
    /// Objects of the catalogue that are missing.
    pub lacking: u64,
    /// Its bytes, the trash too.
    pub held_bytes: u64,
    /// By its clock, ms since 1970: aging goes by what most agree on.
    pub wall_ms: u64,
}

/// A copy that an agent holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldFor {
    /// Whose.
    pub owner: AgentId,
    /// How far.
    pub standing: Standing,
    /// Archives in it.
    pub archives: u32,
}

/// What a drill is to try. Holds the owner's passphrase: never logged, never kept.
#[derive(Clone, Serialize, Deserialize)]
pub struct Drill {
    /// Opens the repository.
    pub passphrase: String,
    /// The archive.
    pub archive: ObjectName,
    /// The seed of the sample.
    pub seed: u64,
    /// Bytes of the sample, at most.
    pub limit_bytes: u64,
    /// Who holds copies.
    pub holders: Vec<AgentId>,
}

impl std::fmt::Debug for Drill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drill").field("archive", &self.archive).finish_non_exhaustive()
    }
}

/// Which kind of no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum No {
    /// It is not there.
    NotFound,
    /// There is no room for it.
    Full,
    /// It is there and damaged.
    Damaged,
    /// Not for the asker, not now, or not in that order.
    Refused,
    /// Something broke.
    Failed,
    /// Too much is under way; ask later.
    Busy,
}

/// Why a call brought nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No answer in time, or no way there.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// A no.
    #[error("{reason}")]
    No {
        /// Which.
        no: No,
        /// In the words of the other end.
        reason: String,
    },
    /// What came is not understood.
    #[error("its answer is not understood: {0}")]
    Malformed(String),
}

impl CallError {
    /// A no.
    pub fn no(no: No, reason: impl Into<String>) -> Self {
        Self::No { no, reason: reason.into() }
    }
}

/// What a call is answered with.
pub type Reply = Result<(Answer, Bytes), CallError>;

/// Names one after the other.
#[must_use]
pub fn names_to_bytes<'a>(names: impl IntoIterator<Item = &'a ObjectName>) -> Bytes {
    names.into_iter().flat_map(|name| name.0).collect::<Vec<u8>>().into()
}

/// Names from bytes; `None` if they are no names or too many.
#[must_use]
pub fn names_from_bytes(bytes: &[u8]) -> Option<Vec<ObjectName>> {
    let (names, rest) = bytes.as_chunks::<32>();
    (rest.is_empty() && names.len() <= NAMES_LIMIT).then(|| names.iter().map(|name| ObjectName(*name)).collect())
}

/// Entries one after the other.
#[must_use]
pub fn entries_to_bytes<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Bytes {
    entries.into_iter().flat_map(Entry::to_bytes).collect::<Vec<u8>>().into()
}

/// Entries from bytes. Whether they are the owner's the catalogue checks.
///
/// # Errors
/// If they are none or too many.
pub fn entries_from_bytes(bytes: &[u8]) -> Result<Vec<Entry>, CatalogueError> {
    if bytes.len() > ENTRIES_LIMIT * ENTRY_BYTES {
        return Err(CatalogueError::Malformed { what: "entries of a catalogue", why: "they are too many" });
    }
    bytes.chunks(ENTRY_BYTES).map(Entry::from_bytes).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test says what failed")]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_what_is_none_is_refused() {
        let names = [ObjectName::of(b"a"), ObjectName::of(b"b")];
        let bytes = names_to_bytes(&names);
        assert_eq!(names_from_bytes(&bytes).as_deref(), Some(&names[..]));
        assert_eq!(names_from_bytes(&bytes[1..]), None);
        assert_eq!(names_from_bytes(&vec![0; 32 * (NAMES_LIMIT + 1)]), None);
        assert!(entries_from_bytes(&[7; ENTRY_BYTES]).is_err() && entries_from_bytes(&[7; 5]).is_err());
    }

    #[test]
    fn a_drill_does_not_show_its_passphrase() {
        let drill = Drill {
            passphrase: "never-to-be-seen".into(),
            archive: ObjectName::of(b"a"),
            seed: 1,
            limit_bytes: 1,
            holders: Vec::new(),
        };
        assert!(!format!("{drill:?}").contains("never"));
    }

    #[test]
    fn the_places_of_asks_stay_what_they_were_at_first() {
        let place = |ask: &Ask| postcard::to_allocvec(ask).unwrap()[0];
        let owner = AgentId([0; 32]);
        assert_eq!(place(&Ask::Room), 0);
        assert_eq!(place(&Ask::Put { name: ObjectName::default(), offset: 0 }), 10);
        assert_eq!(place(&Ask::Ship { after: 0, owner }), 16);
        assert_eq!(place(&Ask::Doubt { owner, name: ObjectName::default() }), 19);
    }
}
