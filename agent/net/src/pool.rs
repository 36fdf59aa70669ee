//! The connections of one lane to one peer: made on demand, kept, made anew after a pause when they break, and
//! shared by a bounded number of requests.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::asking::Connection;
use crate::limits::{BACKOFF_FIRST, BACKOFF_LAST, WAITING_REQUESTS};

/// A connection or the reason why there is none.
pub(crate) type Connected = Result<Arc<Connection>, String>;
type Connecting = Shared<BoxFuture<'static, Connected>>;

enum State {
    Idle,
    Connecting(Connecting),
    Ready(Arc<Connection>),
    /// The last attempt failed; until then nobody tries again.
    Resting {
        until: Instant,
        reason: String,
    },
}

fn settled(connected: Connected) -> Connecting {
    std::future::ready(connected).boxed().shared()
}

/// One place for a connection.
struct Link {
    state: Mutex<State>,
    pause: Mutex<Duration>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    fn new() -> Self {
        Self { state: Mutex::new(State::Idle), pause: Mutex::new(BACKOFF_FIRST) }
    }

    fn ready(&self) -> Option<Arc<Connection>> {
        match &*locked(&self.state) {
            State::Ready(connection) if !connection.is_closed() => Some(connection.clone()),
            _ => None,
        }
    }

    /// The connection that stands, or one that is made now, by the first who asks and for all who do.
    fn begin<F>(self: &Arc<Self>, connect: impl FnOnce() -> F) -> Connecting
    where
        F: Future<Output = Connected> + Send + 'static,
    {
        let mut state = locked(&self.state);
        match &*state {
            State::Ready(connection) if !connection.is_closed() => settled(Ok(connection.clone())),
            State::Resting { until, reason } if Instant::now() < *until => settled(Err(reason.clone())),
            State::Connecting(connecting) if connecting.peek().is_none() => connecting.clone(),
            _ => {
                // Its own task: that one caller gives up must not end it for the others.
                let attempt = tokio::spawn(self.clone().attempt(connect()));
                let connecting =
                    attempt.map(|done| done.unwrap_or_else(|error| Err(error.to_string()))).boxed().shared();
                *state = State::Connecting(connecting.clone());
                connecting
            }
        }
    }

    async fn attempt(self: Arc<Self>, connect: impl Future<Output = Connected> + Send) -> Connected {
        let connected = connect.await;
        let mut pause = locked(&self.pause);
        *locked(&self.state) = match &connected {
            Ok(connection) => {
                *pause = BACKOFF_FIRST;
                State::Ready(connection.clone())
            }
            Err(reason) => {
                let until = Instant::now() + *pause;
                *pause = (*pause * 2).min(BACKOFF_LAST);
                State::Resting { until, reason: reason.clone() }
            }
        };
        connected
    }

    /// Takes a tunnel out of use, what replaces it in.
    fn replace_tunnel(&self, direct: &mut Option<Arc<Connection>>) -> Option<Arc<Connection>> {
        let mut state = locked(&self.state);
        let State::Ready(tunnel) = &*state else { return None };
        if tunnel.is_direct() {
            return None;
        }
        let tunnel = tunnel.clone();
        *state = direct.take().map_or(State::Idle, State::Ready);
        Some(tunnel)
    }

    fn retry_now(&self) {
        *locked(&self.pause) = BACKOFF_FIRST;
        let mut state = locked(&self.state);
        if matches!(*state, State::Resting { .. }) {
            *state = State::Idle;
        }
    }
}

/// The connections of a lane, and the places for requests on them.
pub(crate) struct Pool {
    links: Vec<Arc<Link>>,
    places: Semaphore,
    in_flight_limit: usize,
    waiting: AtomicUsize,
}

/// No place: too many wait already.
pub(crate) struct Full;

/// Counts one who waits for a place, until dropped.
struct Waiter<'a>(&'a AtomicUsize);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    pub(crate) fn new(connections: usize, in_flight: usize) -> Self {
        Self {
            links: (0..connections).map(|_| Arc::new(Link::new())).collect(),
            places: Semaphore::new(in_flight),
            in_flight_limit: in_flight,
            waiting: AtomicUsize::new(0),
        }
    }

    /// A place for one request; waits for it in turn.
    pub(crate) async fn place(&self) -> Result<SemaphorePermit<'_>, Full> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiter = Waiter(&self.waiting);
        if before >= WAITING_REQUESTS {
            return Err(Full);
        }
        self.places.acquire().await.map_err(|_| Full)
    }

    /// Requests that have a place.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight_limit - self.places.available_permits()
    }

    /// The connection with the least to do. While all that stand are busy, one more is made meanwhile.
    pub(crate) async fn connection<F>(&self, connect: impl FnOnce() -> F) -> Connected
    where
        F: Future<Output = Connected> + Send + 'static,
    {
        let mut best: Option<(usize, Arc<Connection>)> = None;
        let mut missing = None;
        for link in &self.links {
            match link.ready() {
                Some(connection) => {
                    let in_flight = connection.in_flight();
                    if in_flight == 0 {
                        return Ok(connection);
                    }
                    if best.as_ref().is_none_or(|(least, _)| in_flight < *least) {
                        best = Some((in_flight, connection));
                    }
                }
                None => missing = missing.or(Some(link)),
            }
        }
        let connecting = missing.map(|link| link.begin(connect));
        match (best, connecting) {
            (Some((_, connection)), _) => Ok(connection),
            (None, Some(connecting)) => connecting.await,
            (None, None) => Err("there is no place for a connection".to_owned()),
        }
    }

    /// Whether a connection without others in between stands.
    pub(crate) fn has_direct(&self) -> bool {
        self.links.iter().any(|link| link.ready().is_some_and(|connection| connection.is_direct()))
    }

    /// Whether a connection over others stands.
    pub(crate) fn has_tunnels(&self) -> bool {
        self.links.iter().any(|link| link.ready().is_some_and(|connection| !connection.is_direct()))
    }

    /// Takes the connections over others out of use, a direct one in; returns those taken out, and the direct one if
    /// there was no place for it.
    pub(crate) fn replace_tunnels(&self, mut direct: Option<Arc<Connection>>) -> Vec<Arc<Connection>> {
        let mut replaced: Vec<_> = self.links.iter().filter_map(|link| link.replace_tunnel(&mut direct)).collect();
        replaced.extend(direct);
        replaced
    }

    /// Forgets earlier failures: the peer has a new address, or was just heard from.
    pub(crate) fn retry_now(&self) {
        self.links.iter().for_each(|link| link.retry_now());
    }
}
