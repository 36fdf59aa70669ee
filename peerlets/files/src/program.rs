//! The peerlet: looks at offers that came and says whether they are as they should be. It fetches nothing and writes
//! nothing; its agent does, when this program has said yes, and checks again for itself.

use std::io::{BufReader, Read, Write};

use shoal_peerlet_program::{Answer, Message, serve};

use crate::{Offer, Progress, ProgressState};

/// The exit status of an offer that is not taken.
const REFUSED: i32 = 1;
/// The exit status of what is no offer.
const NO_OFFER: i32 = 2;

/// Answers messages, one a line, until there are no more; returns the exit status.
pub fn run(stdin: impl Read, stdout: impl Write) -> i32 {
    serve("files", BufReader::new(stdin), stdout, answer)
}

fn answer(message: &Message) -> Answer {
    match Offer::of_xml(&message.xml) {
        Ok(offer) => {
            let accepted =
                Progress { transfer: offer.transfer, state: ProgressState::Accepted, bytes: 0, why: String::new() };
            Answer::dealt_with(Some(accepted.to_xml()))
        }
        Err(error) => {
            let why = format!("the files are not taken: {error}");
            match transfer_of(&message.xml) {
                Some(transfer) => {
                    let failed = Progress { transfer, state: ProgressState::Failed, bytes: 0, why };
                    Answer { xml: Some(failed.to_xml()), text: None, status: REFUSED }
                }
                None => Answer::refused(NO_OFFER, why),
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
        let id_of = |number: usize| dci_proto::MessageId([u8::try_from(number).expect("few"); 16]);
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
                serde_json::json!({
                    "id": id_of(number), "xml": xml, "type": "files", "from": { "agent": dci_proto::AgentId([1; 32]) },
                    "sent": "2026-01-31T12:00:00.000Z", "expires": "2026-01-31T12:10:00.000Z",
                })
                .to_string()
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
        assert_eq!(replies[2]["in_reply_to"], id_of(2).to_string());
        assert_eq!(run(&b"no JSON\n"[..], Vec::new()), 1);
    }
}
