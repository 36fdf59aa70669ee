//! Carries what is for each neighbour, in order: one task a neighbour, which puts all that waits into one request.
//!
//! Nothing is tried again here: who sent a message sends it again until it is acknowledged. What a slow neighbour does not
//! take in time is dropped and counted, and the neighbour is in trouble: others are tried for a while, where there are some.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dci_proto::AgentId;
use shoal_net::{Lane, Network, Request};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::frames::{self, FRAME_LIMIT, FRAME_LIMIT_BYTES, Item};
use crate::wire::{self, Method, Status, WireError};

/// Items that wait for one neighbour, at most.
const QUEUE_LIMIT: usize = 4_096;
/// Bytes that wait for one neighbour, at most.
const NEIGHBOUR_LIMIT_BYTES: usize = 16 * 1024 * 1024;
/// Bytes that wait for all neighbours together, at most; what many neighbours are to get counts once for each.
const ALL_LIMIT_BYTES: usize = 64 * 1024 * 1024;
/// How long a neighbour may take to answer for what it was given, and a second more for each so many bytes of it.
const HOP_TIMEOUT: Duration = Duration::from_secs(3);
const HOP_BYTES_PER_SECOND: usize = 256 * 1024;
/// For how long a neighbour that did not answer is passed by.
const TROUBLE: Duration = Duration::from_secs(5);
/// How long a neighbour that has too much to do is left alone, and how often.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
const BUSY_TRIES: u32 = 20;

/// All couriers of an agent.
pub(super) struct Couriers {
    network: Arc<dyn Network>,
    neighbours: Mutex<BTreeMap<AgentId, Neighbour>>,
    waiting_bytes: Arc<AtomicUsize>,
    counts: Arc<Counts>,
    troubles: Arc<Troubles>,
}

/// Neighbours that did not answer for what they were given lately.
#[derive(Default)]
pub(super) struct Troubles {
    until: Mutex<BTreeMap<AgentId, Instant>>,
    news: Notify,
}

impl Troubles {
    fn begin(&self, agent: AgentId) {
        self.until.lock().unwrap_or_else(PoisonError::into_inner).insert(agent, Instant::now() + TROUBLE);
        self.news.notify_one();
    }

    /// Who is in trouble now.
    pub(super) fn agents(&self) -> BTreeSet<AgentId> {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.retain(|_, until| *until > Instant::now());
        until.keys().copied().collect()
    }

    /// Waits until one more is.
    pub(super) async fn more(&self) {
        self.news.notified().await;
    }
}

/// What couriers have done.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) sent: AtomicU64,
    pub(super) dropped: AtomicU64,
}

struct Neighbour {
    items: mpsc::Sender<Item>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Couriers {
    pub(super) fn new(network: Arc<dyn Network>) -> Self {
        let (waiting_bytes, counts, troubles) = Default::default();
        Self { network, neighbours: Mutex::default(), waiting_bytes, counts, troubles }
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(super) fn troubles(&self) -> &Troubles {
        &self.troubles
    }

    /// A neighbour is there: it has a courier from now on.
    pub(super) fn begin(&self, agent: AgentId) {
        let (sender, receiver) = mpsc::channel(QUEUE_LIMIT);
        let waiting_bytes = Arc::<AtomicUsize>::default();
        let courier = Courier {
            agent,
            network: self.network.clone(),
            own_bytes: waiting_bytes.clone(),
            all_bytes: self.waiting_bytes.clone(),
            counts: self.counts.clone(),
            troubles: self.troubles.clone(),
        };
        self.neighbours().insert(agent, Neighbour { items: sender, waiting_bytes });
        tokio::spawn(courier.run(receiver));
    }

    /// It is gone; what waits for it is dropped.
    pub(super) fn end(&self, agent: AgentId) {
        self.neighbours().remove(&agent);
    }

    /// Hands a courier something; drops it where there is no room or no such neighbour.
    pub(super) fn give(&self, agent: AgentId, item: Item) {
        let bytes = item.size_bytes();
        let neighbours = self.neighbours();
        let taken = neighbours.get(&agent).is_some_and(|neighbour| {
            let own = neighbour.waiting_bytes.load(Ordering::Relaxed) + bytes;
            let all = self.waiting_bytes.load(Ordering::Relaxed) + bytes;
            let fits = own <= NEIGHBOUR_LIMIT_BYTES && all <= ALL_LIMIT_BYTES;
            if !fits {
                return false;
            }
            // Counted first: the courier may be done with it before this goes on.
            neighbour.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
            self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
            let taken = neighbour.items.try_send(item).is_ok();
            if !taken {
                neighbour.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
                self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
            taken
        });
        if !taken {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn neighbours(&self) -> MutexGuard<'_, BTreeMap<AgentId, Neighbour>> {
        self.neighbours.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One neighbour's.
struct Courier {
    agent: AgentId,
    network: Arc<dyn Network>,
    own_bytes: Arc<AtomicUsize>,
    all_bytes: Arc<AtomicUsize>,
    counts: Arc<Counts>,
    troubles: Arc<Troubles>,
}

impl Courier {
    async fn run(self, mut items: mpsc::Receiver<Item>) {
        let mut next = None;
        loop {
            let first = match next.take() {
                Some(item) => item,
                None => match items.recv().await {
                    Some(item) => item,
                    None => return,
                },
            };
            let mut bytes = first.size_bytes();
            let mut batch = vec![first];
            while batch.len() < FRAME_LIMIT {
                let Ok(item) = items.try_recv() else { break };
                if bytes + item.size_bytes() > FRAME_LIMIT_BYTES {
                    next = Some(item);
                    break;
                }
                bytes += item.size_bytes();
                batch.push(item);
            }
            let sent = self.send(&batch).await;
            let count = batch.len() as u64;
            match sent {
                Ok(()) => self.counts.sent.fetch_add(count, Ordering::Relaxed),
                Err(error) => {
                    tracing::debug!(agent = %self.agent, %error, count, "messages did not reach a neighbour");
                    self.counts.dropped.fetch_add(count, Ordering::Relaxed)
                }
            };
            self.forget(bytes);
            // It is no neighbour any more.
            if items.is_closed() {
                return;
            }
        }
    }

    fn forget(&self, bytes: usize) {
        self.own_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.all_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    async fn send(&self, batch: &[Item]) -> Result<(), String> {
        let body = frames::encode(batch).map_err(|error| error.to_string())?;
        let timeout = HOP_TIMEOUT + Duration::from_secs((body.len() / HOP_BYTES_PER_SECOND) as u64);
        for _ in 0..BUSY_TRIES {
            let request = Request { method: Method::Messages as u16, head: Bytes::new(), body: body.clone() };
            let answer = self.network.call(self.agent, Lane::Foreground, request, timeout).await;
            let answer = answer.map_err(|error| {
                self.troubles.begin(self.agent);
                error.to_string()
            })?;
            match wire::check(&answer) {
                Ok(()) => return Ok(()),
                Err(WireError::Refused { status: Status::Busy, .. }) => tokio::time::sleep(BUSY_PAUSE).await,
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("it has too much to do".to_owned())
    }
}

impl Drop for Courier {
    /// What still waited for it waits no more.
    fn drop(&mut self) {
        self.forget(self.own_bytes.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use dci_proto::MessageId;
    use dci_proto::router::Passing;
    use shoal_net::MemoryHub;

    use super::*;
    use crate::handler::AgentHandler;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_in_trouble_for_a_while() {
        let (own, other) = (AgentId([1; 32]), AgentId([2; 32]));
        let hub = MemoryHub::new(1);
        let network = hub.join(own, Arc::new(AgentHandler::default()));
        let _other = hub.join(other, Arc::new(AgentHandler::default()));
        hub.cut(own, other);
        let couriers = Couriers::new(network);
        couriers.begin(other);
        assert!(couriers.troubles().agents().is_empty());
        let passing = Passing { origin: own, id: MessageId([3; 16]), attempt: 0 };
        couriers.give(other, Item::Raise { passing, ttl: 9 });
        let noticed = tokio::time::timeout(HOP_TIMEOUT * 2, couriers.troubles().more()).await;
        assert!(noticed.is_ok(), "a neighbour that takes nothing is not noticed");
        assert_eq!(couriers.troubles().agents(), BTreeSet::from([other]));
        tokio::time::sleep(TROUBLE).await;
        assert!(couriers.troubles().agents().is_empty());
    }
}
