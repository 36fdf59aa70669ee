//! The program: what was drawn is known, who asks is answered.

use std::io::{BufRead, Write};

use dci_proto::message::Body;
use shoal_peerlet_program::{Answer, Message, serve};

use crate::core::{Boards, CodecError, Request};

/// The status of a message that does nothing on a board.
const STATUS_NOT_TAKEN: i32 = 2;

/// Why a message is not taken.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("nobody does it: the message names no user")]
    Nobody,
    #[error("the board is too large for a message; /api/v1/boards/NAME/svg has it")]
    TooLarge,
}

/// Takes messages until there are no more. Answers the exit status.
pub fn run(stdin: impl BufRead, stdout: impl Write) -> i32 {
    let mut boards = Boards::default();
    serve("whiteboard", stdin, stdout, |message| match take(&mut boards, message) {
        Ok(xml) => Answer::dealt_with(xml),
        Err(fault) => Answer::refused(STATUS_NOT_TAKEN, fault.to_string()),
    })
}

/// Takes one in; answers what was asked.
fn take(boards: &mut Boards, message: &Message) -> Result<Option<String>, Fault> {
    let body = Body::of_xml(message.xml.clone()).map_err(CodecError::from)?;
    if let Some(request) = Request::of_body(&body)? {
        let answer = (!message.past).then(|| request.answer(boards).ok_or(Fault::TooLarge));
        return answer.transpose();
    }
    let user = message.user.as_ref().ok_or(Fault::Nobody)?;
    boards.take((message.agent, message.id), user, message.sent_ms, &body)?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use dci_proto::{AgentId, MessageId};
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
