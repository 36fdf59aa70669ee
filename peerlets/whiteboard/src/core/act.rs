//! What is done on a board, as the body of a message: written, and read strictly.

use dci_proto::message::{Body, MessageError};
use dci_proto::xml::Element;
use shoal_peerlet_program::body;

use super::{BoardName, LineId, Stroke};

/// The XML namespace of what is done, which is also its version.
pub const NAMESPACE: &str = "urn:shoal:whiteboard:1";

/// Why a body is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// It is not as this version writes it.
    #[error("the message does nothing of {NAMESPACE}: {0}")]
    Schema(&'static str),
    /// The board's name is none.
    #[error(transparent)]
    Name(#[from] super::NameError),
    /// The envelope does not take it.
    #[error(transparent)]
    Body(#[from] MessageError),
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActKind {
    /// A line is drawn, or a part of it.
    Stroke(Stroke),
    /// All that was drawn before goes.
    Clear,
    /// Who does it takes back what they did under this line.
    Undo,
}

/// Something done on a board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// Which.
    pub board: BoardName,
    /// Under which line it is taken back; of an undo, which is.
    pub line: LineId,
    /// What.
    pub kind: ActKind,
}

impl Act {
    /// As the body of a message.
    ///
    /// # Errors
    /// If a stroke is over its limits.
    pub fn to_body(&self) -> Result<Body, CodecError> {
        let (board, line) = (&self.board, self.line);
        let head = |name: &str| format!("<{name} xmlns=\"{NAMESPACE}\" board=\"{board}\" line=\"{line}\"");
        let xml = match &self.kind {
            ActKind::Stroke(stroke) => {
                stroke.check().map_err(CodecError::Schema)?;
                let (colour, width, points) = (stroke.colour, stroke.width, stroke.points_text());
                format!("{} colour=\"{colour}\" width=\"{width}\" points=\"{points}\"/>", head("stroke"))
            }
            ActKind::Clear => head("clear") + "/>",
            ActKind::Undo => head("undo") + "/>",
        };
        Ok(Body::of_xml(xml)?)
    }

    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_body(body: &Body) -> Result<Self, CodecError> {
        let element = only(body)?;
        let (board, line, kind) = match element.name.as_str() {
            "stroke" => {
                let [board, line, colour, width, points] =
                    attributes(&element, ["board", "line", "colour", "width", "points"])?;
                let colour = colour.parse().map_err(CodecError::Schema)?;
                let width = width.parse().map_err(|_| CodecError::Schema("`width` is no number"))?;
                let points = Stroke::points_of(&points);
                let points = points.ok_or(CodecError::Schema("`points` are 1 to 500 of x,y with a space between"))?;
                let stroke = Stroke { colour, width, points };
                stroke.check().map_err(CodecError::Schema)?;
                (board, line, ActKind::Stroke(stroke))
            }
            "clear" => {
                let [board, line] = attributes(&element, ["board", "line"])?;
                (board, line, ActKind::Clear)
            }
            "undo" => {
                let [board, line] = attributes(&element, ["board", "line"])?;
                (board, line, ActKind::Undo)
            }
            _ => return Err(CodecError::Schema("it has another element")),
        };
        let line = line.parse().map_err(|_| CodecError::Schema("`line` is a UUID"))?;
        Ok(Self { board: board.parse()?, line, kind })
    }
}

/// The one element of a body, of this namespace, with nothing in it.
pub(super) fn only(body: &Body) -> Result<Element, CodecError> {
    let element = body::only(body, NAMESPACE).map_err(CodecError::Schema)?;
    if body::is_empty(&element) { Ok(element) } else { Err(CodecError::Schema("it holds something")) }
}

/// The values of attributes that must be there; others must not.
pub(super) fn attributes<const COUNT: usize>(
    element: &Element,
    names: [&str; COUNT],
) -> Result<[String; COUNT], CodecError> {
    body::attributes(element, names).map_err(CodecError::Schema)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{HEIGHT, POINTS_LIMIT, Point, WIDTH, WIDTH_LIMIT};
    use super::*;

    const LINE: &str = "01234567-89ab-4cde-8f01-23456789abcd";

    fn act(kind: ActKind) -> Act {
        Act { board: "plan".parse().expect("a board"), line: LINE.parse().expect("a line"), kind }
    }

    fn read(xml: &str) -> Result<Act, CodecError> {
        Act::of_body(
            &Body::of_xml(xml.replace("HEAD", &format!("xmlns='{NAMESPACE}' board='plan' line='{LINE}'")))
                .expect("a body"),
        )
    }

    #[test]
    fn what_is_not_as_it_is_written_is_refused() {
        assert_eq!(read("<clear HEAD/>"), Ok(act(ActKind::Clear)));
        for bad in [
            "",
            "clear",
            "<clear/>",
            "<clear HEAD/><clear HEAD/>",
            "<clear HEAD/>now",
            "<clear HEAD>now</clear>",
            "<clear HEAD all='yes'/>",
            "<clear xmlns='urn:shoal:whiteboard:1' board='plan'/>",
            "<clear xmlns='urn:shoal:whiteboard:1' board='Plan' line='01234567-89ab-4cde-8f01-23456789abcd'/>",
            "<clear xmlns='urn:shoal:whiteboard:1' board='plan' line='1'/>",
            "<wipe HEAD/>",
            "<stroke HEAD/>",
            "<stroke HEAD colour='red' width='1' points='1,1'/>",
            "<stroke HEAD colour='#000000' width='0' points='1,1'/>",
            "<stroke HEAD colour='#000000' width='101' points='1,1'/>",
            "<stroke HEAD colour='#000000' width='1' points='1601,1'/>",
            "<stroke HEAD colour='#000000' width='1' points=''/>",
            "<stroke HEAD colour='#000000' width='1' points='1,1' fill='#000000'/>",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_done_is_read_as_it_was_written(
            number in 0..=0xff_ffff_u32,
            width in 1..=WIDTH_LIMIT,
            points in proptest::collection::vec((0..=WIDTH, 0..=HEIGHT), 1..=POINTS_LIMIT),
        ) {
            let colour = format!("#{number:06x}").parse().expect("a colour");
            let points = points.into_iter().map(|(x, y)| Point(x, y)).collect();
            for kind in [ActKind::Stroke(Stroke { colour, width, points }), ActKind::Clear, ActKind::Undo] {
                let act = act(kind);
                prop_assert_eq!(Act::of_body(&act.to_body().expect("a body")), Ok(act));
            }
        }

        #[test]
        fn whatever_is_read_is_written_and_read_the_same(xml in "<(stroke|clear|undo) HEAD( (colour|width|points)='[#0-9a-f, ]{0,9}'){0,3}/?>") {
            let Ok(body) = Body::of_xml(xml.replace("HEAD", &format!("xmlns='{NAMESPACE}' board='plan' line='{LINE}'"))) else { return Ok(()) };
            let Ok(act) = Act::of_body(&body) else { return Ok(()) };
            prop_assert_eq!(Act::of_body(&act.to_body().expect("written")), Ok(act));
        }
    }
}
