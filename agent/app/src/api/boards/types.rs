//! What the calls about whiteboards take and answer.

use dci_proto::MessageId;
use serde::{Deserialize, Serialize};
use shoal_whiteboard::{LineId, Point};

/// A board in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardSummary {
    /// Its name.
    pub board: String,
    /// Strokes to be seen on it.
    pub strokes: usize,
    /// When something was last done on it, in ms since 1970; 0: never.
    pub last_ms: u64,
}

/// All boards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardList {
    /// By name, the usual one first.
    pub boards: Vec<BoardSummary>,
}

/// A stroke that is to be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShapeView {
    /// Its message.
    pub id: MessageId,
    /// Who drew it.
    pub user: String,
    /// Of which line.
    pub line: LineId,
    /// Its colour, `#rrggbb`.
    pub colour: String,
    /// How many units it is wide.
    pub width: u16,
    /// Where it goes.
    pub points: Vec<Point>,
}

/// A board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardView {
    /// Its name.
    pub board: String,
    /// What is to be seen, the lowest first.
    pub shapes: Vec<ShapeView>,
    /// Whether who asks can take something back.
    pub undo: bool,
}

/// A stroke to draw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewStroke {
    /// Its colour, `#rrggbb`.
    pub colour: String,
    /// How many units it is wide, 1 to 100.
    pub width: u16,
    /// 1 to 500 points.
    pub points: Vec<Point>,
    /// The line it is a part of; a new one unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<LineId>,
}

/// What to do on a board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoardAct {
    /// Draw.
    Stroke(NewStroke),
    /// Clear it; the value is always true.
    Clear(bool),
    /// Take back what this user did last; the value is always true.
    Undo(bool),
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardRequest {
    /// What.
    #[serde(flatten)]
    pub act: BoardAct,
    /// On whose behalf; only who signs in with the token of this computer may say.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// It is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardAnswer {
    /// Its message.
    pub id: MessageId,
    /// Under which line it is taken back; of an undo, which was.
    pub line: LineId,
}
