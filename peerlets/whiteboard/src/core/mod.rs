//! What a whiteboard is, without anything that happens to carry it. Pure: no clock, no file, no network.

mod act;
mod board;
mod boards;
mod names;
mod request;
mod stroke;
mod svg;

pub use act::{Act, ActKind, CodecError, NAMESPACE};
pub use board::{Board, Deed, Shape};
pub use boards::Boards;
pub use names::{BOARD_USUAL, BoardName, NameError};
pub use request::Request;
pub use stroke::{Colour, HEIGHT, LineId, POINTS_LIMIT, Point, Stroke, WIDTH, WIDTH_LIMIT};
