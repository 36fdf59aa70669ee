//! Messages for programs in Rust: sent through the socket of this computer's agent (`DATA/messages.sock`), so that a caller
//! knows no network and needs no password. Blocking, and one connection for each call.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use shoal_client::{Client, Event, Message, To};
//!
//! # fn main() -> Result<(), shoal_client::ClientError> {
//! let client = Client::new("/home/ana/.local/share/shoal");
//! let message = Message::text("word-count", To::All, "how many words are these");
//! for event in client.request(&message, Duration::from_secs(30))? {
//!     match event? {
//!         Event::Reply(reply) => println!("{} says {}", reply.name, reply.says()),
//!         Event::State(state) => eprintln!("{}: {}", state.name, state.state),
//!         Event::Sent(_) | Event::Done { .. } => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `docs/doors.md` has the protocol, for other languages. This crate knows nothing of agents but their socket.

mod client;
mod error;
mod line;
mod types;

pub use client::{Client, Happenings, Replies};
pub use error::ClientError;
pub use types::{Entry, Event, Filter, From, Happening, Message, Page, Recipient, Reply, Sent, State, To};
