//! A copy of the ledger as bytes that only holders of the pool's key can read or change unnoticed.
//!
//! ```text
//! "shoalcpy" version:u32 pool:16 position:u64 salt:16 │ frame … frame │ last frame
//! frame: length:u32, AES-256-GCM of up to 64 KiB and its tag; nonce: the frame's number and whether it is the last
//! ```
//!
//! The key is derived from the pool's key and the salt, so it serves one copy and numbers are safe nonces. The head is
//! authenticated with every frame; a copy cut short lacks its last frame and is refused.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::{BufMut, BytesMut};
use dci_proto::PoolId;

use crate::AgentError;

/// Plain bytes of a frame, at most.
pub(crate) const FRAME_LIMIT_BYTES: usize = 64 * 1024;
const MAGIC: &[u8; 8] = b"shoalcpy";
const VERSION: u32 = 1;
const SALT_BYTES: usize = 16;
const HEAD_BYTES: usize = MAGIC.len() + 4 + 16 + 8 + SALT_BYTES;
const TAG_BYTES: usize = 16;
const KEY_CONTEXT: &str = "shoal 2026-11 ledger copy key";

/// Why a copy cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// It is something else.
    #[error("it is no copy of a ledger")]
    NotACopy,
    /// A newer version wrote it.
    #[error("it was written by a newer version of Shoal (format {0})")]
    NewerVersion(u32),
    /// It is another pool's, was changed, or the key is wrong.
    #[error("it cannot be decrypted: it is damaged or of another pool")]
    Forged,
    /// Its end is missing.
    #[error("its end is missing")]
    CutShort,
}

/// Encrypts a copy, frame by frame.
pub(crate) struct Sealer {
    key: LessSafeKey,
    head: [u8; HEAD_BYTES],
    frames: u64,
}

impl Sealer {
    /// Begins a copy of the state at a position of the ledger.
    pub(crate) fn new(pool_key: &[u8; 32], pool: PoolId, position: u64) -> Result<Self, AgentError> {
        let mut salt = [0u8; SALT_BYTES];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| AgentError::Internal("the system gives no randomness".into()))?;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.extend_from_slice(&pool.0);
        head.extend_from_slice(&position.to_le_bytes());
        head.extend_from_slice(&salt);
        let head: [u8; HEAD_BYTES] =
            head.try_into().map_err(|_| AgentError::Internal("the head of a copy has a fixed size".into()))?;
        let key = key_of(pool_key, &salt).map_err(|error| AgentError::Internal(error.to_string()))?;
        Ok(Self { key, head, frames: 0 })
    }

    /// What the copy begins with.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Appends a frame.
    pub(crate) fn seal(&mut self, plain: &[u8], out: &mut BytesMut) -> Result<(), AgentError> {
        self.frame(plain, false, out)
    }

    /// Appends the last frame.
    pub(crate) fn finish(mut self, out: &mut BytesMut) -> Result<(), AgentError> {
        self.frame(&[], true, out)
    }

    fn frame(&mut self, plain: &[u8], last: bool, out: &mut BytesMut) -> Result<(), AgentError> {
        let failed = || AgentError::Internal("a frame of a ledger copy cannot be encrypted".into());
        let length = u32::try_from(plain.len() + TAG_BYTES).map_err(|_| failed())?;
        let mut frame = plain.to_vec();
        let sealed = self.key.seal_in_place_append_tag(nonce(self.frames, last), Aad::from(&self.head), &mut frame);
        sealed.map_err(|_| failed())?;
        self.frames += 1;
        out.put_u32_le(length);
        out.extend_from_slice(&frame);
        Ok(())
    }
}

/// Decrypts a copy, frame by frame.
pub struct Opener<'a> {
    key: LessSafeKey,
    head: &'a [u8],
    rest: &'a [u8],
    frames: u64,
    ended: bool,
}

impl<'a> Opener<'a> {
    /// Begins to read a copy.
    ///
    /// # Errors
    /// If it is none, of a newer version, or of another pool.
    pub fn new(pool_key: &[u8; 32], pool: PoolId, copy: &'a [u8]) -> Result<Self, SealedError> {
        let (head, rest) = copy.split_at_checked(HEAD_BYTES).ok_or(SealedError::NotACopy)?;
        let (magic, fields) = head.split_at(MAGIC.len());
        let (version, fields) = fields.split_first_chunk::<4>().ok_or(SealedError::NotACopy)?;
        if magic != MAGIC {
            return Err(SealedError::NotACopy);
        }
        match u32::from_le_bytes(*version) {
            VERSION => {}
            newer if newer > VERSION => return Err(SealedError::NewerVersion(newer)),
            _ => return Err(SealedError::NotACopy),
        }
        if fields[..16] != pool.0 {
            return Err(SealedError::Forged);
        }
        let key = key_of(pool_key, &fields[24..])?;
        Ok(Self { key, head, rest, frames: 0, ended: false })
    }

    /// The position of the ledger whose state it is; to be believed once a piece was read.
    #[must_use]
    pub fn position(&self) -> u64 {
        let at = MAGIC.len() + 4 + 16;
        let bytes = self.head.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    }

    /// The next piece of the state; `None` after the last.
    ///
    /// # Errors
    /// If it was changed or cut short.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, SealedError> {
        if self.ended {
            return Ok(None);
        }
        let (length, rest) = self.rest.split_first_chunk::<4>().ok_or(SealedError::CutShort)?;
        let length = u32::from_le_bytes(*length) as usize;
        if !(TAG_BYTES..=FRAME_LIMIT_BYTES + TAG_BYTES).contains(&length) {
            return Err(SealedError::Forged);
        }
        let (frame, rest) = rest.split_at_checked(length).ok_or(SealedError::CutShort)?;
        let last = length == TAG_BYTES && rest.is_empty();
        let mut plain = frame.to_vec();
        let opened = self.key.open_in_place(nonce(self.frames, last), Aad::from(self.head), &mut plain);
        let plain_bytes = opened.map_err(|_| SealedError::Forged)?.len();
        plain.truncate(plain_bytes);
        self.frames += 1;
        self.rest = rest;
        if last {
            self.ended = true;
            return Ok(None);
        }
        if rest.is_empty() {
            return Err(SealedError::CutShort);
        }
        Ok(Some(plain))
    }
}

fn key_of(pool_key: &[u8; 32], salt: &[u8]) -> Result<LessSafeKey, SealedError> {
    let mut material = zeroize::Zeroizing::new(pool_key.to_vec());
    material.extend_from_slice(salt);
    let key = zeroize::Zeroizing::new(blake3::derive_key(KEY_CONTEXT, &material));
    UnboundKey::new(&AES_256_GCM, &*key).map(LessSafeKey::new).map_err(|_| SealedError::Forged)
}

fn nonce(frame: u64, last: bool) -> Nonce {
    let mut nonce = [0u8; 12];
    nonce[..8].copy_from_slice(&frame.to_le_bytes());
    nonce[8] = u8::from(last);
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const POOL: PoolId = PoolId([1; 16]);

    fn sealed(pieces: &[&[u8]]) -> Vec<u8> {
        let mut sealer = Sealer::new(&KEY, POOL, 42).expect("begins");
        let mut copy = BytesMut::from(sealer.head());
        for piece in pieces {
            sealer.seal(piece, &mut copy).expect("seals");
        }
        sealer.finish(&mut copy).expect("ends");
        copy.to_vec()
    }

    fn opened(key: &[u8; 32], copy: &[u8]) -> Result<Vec<u8>, SealedError> {
        let mut opener = Opener::new(key, POOL, copy)?;
        assert_eq!(opener.position() == 42, copy[28..36] == 42u64.to_le_bytes());
        let mut plain = Vec::new();
        while let Some(piece) = opener.next_piece()? {
            plain.extend(piece);
        }
        Ok(plain)
    }

    #[test]
    fn a_copy_gives_back_what_went_in_to_holders_of_the_key_only() {
        let copy = sealed(&[b"rows ", &[9; FRAME_LIMIT_BYTES], b" end"]);
        let plain = opened(&KEY, &copy).expect("opens");
        assert_eq!((plain.len(), &plain[..5]), (FRAME_LIMIT_BYTES + 9, &b"rows "[..]));
        assert_eq!(opened(&[8; 32], &copy), Err(SealedError::Forged));
        assert_eq!(opened(&KEY, &sealed(&[])), Ok(Vec::new()));
    }

    #[test]
    fn every_changed_bit_and_every_missing_end_is_noticed() {
        let copy = sealed(&[b"some rows", b"more rows"]);
        for position in 0..copy.len() {
            let mut changed = copy.clone();
            changed[position] ^= 1;
            assert!(opened(&KEY, &changed).is_err(), "bit at {position}");
            assert!(opened(&KEY, &copy[..position]).is_err(), "cut at {position}");
        }
    }
}
