//! Keys and frames: AES-256-GCM, keys derived with BLAKE3.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use dci_proto::ContentId;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{PLAIN, SALT_BYTES, StripeError, TAG_BYTES};

/// The keys of a pool, derived from its one secret.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct PoolKeys {
    content: [u8; 32],
    data: [u8; 32],
    salt: [u8; 32],
}

impl fmt::Debug for PoolKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PoolKeys(…)")
    }
}

impl PoolKeys {
    /// Derives them; the copy handed in is wiped.
    #[must_use]
    pub fn new(mut pool_key: [u8; 32]) -> Self {
        let keys = Self {
            content: blake3::derive_key("shoal 2026-11 content id", &pool_key),
            data: blake3::derive_key("shoal 2026-11 chunk data, epoch 1", &pool_key),
            salt: blake3::derive_key("shoal 2026-11 salt of compressed payload", &pool_key),
        };
        pool_key.zeroize();
        keys
    }

    /// The id of a plain content.
    #[must_use]
    pub fn content_id(&self, plain: &[u8]) -> ContentId {
        ContentId(*blake3::keyed_hash(&self.content, plain).as_bytes())
    }

    /// What stands before the frames of a compressed payload.
    pub(super) fn salt_of(&self, payload: &[u8]) -> [u8; SALT_BYTES as usize] {
        let mut salt = [0; SALT_BYTES as usize];
        salt.copy_from_slice(&blake3::keyed_hash(&self.salt, payload).as_bytes()[..SALT_BYTES as usize]);
        salt
    }

    /// The cipher of one stripe.
    pub(super) fn cipher(&self, parameters: &FrameParameters, salt: &[u8]) -> Result<FrameCipher, StripeError> {
        let mut hasher = blake3::Hasher::new_keyed(&self.data);
        hasher.update(&parameters.content.0).update(&[parameters.compression]).update(salt);
        let mut key = *hasher.finalize().as_bytes();
        let cipher = UnboundKey::new(&AES_256_GCM, &key).map(LessSafeKey::new);
        key.zeroize();
        let cipher = cipher.map_err(|_| StripeError::Shape("the cipher refused its key".to_owned()))?;
        Ok(FrameCipher { cipher, parameters: *parameters })
    }
}

/// What every frame of a stripe is bound to.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameParameters {
    pub(super) content: ContentId,
    pub(super) compression: u8,
    pub(super) frames: u32,
    pub(super) plain_bytes: u32,
}

/// Encrypts and decrypts the frames of one stripe.
pub(super) struct FrameCipher {
    cipher: LessSafeKey,
    parameters: FrameParameters,
}

impl FrameCipher {
    fn nonce(number: u32) -> Nonce {
        let mut bytes = [0; 12];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        Nonce::assume_unique_for_key(bytes)
    }

    fn bound(&self, number: u32) -> Aad<[u8; 13]> {
        let mut bytes = [0; 13];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.parameters.frames.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.parameters.plain_bytes.to_be_bytes());
        bytes[12] = self.parameters.compression;
        Aad::from(bytes)
    }

    /// Encrypts a frame in place; answers its tag.
    pub(super) fn seal(&self, number: u32, frame: &mut [u8]) -> Result<[u8; TAG_BYTES as usize], StripeError> {
        let tag = self.cipher.seal_in_place_separate_tag(Self::nonce(number), self.bound(number), frame);
        let tag = tag.map_err(|_| StripeError::Shape(format!("frame {number} cannot be encrypted")))?;
        let mut bytes = [0; TAG_BYTES as usize];
        bytes.copy_from_slice(tag.as_ref());
        Ok(bytes)
    }

    /// Decrypts a frame (ciphertext and tag) to `plain`, which has exactly its length.
    pub(super) fn open(&self, number: u32, frame: &[u8], plain: &mut [u8]) -> Result<(), StripeError> {
        let damaged = || StripeError::Damaged(format!("frame {number} fails its authentication"));
        let (text, tag) = frame.split_at_checked(plain.len()).ok_or_else(damaged)?;
        let opened = self.cipher.open_separate_gather(Self::nonce(number), self.bound(number), text, tag, plain);
        opened.map_err(|_| damaged())
    }
}

impl FrameParameters {
    /// Whether payload and content are the same bytes.
    pub(super) fn is_plain(&self) -> bool {
        self.compression == PLAIN
    }
}
