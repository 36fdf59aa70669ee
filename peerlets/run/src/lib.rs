//! The peerlet `run`: a command on every agent, its output as it comes, its exit status at the end.
//!
//! ```text
//! caller ── Request ──► message of type run ──► host ──► this program ──► the command (no shell)
//!        ◄── Reply::Output, Reply::Output, …, Reply::Ended ◄──┘ what it prints, gathered
//! ```
//!
//! Both ends of what is said are here ([`Request`], [`Reply`]), so that callers and the program cannot differ. Whether a command may
//! run is the owner's word ([`Allow`]), which the agent puts into the program's environment ([`manifest`]); whether a user may ask at
//! all is the pool's, and checked before this program is started. What decides ([`Allow`], `gather`, the codecs) is pure; `command`
//! starts the command, and ends it whatever it does.

mod allow;
mod command;
mod gather;
mod owner;
mod program;
mod reply;
mod request;

pub use allow::{Allow, AllowError};
pub use gather::OUTPUT_LIMIT_BYTES;
pub use owner::{OwnersWord, manifest};
pub use program::{run, run_with};
pub use reply::{Reply, Stream};
pub use request::{Request, TIMEOUT_LIMIT_S, TIMEOUT_USUAL_S};

/// The type of the messages.
pub const MESSAGE_TYPE: &str = "run";
/// The XML namespace of what is said, which is also its version.
pub const NAMESPACE: &str = "urn:shoal:run:1";
/// The variable in which the program finds what the owner allows.
pub const ALLOW_VARIABLE: &str = "RUN_ALLOW";

/// The command took too long and was ended.
pub const STATUS_TIMED_OUT: i32 = 124;
/// The command printed too much and was ended, or what was asked for is no request.
pub const STATUS_FAILED: i32 = 125;
/// The owner does not allow the command, or the system does not let it run.
pub const STATUS_NOT_ALLOWED: i32 = 126;
/// There is no such command.
pub const STATUS_NOT_FOUND: i32 = 127;

/// Why a body is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// It is not as this version writes it.
    #[error("the message is no {what} of {NAMESPACE}: {why}")]
    Schema {
        /// What was expected.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// Something in it is over its limit, or cannot be said in XML.
    #[error("{0}")]
    Limit(String),
    /// The envelope does not take it.
    #[error(transparent)]
    Body(#[from] dci_proto::message::MessageError),
}
