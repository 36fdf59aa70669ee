//! The loop: a message a line in, an answer a line out, until the input ends.

use std::io::{self, BufRead, Read as _, Write};

use dci_proto::message::{UserName, parse_time};
use dci_proto::{AgentId, MessageId};
use serde::{Deserialize, Serialize};

/// Bytes of a line, at most: a message of 1 MiB, twice, all of it written as escapes.
const LINE_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// A message, as far as programs of ours want to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// The agent it was sent at.
    pub agent: AgentId,
    /// On behalf of whom.
    pub user: Option<UserName>,
    /// When it was sent, in ms since 1970.
    pub sent_ms: u64,
    /// When it is void, in ms since 1970.
    pub expires_ms: u64,
    /// Its body, as XML.
    pub xml: String,
    /// It came before this program was started, and waits for no answer.
    pub past: bool,
}

/// What is said of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// A reply of plain text.
    pub text: Option<String>,
    /// A reply of XML; instead of a text.
    pub xml: Option<String>,
    /// What became of the message; 0 is success.
    pub status: i32,
}

impl Answer {
    /// It is dealt with; there is nothing to say, or this.
    #[must_use]
    pub fn dealt_with(xml: Option<String>) -> Self {
        Self { xml, ..Self::default() }
    }

    /// It is not taken.
    #[must_use]
    pub fn refused(status: i32, why: impl Into<String>) -> Self {
        Self { text: Some(why.into()), xml: None, status }
    }
}

/// A message as the host writes it; what it has besides does not matter here.
#[derive(Deserialize)]
struct Line {
    id: MessageId,
    sent: String,
    expires: String,
    from: From,
    xml: String,
    #[serde(default)]
    past: bool,
}

#[derive(Deserialize)]
struct From {
    agent: AgentId,
    user: Option<UserName>,
}

#[derive(Serialize)]
struct Reply {
    in_reply_to: MessageId,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    xml: Option<String>,
    status: i32,
}

/// Takes messages until there are no more. Answers the exit status; `name` stands before what is said on standard error.
pub fn serve(name: &str, stdin: impl BufRead, stdout: impl Write, take: impl FnMut(&Message) -> Answer) -> i32 {
    match take_all(stdin, stdout, take) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{name}: {error}");
            1
        }
    }
}

fn take_all(
    mut stdin: impl BufRead,
    mut stdout: impl Write,
    mut take: impl FnMut(&Message) -> Answer,
) -> io::Result<()> {
    loop {
        let mut line = Vec::new();
        if stdin.by_ref().take(LINE_LIMIT_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let message = read(&line)?;
        let Answer { text, xml, status } = take(&message);
        if message.past {
            continue;
        }
        serde_json::to_writer(&mut stdout, &Reply { in_reply_to: message.id, text, xml, status })?;
        stdout.write_all(b"\n")?;
        stdout.flush()?;
    }
}

fn read(line: &[u8]) -> io::Result<Message> {
    let Line { id, sent, expires, from, xml, past } = serde_json::from_slice(line)?;
    let time = |text: &str| parse_time(text).map_err(io::Error::other);
    let (sent_ms, expires_ms) = (time(&sent)?, time(&expires)?);
    Ok(Message { id, agent: from.agent, user: from.user, sent_ms, expires_ms, xml, past })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn line(number: u8, xml: &str) -> Value {
        json!({
            "id": MessageId([number; 16]), "type": "x", "session": null, "in_reply_to": null,
            "sent": "2026-01-31T12:00:00.000Z", "expires": "2026-01-31T12:10:00.000Z",
            "from": {"agent": AgentId([1; 32]), "user": "ana", "session": null}, "xml": xml,
        })
    }

    fn echo(message: &Message) -> Answer {
        match message.xml.as_str() {
            "bad" => Answer::refused(2, "no"),
            xml => Answer::dealt_with(Some(xml.to_owned())),
        }
    }

    #[test]
    fn each_message_is_answered_but_those_of_the_past() {
        let mut past = line(1, "before");
        past["past"] = true.into();
        let lines = [past, line(2, "now"), line(3, "bad")].map(|line| format!("{line}\n")).concat();
        let mut seen = Vec::new();
        let mut out = Vec::new();
        let take = |message: &Message| {
            seen.push((message.xml.clone(), message.past, message.sent_ms));
            echo(message)
        };
        assert_eq!(serve("x", lines.as_bytes(), &mut out, take), 0);
        let sent_ms = 1_769_860_800_000;
        assert_eq!(
            seen,
            [("before".into(), true, sent_ms), ("now".into(), false, sent_ms), ("bad".into(), false, sent_ms)]
        );
        let answers: Vec<Value> = String::from_utf8(out)
            .expect("UTF-8")
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(
            answers,
            [
                json!({ "in_reply_to": MessageId([2; 16]), "xml": "now", "status": 0 }),
                json!({ "in_reply_to": MessageId([3; 16]), "text": "no", "status": 2 }),
            ]
        );
    }

    #[test]
    fn what_no_host_writes_ends_the_program() {
        let mut timeless = line(1, "a");
        timeless["sent"] = "yesterday".into();
        for bad in ["no JSON\n".to_owned(), "{}\n".to_owned(), format!("{timeless}\n")] {
            assert_eq!(serve("x", bad.as_bytes(), Vec::new(), echo), 1, "{bad}");
        }
    }
}
