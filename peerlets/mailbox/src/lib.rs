//! The messages of one agent, on disk: what it sent and what became of that at each recipient, what it received, and the
//! log of both.
//!
//! ```text
//!   door ── post ──►┌──────────────────────────────┐── Outgoing ──► router, links
//!                   │ writer: one sync for all that │
//!   links ─ accept ►│ waits; rows in redb           │── Incoming ──► host, peerlets
//!   links ─ receipt►│ core: what is due when (pure) │
//!   host ── settle ►└──────────────────────────────┘── Follower ──► shoal log --follow
//! ```
//!
//! - [`Mailbox::post`] answers when a message is on disk; from then on [`Outgoing`] says when it is to be sent, to whom and
//!   for which time, until each recipient has acknowledged it or it has expired.
//! - [`Mailbox::accept`] answers when a message that came is on disk, once for each message, restarts included;
//!   [`Incoming`] hands it to the host until [`Mailbox::settle`], after a restart again.
//! - Messages of one session go to a recipient one after the other; they are handed out in the order in which
//!   they came, senders taking turns.
//!
//! What is decided is in `core`, which is pure; what touches the disk is in `disk`, and one thread (`writer`)
//! joins them. This crate knows no network, checks no signature and no right: that is done before it is asked.

mod clock;
mod core;
mod disk;
mod envelopes;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod log;
mod mailbox;
mod outlets;
mod writer;

pub use clock::{Clock, SystemClock};
pub use core::{
    Accepted, Direction, Limits, Now, Place, PostRefused, ReceiptOutcome, Retention, Settlement, State, Status,
};
pub use error::MailboxError;
pub use log::{Follower, Happening, LogEntry, Observer, Order, Page, Query};
pub use mailbox::{Mailbox, MailboxConfig, Opened, RecipientStatus};
pub use outlets::{Incoming, Outgoing, Received, Sending};
