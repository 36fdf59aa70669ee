//! What senders are told of their messages. What is to be told the same sender within a moment goes in one message, signed once:
//! where much is under way a signature for each receipt would cost more than all else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dci_proto::message::{
    Envelope, MessageType, NameError, RECEIPT_TYPE, RECEIPTS_LIMIT, Receipt, ReceiptState, Recipient, TTL_LIMIT,
};
use dci_proto::{AgentId, MessageId};

use super::Messages;
use super::draft::{Draft, SendError, Target, new_id};

/// How long a receipt is good for: it is asked for again by sending the message again.
const RECEIPT_LIFE: Duration = Duration::from_secs(10 * 60);
/// How long receipts for one sender are gathered after so many went at once; after fewer the next go at once too, since then
/// nothing is saved, and who asked for one thing would wait for what was done.
const GATHER: Duration = Duration::from_millis(2);
const GATHER_FROM: usize = 8;
/// Receipts that wait for one sender, at most. One that is dropped is asked for again.
const WAITING_LIMIT: usize = 8_192;

/// Receipts that wait for one sender.
#[derive(Default)]
struct Waiting {
    /// How far messages are that were taken; of each only the last word.
    taken: BTreeMap<MessageId, ReceiptState>,
    others: Vec<Receipt>,
}

impl Waiting {
    fn add(&mut self, receipt: Receipt) {
        match receipt.state {
            // Not after word that it was dealt with.
            ReceiptState::Delivered => {
                self.taken.entry(receipt.of).or_insert(receipt.state);
            }
            ReceiptState::Handled { .. } | ReceiptState::Failed { .. } => {
                self.taken.insert(receipt.of, receipt.state);
            }
            ReceiptState::Refused { .. } | ReceiptState::Expired { .. } => self.others.push(receipt),
        }
    }

    fn len(&self) -> usize {
        self.taken.len() + self.others.len()
    }

    /// As many as one message carries; none where there are none.
    fn take(&mut self) -> Vec<Receipt> {
        let mut receipts = Vec::with_capacity(self.len().min(RECEIPTS_LIMIT));
        while receipts.len() < RECEIPTS_LIMIT
            && let Some((of, state)) = self.taken.pop_first()
        {
            receipts.push(Receipt { of, state });
        }
        // What was said of a message first comes first: none of these is said before it was taken.
        let others = self.others.len().min(RECEIPTS_LIMIT - receipts.len());
        receipts.extend(self.others.drain(..others));
        receipts
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct Receipts {
    /// A sender that is in it has a task that sends what waits.
    waiting: Mutex<BTreeMap<AgentId, Waiting>>,
    dropped: AtomicU64,
}

impl Receipts {
    /// Answers whether somebody has to send what waits for that sender.
    fn add(&self, sender: AgentId, receipt: Receipt) -> bool {
        let mut all = self.waiting();
        let begins = !all.contains_key(&sender);
        let waiting = all.entry(sender).or_default();
        if waiting.len() < WAITING_LIMIT {
            waiting.add(receipt);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        begins
    }

    /// What goes next; `None`, and nobody sends any more, where nothing waits.
    fn next(&self, sender: AgentId) -> Option<Vec<Receipt>> {
        let mut all = self.waiting();
        let receipts = all.get_mut(&sender).map(Waiting::take).unwrap_or_default();
        if receipts.is_empty() {
            all.remove(&sender);
            return None;
        }
        Some(receipts)
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<AgentId, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Messages {
    /// Tells the sender of a message what became of it here.
    pub(super) fn tell(self: &Arc<Self>, sender: AgentId, receipt: Receipt) {
        if self.receipts.add(sender, receipt) {
            let messages = self.clone();
            self.tasks.spawn(async move { messages.tell_what_waits(sender).await });
        }
    }

    async fn tell_what_waits(self: &Arc<Self>, sender: AgentId) {
        // What is told in the same breath goes along.
        tokio::task::yield_now().await;
        while let Some(receipts) = self.receipts.next(sender) {
            let gathers = (GATHER_FROM..RECEIPTS_LIMIT).contains(&receipts.len());
            if sender == self.agent {
                self.take_receipts(sender, receipts).await;
            } else {
                match self.receipt_message(sender, &receipts) {
                    Ok(envelope) => self.send_copy(Arc::new(envelope), 0, false, [].into()),
                    Err(error) => tracing::error!(%error, "receipts cannot be written"),
                }
            }
            if gathers {
                tokio::time::sleep(GATHER).await;
            }
        }
    }

    pub(super) async fn take_receipts(&self, from: AgentId, receipts: Vec<Receipt>) {
        if let Err(error) = self.mailbox.receipts(from, receipts).await {
            tracing::warn!(%error, "receipts cannot be kept");
        }
    }

    fn receipt_message(&self, sender: AgentId, receipts: &[Receipt]) -> Result<Envelope, SendError> {
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
            body: Receipt::to_body(receipts)?,
        };
        self.sealed(draft, Recipient::Agent(sender))
    }
}

fn receipt_type() -> Result<MessageType, SendError> {
    RECEIPT_TYPE.parse().map_err(|error: NameError| SendError::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: AgentId = AgentId([1; 32]);

    fn receipt(of: u32, state: ReceiptState) -> Receipt {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&of.to_be_bytes());
        Receipt { of: MessageId(id), state }
    }

    #[test]
    fn one_sends_what_waits_and_the_last_word_of_each_message_is_told() {
        let receipts = Receipts::default();
        assert!(receipts.add(ANA, receipt(1, ReceiptState::Delivered)), "nobody sends yet");
        assert!(!receipts.add(ANA, receipt(1, ReceiptState::Handled { exit_status: 3 })));
        receipts.add(ANA, receipt(1, ReceiptState::Delivered));
        receipts.add(ANA, receipt(2, ReceiptState::Delivered));
        receipts.add(ANA, receipt(2, ReceiptState::Refused { reason: "no".into() }));
        let expected = [
            receipt(1, ReceiptState::Handled { exit_status: 3 }),
            receipt(2, ReceiptState::Delivered),
            receipt(2, ReceiptState::Refused { reason: "no".into() }),
        ];
        assert_eq!(receipts.next(ANA).as_deref(), Some(&expected[..]));
        assert!(!receipts.add(ANA, receipt(3, ReceiptState::Delivered)), "the one that sends looks again");
        assert_eq!(receipts.next(ANA).map(|some| some.len()), Some(1));
        assert_eq!(receipts.next(ANA), None);
        assert!(receipts.add(ANA, receipt(4, ReceiptState::Delivered)), "it has ended");
    }

    #[test]
    fn however_many_there_are_each_is_told_and_what_waits_is_bounded() {
        let receipts = Receipts::default();
        let many = WAITING_LIMIT as u32 + 10;
        for of in 0..many {
            receipts.add(ANA, receipt(of, ReceiptState::Refused { reason: String::new() }));
        }
        let mut told = Vec::new();
        while let Some(some) = receipts.next(ANA) {
            assert!(some.len() <= RECEIPTS_LIMIT);
            told.extend(some);
        }
        let expected = (0..WAITING_LIMIT as u32).map(|of| receipt(of, ReceiptState::Refused { reason: String::new() }));
        assert_eq!(told, expected.collect::<Vec<_>>());
        assert_eq!(receipts.dropped.load(Ordering::Relaxed), 10);
    }
}
