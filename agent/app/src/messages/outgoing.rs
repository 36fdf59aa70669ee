//! What this agent sends: what is due in the mailbox, and receipts, which nobody keeps.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dci_proto::AgentId;
use dci_proto::message::{Envelope, MessageType, RECEIPT_TYPE, Receipt, ReceiptState, Recipient, TTL_LIMIT, encode};
use dci_proto::router::{Card, Effect, Event, Passing};
use shoal_mailbox::{Outgoing, Sending};

use super::Messages;
use super::draft::{Draft, Target, new_id};
use super::frames::{Copy, Item};
use super::passed::Passed;

/// How long a receipt is good for: it is asked for again by sending the message again.
const RECEIPT_LIFE: Duration = Duration::from_secs(10 * 60);

/// Attempt numbers, the last ones, with which is asked how far a message is: they come round after hours.
const ASK_NUMBERS: u8 = 64;

impl Messages {
    /// Sends what the mailbox says is due.
    pub(super) async fn send_what_is_due(self: Arc<Self>, mut outgoing: Outgoing) {
        while let Some(Some(sending)) = self.shutdown.run_until_cancelled(outgoing.next()).await {
            let Sending { envelope, attempt, recipients, not_yet } = sending;
            let mine = recipients.contains(&self.agent);
            self.send_copy(envelope, attempt, mine, not_yet.into());
        }
    }

    /// Hands a message of this agent to the router.
    fn send_copy(self: &Arc<Self>, envelope: Arc<Envelope>, attempt: u8, mine: bool, not_yet: Arc<[AgentId]>) {
        let xml = match encode(&envelope) {
            Ok(xml) => Bytes::from(xml),
            Err(error) => return tracing::error!(%error, "a message of this agent cannot be written"),
        };
        let message = &envelope.message;
        let to = match message.to {
            Recipient::Agent(agent) => Some(agent),
            Recipient::Group(_) | Recipient::All => None,
        };
        let passing = Passing { origin: self.agent, id: message.id, attempt };
        let ttl = envelope.ttl;
        let passed = Arc::new(Passed { passing, envelope, xml, not_yet });
        self.route(Event::Send(Card { passing, to, mine }, ttl), Some(&passed));
    }

    /// Sends a message again to who has it, so that they say how far it is. `others`: recipients that shall do nothing about it.
    pub(super) fn send_question(
        self: &Arc<Self>,
        envelope: Arc<Envelope>,
        number: u8,
        mine: bool,
        others: Vec<AgentId>,
    ) {
        // Numbers that sendings of the mailbox do not reach: routers pass over what they have seen.
        self.send_copy(envelope, u8::MAX - number % ASK_NUMBERS, mine, others.into());
    }

    /// Lets the router decide, and does what it says.
    pub(super) fn route(self: &Arc<Self>, event: Event, passed: Option<&Arc<Passed>>) {
        let effects = self.router().handle(self.steady_ms(), event);
        if effects.is_empty() {
            return;
        }
        if let Some(passed) = passed
            && effects.iter().any(|effect| matches!(effect, Effect::Forward { .. }))
            && let Ok(mut lately) = self.lately.lock()
        {
            lately.keep(passed.clone());
        }
        for effect in effects {
            match effect {
                Effect::Forward { to, passing, ttl, spread } => {
                    let Some(passed) = passed.cloned().or_else(|| self.kept(passing)) else { continue };
                    let (xml, not_yet) = (passed.xml.clone(), passed.not_yet.clone());
                    let copy = Copy { ttl, attempt: passing.attempt, spread, not_yet, xml };
                    self.couriers.give(to, Item::Copy(copy));
                }
                Effect::Raise { to, passing, ttl } => self.couriers.give(to, Item::Raise { passing, ttl }),
                Effect::Deliver(_) => {
                    if let Some(passed) = passed {
                        self.take(passed.clone());
                    }
                }
                Effect::Expired(passing) => self.tell_expired(passing, passed),
                Effect::Duplicate(_) => {}
            }
        }
    }

    fn kept(&self, passing: Passing) -> Option<Arc<Passed>> {
        self.lately.lock().ok().and_then(|lately| lately.get(passing))
    }

    fn tell_expired(self: &Arc<Self>, passing: Passing, passed: Option<&Arc<Passed>>) {
        // Of a receipt nobody is told.
        if passed.is_none_or(|passed| passed.envelope.message.kind.as_str() == RECEIPT_TYPE) {
            return;
        }
        let reason = "its hops were used up here".to_owned();
        let receipt = Receipt { of: passing.id, state: ReceiptState::Expired { hop: self.agent, reason } };
        self.tell(passing.origin, receipt);
    }

    /// Tells the sender of a message what became of it here.
    pub(super) fn tell(self: &Arc<Self>, sender: AgentId, receipt: Receipt) {
        if sender == self.agent {
            let messages = self.clone();
            self.tasks.spawn(async move { messages.take_receipt(messages.agent, receipt).await });
            return;
        }
        match self.receipt_message(sender, &receipt) {
            Ok(envelope) => self.send_copy(Arc::new(envelope), 0, false, [].into()),
            Err(error) => tracing::error!(%error, "a receipt cannot be written"),
        }
    }

    fn receipt_message(&self, sender: AgentId, receipt: &Receipt) -> Result<Envelope, super::SendError> {
        let draft = Draft {
            id: new_id(),
            kind: receipt_type()?,
            to: Target::Agent(sender),
            user: None,
            session: None,
            from_session: None,
            ttl: TTL_LIMIT,
            life: RECEIPT_LIFE,
            in_reply_to: None,
            replay_of: None,
            body: receipt.to_body()?,
        };
        self.sealed(draft, Recipient::Agent(sender))
    }
}

fn receipt_type() -> Result<MessageType, super::SendError> {
    RECEIPT_TYPE.parse().map_err(|error: dci_proto::message::NameError| super::SendError::Internal(error.to_string()))
}
