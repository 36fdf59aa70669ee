//! SHA-1 of a file on its way in, for clients that ask for it (`oc:checksums`). Not a protection from anybody.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::DriveError;
use crate::shared::INLINE_WORK_BYTES;

/// A running SHA-1. At most one chunk at a time is being hashed, beside the sealing of that same chunk.
pub(crate) enum Sha1 {
    Idle(Context),
    Busy(JoinHandle<Context>),
}

impl Default for Sha1 {
    fn default() -> Self {
        Self::Idle(Context::new(&SHA1_FOR_LEGACY_USE_ONLY))
    }
}

impl Sha1 {
    /// Takes further bytes; waits only until the bytes before are done.
    pub(crate) async fn update(&mut self, bytes: Bytes) -> Result<(), DriveError> {
        let mut context = std::mem::take(self).settled().await?;
        *self = if bytes.len() <= INLINE_WORK_BYTES {
            context.update(&bytes);
            Self::Idle(context)
        } else {
            Self::Busy(tokio::task::spawn_blocking(move || {
                context.update(&bytes);
                context
            }))
        };
        Ok(())
    }

    /// The digest of all.
    pub(crate) async fn finish(self) -> Result<[u8; 20], DriveError> {
        let digest = self.settled().await?.finish();
        digest.as_ref().try_into().map_err(|_| DriveError::Interrupted("a digest"))
    }

    async fn settled(self) -> Result<Context, DriveError> {
        match self {
            Self::Idle(context) => Ok(context),
            Self::Busy(task) => task.await.map_err(|_| DriveError::Interrupted("a digest")),
        }
    }
}
