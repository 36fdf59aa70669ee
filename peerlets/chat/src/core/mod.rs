//! What chat is, without anything that happens to carry it. Pure: no clock, no file, no network.

mod names;
mod people;
mod request;
mod rooms;
mod timeline;
mod utterance;

pub use names::{Conversation, LOBBY, NameError, RoomName, USER_LIMIT_BYTES, presence_session};
pub use people::{People, Person};
pub use request::Request;
pub use rooms::{Change, Heard, Rooms};
pub use timeline::{Said, Timeline};
pub use utterance::{CodecError, NAMESPACE, Presence, State, TEXT_LIMIT_BYTES, Utterance};
