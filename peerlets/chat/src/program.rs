//! The program: a message a line in, an answer a line out, until its input ends.

use std::io::{self, BufRead, Read as _, Write};

use dci_proto::message::{Body, UserName, parse_time};
use dci_proto::{AgentId, MessageId};
use serde::{Deserialize, Serialize};

use crate::core::{Change, CodecError, Heard, Request, Rooms};

/// Bytes of a line, at most: a message of 1 MiB, twice, all of it written as escapes.
const LINE_LIMIT_BYTES: u64 = 16 * 1024 * 1024;
/// The status of a message that says nothing of chat.
const STATUS_NOT_CHAT: i32 = 2;

/// A message as the host writes it; what it has besides does not matter here.
#[derive(Deserialize)]
struct Line {
    id: MessageId,
    sent: String,
    expires: String,
    from: From,
    xml: String,
}

#[derive(Deserialize)]
struct From {
    agent: AgentId,
    user: Option<UserName>,
}

/// What is printed of one.
#[derive(Serialize)]
struct Answer {
    in_reply_to: MessageId,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    xml: Option<String>,
    status: i32,
}

/// Why a message is not taken.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("nobody says it: the message names no user")]
    Nobody,
    #[error("its times are none")]
    Times,
}

/// Takes messages until there are no more. Answers the exit status.
pub fn run(mut stdin: impl BufRead, mut stdout: impl Write) -> i32 {
    match take_all(&mut stdin, &mut stdout) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("chat: {error}");
            1
        }
    }
}

fn take_all(stdin: &mut impl BufRead, stdout: &mut impl Write) -> io::Result<()> {
    let mut rooms = Rooms::default();
    loop {
        let mut line = Vec::new();
        if stdin.by_ref().take(LINE_LIMIT_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let line: Line = serde_json::from_slice(&line)?;
        let answer = match take(&mut rooms, &line) {
            Ok(xml) => Answer { in_reply_to: line.id, text: None, xml, status: 0 },
            Err(fault) => {
                Answer { in_reply_to: line.id, text: Some(fault.to_string()), xml: None, status: STATUS_NOT_CHAT }
            }
        };
        serde_json::to_writer(&mut *stdout, &answer)?;
        stdout.write_all(b"\n")?;
        stdout.flush()?;
    }
}

/// Takes one in; answers what was asked.
fn take(rooms: &mut Rooms, line: &Line) -> Result<Option<String>, Fault> {
    let body = Body::of_xml(line.xml.clone()).map_err(CodecError::from)?;
    let time = |text: &str| parse_time(text).map_err(|_| Fault::Times);
    let (sent_ms, expires_ms) = (time(&line.sent)?, time(&line.expires)?);
    if let Some(request) = Request::of_body(&body)? {
        return Ok(Some(request.answer(rooms, sent_ms)));
    }
    let user = line.from.user.as_ref().ok_or(Fault::Nobody)?;
    let heard = Heard { agent: line.from.agent, user, id: line.id, sent_ms, expires_ms, body: &body };
    let _: Change = rooms.hear(&heard)?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn message(number: u8, user: Option<&str>, xml: &str) -> String {
        let line = json!({
            "id": MessageId([number; 16]), "type": "chat", "session": null, "in_reply_to": null,
            "sent": format!("2026-01-31T12:00:{number:02}.000Z"), "expires": "2026-01-31T12:10:00.000Z",
            "from": {"agent": AgentId([1; 32]), "user": user, "session": null}, "xml": xml,
        });
        format!("{line}\n")
    }

    fn answers(lines: &[String]) -> Vec<Value> {
        let mut out = Vec::new();
        assert_eq!(run(lines.concat().as_bytes(), &mut out), 0);
        let text = String::from_utf8(out).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    #[test]
    fn programs_hear_who_is_there_and_what_was_said_but_not_between_two() {
        let said = answers(&[
            message(1, Some("ana"), "<say xmlns='urn:shoal:chat:1' room='lab'>Tea &amp; more</say>"),
            message(2, Some("ana"), "<direct xmlns='urn:shoal:chat:1' to-user='bob'>psst</direct>"),
            message(3, Some("bob"), "<presence xmlns='urn:shoal:chat:1' state='away'><room>lab</room></presence>"),
            message(4, Some("bot"), "<who xmlns='urn:shoal:chat:1' room='lab'/>"),
            message(5, Some("bot"), "<history xmlns='urn:shoal:chat:1' room='lab' last='9'/>"),
            message(6, Some("bot"), "<rooms xmlns='urn:shoal:chat:1'/>"),
        ]);
        assert!(said.iter().all(|answer| answer["status"] == 0));
        assert!(said[..3].iter().all(|answer| answer.get("xml").is_none()));
        assert_eq!(
            said[3]["xml"],
            "<people xmlns=\"urn:shoal:chat:1\"><person user=\"bob\" state=\"away\"></person></people>"
        );
        let (history, rooms) = (said[4]["xml"].to_string(), said[5]["xml"].to_string());
        assert!(history.contains("Tea &amp; more") && history.contains("user=\\\"ana\\\""), "{history}");
        assert!(rooms.contains("name=\\\"lab\\\" entries=\\\"1\\\""), "{rooms}");
        assert!(!(history + &rooms).contains("psst"));
    }

    #[test]
    fn what_is_no_chat_is_answered_with_the_reason() {
        let said = answers(&[
            message(1, Some("ana"), "<shout xmlns='urn:shoal:chat:1'>a</shout>"),
            message(2, None, "hello"),
            message(3, Some("ana"), "hello"),
        ]);
        assert_eq!(
            said.iter().map(|answer| answer["status"].as_i64()).collect::<Vec<_>>(),
            [Some(2), Some(2), Some(0)]
        );
        assert!(said[0]["text"].as_str().is_some_and(|text| text.contains("another element")));
    }
}
