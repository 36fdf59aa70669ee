//! What goes: archives that are older than wanted at the owner, what no archive needs any more, and when a holder really
//! drops what the owner deleted.
//!
//! ```text
//! choose   which archives stay and why, which go          (owner)
//! unused   which objects nothing needs any more           (owner; it deletes them in the catalogue, signed)
//! grace    a holder's own time, whatever its clock does   (holder)
//! trash    what was deleted and is kept for a grace time  (holder)
//! ```
//!
//! What must hold: the newest complete archive always stays; what a kept archive needs is never deleted; a clock that leapt
//! makes nothing old; and whoever takes over an owner's PC can sign deletions but destroys nothing for [`GRACE_MS`],
//! because each holder counts that time itself.

mod choose;
mod grace;
mod trash;
mod unused;

use serde::{Deserialize, Serialize};

pub use choose::{ArchiveFacts, CLOCK_TOLERANCE_MS, Choice, FORGET_LIMIT, Why, agreed_now_ms, choose};
pub use grace::{AWAY_CREDIT_MS, GraceClock};
pub use trash::{Trash, Trashed};
pub use unused::unused;

use crate::now::DAY_MS;

/// How long a holder keeps what its owner deleted, unless its admin says otherwise.
pub const GRACE_MS: u64 = 14 * DAY_MS;

/// How long archives are kept. An archive that any line keeps is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ages {
    /// The last so many, whatever their age; at least 1.
    pub keep_last: u32,
    /// The last one of each of so many days that have one.
    pub keep_daily: u32,
    /// The last one of each of so many weeks that have one.
    pub keep_weekly: u32,
    /// The last one of each of so many months that have one.
    pub keep_monthly: u32,
    /// Archives that are older go, unless `keep_last` keeps them.
    pub max_age_days: Option<u32>,
}

impl Default for Ages {
    fn default() -> Self {
        Self { keep_last: 24, keep_daily: 30, keep_weekly: 13, keep_monthly: 24, max_age_days: None }
    }
}

impl Ages {
    /// Whether nothing might be left.
    #[must_use]
    pub fn keeps_nothing(&self) -> bool {
        self.keep_last == 0
    }
}
