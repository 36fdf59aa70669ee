//! What the programs of the peerlets that come with Shoal have in common.
//!
//! ```text
//! host ── a line of JSON ──► serve ── Message ──► the peerlet's own core ── Answer ──► serve ── a line of JSON ──► host
//! ```
//!
//! [`body`] is pure: it reads what stands in a message strictly. Nothing here knows a network, a file or what time it is.

pub mod body;
mod lines;

pub use lines::{Answer, Message, serve};
