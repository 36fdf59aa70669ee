//! The program: a message a line in, an answer a line out, until its input ends.

use std::io::{self, BufRead, Read as _, Write};

use dci_proto::message::{Body, UserName, parse_time};
use dci_proto::{AgentId, MessageId};
use serde::{Deserialize, Serialize};

use crate::core::{Boards, CodecError, Request};

/// Bytes of a line, at most: a message of 1 MiB, twice, all of it written as escapes.
const LINE_LIMIT_BYTES: u64 = 16 * 1024 * 1024;
/// The status of a message that does nothing on a board.
const STATUS_NOT_TAKEN: i32 = 2;

/// A message as the host writes it; what it has besides does not matter here.
#[derive(Deserialize)]
struct Line {
    id: MessageId,
    sent: String,
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
    #[error("nobody does it: the message names no user")]
    Nobody,
    #[error("its time is none")]
    Time,
    #[error("the board is too large for a message; /api/v1/boards/NAME/svg has it")]
    TooLarge,
}

/// Takes messages until there are no more. Answers the exit status.
pub fn run(mut stdin: impl BufRead, mut stdout: impl Write) -> i32 {
    match take_all(&mut stdin, &mut stdout) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("whiteboard: {error}");
            1
        }
    }
}

fn take_all(stdin: &mut impl BufRead, stdout: &mut impl Write) -> io::Result<()> {
    let mut boards = Boards::default();
    loop {
        let mut line = Vec::new();
        if stdin.by_ref().take(LINE_LIMIT_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let line: Line = serde_json::from_slice(&line)?;
        let answer = match take(&mut boards, &line) {
            Ok(xml) => Answer { in_reply_to: line.id, text: None, xml, status: 0 },
            Err(fault) => {
                Answer { in_reply_to: line.id, text: Some(fault.to_string()), xml: None, status: STATUS_NOT_TAKEN }
            }
        };
        serde_json::to_writer(&mut *stdout, &answer)?;
        stdout.write_all(b"\n")?;
        stdout.flush()?;
    }
}

/// Takes one in; answers what was asked.
fn take(boards: &mut Boards, line: &Line) -> Result<Option<String>, Fault> {
    let body = Body::of_xml(line.xml.clone()).map_err(CodecError::from)?;
    if let Some(request) = Request::of_body(&body)? {
        return request.answer(boards).map(Some).ok_or(Fault::TooLarge);
    }
    let sent_ms = parse_time(&line.sent).map_err(|_| Fault::Time)?;
    let user = line.from.user.as_ref().ok_or(Fault::Nobody)?;
    boards.take((line.from.agent, line.id), user, sent_ms, &body)?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn message(number: u8, xml: &str) -> String {
        let head = "xmlns='urn:shoal:whiteboard:1' board='plan' line='01234567-89ab-4cde-8f01-23456789abcd'";
        let line = json!({
            "id": MessageId([number; 16]), "type": "whiteboard", "session": null, "in_reply_to": null,
            "sent": format!("2026-01-31T12:00:{number:02}.000Z"), "expires": "2026-01-31T12:10:00.000Z",
            "from": {"agent": AgentId([1; 32]), "user": "ana", "session": null}, "xml": xml.replace("HEAD", head),
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
    fn programs_get_a_board_as_a_picture() {
        let said = answers(&[
            message(1, "<stroke HEAD colour='#ff0000' width='4' points='1,2 3,4'/>"),
            message(2, "<export xmlns='urn:shoal:whiteboard:1' board='plan'/>"),
            message(3, "<boards xmlns='urn:shoal:whiteboard:1'/>"),
            message(4, "<undo HEAD/>"),
            message(5, "<export xmlns='urn:shoal:whiteboard:1' board='plan'/>"),
        ]);
        assert!(said.iter().all(|answer| answer["status"] == 0));
        let xml = |at: usize| said[at]["xml"].as_str().unwrap_or_default();
        assert!(xml(1).contains("points=\"1,2 3,4\"") && !xml(4).contains("points"));
        assert!(xml(2).contains("<board name=\"plan\" strokes=\"1\" last=\"2026-01-31T12:00:01.000Z\"/>"));
        Body::of_xml(xml(1).to_owned()).expect("fits into a message");
    }

    #[test]
    fn what_does_nothing_on_a_board_is_answered_with_the_reason() {
        let said = answers(&[message(1, "hello"), message(2, "<stroke HEAD/>"), message(3, "<clear HEAD/>")]);
        assert_eq!(
            said.iter().map(|answer| answer["status"].as_i64()).collect::<Vec<_>>(),
            [Some(2), Some(2), Some(0)]
        );
    }
}
