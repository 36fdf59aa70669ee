//! What a program prints, as lines and replies.

use dci_proto::MessageId;
use dci_proto::message::Body;
use serde::Deserialize;

use crate::core::ReplyLine;

/// A line has no end within its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the program printed a line of more than {0} bytes")]
pub struct TooMuch(pub usize);

/// Cuts bytes as they come into lines. Holds one line at most.
#[derive(Debug)]
pub struct LineCutter {
    begun: Vec<u8>,
    limit_bytes: usize,
}

impl LineCutter {
    /// For lines of so many bytes, at most.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        Self { begun: Vec::new(), limit_bytes }
    }

    /// Takes bytes; answers the lines that are whole now, without their ends.
    ///
    /// # Errors
    /// If a line is over the limit. What follows is then of no use.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<String>, TooMuch> {
        let mut lines = Vec::new();
        while let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
            let (end, after) = bytes.split_at(at);
            self.begin(end)?;
            lines.extend(self.finish());
            bytes = after.get(1..).unwrap_or_default();
        }
        self.begin(bytes)?;
        Ok(lines)
    }

    /// The last line, where it had no end.
    pub fn rest(&mut self) -> Option<String> {
        if self.begun.is_empty() { None } else { self.finish() }
    }

    fn begin(&mut self, bytes: &[u8]) -> Result<(), TooMuch> {
        if self.begun.len() + bytes.len() > self.limit_bytes {
            return Err(TooMuch(self.limit_bytes));
        }
        self.begun.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.begun);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        Some(String::from_utf8_lossy(line).into_owned())
    }
}

/// A reply as a line of JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    in_reply_to: Option<MessageId>,
    text: Option<String>,
    xml: Option<String>,
    #[serde(default)]
    more: bool,
    #[serde(default)]
    status: i32,
    #[serde(rename = "to")]
    _to: Option<To>,
}

/// Whom a reply is for: who sent the message it answers.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum To {
    Sender,
}

/// Reads a reply of a program whose output is JSON.
///
/// # Errors
/// What is wrong with it.
pub fn parse_reply(line: &str) -> Result<ReplyLine, String> {
    let line: Line = serde_json::from_str(line).map_err(|error| format!("the program printed no reply: {error}"))?;
    let body = match (line.text, line.xml) {
        (None, None) => None,
        (Some(text), None) => Some(Body::of_text(&text)),
        (None, Some(xml)) => Some(Body::of_xml(xml)),
        (Some(_), Some(_)) => return Err("the program printed a reply with both text and xml".to_owned()),
    };
    let body = body.transpose().map_err(|error| format!("the program printed a reply that cannot be sent: {error}"))?;
    Ok(ReplyLine { about: line.in_reply_to, body, more: line.more, status: line.status })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_wherever_the_bytes_were() {
        let text = b"one\r\ntwo\n\nfour";
        for step in 1..text.len() {
            let mut cutter = LineCutter::new(5);
            let mut lines = Vec::new();
            for part in text.chunks(step) {
                lines.extend(cutter.push(part).expect("within the limit"));
            }
            assert_eq!(lines, ["one", "two", ""]);
            assert_eq!(cutter.rest().as_deref(), Some("four"));
            assert_eq!(cutter.rest(), None);
        }
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut cutter = LineCutter::new(8);
        assert!(cutter.push(b"12345678").is_ok());
        assert_eq!(cutter.push(b"9"), Err(TooMuch(8)));
    }

    #[test]
    fn replies_say_what_they_answer_and_nothing_else() {
        let id = MessageId([3; 16]);
        let line = format!("{{\"in_reply_to\":\"{id}\",\"text\":\"a<b\",\"more\":true,\"to\":\"sender\"}}");
        let reply = parse_reply(&line).expect("a reply");
        assert_eq!((reply.about, reply.more, reply.status), (Some(id), true, 0));
        assert_eq!(reply.body.expect("a body").text(), "a<b");
        let done = parse_reply("{\"status\":3}").expect("a reply");
        assert_eq!((done.body, done.status), (None, 3));
        for bad in [
            "",
            "hello",
            "[]",
            "{\"text\":1}",
            "{\"text\":\"a\",\"xml\":\"b\"}",
            "{\"xml\":\"<a>\"}",
            "{\"text\":\"a\",\"session\":\"x\"}",
            "{\"text\":\"a\",\"to\":\"everyone\"}",
            "{\"in_reply_to\":\"x\"}",
        ] {
            assert!(parse_reply(bad).is_err(), "{bad}");
        }
    }
}
