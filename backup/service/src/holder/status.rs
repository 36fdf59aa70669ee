//! What there is to say about the copies that are held.

use std::sync::PoisonError;

use dci_proto::AgentId;
use serde::Serialize;
use shoal_backup::peers::Share;

use super::Shared;
use super::scrub::ScrubStatus;

/// What a holder has, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HolderStatus {
    /// What this computer gives, and how much of it is taken.
    pub share: Share,
    /// How much more fits.
    pub room_bytes: u64,
    /// How much of the last month it ran, in thousandths.
    pub uptime_permille: u16,
    /// Copies.
    pub copies: Vec<CopyStatus>,
    /// Agents that gave something wrong.
    pub liars: Vec<Liar>,
    /// Objects read through for damage since the start.
    pub scrubbed_objects: u64,
    /// Objects found damaged or gone since the start, by reading or because somebody said so; they are fetched again.
    pub damaged_objects: u64,
    /// Of them made anew.
    pub mended_objects: u64,
    /// When all was last read through, ms since 1970.
    pub scrubbed_at_ms: Option<u64>,
    /// The last round of reading that was asked for.
    pub scrub: Option<ScrubStatus>,
    /// Things that owners and other holders are to be told when they can be reached.
    pub untold: usize,
    /// Copies that cannot be read, and why.
    pub broken: Vec<(AgentId, String)>,
}

/// One owner's copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CopyStatus {
    /// Whose.
    pub owner: AgentId,
    /// The last sequence of its catalogue.
    pub sequence: u64,
    /// Archives.
    pub archives: u32,
    /// Objects of the catalogue.
    pub objects: usize,
    /// Of them missing.
    pub lacking: usize,
    /// Their bytes.
    pub lacking_bytes: u64,
    /// Bytes here, the trash too.
    pub held_bytes: u64,
    /// Objects its owner deleted that are kept for a while.
    pub trash_objects: usize,
    /// Archives among them.
    pub trash_archives: usize,
    /// Objects its owner deleted that should be kept for a while, but were damaged or lost here.
    pub trash_lost: usize,
    /// Its owner needs it no more.
    pub is_released: bool,
    /// Its owner deleted all archives: perhaps it was not the owner.
    pub all_deleted: bool,
    /// The owner signed two histories.
    pub forked: Option<String>,
    /// Why it cannot be looked at.
    pub error: Option<String>,
}

/// An agent that gave something wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Liar {
    /// Which.
    pub agent: AgentId,
    /// Of whose backup, the last time.
    pub owner: AgentId,
    /// What, the last time.
    pub what: String,
    /// How often.
    pub times: u32,
    /// When last, ms since 1970.
    pub at_ms: u64,
}

impl Shared {
    pub(super) fn status(&self) -> HolderStatus {
        let now = self.now();
        let share = self.room.share();
        let mut copies = Vec::new();
        let (mut damaged_objects, mut mended_objects) = (0, 0);
        for held in self.all() {
            let access = match held.access(now) {
                Ok(access) => access,
                Err(error) => {
                    copies.push(CopyStatus::unknown(held.owner, error.to_string()));
                    continue;
                }
            };
            let (found, mended) = access.wounds();
            damaged_objects += found;
            mended_objects += mended;
            let state = access.copy.catalogue().state();
            let trash = &access.copy.state().trash;
            let trash_lost = access.copy.lost_of_trash().count();
            copies.push(CopyStatus {
                owner: held.owner,
                sequence: state.sequence(),
                archives: access.archives(),
                objects: state.len(),
                lacking: access.copy.lacking().len(),
                lacking_bytes: access.copy.lacking().iter().map(|object| object.size_bytes).sum(),
                held_bytes: access.held_bytes(),
                trash_objects: trash.len().saturating_sub(trash_lost),
                trash_archives: trash.snapshots(),
                trash_lost,
                is_released: access.released_ms().is_some(),
                all_deleted: access.all_deleted(),
                forked: access.forked(),
                error: None,
            });
        }
        let scrubbed = *self.scrubbed();
        HolderStatus {
            share,
            room_bytes: share.room_bytes(),
            uptime_permille: self.uptime.permille(now.wall_ms),
            copies,
            liars: self.liars.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect(),
            scrubbed_objects: scrubbed.objects,
            damaged_objects,
            mended_objects,
            scrubbed_at_ms: scrubbed.round_ms,
            scrub: scrubbed.asked,
            untold: self.untold(),
            broken: self.broken.iter().map(|(owner, why)| (*owner, why.clone())).collect(),
        }
    }
}

impl CopyStatus {
    fn unknown(owner: AgentId, error: String) -> Self {
        Self {
            owner,
            sequence: 0,
            archives: 0,
            objects: 0,
            lacking: 0,
            lacking_bytes: 0,
            held_bytes: 0,
            trash_objects: 0,
            trash_archives: 0,
            trash_lost: 0,
            is_released: false,
            all_deleted: false,
            forked: None,
            error: Some(error),
        }
    }
}
