//! What an owner's repository is made of, said by the owner, kept by every holder.
//!
//! An append-only list of entries: an object was added, an object was deleted. Each entry is signed by the owner and names
//! the hash of the one before, so that nobody can leave out, add, change or reorder any, and two different entries with one
//! sequence number (a fork) are proof that the owner's key signed two histories: they are refused, and told. What any
//! holder has can be handed on to any other, who checks it as if it came from the owner.
//!
//! ```text
//! entry    one entry: its bytes, its hash, its signature
//! state    what the entries so far amount to
//! news     what a tail changed
//! base     a state, signed as a whole: with it the entries before it can go
//! log      a base and the entries since: appended to by the owner, given out and taken in as tails
//! ```
//!
//! The core needs no cryptography but SHA-256: it is handed a [`Signer`] and a [`Verifier`].

mod base;
mod entry;
mod log;
mod news;
mod state;

use dci_proto::AgentId;

pub use base::{BASE_LIMIT_BYTES, Base};
pub use entry::{ENTRY_BYTES, Entry, Op};
pub use log::{COMPACT_FROM, Catalogue, KEEP_ENTRIES, TAIL_LIMIT, Tail};
pub use news::TakenIn;
pub use state::State;

use crate::object::ObjectName;

/// A signature, as ed25519 makes them.
pub type Signature = [u8; 64];

/// Signs in the name of one owner.
pub trait Signer {
    /// Whose signatures these are.
    fn owner(&self) -> AgentId;

    /// Signs these bytes. To be correct, an implementation must make the same signature for the same bytes, one that
    /// [`Verifier::verify`] takes for [`Self::owner`], and none that it takes for any other bytes.
    fn sign(&self, bytes: &[u8]) -> Signature;
}

/// Checks signatures of any owner.
pub trait Verifier {
    /// Whether `owner` signed these bytes. To be correct, an implementation must refuse every signature that was not made
    /// with the owner's key over exactly these bytes (ed25519: the strict check).
    fn verify(&self, owner: AgentId, bytes: &[u8], signature: &Signature) -> bool;
}

/// Why entries or a base are refused. Nothing was taken in when one of these is returned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// The bytes are none of ours.
    #[error("these bytes are no {what}: {why}")]
    Malformed {
        /// What they should be.
        what: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// It belongs to somebody else.
    #[error("it is of {found}, not of {expected}")]
    OtherOwner {
        /// Whose catalogue this is.
        expected: AgentId,
        /// Whose entry it is.
        found: AgentId,
    },
    /// The signature is not the owner's.
    #[error("the signature at sequence {0} is not the owner's: whoever sent it changed it")]
    BadSignature(u64),
    /// Entries are missing in between.
    #[error("sequence {expected} is missing, {found} came: ask again from {expected} on")]
    Gap {
        /// What should have come.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// Two histories.
    #[error(
        "the owner signed two different entries with sequence {0}: its catalogue forked, perhaps because its PC was set \
         back to an older state; nothing more is taken from it until its owner has made a new repository"
    )]
    Forked(u64),
    /// An object is said to be two things.
    #[error("object {0} is there already, with another kind or size")]
    Contradiction(ObjectName),
    /// The owner would say what is said already.
    #[error("object {0} is {1}")]
    NoChange(ObjectName, &'static str),
    /// Too many objects.
    #[error("a repository has at most {} objects: make a new one, with larger packs", crate::OBJECTS_LIMIT)]
    Full,
    /// Sequence numbers have ended. Not before the year 10,000,000.
    #[error("no sequence number is left")]
    NoSequence,
}

#[cfg(test)]
pub(crate) mod tests;
