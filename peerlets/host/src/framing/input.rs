//! A message as a program reads it.

use dci_proto::message::{Envelope, MessageType, encode, format_time};
use dci_proto::{AgentId, MessageId, SessionId};
use serde::Serialize;

use crate::manifest::{Input, Mode};

/// A message as one line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    id: MessageId,
    #[serde(rename = "type")]
    kind: &'a MessageType,
    session: Option<SessionId>,
    sent: String,
    expires: String,
    from: From<'a>,
    in_reply_to: Option<MessageId>,
    /// Missing where the body has elements.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    xml: &'a str,
    /// It was sent before the program was started, and nobody waits for an answer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    past: bool,
}

#[derive(Serialize)]
struct From<'a> {
    agent: AgentId,
    user: Option<&'a str>,
    session: Option<SessionId>,
}

/// What is written to the program's standard input for a message.
///
/// # Errors
/// Why the peerlet cannot be given this message, for its sender.
pub fn frame(input: Input, mode: Mode, envelope: &Envelope) -> Result<Vec<u8>, String> {
    let message = &envelope.message;
    match input {
        Input::Text => {
            let mut text = message.body.for_programs();
            if mode == Mode::Oneshot {
                return Ok(text.into_bytes());
            }
            let line = text.strip_suffix('\n').unwrap_or(&text);
            if line.contains('\n') {
                return Err("this peerlet takes one line of text, and the message has several".to_owned());
            }
            text.truncate(line.len());
            text.push('\n');
            Ok(text.into_bytes())
        }
        Input::Json => json(envelope, false),
        Input::Xml => {
            let mut xml = encode(envelope).map_err(|error| error.to_string())?.into_bytes();
            xml.push(0);
            Ok(xml)
        }
    }
}

/// The line for a message that was sent before the program was started.
///
/// # Errors
/// Why it cannot be written.
pub fn frame_past(envelope: &Envelope) -> Result<Vec<u8>, String> {
    json(envelope, true)
}

fn json(envelope: &Envelope, past: bool) -> Result<Vec<u8>, String> {
    let message = &envelope.message;
    let line = Line {
        id: message.id,
        kind: &message.kind,
        session: message.session,
        sent: format_time(message.sent_ms),
        expires: format_time(message.expires_ms),
        from: From {
            agent: message.from.agent,
            user: message.from.user.as_ref().map(|user| user.as_str()),
            session: message.from.session,
        },
        in_reply_to: message.in_reply_to,
        text: Some(&message.body).filter(|body| body.elements().is_empty()).map(|body| body.text()),
        xml: message.body.as_xml(),
        past,
    };
    let mut bytes = serde_json::to_vec(&line).map_err(|error| format!("it cannot be written as JSON: {error}"))?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::envelope;

    #[test]
    fn text_is_all_of_a_oneshots_input_and_a_line_of_a_service() {
        let text = |mode, body: &str| frame(Input::Text, mode, &envelope("x", body, None));
        assert_eq!(text(Mode::Oneshot, "a\nb").expect("fits"), b"a\nb");
        assert_eq!(text(Mode::Service, "2+2").expect("fits"), b"2+2\n");
        assert_eq!(text(Mode::Session, "2+2\n").expect("fits"), b"2+2\n");
        assert!(text(Mode::Service, "a\nb").is_err());
    }

    #[test]
    fn json_is_one_line_whatever_the_text_is() {
        let session = Some(SessionId([7; 16]));
        let bytes = frame(Input::Json, Mode::Service, &envelope("x", "a\n\"b\"\u{2028}<", session)).expect("fits");
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        let value: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(value["text"], "a\n\"b\"\u{2028}<");
        assert_eq!((value["type"].as_str(), value["from"]["user"].as_str()), (Some("x"), Some("ana")));
        assert_eq!(value["session"], SessionId([7; 16]).to_string());
        assert_eq!(value.get("past"), None);
        let past: serde_json::Value =
            serde_json::from_slice(&frame_past(&envelope("x", "a", session)).expect("fits")).expect("JSON");
        assert_eq!((past["text"].as_str(), past["past"].as_bool()), (Some("a"), Some(true)));
    }

    #[test]
    fn xml_is_the_whole_message_and_a_nul() {
        let sent = envelope("x", "a < b", None);
        let bytes = frame(Input::Xml, Mode::Oneshot, &sent).expect("fits");
        let (nul, xml) = bytes.split_last().expect("not empty");
        assert_eq!(*nul, 0);
        assert_eq!(dci_proto::message::decode(xml).expect("a message"), sent);
    }
}
