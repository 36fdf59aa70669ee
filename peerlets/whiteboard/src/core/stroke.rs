//! A line that is drawn: whole numbers, so that it is the same everywhere, and bounded.

use std::fmt;
use std::str::FromStr;

use dci_proto::SessionId;
use serde::{Deserialize, Serialize};

/// Units of a board from left to right.
pub const WIDTH: u16 = 1_600;
/// Units of a board from top to bottom.
pub const HEIGHT: u16 = 1_000;
/// Points of a stroke, at most; a longer line is several strokes.
pub const POINTS_LIMIT: usize = 500;
/// Units a stroke is wide, at most.
pub const WIDTH_LIMIT: u16 = 100;

/// A place on a board, from its upper left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Point(pub u16, pub u16);

/// A colour as `#rrggbb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour([u8; 3]);

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

impl FromStr for Colour {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6 && digits.is_ascii());
        let number = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let number = number.and_then(|digits| u32::from_str_radix(digits, 16).ok()).ok_or("a colour is #rrggbb")?;
        let [_, red, green, blue] = number.to_be_bytes();
        Ok(Self([red, green, blue]))
    }
}

/// What belongs together for who takes it back: the strokes of one line, drawn in one go. A UUID made by who draws.
pub type LineId = SessionId;

/// A line, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stroke {
    /// Its colour.
    pub colour: Colour,
    /// How many units it is wide.
    pub width: u16,
    /// Where it goes; one point is a dot.
    pub points: Vec<Point>,
}

impl Stroke {
    /// Whether it is within all limits.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.width == 0 || self.width > WIDTH_LIMIT {
            return Err("a stroke is 1 to 100 wide");
        }
        if self.points.is_empty() || self.points.len() > POINTS_LIMIT {
            return Err("a stroke has 1 to 500 points");
        }
        let is_on = |point: &Point| point.0 <= WIDTH && point.1 <= HEIGHT;
        if self.points.iter().all(is_on) { Ok(()) } else { Err("a point is not on the board (1600 by 1000)") }
    }

    /// Its points as they are written: `x,y x,y …`.
    #[must_use]
    pub fn points_text(&self) -> String {
        self.points.iter().map(|point| format!("{},{}", point.0, point.1)).collect::<Vec<_>>().join(" ")
    }

    /// Reads them.
    pub(super) fn points_of(text: &str) -> Option<Vec<Point>> {
        let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|digit| digit.is_ascii_digit()));
        let point = |text: &str| {
            let (x, y) = text.split_once(',')?;
            Some(Point(number(x)?, number(y)?))
        };
        // Counted first: no more is kept than may be.
        let is_many = text.split(' ').nth(POINTS_LIMIT).is_some();
        if is_many { None } else { text.split(' ').map(point).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_six_digits() {
        assert_eq!("#1F6feb".parse::<Colour>().expect("a colour").to_string(), "#1f6feb");
        for bad in ["", "red", "#fff", "#1f6fe", "#1f6febb", "#+1f6fe", "#é1f6", "url(#a)"] {
            assert!(bad.parse::<Colour>().is_err(), "{bad}");
        }
    }

    #[test]
    fn points_are_whole_numbers() {
        assert_eq!(Stroke::points_of("0,0 1600,1000"), Some(vec![Point(0, 0), Point(WIDTH, HEIGHT)]));
        for bad in ["", " ", "1", "1,2,3", "1,2  3,4", "-1,2", "+1,2", "1.5,2", "1,2 ", "99999,1"] {
            assert_eq!(Stroke::points_of(bad), None, "{bad}");
        }
        assert!(Stroke::points_of(&vec!["1,1"; POINTS_LIMIT].join(" ")).is_some());
        assert!(Stroke::points_of(&vec!["1,1"; POINTS_LIMIT + 1].join(" ")).is_none());
    }
}
