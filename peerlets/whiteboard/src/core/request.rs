//! What programs ask the peerlet, and its answers.

use dci_proto::message::{Body, MESSAGE_LIMIT_BYTES, format_time};

use super::act::{attributes, only};
use super::{BoardName, Boards, CodecError, NAMESPACE};

/// Bytes of an answer, at most: a message has some more around it.
const ANSWER_LIMIT_BYTES: usize = MESSAGE_LIMIT_BYTES - 64 * 1024;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A board as SVG.
    Export(BoardName),
    /// Which boards there are.
    Boards,
}

impl Request {
    /// Reads a body; `None`: it asks nothing.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_body(body: &Body) -> Result<Option<Self>, CodecError> {
        let elements = body.elements();
        match elements.first().map(|element| element.name.as_str()) {
            Some("export") => {
                let [board] = attributes(&only(body)?, ["board"])?;
                Ok(Some(Self::Export(board.parse()?)))
            }
            Some("boards") => {
                let [] = attributes(&only(body)?, [])?;
                Ok(Some(Self::Boards))
            }
            _ => Ok(None),
        }
    }

    /// The answer, as XML; none: it is too large for a message.
    #[must_use]
    pub fn answer(&self, boards: &Boards) -> Option<String> {
        let answer = match self {
            Self::Export(name) => boards.board(name).cloned().unwrap_or_default().to_svg(),
            Self::Boards => {
                let mut out = format!("<boards xmlns=\"{NAMESPACE}\">");
                for (name, board) in boards.all() {
                    let (strokes, last) = (board.shapes().len(), format_time(board.last_ms()));
                    out.push_str(&format!("<board name=\"{name}\" strokes=\"{strokes}\" last=\"{last}\"/>"));
                }
                out + "</boards>"
            }
        };
        (answer.len() <= ANSWER_LIMIT_BYTES).then_some(answer)
    }
}
