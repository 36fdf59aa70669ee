//! The peerlet `whiteboard`: boards people draw on together.
//!
//! ```text
//! page ── Act ──► message of type whiteboard, to all agents ──► log of each: what late joiners see
//!                                            └──► host ──► this program: takes it, answers requests with SVG
//! ```
//!
//! `core` is pure: what is done on a board ([`Act`]), and what is then to be seen ([`Board`]), which is the same at every agent
//! whatever came first. The agent folds its log with it for its pages; the program ([`run`]) folds what it is given, so that
//! other programs can ask. Nothing here knows a network, a file or what time it is.

mod core;
mod program;

pub use core::{
    Act, ActKind, BOARD_USUAL, Board, BoardName, Boards, CodecError, Colour, Deed, HEIGHT, LineId, NAMESPACE,
    NameError, POINTS_LIMIT, Point, Request, Shape, Stroke, WIDTH, WIDTH_LIMIT,
};
pub use program::run;

/// The type of the messages.
pub const MESSAGE_TYPE: &str = "whiteboard";
/// The manifest, in which `{shoal}` stands for the program that carries the peerlet.
pub const MANIFEST: &str = include_str!("../peerlet.toml");
