//! A message that is for this agent: may its sender send it, then into the mailbox, then the sender is told.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dci_proto::message::{Envelope, RECEIPT_TYPE, Receipt, ReceiptState, UserName};
use dci_proto::{AgentId, MessageId};
use shoal_ledger::TypePolicy;
use shoal_mailbox::{Accepted, Direction, MailboxError, Query};

use super::Messages;
use super::full_disk::FullDisk;
use super::passed::Passed;
use super::permission::{Permission, Question, policy_of};

impl Messages {
    /// Takes a message in, besides what else goes on.
    pub(super) fn take(self: &Arc<Self>, passed: Arc<Passed>) {
        let messages = self.clone();
        self.tasks.spawn(async move {
            let Ok(_place) = messages.taking.clone().acquire_owned().await else { return };
            messages.take_now(&passed).await;
        });
    }

    async fn take_now(self: &Arc<Self>, passed: &Passed) {
        let message = &passed.envelope.message;
        if message.kind.as_str() == RECEIPT_TYPE {
            match Receipt::of_body(&message.body) {
                Ok(receipts) => self.take_receipts(message.from.agent, receipts).await,
                Err(error) => {
                    self.refusals.malformed.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(%error, "a receipt is refused");
                }
            }
            return;
        }
        if passed.not_yet.contains(&self.agent) {
            return;
        }
        let from = message.from.agent;
        if self.full_disk.was_refused(from, message.id) {
            let state = ReceiptState::Refused { reason: FullDisk::reason("when it came") };
            return self.tell(from, Receipt { of: message.id, state });
        }
        // Without room the ledger may not say who may what, and it is refused whoever asks.
        let begins = message.in_reply_to.is_none() && self.executes(&message.kind);
        let permission = match self.full_disk.why().filter(|_| begins) {
            Some(why) if self.is_new(from, message.id).await => Permission::Denied(why),
            _ => self.permitted(&passed.envelope).await,
        };
        let (accepted, state) = match permission {
            Permission::Given => (self.mailbox.accept(passed.envelope.clone()).await, ReceiptState::Delivered),
            Permission::Denied(reason) => {
                self.refusals.not_permitted.fetch_add(1, Ordering::Relaxed);
                tracing::info!(id = %message.id, kind = %message.kind, %from, reason, "a message is refused");
                let accepted = self.mailbox.refuse(passed.envelope.clone(), reason.clone()).await;
                if self.executes(&message.kind) && matches!(accepted, Ok(Accepted::New(_))) {
                    self.note_refused(message, &reason).await;
                }
                (accepted, ReceiptState::Refused { reason })
            }
            // It comes again.
            Permission::Unknown(why) => return tracing::debug!(id = %message.id, why, "a message has to come again"),
        };
        let state = match accepted {
            Ok(Accepted::New(_)) => state,
            Ok(Accepted::Known(state)) => state,
            Ok(Accepted::Expired) => return,
            Ok(Accepted::Full) => return tracing::debug!(id = %message.id, "too many messages wait to be dealt with"),
            // Not later, when nobody expects it any more.
            Err(MailboxError::DiskFull { reason, .. }) if begins && self.is_new(from, message.id).await => {
                self.full_disk.refuse(from, message.id);
                ReceiptState::Refused { reason: FullDisk::reason(&reason) }
            }
            Err(error) => return tracing::warn!(%error, "a message cannot be kept"),
        };
        self.tell(from, Receipt { of: message.id, state });
    }

    /// Whether a message did not come before: what is under way is not refused.
    async fn is_new(&self, sender: AgentId, id: MessageId) -> bool {
        let (sender, id, direction) = (Some(sender), Some(id), Some(Direction::Received));
        let known = self.mailbox.query(Query { id, sender, direction, limit: 1, ..Query::default() }).await;
        known.is_ok_and(|page| page.entries.is_empty() && page.next.is_none())
    }

    async fn permitted(&self, envelope: &Envelope) -> Permission {
        let message = &envelope.message;
        if let Some(question) = message.in_reply_to {
            let states = self.mailbox.states(question).await;
            return match states {
                Ok(Some(states)) if states.iter().any(|state| state.agent == message.from.agent) => Permission::Given,
                Ok(_) => Permission::Denied("it answers nothing that was sent from here to that agent".to_owned()),
                Err(error) => Permission::Unknown(error.to_string()),
            };
        }
        if message.kind.is_reserved() {
            return Permission::Denied(format!("messages of type {} are the agents' own", message.kind));
        }
        let Some(user) = message.from.user.as_ref().map(UserName::as_str) else {
            return Permission::Denied("it names no user, and only answers need none".to_owned());
        };
        let policy =
            self.peerlets.rights_of(&message.kind).map_or_else(TypePolicy::default, |rights| policy_of(&rights));
        self.permissions.ask(Question { user: user.to_owned(), kind: message.kind.clone(), policy }).await
    }
}
