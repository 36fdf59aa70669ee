//! Carries words of the directory to neighbours, in order: one task a neighbour. Nothing is tried again: what is lost is made
//! up for when directories are compared.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dci_proto::AgentId;
use dci_proto::directory::DirectoryMessage;
use shoal_net::{Lane, Network, Request};
use tokio::sync::mpsc;

use crate::wire::{self, Method};

/// Words that wait for one neighbour, at most. Offers in them are those of the directory, held once.
const QUEUE_LIMIT: usize = 256;
/// How long a neighbour may take to take one in.
const WORD_TIMEOUT: Duration = Duration::from_secs(5);

/// What waits for each neighbour.
pub(super) struct Posts {
    network: Arc<dyn Network>,
    neighbours: Mutex<BTreeMap<AgentId, mpsc::Sender<DirectoryMessage>>>,
}

impl Posts {
    pub(super) fn new(network: Arc<dyn Network>) -> Self {
        Self { network, neighbours: Mutex::default() }
    }

    pub(super) fn begin(&self, agent: AgentId) {
        let (sender, receiver) = mpsc::channel(QUEUE_LIMIT);
        self.neighbours().insert(agent, sender);
        tokio::spawn(carry(self.network.clone(), agent, receiver));
    }

    /// It is gone; what waits for it is dropped.
    pub(super) fn end(&self, agent: AgentId) {
        self.neighbours().remove(&agent);
    }

    /// Drops it where there is no room or no such neighbour.
    pub(super) fn give(&self, agent: AgentId, message: DirectoryMessage) {
        let neighbours = self.neighbours();
        if neighbours.get(&agent).is_none_or(|words| words.try_send(message).is_err()) {
            tracing::debug!(%agent, "a word of the directory is dropped");
        }
    }

    fn neighbours(&self) -> MutexGuard<'_, BTreeMap<AgentId, mpsc::Sender<DirectoryMessage>>> {
        self.neighbours.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn carry(network: Arc<dyn Network>, agent: AgentId, mut words: mpsc::Receiver<DirectoryMessage>) {
    while let Some(message) = words.recv().await {
        // It is no neighbour any more.
        if words.is_closed() {
            return;
        }
        let Ok(body) = postcard::to_stdvec(&message) else { continue };
        let request = Request { method: Method::Directory as u16, head: Bytes::new(), body: body.into() };
        let answer = network.call(agent, Lane::Foreground, request, WORD_TIMEOUT).await;
        let taken = answer.map_err(|error| error.to_string());
        let taken = taken.and_then(|answer| wire::check(&answer).map_err(|error| error.to_string()));
        if let Err(error) = taken {
            tracing::debug!(%agent, error, "a word of the directory did not reach a neighbour");
        }
    }
}
