//! Output on its way to replies: gathered a little, so that a line at a time is not a message at a time, and made readable. Pure.
//!
//! Each stream keeps its order; which of two streams was first within one gathering is lost.

use crate::{Reply, Stream};

/// Bytes printed of which a caller hears; what is beyond is cut off. Replies are kept on the disks of both ends.
pub const OUTPUT_LIMIT_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes gathered to one reply.
const PIECE_LIMIT_BYTES: usize = 32 * 1024;
/// For how long something printed is kept back, in ms, by how many replies there were: whoever prints for hours has few messages.
const PATIENCE_MS: [(u64, u64); 3] = [(100, 100), (1_000, 1_000), (u64::MAX, 10_000)];

/// What was printed and is not a reply yet.
#[derive(Debug, Default)]
pub(crate) struct Gatherer {
    out: Vec<u8>,
    err: Vec<u8>,
    since_ms: Option<u64>,
    taken_bytes: u64,
    over: bool,
    replies: u64,
}

impl Gatherer {
    /// Takes what was printed; answers the replies that are full.
    pub(crate) fn push(&mut self, stream: Stream, bytes: &[u8], now_ms: u64) -> Vec<Reply> {
        let room = usize::try_from(OUTPUT_LIMIT_BYTES - self.taken_bytes).unwrap_or(usize::MAX);
        self.over |= bytes.len() > room;
        let bytes = bytes.get(..bytes.len().min(room)).unwrap_or_default();
        if bytes.is_empty() {
            return Vec::new();
        }
        self.taken_bytes += bytes.len() as u64;
        self.since_ms.get_or_insert(now_ms);
        self.buffer(stream).extend_from_slice(bytes);
        let mut replies = Vec::new();
        while self.buffer(stream).len() >= PIECE_LIMIT_BYTES {
            replies.extend(self.take(stream, PIECE_LIMIT_BYTES));
        }
        if self.out.is_empty() && self.err.is_empty() {
            self.since_ms = None;
        }
        replies
    }

    /// When what is here has to go.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        let patience_ms = PATIENCE_MS.iter().find(|(below, _)| self.replies < *below).map_or(0, |(_, ms)| *ms);
        self.since_ms.map(|since_ms| since_ms.saturating_add(patience_ms))
    }

    /// All that is here but for characters that are not whole yet.
    pub(crate) fn flush(&mut self) -> Vec<Reply> {
        self.since_ms = None;
        let replies = [Stream::Out, Stream::Err].into_iter().filter_map(|stream| self.take(stream, usize::MAX));
        replies.collect()
    }

    /// All that is here: no more will come.
    pub(crate) fn finish(&mut self) -> Vec<Reply> {
        let mut replies = self.flush();
        for stream in [Stream::Out, Stream::Err] {
            let rest = std::mem::take(self.buffer(stream));
            if !rest.is_empty() {
                replies.push(Reply::Output { stream, text: readable(&rest) });
            }
        }
        replies
    }

    /// Whether more was printed than is told.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    fn buffer(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }

    /// So many bytes of a stream, to the end of a character.
    fn take(&mut self, stream: Stream, most: usize) -> Option<Reply> {
        let buffer = self.buffer(stream);
        let most = buffer.len().min(most);
        let whole = most - begun_character(buffer.get(..most).unwrap_or_default());
        let rest = buffer.split_off(whole);
        let bytes = std::mem::replace(buffer, rest);
        if bytes.is_empty() {
            return None;
        }
        self.replies += 1;
        Some(Reply::Output { stream, text: readable(&bytes) })
    }
}

/// Bytes at the end that begin a character of UTF-8 and do not end it.
fn begun_character(bytes: &[u8]) -> usize {
    const CONTINUES: std::ops::RangeInclusive<u8> = 0x80..=0xbf;
    let back = bytes.iter().rev().take(3).position(|byte| !CONTINUES.contains(byte));
    let Some((back, first)) = back.and_then(|back| Some((back + 1, *bytes.get(bytes.len() - back - 1)?))) else {
        return 0;
    };
    let length = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    if length > back { back } else { 0 }
}

/// Bytes as text that XML can hold and a terminal shows: what is no UTF-8 becomes U+FFFD, control characters the pictures of them.
fn readable(bytes: &[u8]) -> String {
    let shown = |character: char| match character {
        '\t' | '\n' | '\r' => character,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(character)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        other => other,
    };
    String::from_utf8_lossy(bytes).chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(replies: &[Reply], wanted: Stream) -> String {
        let of = |reply: &Reply| match reply {
            Reply::Output { stream, text } if *stream == wanted => text.clone(),
            _ => String::new(),
        };
        replies.iter().map(of).collect()
    }

    #[test]
    fn text_comes_out_as_it_went_in_wherever_it_was_cut() {
        let said = "aé李𝄞\n".repeat(5);
        for step in 1..said.len() {
            let mut gatherer = Gatherer::default();
            let mut replies = Vec::new();
            for part in said.as_bytes().chunks(step) {
                replies.extend(gatherer.push(Stream::Out, part, 0));
                replies.extend(gatherer.flush());
            }
            replies.extend(gatherer.finish());
            assert_eq!(text(&replies, Stream::Out), said, "cut every {step}");
        }
    }

    #[test]
    fn what_is_no_text_is_shown_as_such() {
        for (bytes, expected) in [
            (&b"\x1b[31mred\x07\x00"[..], "␛[31mred␇␀"),
            (b"\xff\xfea\x80", "\u{fffd}\u{fffd}a\u{fffd}"),
            (b"a\xe2\x82", "a\u{fffd}"),
            ("\u{7f}\u{85}\u{fffe}".as_bytes(), "␡\u{fffd}\u{fffd}"),
            (b"tab\tline\r\n", "tab\tline\r\n"),
        ] {
            let mut gatherer = Gatherer::default();
            gatherer.push(Stream::Err, bytes, 0);
            let replies = gatherer.finish();
            assert_eq!(text(&replies, Stream::Err), expected);
            replies.iter().for_each(|reply| drop(reply.to_body().expect("XML holds it")));
        }
    }

    #[test]
    fn replies_are_gathered_and_full_ones_go_at_once() {
        let mut gatherer = Gatherer::default();
        assert_eq!(gatherer.due_ms(), None);
        assert!(gatherer.push(Stream::Out, b"a", 5).is_empty());
        assert!(gatherer.push(Stream::Err, b"b", 50).is_empty());
        assert_eq!(gatherer.due_ms(), Some(105), "from the first on");
        assert_eq!(gatherer.flush().len(), 2);
        assert_eq!(gatherer.due_ms(), None);
        let full = gatherer.push(Stream::Out, &vec![b'x'; 2 * PIECE_LIMIT_BYTES], 200);
        assert_eq!((full.len(), gatherer.due_ms()), (2, None));
        for _ in 0..1_000 {
            gatherer.push(Stream::Out, b"tick", 300);
            gatherer.flush();
        }
        gatherer.push(Stream::Out, b"tick", 300);
        assert_eq!(gatherer.due_ms(), Some(10_300), "whoever goes on and on is told less often");
    }

    #[test]
    fn the_largest_reply_fits_and_what_is_over_the_limit_is_cut() {
        for byte in [b'"', b'\n', b'\\', 0x1b, 0xff] {
            let mut gatherer = Gatherer::default();
            let replies = gatherer.push(Stream::Out, &vec![byte; PIECE_LIMIT_BYTES], 0);
            replies.iter().for_each(|reply| drop(reply.to_body().expect("fits")));
        }
        let (mut gatherer, mut told) = (Gatherer::default(), 0);
        let mut pushed = 0;
        while pushed <= OUTPUT_LIMIT_BYTES + 100_000 {
            told += gatherer
                .push(Stream::Out, &[b'y'; 10_000], 0)
                .iter()
                .map(|r| text(std::slice::from_ref(r), Stream::Out).len())
                .sum::<usize>();
            pushed += 10_000;
            assert_eq!(gatherer.is_over(), pushed > OUTPUT_LIMIT_BYTES);
        }
        told += text(&gatherer.finish(), Stream::Out).len();
        assert_eq!(told as u64, OUTPUT_LIMIT_BYTES);
        assert!(gatherer.push(Stream::Out, b"more", 0).is_empty() && gatherer.finish().is_empty());
    }
}
