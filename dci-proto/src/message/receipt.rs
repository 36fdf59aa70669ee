//! What becomes of a message, told to its sender: a message of type [`RECEIPT_TYPE`] whose body is one of these.

use serde::{Deserialize, Serialize};

use super::{Body, MessageError};
use crate::{AgentId, MessageId, xml};

/// The type of the messages that carry receipts.
pub const RECEIPT_TYPE: &str = "shoal.receipt";
/// The namespace of a receipt's element.
pub const RECEIPT_NAMESPACE: &str = "urn:shoal:receipt:1";
/// Characters of a reason, at most; the rest is cut off.
const REASON_LIMIT_CHARS: usize = 500;

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
    /// The body of the message that carries it.
    ///
    /// # Errors
    /// None that a receipt can cause.
    pub fn to_body(&self) -> Result<Body, MessageError> {
        let (state, exit_status, hop, reason) = match &self.state {
            ReceiptState::Delivered => ("delivered", None, None, None),
            ReceiptState::Handled { exit_status } => ("handled", Some(exit_status.to_string()), None, None),
            ReceiptState::Refused { reason } => ("refused", None, None, Some(reason)),
            ReceiptState::Expired { hop, reason } => ("expired", None, Some(hop.to_string()), Some(reason)),
        };
        let mut body = format!("<receipt xmlns=\"{RECEIPT_NAMESPACE}\" of=\"{}\" state=\"{state}\"", self.of);
        for (name, value) in [("exit-status", exit_status), ("hop", hop)] {
            if let Some(value) = value {
                body.push_str(&format!(" {name}=\"{value}\""));
            }
        }
        body.push('>');
        let cut: String = reason.into_iter().flat_map(|reason| reason.chars()).take(REASON_LIMIT_CHARS).collect();
        xml::escape(&mut body, &cut);
        body.push_str("</receipt>");
        Body::of_xml(body)
    }

    /// Reads one.
    ///
    /// # Errors
    /// If the body is none.
    pub fn of_body(body: &Body) -> Result<Self, MessageError> {
        let none = || MessageError::Schema("the body is no receipt".into());
        let elements = body.elements();
        let [element] = elements.as_slice() else { return Err(none()) };
        if element.namespace != RECEIPT_NAMESPACE || element.name != "receipt" || !element.children.is_empty() {
            return Err(none());
        }
        let attribute = |wanted: &str| {
            element.attributes.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str()).ok_or_else(none)
        };
        let reason = || element.text.chars().take(REASON_LIMIT_CHARS).collect();
        let state = match attribute("state")? {
            "delivered" => ReceiptState::Delivered,
            "handled" => ReceiptState::Handled { exit_status: attribute("exit-status")?.parse().map_err(|_| none())? },
            "refused" => ReceiptState::Refused { reason: reason() },
            "expired" => {
                ReceiptState::Expired { hop: attribute("hop")?.parse().map_err(|_| none())?, reason: reason() }
            }
            _ => return Err(none()),
        };
        Ok(Self { of: attribute("of")?.parse().map_err(|_| none())?, state })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_receipt_is_read_as_it_was_written() {
        for state in [
            ReceiptState::Delivered,
            ReceiptState::Handled { exit_status: -9 },
            ReceiptState::Refused { reason: "no <right> & no \"luck\"".into() },
            ReceiptState::Expired { hop: AgentId([3; 32]), reason: String::new() },
        ] {
            let receipt = Receipt { of: MessageId([7; 16]), state };
            assert_eq!(Receipt::of_body(&receipt.to_body().expect("a body")), Ok(receipt));
        }
    }

    #[test]
    fn a_long_reason_is_cut_and_another_body_is_no_receipt() {
        let state = ReceiptState::Refused { reason: "é".repeat(10_000) };
        let body = Receipt { of: MessageId([7; 16]), state }.to_body().expect("a body");
        assert!(body.as_xml().len() < 2_000);
        for other in ["", "text", "<receipt/>", "<receipt xmlns='urn:shoal:receipt:1' of='x' state='delivered'/>"] {
            assert!(Receipt::of_body(&Body::of_xml(other.into()).expect("a body")).is_err(), "{other}");
        }
    }
}
