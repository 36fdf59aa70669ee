//! What came is handed to its peerlet, its replies go back, and then the sender is told that it was dealt with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dci_proto::message::{Body, Envelope, Message, MessageType, Receipt, ReceiptState, Recipient, UserName};
use dci_proto::{AgentId, MessageId};
use shoal_mailbox::{Incoming, MailboxError, Received, Settlement};
use shoal_peerlets::core::Verdict;
use shoal_peerlets::{Outcome, Outcomes};
use tokio::sync::{Semaphore, oneshot};

use super::Messages;
use super::draft::{Draft, SendError, Target, new_id};
use super::peerlets::PeerletError;

/// Messages that are with peerlets at once, at most; further ones wait in the mailbox.
const HANDLING_LIMIT: usize = 1_024;
/// How long a reply is sent until its recipient has it.
const REPLY_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the word that a message was dealt with waits for its replies to have arrived.
const REPLIES_PATIENCE: Duration = Duration::from_secs(10);

/// Characters of what a program that failed said last that its sender is told.
const SAID_LIMIT_CHARS: usize = 500;
/// How long to wait before it is tried again to say what became of a message.
const SETTLE_AGAIN: Duration = Duration::from_secs(2);

/// A reply that was posted and may not have arrived.
type Gate = (MessageId, oneshot::Receiver<()>);

/// Messages of one user at one agent that are with one peerlet.
pub(super) type InHand = Mutex<BTreeMap<Of, usize>>;
type Of = (AgentId, Option<UserName>, MessageType);

/// One of them, until it is dealt with.
struct Turn {
    messages: Arc<Messages>,
    of: Of,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Ok(mut in_hand) = self.messages.in_hand.lock() else { return };
        if let Some(count) = in_hand.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                in_hand.remove(&self.of);
            }
        }
    }
}

/// What became of a message that a program has dealt with. Of one that failed the sender is told what it said last: who may send to it
/// may know.
fn handled(exit_status: i32, said: &str) -> Settlement {
    let said = said.trim();
    if exit_status == 0 || said.is_empty() {
        return Settlement::Handled { exit_status };
    }
    let before = said.chars().count().saturating_sub(SAID_LIMIT_CHARS);
    Settlement::Failed { exit_status, said: said.chars().skip(before).collect() }
}

impl Messages {
    /// One sender leaves a quarter of a peerlet's queue to others.
    fn turn(self: &Arc<Self>, message: &Message) -> Option<Turn> {
        let of = (message.from.agent, message.from.user.clone(), message.kind.clone());
        let queue = self.peerlets.queue_of(&of.2).unwrap_or(1);
        let limit = queue.saturating_mul(3).div_ceil(4).max(1);
        let mut in_hand = self.in_hand.lock().ok()?;
        let count = in_hand.entry(of.clone()).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Turn { messages: self.clone(), of })
    }

    /// Takes what the mailbox hands out, in order.
    pub(super) async fn handle_what_came(self: Arc<Self>, mut incoming: Incoming) {
        let places = Arc::new(Semaphore::new(HANDLING_LIMIT));
        while let Some(Some(received)) = self.shutdown.run_until_cancelled(incoming.next()).await {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            // To the host in this very order; what comes of it is waited for besides.
            let executes = self.executes(&received.envelope.message.kind);
            if let Some((outcomes, turn)) = self.hand_over(&received, executes).await {
                let messages = self.clone();
                self.tasks.spawn(async move {
                    let _places = (place, turn);
                    messages.see_through(received, outcomes, executes).await;
                });
            }
        }
    }

    /// Gives a message to its peerlet; settles what none is to have.
    async fn hand_over(self: &Arc<Self>, received: &Received, executes: bool) -> Option<(Outcomes, Turn)> {
        let message = &received.envelope.message;
        if message.in_reply_to.is_some() {
            // Who waits for it has heard of it from the log.
            self.settle(received, Settlement::Handled { exit_status: 0 }).await;
            return None;
        }
        if message.expires_ms <= self.now_ms() {
            self.settle(received, Settlement::Expired).await;
            return None;
        }
        if executes && received.attempt > 1 {
            let reason = "this agent ended while it may have been under way; what executes is never begun twice";
            self.note_refused(message, reason).await;
            self.settle(received, Settlement::Refused { reason: reason.to_owned() }).await;
            return None;
        }
        let Some(turn) = self.turn(message) else {
            let reason = "too many messages of that sender are with this peerlet already; send fewer at once";
            if executes {
                self.note_refused(message, reason).await;
            }
            self.settle(received, Settlement::Refused { reason: reason.to_owned() }).await;
            return None;
        };
        if executes && let Some(reason) = self.full_disk.why() {
            self.note_refused(message, &reason).await;
            self.settle(received, Settlement::Refused { reason }).await;
            return None;
        }
        if executes && let Err(error) = self.note_begun(message).await {
            self.settle(received, Settlement::Refused { reason: error.to_string() }).await;
            return None;
        }
        let error = match self.peerlets.deliver(received.envelope.clone()).await {
            Ok(outcomes) => return Some((outcomes, turn)),
            Err(error) => error,
        };
        let settlement = Settlement::Refused { reason: error.to_string() };
        if executes {
            self.note_end(message, &settlement).await;
        }
        // Where the agent ends the message stays for the next start.
        if !(matches!(error, PeerletError::Host(_)) && self.shutdown.is_cancelled()) {
            self.settle(received, settlement).await;
        }
        None
    }

    async fn see_through(self: Arc<Self>, received: Received, mut outcomes: Outcomes, executes: bool) {
        let message = &received.envelope.message;
        let mut gates: Vec<Gate> = Vec::new();
        let mut unsaid = None;
        while let Some(outcome) = outcomes.next().await {
            let verdict = match outcome {
                Outcome::Reply(body) => {
                    match self.reply(&received.envelope, body).await {
                        Ok(gate) => gates.push(gate),
                        Err(error) => {
                            tracing::warn!(%error, "a peerlet's reply cannot be sent");
                            unsaid.get_or_insert_with(|| error.to_string());
                        }
                    }
                    continue;
                }
                Outcome::Settled(verdict) => verdict,
            };
            let settlement = match verdict {
                Verdict::Handled { status, said } => handled(status, &said),
                Verdict::Refused { why } => Settlement::Refused { reason: why },
                Verdict::GivenBack => {
                    if executes {
                        let reason = "this agent ended before it was begun".to_owned();
                        self.note_end(message, &Settlement::Refused { reason }).await;
                    }
                    return;
                }
            };
            if executes {
                self.note_end(message, &settlement).await;
            }
            self.await_replies(gates).await;
            // An answer that never comes is not what the sender is to wait for.
            let settlement = match (settlement, unsaid) {
                (Settlement::Handled { exit_status } | Settlement::Failed { exit_status, .. }, Some(why)) => {
                    let reason =
                        format!("it ended with status {exit_status}, and what it answered cannot be kept: {why}");
                    Settlement::Refused { reason }
                }
                (settlement, _) => settlement,
            };
            self.settle(&received, settlement).await;
            return;
        }
    }

    /// Posts a reply; it is on this disk when this returns.
    async fn reply(&self, asked: &Envelope, body: Body) -> Result<Gate, SendError> {
        let message = &asked.message;
        let to = message.from.agent;
        let draft = Draft {
            id: new_id(),
            kind: message.kind.clone(),
            to: Target::Agent(to),
            user: None,
            session: message.from.session,
            from_session: message.session,
            ttl: dci_proto::message::TTL_LIMIT,
            life: REPLY_LIFE,
            in_reply_to: Some(message.id),
            replay_of: None,
            body,
        };
        let envelope = Arc::new(self.sealed(draft, Recipient::Agent(to))?);
        let id = envelope.message.id;
        let gate = self.interests.gate(id);
        if let Err(error) = self.mailbox.post(envelope, vec![to]).await {
            self.interests.forget(id);
            return Err(error.into());
        }
        Ok((id, gate))
    }

    async fn await_replies(&self, gates: Vec<Gate>) {
        let ids: Vec<MessageId> = gates.iter().map(|gate| gate.0).collect();
        let all = async {
            for (_, gate) in gates {
                let _ = gate.await;
            }
        };
        if tokio::time::timeout(REPLIES_PATIENCE, all).await.is_err() {
            // Whoever asked is away; the replies wait for it in the mailbox.
            ids.into_iter().for_each(|id| self.interests.forget(id));
        }
    }

    /// A disk that is full now may have room again: until then it is tried anew, besides. That something is refused its sender is told
    /// meanwhile: it would wait for nothing.
    async fn settle(self: &Arc<Self>, received: &Received, settlement: Settlement) {
        if self.try_to_settle(received, &settlement).await {
            return;
        }
        if let Settlement::Refused { reason } = &settlement {
            let (message, state) = (&received.envelope.message, ReceiptState::Refused { reason: reason.clone() });
            self.tell(message.from.agent, Receipt { of: message.id, state });
        }
        let (messages, received) = (self.clone(), received.clone());
        self.tasks.spawn(async move {
            while messages.shutdown.run_until_cancelled(tokio::time::sleep(SETTLE_AGAIN)).await.is_some() {
                if messages.try_to_settle(&received, &settlement).await {
                    return;
                }
            }
        });
    }

    async fn try_to_settle(self: &Arc<Self>, received: &Received, settlement: &Settlement) -> bool {
        let message = &received.envelope.message;
        match self.mailbox.settle(received.place, settlement.clone()).await {
            Ok(state) => self.tell(message.from.agent, Receipt { of: message.id, state }),
            Err(MailboxError::NotPending(_)) => {}
            Err(error) => {
                tracing::warn!(%error, id = %message.id, "a message cannot be settled yet");
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_that_failed_said_last_is_told_and_no_more_than_that() {
        let said = |text: &str| match handled(3, text) {
            Settlement::Failed { exit_status: 3, said } => Some(said),
            other => (other == Settlement::Handled { exit_status: 3 }).then(String::new),
        };
        assert_eq!(said("Traceback\n no such table\n").as_deref(), Some("Traceback\n no such table"));
        assert_eq!(said(" \n").as_deref(), Some(""));
        let long = format!("{}the end", "é".repeat(2_000));
        let told = said(&long).expect("it failed");
        assert!(told.chars().count() == SAID_LIMIT_CHARS && told.ends_with("éthe end"), "{told}");
        assert_eq!(handled(0, "a warning"), Settlement::Handled { exit_status: 0 });
    }
}
