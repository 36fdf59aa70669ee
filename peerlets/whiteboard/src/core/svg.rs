//! A board as a picture (SVG 1.1), which any browser and drawing program opens.

use std::fmt::Write as _;

use super::{Board, HEIGHT, Shape, WIDTH};

impl Board {
    /// The board as an SVG file.
    #[must_use]
    pub fn to_svg(&self) -> String {
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
             <g fill=\"none\" stroke-linecap=\"round\" stroke-linejoin=\"round\">\n"
        );
        for shape in self.shapes() {
            draw(&mut out, &shape);
        }
        out + "</g>\n</svg>\n"
    }
}

fn draw(out: &mut String, shape: &Shape<'_>) {
    let (colour, width, points) = (shape.stroke.colour, shape.stroke.width, &shape.stroke.points);
    // Writing to text cannot fail.
    let _ = match points.as_slice() {
        [dot] => {
            let radius = f32::from(width) / 2.0;
            writeln!(out, "<circle cx=\"{}\" cy=\"{}\" r=\"{radius}\" fill=\"{colour}\"/>", dot.0, dot.1)
        }
        _ => writeln!(
            out,
            "<polyline points=\"{}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>",
            shape.stroke.points_text()
        ),
    };
}

#[cfg(test)]
mod tests {
    use super::super::board::tests::{deed, stroke};
    use super::super::{ActKind, Point, Stroke};
    use super::*;

    #[test]
    fn a_picture_has_what_is_to_be_seen_and_is_well_formed() {
        let mut board = Board::default();
        board.add(deed(1, "ana", 1, stroke(7)));
        let dot = Stroke { colour: "#e03131".parse().expect("a colour"), width: 5, points: vec![Point(3, 4)] };
        board.add(deed(2, "ana", 2, ActKind::Stroke(dot)));
        board.add(deed(3, "ana", 3, stroke(9)));
        board.add(deed(4, "ana", 3, ActKind::Undo));
        let svg = board.to_svg();
        assert!(svg.contains("<polyline points=\"7,0 7,10\" stroke=\"#000000\" stroke-width=\"4\"/>"), "{svg}");
        assert!(svg.contains("<circle cx=\"3\" cy=\"4\" r=\"2.5\" fill=\"#e03131\"/>"), "{svg}");
        assert!(!svg.contains("9,0"), "{svg}");
        dci_proto::xml::parse(svg.as_bytes(), 100).expect("well-formed");
    }
}
