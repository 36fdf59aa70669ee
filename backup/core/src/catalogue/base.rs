//! A state of a catalogue, signed as a whole, so that a catalogue does not grow for ever. Numbers are big-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `SBB1`: a Shoal backup catalogue's base, version 1 |
//! | 4..36 | the owner's agent id |
//! | 36..44 | sequence of the last entry that is in it |
//! | 44..76 | hash of that entry |
//! | 76..84 | when, ms since 1970 by the owner's clock |
//! | 84..92 | number of objects |
//! | 92..124 | SHA-256 of the objects' bytes below |
//! | 124..188 | the owner's signature over bytes 0..124 |
//! | 188.. | the objects, by the sequence that added them, rising: sequence (8), name (32), kind (1), size (8), archive (8) |

use dci_proto::AgentId;

use super::entry::{array, number};
use super::{CatalogueError, Signature, Signer, State, Verifier};
use crate::object::{ArchiveId, Object, ObjectKind, ObjectName, sha256};
use crate::slots::OBJECTS_LIMIT;

const MAGIC: [u8; 4] = *b"SBB1";
const SIGNED_BYTES: usize = 124;
const HEAD_BYTES: usize = SIGNED_BYTES + 64;
const OBJECT_BYTES: usize = 57;
/// Bytes of the largest base there can be.
pub const BASE_LIMIT_BYTES: usize = HEAD_BYTES + OBJECTS_LIMIT * OBJECT_BYTES;

/// A state, signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    owner: AgentId,
    time_ms: u64,
    signature: Signature,
    state: State,
}

impl Base {
    pub(super) fn sign(signer: &dyn Signer, state: State, time_ms: u64) -> Self {
        let mut base = Self { owner: signer.owner(), time_ms, signature: [0; 64], state };
        base.signature = signer.sign(&base.signed_bytes(&base.object_bytes()));
        base
    }

    /// Whose it is.
    #[must_use]
    pub fn owner(&self) -> AgentId {
        self.owner
    }

    /// When the owner's clock said it was, in ms since 1970.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// What it amounts to.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    fn object_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.state.len() * OBJECT_BYTES);
        for (sequence, object) in self.state.iter() {
            bytes.extend(sequence.to_be_bytes());
            bytes.extend(object.name.0);
            bytes.push(object.kind.code());
            bytes.extend(object.size_bytes.to_be_bytes());
            bytes.extend(object.archive.0.to_be_bytes());
        }
        bytes
    }

    fn signed_bytes(&self, objects: &[u8]) -> [u8; SIGNED_BYTES] {
        let mut bytes = [0; SIGNED_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..36].copy_from_slice(&self.owner.0);
        bytes[36..44].copy_from_slice(&self.state.sequence.to_be_bytes());
        bytes[44..76].copy_from_slice(&self.state.head);
        bytes[76..84].copy_from_slice(&self.time_ms.to_be_bytes());
        bytes[84..92].copy_from_slice(&(self.state.len() as u64).to_be_bytes());
        bytes[92..124].copy_from_slice(&sha256(&[objects]));
        bytes
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let objects = self.object_bytes();
        let mut bytes = self.signed_bytes(&objects).to_vec();
        bytes.extend(self.signature);
        bytes.extend(objects);
        bytes
    }

    /// Reads a base. Whether the owner signed it is another question: [`Self::verify`].
    ///
    /// # Errors
    /// If these are not exactly the bytes of a base.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CatalogueError> {
        let error = |why| CatalogueError::Malformed { what: "base of a catalogue", why };
        if bytes.len() < HEAD_BYTES || bytes[..4] != MAGIC {
            return Err(error("they begin otherwise; perhaps a newer Shoal wrote them"));
        }
        let (head, objects) = bytes.split_at(HEAD_BYTES);
        let count = number(head, 84);
        if objects.len() % OBJECT_BYTES != 0
            || objects.len() / OBJECT_BYTES != usize::try_from(count).unwrap_or(usize::MAX)
        {
            return Err(error("their length does not fit the number of objects"));
        }
        if objects.len() / OBJECT_BYTES > OBJECTS_LIMIT {
            return Err(CatalogueError::Full);
        }
        if array::<32>(head, 92) != sha256(&[objects]) {
            return Err(error("the objects are not those that were signed"));
        }
        let mut state = State::at(number(head, 36), array(head, 44));
        let mut last = 0;
        for bytes in objects.chunks_exact(OBJECT_BYTES) {
            let sequence = number(bytes, 0);
            let object = Object {
                name: ObjectName(array(bytes, 8)),
                kind: ObjectKind::from_code(bytes[40]).ok_or_else(|| error("a kind is unknown"))?,
                size_bytes: number(bytes, 41),
                archive: ArchiveId(number(bytes, 49)),
            };
            if sequence <= last || sequence > state.sequence || state.get(&object.name).is_some() {
                return Err(error("the objects are not in order"));
            }
            last = sequence;
            state.insert(sequence, object);
        }
        Ok(Self {
            owner: AgentId(array(head, 4)),
            time_ms: number(head, 76),
            signature: array(head, SIGNED_BYTES),
            state,
        })
    }

    /// Whether its owner signed it.
    ///
    /// # Errors
    /// [`CatalogueError::BadSignature`] if not.
    pub fn verify(&self, verifier: &dyn Verifier) -> Result<(), CatalogueError> {
        match verifier.verify(self.owner, &self.signed_bytes(&self.object_bytes()), &self.signature) {
            true => Ok(()),
            false => Err(CatalogueError::BadSignature(self.state.sequence)),
        }
    }
}
