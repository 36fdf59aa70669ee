//! What people say and draw, for the doors: pictures of the log that are kept as it grows.
//!
//! ```text
//! mailbox: log ─► Kept<ChatPicture> ─┬─► API and pages: history, unread, ticks, events
//!                  (shoal-chat)       └─► Chats: says for users what they say, and that they are here
//!          Kept<BoardsPicture> ─────► Whiteboards: draws for users
//!                  (shoal-whiteboard)
//! ```
//!
//! A picture is made when somebody first looks, from what the log has, and follows the log from then on. The log is what lasts;
//! a picture is bounded by its own crate.

mod attendance;
mod chats;
mod kept;
mod picture;
mod seen;
mod whiteboards;

pub(crate) use chats::{Chats, TalkError, Window};
pub(crate) use picture::{ChatNews, ChatPicture, Tick};
pub(crate) use whiteboards::{BoardNews, Whiteboards};
