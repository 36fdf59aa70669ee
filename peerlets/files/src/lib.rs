//! Files from one agent to others: what they tell each other of them, and the program that looks at an offer first.
//!
//! ```text
//!  sender ── message `files`: an Offer ─────────────► recipient's peerlet: is it as it should be? ── Progress ──► sender
//!  sender ◄─ pieces, asked for one at a time ──────── recipient's agent, when its peerlet has said yes ─ Progress ─►
//! ```
//!
//! [`mod@format`] is pure: names, offers, manifests, progress. The bytes themselves never pass through here: agents move them
//! over their data channel. [`program`] is the peerlet.

pub mod format;
pub mod program;

pub use format::{
    ENTRIES_LIMIT, Entry, FileEntry, FormatError, HERE_LIMIT_BYTES, Listing, MANIFEST_LIMIT_BYTES, Manifest,
    NOTE_LIMIT_CHARS, Offer, PathFault, Progress, ProgressState, RelativePath, TYPE, TransferId,
};

/// The peerlet's manifest, with `{shoal}` where the program that carries it is meant.
pub const MANIFEST: &str = include_str!("../peerlet.toml");
