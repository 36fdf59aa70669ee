//! What becomes of messages, told to their sender: a message of type [`RECEIPT_TYPE`] whose body is some of these, one for each
//! message.

use serde::{Deserialize, Serialize};

use super::{Body, MessageError};
use crate::{AgentId, MessageId, xml};

/// The type of the messages that carry receipts.
pub const RECEIPT_TYPE: &str = "shoal.receipt";
/// The namespace of a receipt's element.
pub const RECEIPT_NAMESPACE: &str = "urn:shoal:receipt:1";
/// Characters of a reason, at most; the rest is cut off.
const REASON_LIMIT_CHARS: usize = 500;
/// Receipts of one message, at most: they fit into it with the longest reasons.
pub const RECEIPTS_LIMIT: usize = 256;

/// What became of a message at one recipient, or on the way to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReceiptState {
    /// It is on the recipient's disk and waits for its peerlet.
    Delivered,
    /// The peerlet has dealt with it and ended, or said so, with this exit status.
    Handled {
        /// 0 for success, as programs have it.
        exit_status: i32,
    },
    /// It was not taken.
    Refused {
        /// Why, for people.
        reason: String,
    },
    /// It could go no further: its hops were used up, or its time.
    Expired {
        /// Who dropped it.
        hop: AgentId,
        /// Why, for people.
        reason: String,
    },
    /// As [`Self::Handled`], with what the peerlet said of its failure.
    Failed {
        /// Not 0.
        exit_status: i32,
        /// The end of what it printed on standard error.
        said: String,
    },
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Which message.
    pub of: MessageId,
    /// What became of it.
    pub state: ReceiptState,
}

impl Receipt {
    /// The body of the message that carries them; of more than [`RECEIPTS_LIMIT`] the first.
    ///
    /// # Errors
    /// None that receipts can cause.
    pub fn to_body(receipts: &[Self]) -> Result<Body, MessageError> {
        let mut body = String::with_capacity(128 * receipts.len().min(RECEIPTS_LIMIT));
        for receipt in receipts.iter().take(RECEIPTS_LIMIT) {
            receipt.write(&mut body);
        }
        Body::of_written(body)
    }

    /// Appends its element.
    fn write(&self, body: &mut String) {
        let (state, exit_status, hop, reason) = match &self.state {
            ReceiptState::Delivered => ("delivered", None, None, None),
            ReceiptState::Handled { exit_status } => ("handled", Some(exit_status.to_string()), None, None),
            ReceiptState::Failed { exit_status, said } => ("handled", Some(exit_status.to_string()), None, Some(said)),
            ReceiptState::Refused { reason } => ("refused", None, None, Some(reason)),
            ReceiptState::Expired { hop, reason } => ("expired", None, Some(hop.to_string()), Some(reason)),
        };
        body.push_str(&format!("<receipt xmlns=\"{RECEIPT_NAMESPACE}\" of=\"{}\" state=\"{state}\"", self.of));
        for (name, value) in [("exit-status", exit_status), ("hop", hop)] {
            if let Some(value) = value {
                body.push_str(&format!(" {name}=\"{value}\""));
            }
        }
        body.push('>');
        let cut: String = reason.into_iter().flat_map(|reason| reason.chars()).take(REASON_LIMIT_CHARS).collect();
        xml::escape(body, &cut);
        body.push_str("</receipt>");
    }

    /// Reads all of a body, in their order; at least one.
    ///
    /// # Errors
    /// If one of them is none, or there are too many.
    pub fn of_body(body: &Body) -> Result<Vec<Self>, MessageError> {
        let elements = body.elements();
        if elements.is_empty() || elements.len() > RECEIPTS_LIMIT {
            return Err(none());
        }
        elements.iter().map(Self::of_element).collect()
    }

    fn of_element(element: &xml::Element) -> Result<Self, MessageError> {
        if element.namespace != RECEIPT_NAMESPACE || element.name != "receipt" || !element.children.is_empty() {
            return Err(none());
        }
        let attribute = |wanted: &str| {
            element.attributes.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str()).ok_or_else(none)
        };
        let reason = || element.text.chars().take(REASON_LIMIT_CHARS).collect::<String>();
        let state = match attribute("state")? {
            "delivered" => ReceiptState::Delivered,
            "handled" => {
                let exit_status = attribute("exit-status")?.parse().map_err(|_| none())?;
                match reason() {
                    said if said.is_empty() || exit_status == 0 => ReceiptState::Handled { exit_status },
                    said => ReceiptState::Failed { exit_status, said },
                }
            }
            "refused" => ReceiptState::Refused { reason: reason() },
            "expired" => {
                ReceiptState::Expired { hop: attribute("hop")?.parse().map_err(|_| none())?, reason: reason() }
            }
            _ => return Err(none()),
        };
        Ok(Self { of: attribute("of")?.parse().map_err(|_| none())?, state })
    }
}

fn none() -> MessageError {
    MessageError::Schema("the body is no receipt".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Receipt> {
        let states = [
            ReceiptState::Delivered,
            ReceiptState::Handled { exit_status: -9 },
            ReceiptState::Refused { reason: "no <right> & no \"luck\"".into() },
            ReceiptState::Expired { hop: AgentId([3; 32]), reason: String::new() },
            ReceiptState::Failed { exit_status: 3, said: "no such table: <t>\nsorry".into() },
        ];
        states.into_iter().zip(7..).map(|(state, of)| Receipt { of: MessageId([of; 16]), state }).collect()
    }

    #[test]
    fn receipts_are_read_as_they_were_written_alone_and_together() {
        for receipt in all() {
            let body = Receipt::to_body(std::slice::from_ref(&receipt)).expect("a body");
            assert_eq!(Receipt::of_body(&body), Ok(vec![receipt]));
        }
        assert_eq!(Receipt::of_body(&Receipt::to_body(&all()).expect("a body")), Ok(all()));
    }

    #[test]
    fn a_long_reason_is_cut_and_as_many_as_there_may_be_fit() {
        let state = ReceiptState::Refused { reason: "\"".repeat(10_000) };
        let receipt = Receipt { of: MessageId([7; 16]), state };
        let one = Receipt::to_body(std::slice::from_ref(&receipt)).expect("a body");
        assert!(one.as_xml().len() < 3_500);
        let body = Receipt::to_body(&vec![receipt; RECEIPTS_LIMIT + 1]).expect("a body");
        assert!(body.as_xml().len() < super::super::MESSAGE_LIMIT_BYTES - 4_096);
        assert_eq!(Receipt::of_body(&body).map(|receipts| receipts.len()), Ok(RECEIPTS_LIMIT));
        let more = format!("{}{}", body.as_xml(), one.as_xml());
        assert!(Receipt::of_body(&Body::of_xml(more).expect("a body")).is_err(), "one too many");
    }

    #[test]
    fn another_body_is_no_receipt() {
        let good = Receipt::to_body(&all()).expect("a body");
        for other in [
            "",
            "text",
            "<receipt/>",
            "<receipt xmlns='urn:shoal:receipt:1' of='x' state='delivered'/>",
            &format!("{}<receipt/>", good.as_xml()),
        ] {
            assert!(Receipt::of_body(&Body::of_xml(other.into()).expect("a body")).is_err(), "{other}");
        }
    }
}
