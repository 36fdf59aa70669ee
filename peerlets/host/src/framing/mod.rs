//! How a message becomes what a program reads ([`frame`], [`frame_past`]), and what it prints becomes lines and replies
//! ([`LineCutter`], [`parse_reply`]). Pure.

mod input;
mod output;

pub use input::{frame, frame_past};
pub use output::{LineCutter, TooMuch, parse_reply};

/// Bytes of one line a program prints, at most: what fits into a reply.
pub const LINE_LIMIT_BYTES: usize = dci_proto::message::MESSAGE_LIMIT_BYTES;
