//! What comes back about a message: replies, then once what became of it.

use dci_proto::message::Body;
use tokio::sync::{mpsc, oneshot};

use crate::core::Verdict;

/// Replies to one message that wait to be taken. Then the program that prints them waits.
const REPLIES_WAITING: usize = 16;

/// One thing that comes back about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A reply.
    Reply(Body),
    /// What became of it; the last.
    Settled(Verdict),
}

/// What comes back about a message. Dropped, replies are thrown away; the message is dealt with all the same.
#[derive(Debug)]
pub struct Outcomes {
    replies: mpsc::Receiver<Body>,
    verdict: Option<oneshot::Receiver<Verdict>>,
}

/// Where the host puts it.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(super) replies: mpsc::Sender<Body>,
    pub(super) verdict: oneshot::Sender<Verdict>,
}

pub(super) fn pair() -> (Outlet, Outcomes) {
    let (sender, replies) = mpsc::channel(REPLIES_WAITING);
    let (settle, verdict) = oneshot::channel();
    (Outlet { replies: sender, verdict: settle }, Outcomes { replies, verdict: Some(verdict) })
}

impl Outcomes {
    /// The next; `None` after the last. May be cancelled without loss.
    pub async fn next(&mut self) -> Option<Outcome> {
        if let Some(body) = self.replies.recv().await {
            return Some(Outcome::Reply(body));
        }
        let verdict = self.verdict.as_mut()?.await;
        self.verdict = None;
        // A host that was torn down rather than shut down says nothing any more.
        Some(Outcome::Settled(verdict.unwrap_or(Verdict::GivenBack)))
    }

    /// Waits for all: the replies, and what became of the message.
    pub async fn all(mut self) -> (Vec<Body>, Verdict) {
        let mut replies = Vec::new();
        loop {
            match self.next().await {
                Some(Outcome::Reply(body)) => replies.push(body),
                Some(Outcome::Settled(verdict)) => return (replies, verdict),
                None => return (replies, Verdict::GivenBack),
            }
        }
    }
}
