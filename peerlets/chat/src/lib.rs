//! The peerlet `chat`: rooms and one-to-one.
//!
//! ```text
//! page, shoal chat ── Utterance ──► message of type chat, to all agents ──► log of each: the history
//!                                                            └──► host ──► this program: takes it, answers requests
//! ```
//!
//! `core` is pure: what is said ([`Utterance`]), asked ([`Request`]), and what comes of it ([`Rooms`], [`People`]). The agent
//! folds its log with it for its pages; the program ([`run`]) folds what it is given, so that other programs can ask.
//! Nothing here knows a network, a file or what time it is.

mod core;
mod program;

pub use core::{
    Change, CodecError, Conversation, Heard, LOBBY, NAMESPACE, NameError, People, Person, Presence, Request, RoomName,
    Rooms, Said, State, TEXT_LIMIT_BYTES, Timeline, USER_LIMIT_BYTES, Utterance, presence_session,
};
pub use program::run;

/// The type of the messages.
pub const MESSAGE_TYPE: &str = "chat";
/// The manifest, in which `{shoal}` stands for the program that carries the peerlet.
pub const MANIFEST: &str = include_str!("../peerlet.toml");
