//! What this agent sends, handed to the router; and what the router says is done.

use std::sync::Arc;

use bytes::Bytes;
use dci_proto::AgentId;
use dci_proto::message::{Envelope, RECEIPT_TYPE, Receipt, ReceiptState, Recipient, encode};
use dci_proto::router::{Card, Effect, Event, Passing};
use shoal_mailbox::{Outgoing, Sending};

use super::Messages;
use super::frames::{Copy, Item};
use super::passed::Passed;

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
    pub(super) fn send_copy(
        self: &Arc<Self>,
        envelope: Arc<Envelope>,
        attempt: u8,
        mine: bool,
        not_yet: Arc<[AgentId]>,
    ) {
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

    /// A message that passed lately: this agent's own, or found to be signed right.
    pub(super) fn kept(&self, passing: Passing) -> Option<Arc<Passed>> {
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
}
