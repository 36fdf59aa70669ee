//! The program: what was said is known, who asks is answered.

use std::io::{BufRead, Write};

use dci_proto::message::Body;
use shoal_peerlet_program::{Answer, Message, serve};

use crate::core::{Change, CodecError, Heard, Request, Rooms};

/// The status of a message that says nothing of chat.
const STATUS_NOT_CHAT: i32 = 2;

/// Why a message is not taken.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("nobody says it: the message names no user")]
    Nobody,
}

/// Takes messages until there are no more. Answers the exit status.
pub fn run(stdin: impl BufRead, stdout: impl Write) -> i32 {
    let mut rooms = Rooms::default();
    serve("chat", stdin, stdout, |message| match take(&mut rooms, message) {
        Ok(xml) => Answer::dealt_with(xml),
        Err(fault) => Answer::refused(STATUS_NOT_CHAT, fault.to_string()),
    })
}

/// Takes one in; answers what was asked.
fn take(rooms: &mut Rooms, message: &Message) -> Result<Option<String>, Fault> {
    let body = Body::of_xml(message.xml.clone()).map_err(CodecError::from)?;
    let Message { agent, id, sent_ms, expires_ms, .. } = *message;
    if let Some(request) = Request::of_body(&body)? {
        return Ok((!message.past).then(|| request.answer(rooms, sent_ms)));
    }
    let user = message.user.as_ref().ok_or(Fault::Nobody)?;
    let _: Change = rooms.hear(&Heard { agent, user, id, sent_ms, expires_ms, body: &body })?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use dci_proto::{AgentId, MessageId};
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
