//! Reads what is held through and compares each object with its name, so gently that nobody notices: a few MiB a second, not
//! on battery, each object once in a week or as often as that pace allows. It begins anywhere, so that restarts do not keep
//! it from ever reaching the end.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use dci_proto::AgentId;
use shoal_backup::ObjectName;

use super::held::Held;
use super::{HolderError, Shared, blocking};
use crate::files::HASH_PIECE_BYTES;

/// How fast it reads.
const BYTES_PER_S: u64 = 4 << 20;
/// A round begins this long after the one before began, or as soon as that is done.
const ROUND_EVERY_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
/// How often it looks whether it may go on, or has something to do.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What has been done.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scrubbed {
    /// Objects read since the start.
    pub(super) objects: u64,
    /// Of them damaged.
    pub(super) damaged: u64,
    /// When a round was last done, by the machine's clock.
    pub(super) round_ms: Option<u64>,
}

impl Shared {
    /// Scrubs until it is to end.
    pub(super) async fn keep_scrubbing(self: &Arc<Self>) {
        loop {
            let began_ms = self.now().steady_ms;
            self.scrub_round(true).await;
            while self.now().steady_ms.saturating_sub(began_ms) < ROUND_EVERY_MS {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    /// Reads everything through once; how many objects were damaged.
    pub(super) async fn scrub_round(self: &Arc<Self>, gently: bool) -> usize {
        let mut copies = self.all();
        let begin = copies.iter().position(|held| held.owner >= AgentId(rand::random())).unwrap_or(0);
        copies.rotate_left(begin);
        let mut damaged = 0;
        for held in copies {
            let Ok(mut names) = held.access(self.now()).map(|access| access.names()) else { continue };
            names.sort_unstable();
            let begin = ObjectName(rand::random());
            let at = names.partition_point(|name| *name < begin);
            names.rotate_left(at);
            for name in names {
                if !held.access(self.now()).is_ok_and(|access| access.copy.has(&name)) {
                    continue;
                }
                match self.scrub_object(&held, name, gently).await {
                    Ok(is_sound) => damaged += usize::from(!is_sound),
                    Err(error) => {
                        tracing::warn!(owner = %held.owner, %name, %error, "an object could not be read through");
                    }
                }
            }
        }
        self.scrubbed.lock().unwrap_or_else(PoisonError::into_inner).round_ms = Some(self.now().wall_ms);
        damaged
    }

    /// Whether an object is what its name says.
    async fn scrub_object(
        self: &Arc<Self>,
        held: &Arc<Held>,
        name: ObjectName,
        gently: bool,
    ) -> Result<bool, HolderError> {
        let kept = Arc::clone(held);
        let opened = blocking(move || kept.objects.hasher(&name, None, &[])).await.ok_or(HolderError::Busy)?;
        let is_sound = match opened {
            Err(error) if error.is_not_found() => false,
            Err(error) => return Err(error.into()),
            Ok(None) => false,
            Ok(Some(mut hasher)) => loop {
                if gently {
                    self.pause().await;
                }
                let stepped = blocking(move || (hasher.step().is_ok_and(|read| read > 0), hasher)).await;
                let (more, back) = stepped.ok_or(HolderError::Busy)?;
                if more {
                    hasher = back;
                    continue;
                }
                // An error when reading shows again here.
                break blocking(move || back.finish()).await.is_some_and(|hash| hash.is_ok_and(|hash| hash == name.0));
            },
        };
        self.note_scrubbed(is_sound);
        if is_sound {
            return Ok(true);
        }
        let (this, held) = (Arc::clone(self), Arc::clone(held));
        blocking(move || this.damaged(&held, &name)).await.ok_or(HolderError::Busy)??;
        Ok(false)
    }

    fn note_scrubbed(&self, is_sound: bool) {
        let mut scrubbed = self.scrubbed.lock().unwrap_or_else(PoisonError::into_inner);
        scrubbed.objects += 1;
        scrubbed.damaged += u64::from(!is_sound);
    }

    /// As long as reading a piece may take, and longer on battery.
    async fn pause(&self) {
        let pause = Duration::from_millis(HASH_PIECE_BYTES as u64 * 1_000 / BYTES_PER_S);
        tokio::time::sleep(pause).await;
        while self.machine.conditions().on_battery {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
