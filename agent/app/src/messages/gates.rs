//! Waiting for a reply to have reached who asked, so that it is there before the word that the question was dealt with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dci_proto::MessageId;
use shoal_mailbox::Happening;
use tokio::sync::oneshot;

use super::Messages;

/// Replies waited for at once, at most; further ones are not waited for.
const GATES_LIMIT: usize = 16_384;

/// Who waits for which message of this agent.
#[derive(Default)]
pub(super) struct ReplyGates(Mutex<BTreeMap<MessageId, oneshot::Sender<()>>>);

impl ReplyGates {
    /// To be called before the message is posted. The receiver hears, or errs when nobody waits any more.
    pub(super) fn add(&self, id: MessageId) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut gates = self.gates();
        if gates.len() < GATES_LIMIT {
            gates.insert(id, sender);
        }
        receiver
    }

    pub(super) fn open(&self, id: MessageId) {
        if let Some(gate) = self.gates().remove(&id) {
            let _ = gate.send(());
        }
    }

    fn open_all(&self) {
        for (_, gate) in std::mem::take(&mut *self.gates()) {
            let _ = gate.send(());
        }
    }

    fn gates(&self) -> MutexGuard<'_, BTreeMap<MessageId, oneshot::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Messages {
    /// Opens gates as replies are acknowledged.
    pub(super) async fn open_gates(self: Arc<Self>) {
        let mut follower = self.follow();
        while let Some(Some(happening)) = self.shutdown.run_until_cancelled(follower.next()).await {
            match &*happening {
                Happening::Changed { id, recipient, .. } if !recipient.status.state.is_waiting() => {
                    self.gates.open(*id);
                }
                // Which were missed is not known; nobody is to wait in vain.
                Happening::Missed(_) => self.gates.open_all(),
                _ => {}
            }
        }
    }
}
