//! One entry of a catalogue, byte for byte. Numbers are big-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `SBC1`: a Shoal backup catalogue's entry, version 1 |
//! | 4..36 | the owner's agent id |
//! | 36..44 | sequence, from 1 |
//! | 44..76 | hash of the entry before; of the first one, 32 zero bytes |
//! | 76..84 | when, ms since 1970 by the owner's clock; for people, it decides nothing |
//! | 84 | 1: added, 2: deleted |
//! | 85..117 | name of the object |
//! | 117 | its kind: 1 config, 2 key, 3 pack, 4 index, 5 snapshot; 0 in a deletion |
//! | 118..126 | its size in bytes; 0 in a deletion |
//! | 126..134 | the archive that added it; 0 in a deletion |
//! | 134..198 | the owner's signature over bytes 0..134 |
//!
//! The hash of an entry is the SHA-256 of its bytes 0..134. There is one encoding of each entry and one entry of each
//! encoding: what is not used must be 0, or it is refused.

use dci_proto::AgentId;

use super::{CatalogueError, Signature, Signer, Verifier};
use crate::object::{ArchiveId, Object, ObjectKind, ObjectName, sha256};

/// Bytes of an entry.
pub const ENTRY_BYTES: usize = SIGNED_BYTES + 64;
const SIGNED_BYTES: usize = 134;
const MAGIC: [u8; 4] = *b"SBC1";

/// What is said of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// It is part of the repository from now on.
    Add(Object),
    /// It is not any more.
    Delete(ObjectName),
}

impl Op {
    /// Of which object.
    #[must_use]
    pub fn name(&self) -> ObjectName {
        match self {
            Self::Add(object) => object.name,
            Self::Delete(name) => *name,
        }
    }
}

/// An entry of a catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose catalogue it is in.
    pub owner: AgentId,
    /// Its place, from 1.
    pub sequence: u64,
    /// The hash of the entry before.
    pub previous: [u8; 32],
    /// When the owner's clock said it was, in ms since 1970.
    pub time_ms: u64,
    /// What it says.
    pub op: Op,
    /// The owner's word for it.
    pub signature: Signature,
}

impl Entry {
    /// Signs an entry.
    pub(super) fn sign(signer: &dyn Signer, sequence: u64, previous: [u8; 32], time_ms: u64, op: Op) -> Self {
        let mut entry = Self { owner: signer.owner(), sequence, previous, time_ms, op, signature: [0; 64] };
        entry.signature = signer.sign(&entry.signed_bytes());
        entry
    }

    fn signed_bytes(&self) -> [u8; SIGNED_BYTES] {
        let mut bytes = [0; SIGNED_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..36].copy_from_slice(&self.owner.0);
        bytes[36..44].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[44..76].copy_from_slice(&self.previous);
        bytes[76..84].copy_from_slice(&self.time_ms.to_be_bytes());
        bytes[85..117].copy_from_slice(&self.op.name().0);
        match &self.op {
            Op::Add(object) => {
                bytes[84] = 1;
                bytes[117] = object.kind.code();
                bytes[118..126].copy_from_slice(&object.size_bytes.to_be_bytes());
                bytes[126..134].copy_from_slice(&object.archive.0.to_be_bytes());
            }
            Op::Delete(_) => bytes[84] = 2,
        }
        bytes
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..SIGNED_BYTES].copy_from_slice(&self.signed_bytes());
        bytes[SIGNED_BYTES..].copy_from_slice(&self.signature);
        bytes
    }

    /// Reads an entry. Whether the owner signed it is another question: [`Self::verify`].
    ///
    /// # Errors
    /// If these are not exactly the bytes of an entry.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CatalogueError> {
        let error = |why| CatalogueError::Malformed { what: "entry of a catalogue", why };
        let bytes: &[u8; ENTRY_BYTES] = bytes.try_into().map_err(|_| error("their length is another"))?;
        if bytes[..4] != MAGIC {
            return Err(error("they begin otherwise; perhaps a newer Shoal wrote them"));
        }
        let name = ObjectName(array(bytes, 85));
        let op = match bytes[84] {
            1 => Op::Add(Object {
                name,
                kind: ObjectKind::from_code(bytes[117]).ok_or_else(|| error("the kind is unknown"))?,
                size_bytes: number(bytes, 118),
                archive: ArchiveId(number(bytes, 126)),
            }),
            2 if bytes[117..SIGNED_BYTES].iter().all(|byte| *byte == 0) => Op::Delete(name),
            2 => return Err(error("what a deletion does not use is not 0")),
            _ => return Err(error("what it says is unknown")),
        };
        Ok(Self {
            owner: AgentId(array(bytes, 4)),
            sequence: number(bytes, 36),
            previous: array(bytes, 44),
            time_ms: number(bytes, 76),
            op,
            signature: array(bytes, SIGNED_BYTES),
        })
    }

    /// What the next entry names as the one before.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        sha256(&[&self.signed_bytes()])
    }

    /// Whether its owner signed it.
    ///
    /// # Errors
    /// [`CatalogueError::BadSignature`] if not.
    pub fn verify(&self, verifier: &dyn Verifier) -> Result<(), CatalogueError> {
        match verifier.verify(self.owner, &self.signed_bytes(), &self.signature) {
            true => Ok(()),
            false => Err(CatalogueError::BadSignature(self.sequence)),
        }
    }
}

/// `N` bytes from `at` on. The caller knows that they are there.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

pub(super) fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array(bytes, at))
}
