//! What comes back: archives put together, what that would do to a target, and in which order it is done.
//!
//! Everything works on *listings*: the entries of an archive, or of what is on a disk, as an iterator in [`tree_order`]. No
//! listing is ever in memory as a whole, so a million files in an archive cost nothing here.
//!
//! ```text
//! listing     an entry, the order of entries
//! sequential  several archives as one: the later one wins
//! plan        what restoring that would do to a target, step by step, with totals; nothing unknown is ever deleted
//! queue       what is restored next: what somebody asks for first, then all the rest
//! diff        what differs between two archives; where a name is found
//! ```
//!
//! From whom the packs come is [`crate::peersync::nearest`]'s word, as when holders catch up: one holder alive is enough.

mod diff;
mod listing;
mod plan;
mod queue;
mod sequential;

pub use diff::{Difference, diff, find};
pub use listing::{ContentHash, Entry, EntryKind, NotSorted, Rights, tree_order};
pub use plan::{Action, Existing, Plan, Skipped, Step, Sum, Totals};
pub use queue::{ASKED_LIMIT, RestoreQueue, Work};
pub use sequential::{FromArchive, Sequential};
