//! Reads what is held through and compares each object with its name, so gently that nobody notices: a few MiB a second, not
//! on battery, each object once in a week or as often as that pace allows. It begins anywhere, so that restarts do not keep
//! it from ever reaching the end.
//!
//! Somebody may ask for a round at once, without pauses: one at a time, and the gentle one waits for it. What was just read is
//! not read again, so a round that was asked for ends the gentle one.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use dci_proto::AgentId;
use serde::{Deserialize, Serialize};
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

/// A round that somebody asked for, and how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScrubStatus {
    /// When it began, ms since 1970.
    pub began_ms: u64,
    /// When it ended; none: it is on.
    pub ended_ms: Option<u64>,
    /// Objects read.
    pub objects: u64,
    /// Objects there were when it began.
    pub objects_total: u64,
    /// Bytes of the objects read.
    pub bytes: u64,
    /// Bytes there were when it began.
    pub bytes_total: u64,
    /// Objects that were damaged or gone.
    pub damaged: u64,
}

/// What came of asking for a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrubAsked {
    /// It began for this call; else one was on, which does for this call too.
    pub is_new: bool,
    /// How far it is.
    pub round: ScrubStatus,
}

/// What has been done.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scrubbed {
    /// Objects read since the start.
    pub(super) objects: u64,
    /// When a round was last done, by the machine's clock.
    pub(super) round_ms: Option<u64>,
    /// The last round that was asked for.
    pub(super) asked: Option<ScrubStatus>,
    /// Rounds that were asked for and done.
    asked_rounds: u64,
}

/// A round that was asked for is on, until this is dropped.
pub(super) struct Round(Arc<Shared>);

impl Drop for Round {
    fn drop(&mut self) {
        let ended_ms = self.0.now().wall_ms;
        let mut scrubbed = self.0.scrubbed();
        if let Some(round) = &mut scrubbed.asked {
            round.ended_ms = Some(ended_ms);
        }
        self.0.scrubbing.send_replace(false);
    }
}

impl Shared {
    pub(super) fn scrubbed(&self) -> MutexGuard<'_, Scrubbed> {
        self.scrubbed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Scrubs until it is to end.
    pub(super) async fn keep_scrubbing(self: &Arc<Self>) {
        loop {
            let began_ms = self.now().steady_ms;
            self.scrub_round(None).await;
            while self.now().steady_ms.saturating_sub(began_ms) < ROUND_EVERY_MS {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    /// Begins a round that was asked for, if none is on.
    pub(super) fn begin_round(self: &Arc<Self>) -> (Option<Round>, ScrubStatus) {
        let mut status = ScrubStatus { began_ms: self.now().wall_ms, ..ScrubStatus::default() };
        for held in self.all() {
            if let Ok(access) = held.access(self.now()) {
                status.objects_total += access.names().len() as u64;
                status.bytes_total = status.bytes_total.saturating_add(access.held_bytes());
            }
        }
        let mut scrubbed = self.scrubbed();
        if let Some(on) = scrubbed.asked.filter(|round| round.ended_ms.is_none()) {
            return (None, on);
        }
        scrubbed.asked = Some(status);
        self.scrubbing.send_replace(true);
        drop(scrubbed);
        (Some(Round(Arc::clone(self))), status)
    }

    /// Waits for a round that was asked for, if one is on.
    async fn wait_for_round(&self) {
        // The sender is here, so it is not gone.
        let _ = self.scrubbing.subscribe().wait_for(|is_on| !is_on).await;
    }

    /// How the last round that was asked for ended.
    pub(super) async fn end_of_round(&self) -> ScrubStatus {
        self.wait_for_round().await;
        self.scrubbed().asked.unwrap_or_default()
    }

    /// Reads everything through once: gently, or without pauses for whoever asked. How many objects were damaged.
    pub(super) async fn scrub_round(self: &Arc<Self>, asked: Option<Round>) -> u64 {
        let is_gentle = asked.is_none();
        let rounds = self.scrubbed().asked_rounds;
        let mut copies = self.all();
        let begin = copies.iter().position(|held| held.owner >= AgentId(rand::random())).unwrap_or(0);
        copies.rotate_left(begin);
        let mut damaged = 0;
        for held in copies {
            let Ok((before, _)) = held.access(self.now()).map(|access| access.wounds()) else { continue };
            held.look();
            let Ok((mut names, (after, _))) = held.access(self.now()).map(|access| (access.names(), access.wounds()))
            else {
                continue;
            };
            let gone = after.saturating_sub(before);
            damaged += gone;
            if let Some(round) = self.scrubbed().asked.as_mut().filter(|_| !is_gentle) {
                round.damaged += gone;
            }
            let begin = ObjectName(rand::random());
            let at = names.partition_point(|name| *name < begin);
            names.rotate_left(at);
            for name in names {
                if is_gentle && self.scrubbed().asked_rounds != rounds {
                    return damaged;
                }
                let Ok(size_bytes) = held.access(self.now()).map(|access| access.size_of(&name)) else { continue };
                let is_sound = match size_bytes {
                    None => true,
                    Some(_) => self.scrub_object(&held, name, is_gentle).await.unwrap_or_else(|error| {
                        tracing::warn!(owner = %held.owner, %name, %error, "an object could not be read through");
                        true
                    }),
                };
                damaged += u64::from(!is_sound);
                let mut scrubbed = self.scrubbed();
                scrubbed.objects += 1;
                if let Some(round) = scrubbed.asked.as_mut().filter(|_| !is_gentle) {
                    round.objects += 1;
                    round.bytes = round.bytes.saturating_add(size_bytes.unwrap_or(0)).min(round.bytes_total);
                    round.damaged += u64::from(!is_sound);
                }
            }
        }
        let now_ms = self.now().wall_ms;
        let mut scrubbed = self.scrubbed();
        scrubbed.round_ms = Some(now_ms);
        scrubbed.asked_rounds += u64::from(!is_gentle);
        drop(scrubbed);
        drop(asked);
        damaged
    }

    /// Whether an object is what its name says. If not, it goes and is made anew.
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
        if is_sound {
            return Ok(true);
        }
        let (this, held) = (Arc::clone(self), Arc::clone(held));
        blocking(move || this.damaged(&held, &name)).await.ok_or(HolderError::Busy)??;
        Ok(false)
    }

    /// As long as reading a piece may take, and longer on battery or while a round is on that somebody asked for.
    async fn pause(&self) {
        let pause = Duration::from_millis(HASH_PIECE_BYTES as u64 * 1_000 / BYTES_PER_S);
        tokio::time::sleep(pause).await;
        while self.machine.conditions().on_battery {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.wait_for_round().await;
    }
}
