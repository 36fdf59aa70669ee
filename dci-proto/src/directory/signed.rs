//! An offer as its agent signed it, and which of two is newer.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::offer::{DIRECTORY_TYPE, Offer};
use crate::message::{Envelope, LIFE_LIMIT_MS, Message, MessageError, Recipient, Sender, signed_bytes};
use crate::{AgentId, MessageId};

/// What an envelope has around its body in memory and on the wire, at most.
const AROUND_BYTES: usize = 512;

/// Which of an agent's offers: of two the greater is the newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Stamp {
    /// Grows with each offer of an agent: `sent` of the message. Compared with nothing but others of that agent.
    pub sequence: u64,
    /// Of what was signed: all agents choose the same one of two with the same sequence.
    pub hash: [u8; 8],
}

/// An agent's offer as it signed it. Clones share it.
///
/// One that exists is as it must be; whether the signature is right, and whether its agent is a member, is for the caller
/// to check before a [`super::Directory`] sees it. That it has expired as a message means nothing: an offer is valid until
/// there is a newer one or its agent is a member no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedOffer {
    envelope: Arc<Envelope>,
    stamp: Stamp,
}

impl SignedOffer {
    /// Checks all but the signature.
    ///
    /// # Errors
    /// If the message carries no offer.
    pub fn of(envelope: Arc<Envelope>) -> Result<Self, MessageError> {
        let message = &envelope.message;
        let Message { session, from, to, in_reply_to, replay_of, .. } = message;
        let plain = session.is_none() && from.user.is_none() && from.session.is_none();
        let plain = plain && in_reply_to.is_none() && replay_of.is_none() && *to == Recipient::All;
        if message.kind.as_str() != DIRECTORY_TYPE || !plain {
            return Err(MessageError::Schema(format!("an offer is a message of an agent to all, of {DIRECTORY_TYPE}")));
        }
        message.check()?;
        Offer::of_body(&message.body)?;
        let mut hash = [0; 8];
        hash.copy_from_slice(&blake3::hash(&signed_bytes(message)).as_bytes()[..8]);
        let stamp = Stamp { sequence: message.sent_ms, hash };
        Ok(Self { envelope, stamp })
    }

    /// Whose it is.
    #[must_use]
    pub fn agent(&self) -> AgentId {
        self.envelope.message.from.agent
    }

    /// Which of its offers.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// As it was signed.
    #[must_use]
    pub fn envelope(&self) -> &Arc<Envelope> {
        &self.envelope
    }

    /// What it says. Read anew each time: most offers are only passed on.
    #[must_use]
    pub fn offer(&self) -> Offer {
        Offer::of_body(&self.envelope.message.body).unwrap_or_default()
    }

    /// Its bytes in memory and on the wire, roughly, at most.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.envelope.message.body.as_xml().len() + AROUND_BYTES
    }
}

/// The message an agent signs to offer something.
///
/// # Errors
/// If the offer cannot be written ([`Offer::to_body`]), or no message can have that sequence as its time.
pub fn offer_message(id: MessageId, agent: AgentId, sequence: u64, offer: &Offer) -> Result<Message, MessageError> {
    let message = Message {
        id,
        kind: DIRECTORY_TYPE.parse().map_err(|_| MessageError::Schema("no type".into()))?,
        session: None,
        sent_ms: sequence,
        expires_ms: sequence.saturating_add(LIFE_LIMIT_MS),
        from: Sender { agent, user: None, session: None },
        to: Recipient::All,
        in_reply_to: None,
        replay_of: None,
        body: offer.to_body()?,
    };
    message.check()?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Body;

    fn envelope(sequence: u64) -> Envelope {
        let offer = Offer::new("0.1.0", []);
        let message = offer_message(MessageId([1; 16]), AgentId([2; 32]), sequence, &offer).expect("a message");
        Envelope { message, ttl: 0, signature: [0; 64] }
    }

    #[test]
    fn only_an_agents_own_word_to_all_is_an_offer() {
        assert!(SignedOffer::of(Arc::new(envelope(5))).is_ok());
        let changes: [fn(&mut Message); 8] = [
            |message| message.kind = "shoal.receipt".parse().expect("a type"),
            |message| message.to = Recipient::Agent(AgentId([3; 32])),
            |message| message.from.user = Some("ana".parse().expect("a name")),
            |message| message.session = Some(crate::SessionId([1; 16])),
            |message| message.replay_of = Some(MessageId([1; 16])),
            |message| message.in_reply_to = Some(MessageId([1; 16])),
            |message| message.expires_ms = message.sent_ms,
            |message| message.body = Body::of_text("chat").expect("a body"),
        ];
        for change in changes {
            let mut other = envelope(5);
            change(&mut other.message);
            assert!(SignedOffer::of(Arc::new(other.clone())).is_err(), "{other:?}");
        }
    }

    #[test]
    fn of_two_with_one_sequence_all_choose_the_same() {
        let one = SignedOffer::of(Arc::new(envelope(5))).expect("an offer");
        let mut other = envelope(5);
        other.message.id = MessageId([9; 16]);
        let other = SignedOffer::of(Arc::new(other)).expect("an offer");
        assert_ne!(one.stamp(), other.stamp());
        let mut again = envelope(5);
        (again.ttl, again.signature) = (3, [7; 64]);
        assert_eq!(SignedOffer::of(Arc::new(again)).expect("an offer").stamp(), one.stamp(), "the same words");
        assert!(SignedOffer::of(Arc::new(envelope(6))).expect("an offer").stamp() > one.stamp().max(other.stamp()));
    }

    #[test]
    fn a_sequence_that_no_time_can_be_makes_no_message() {
        assert!(offer_message(MessageId([1; 16]), AgentId([2; 32]), u64::MAX, &Offer::default()).is_err());
    }
}
