//! Messages that passed lately: the router remembers which, this keeps their bytes, for copies that may go further than was
//! known at first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use dci_proto::AgentId;
use dci_proto::message::Envelope;
use dci_proto::router::Passing;

/// Bytes kept, at most.
const KEPT_LIMIT_BYTES: usize = 16 * 1024 * 1024;

/// A message on its way through this agent, checked.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) passing: Passing,
    pub(super) envelope: Arc<Envelope>,
    /// As it came, or as it was written here: every copy that goes on is these bytes.
    pub(super) xml: Bytes,
    /// Recipients that must not take it yet.
    pub(super) not_yet: Arc<[AgentId]>,
}

/// The last of them.
#[derive(Default)]
pub(super) struct PassedLately {
    by_passing: BTreeMap<Passing, Arc<Passed>>,
    order: VecDeque<Passing>,
    bytes: usize,
}

impl PassedLately {
    pub(super) fn get(&self, passing: Passing) -> Option<Arc<Passed>> {
        self.by_passing.get(&passing).cloned()
    }

    pub(super) fn keep(&mut self, passed: Arc<Passed>) {
        let (passing, bytes) = (passed.passing, size_bytes(&passed));
        if self.by_passing.insert(passing, passed).is_some() {
            return;
        }
        self.order.push_back(passing);
        self.bytes += bytes;
        while self.bytes > KEPT_LIMIT_BYTES
            && let Some(oldest) = self.order.pop_front()
        {
            if let Some(gone) = self.by_passing.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(size_bytes(&gone));
            }
        }
    }
}

fn size_bytes(passed: &Passed) -> usize {
    // The envelope has the body once more.
    size_of::<Passed>() + size_of::<Envelope>() + 2 * passed.xml.len() + size_of_val(&*passed.not_yet)
}

#[cfg(test)]
mod tests {
    use dci_proto::MessageId;
    use dci_proto::message::{Body, Message, Recipient, Sender};

    use super::*;

    fn passed(number: u32, bytes: usize) -> Arc<Passed> {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let agent = AgentId([1; 32]);
        let message = Message {
            id: MessageId(id),
            kind: "chat".parse().expect("a type"),
            session: None,
            sent_ms: 1,
            expires_ms: 2,
            from: Sender { agent, user: None, session: None },
            to: Recipient::All,
            in_reply_to: None,
            replay_of: None,
            body: Body::default(),
        };
        let passing = Passing { origin: agent, id: message.id, attempt: 0 };
        let envelope = Arc::new(Envelope { message, ttl: 9, signature: [0; 64] });
        Arc::new(Passed { passing, envelope, xml: Bytes::from(vec![b'x'; bytes]), not_yet: [].into() })
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_bytes() {
        let mut lately = PassedLately::default();
        for number in 0..40 {
            lately.keep(passed(number, 1024 * 1024));
        }
        assert!(lately.bytes <= KEPT_LIMIT_BYTES);
        assert!(lately.get(passed(0, 0).passing).is_none());
        assert!(lately.get(passed(39, 0).passing).is_some());
        assert_eq!(lately.order.len(), lately.by_passing.len());
    }
}
