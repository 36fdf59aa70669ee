//! How an agent becomes a member: with a ticket, or by asking and being approved.
//!
//! ```text
//! newcomer ── TLS, both identities proved ──► member: Ask ─► ledger (RedeemTicket, RequestJoin) ─► Answer
//! ```
//!
//! The pool's key leaves a member only in a [`words::Welcome`] to an agent that the ledger has as a member with the
//! mount role. Whoever is not let in learns nothing but what the agent announces anyway: unknown, used and expired tickets
//! get the same answer.

mod ask;
mod doorkeeper;
mod knocks;
pub(crate) mod standing;
pub(crate) mod words;

pub(crate) use ask::{Joined, ask_until_approved, join_with_ticket};
pub(crate) use doorkeeper::Doorkeeper;
