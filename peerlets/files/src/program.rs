//! The peerlet: looks at offers that came and says whether they are as they should be. It fetches nothing and writes
//! nothing; its agent does, when this program has said yes, and checks again for itself.

use std::io::{BufRead, BufReader, Read, Write};

use serde::{Deserialize, Serialize};

use crate::{Offer, Progress, ProgressState};

/// Bytes of a message as a line, at most: 1 MiB, each byte escaped.
const LINE_LIMIT_BYTES: u64 = 8 * 1024 * 1024;
/// The exit status of an offer that is not taken.
const REFUSED: i32 = 1;
/// The exit status of what is no offer.
const NO_OFFER: i32 = 2;

/// A message as the host hands it in.
#[derive(Deserialize)]
struct Message {
    id: String,
    xml: String,
}

/// An answer as the host takes it.
#[derive(Serialize)]
struct Reply {
    in_reply_to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    xml: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    status: i32,
}

/// Answers messages, one a line, until there are no more; returns the exit status.
pub fn run(stdin: impl Read, mut stdout: impl Write) -> i32 {
    let mut input = BufReader::new(stdin);
    loop {
        let mut line = Vec::new();
        match (&mut input).take(LINE_LIMIT_BYTES).read_until(b'\n', &mut line) {
            Ok(0) => return 0,
            Ok(_) => {}
            Err(_) => return 1,
        }
        let Ok(message) = serde_json::from_slice::<Message>(&line) else { return 1 };
        let Ok(mut reply) = serde_json::to_vec(&answer(message)) else { return 1 };
        reply.push(b'\n');
        if stdout.write_all(&reply).and_then(|()| stdout.flush()).is_err() {
            return 1;
        }
    }
}

fn answer(message: Message) -> Reply {
    let in_reply_to = message.id;
    match Offer::of_xml(&message.xml) {
        Ok(offer) => {
            let accepted =
                Progress { transfer: offer.transfer, state: ProgressState::Accepted, bytes: 0, why: String::new() };
            Reply { in_reply_to, xml: Some(accepted.to_xml()), text: None, status: 0 }
        }
        Err(error) => {
            let why = format!("the files are not taken: {error}");
            match transfer_of(&message.xml) {
                Some(transfer) => {
                    let failed = Progress { transfer, state: ProgressState::Failed, bytes: 0, why };
                    Reply { in_reply_to, xml: Some(failed.to_xml()), text: None, status: REFUSED }
                }
                None => Reply { in_reply_to, xml: None, text: Some(why), status: NO_OFFER },
            }
        }
    }
}

/// Which transfer something means that is no good offer.
fn transfer_of(xml: &str) -> Option<crate::TransferId> {
    let element = dci_proto::xml::parse(xml.as_bytes(), crate::ENTRIES_LIMIT).ok()?;
    let (_, value) = element.attributes.iter().find(|(name, _)| name == "transfer")?;
    value.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn offers_are_answered_one_a_line() {
        let hash = "0".repeat(64);
        let id = "00000000-0000-0000-0000-000000000007";
        let offer = |path: &str| {
            format!(
                "<offer xmlns='urn:shoal:files:1' transfer='{id}' files='1' size='5'><file path='{path}' size='5' hash='{hash}'/></offer>"
            )
        };
        let lines: Vec<String> = [offer("a"), offer("../a"), "hello".to_owned()]
            .iter()
            .enumerate()
            .map(|(number, xml)| {
                serde_json::json!({ "id": number.to_string(), "xml": xml, "type": "files" }).to_string()
            })
            .collect();
        let mut out = Vec::new();
        assert_eq!(run((lines.join("\n") + "\n").as_bytes(), &mut out), 0);
        let replies: Vec<Value> = String::from_utf8(out)
            .expect("text")
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let statuses: Vec<_> = replies.iter().map(|reply| reply["status"].as_i64()).collect();
        assert_eq!(statuses, [Some(0), Some(1), Some(2)]);
        let refused = Progress::of_xml(replies[1]["xml"].as_str().expect("XML")).expect("progress");
        assert_eq!((refused.state, refused.transfer.to_string().as_str()), (ProgressState::Failed, id));
        assert!(refused.why.contains("has . or .. in it"), "{}", refused.why);
        assert_eq!(replies[2]["in_reply_to"], "2");
        assert_eq!(run(&b"no JSON\n"[..], Vec::new()), 1);
    }
}
