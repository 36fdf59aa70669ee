//! The asking end of a connection: requests go out numbered, responses find whoever waits for them.
//!
//! When the connection breaks, everybody who waits on it learns so at once.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dci_proto::AgentId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::frame::Kind;
use crate::limits::{PROBE_TIMEOUT, WRITE_QUEUE_FRAMES};
use crate::wire::{Frame, Payload, read_header, read_payload, write_frames};
use crate::{Lane, Request, Response};

/// What came instead of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoResponse {
    /// The connection broke; why.
    Broken(String),
    /// The other end refused the request; why.
    Refused(String),
}

type Answer = Result<Response, NoResponse>;

#[derive(Default)]
struct Waiting {
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    alive: Vec<oneshot::Sender<()>>,
    /// Why nobody can wait any more.
    broken: Option<String>,
}

/// A connection on which we ask.
pub(crate) struct Connection {
    lane: Lane,
    /// The first of the agents it goes over; `None` if it goes directly.
    via: Option<AgentId>,
    frames: mpsc::Sender<Frame>,
    waiting: Mutex<Waiting>,
    next_id: AtomicU64,
    /// Headers that came in; tells a slow answer from a dead connection.
    received: AtomicU64,
    probing: AtomicBool,
    closed: CancellationToken,
}

impl Connection {
    /// Runs a connection over a stream that is already authenticated, until `closing`. `via` is the first of the agents
    /// it goes over.
    pub(crate) fn start<S>(
        lane: Lane,
        via: Option<AgentId>,
        stream: S,
        closing: CancellationToken,
        tasks: &TaskTracker,
    ) -> Arc<Self>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (frames, queue) = mpsc::channel(WRITE_QUEUE_FRAMES);
        let connection = Arc::new(Self {
            lane,
            via,
            frames,
            waiting: Mutex::default(),
            next_id: AtomicU64::new(0),
            received: AtomicU64::new(0),
            probing: AtomicBool::new(false),
            closed: closing,
        });
        tasks.spawn(run(connection.clone(), stream, queue));
        connection
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it goes over nobody else.
    pub(crate) fn is_direct(&self) -> bool {
        self.via.is_none()
    }

    /// The first of the agents it goes over.
    pub(crate) fn via(&self) -> Option<AgentId> {
        self.via
    }

    /// Waits until it is closed.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Requests under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.waiting().answers.len()
    }

    /// Ends the connection.
    pub(crate) fn close(&self, reason: &str) {
        let mut waiting = self.waiting();
        let reason = waiting.broken.get_or_insert_with(|| reason.to_owned()).clone();
        waiting.alive.clear();
        for (_, answer) in waiting.answers.drain() {
            let _ = answer.send(Err(NoResponse::Broken(reason.clone())));
        }
        self.closed.cancel();
    }

    /// Asks and waits for the answer. Dropping the future gives up waiting.
    pub(crate) async fn ask(&self, request: Request) -> Answer {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.expect(id, sender)?;
        let _forget = Forget { connection: self, id };
        let Request { method, head, body } = request;
        let frame = Frame { kind: Kind::Request, lane: self.lane, code: method, id, head, body, _held: () };
        if self.frames.send(frame).await.is_err() {
            return Err(self.why_broken());
        }
        receiver.await.unwrap_or_else(|_| Err(self.why_broken()))
    }

    fn expect(&self, id: u64, sender: oneshot::Sender<Answer>) -> Result<(), NoResponse> {
        let mut waiting = self.waiting();
        if let Some(reason) = &waiting.broken {
            return Err(NoResponse::Broken(reason.clone()));
        }
        waiting.answers.insert(id, sender);
        Ok(())
    }

    fn why_broken(&self) -> NoResponse {
        NoResponse::Broken(self.waiting().broken.clone().unwrap_or_else(|| "the connection was closed".to_owned()))
    }

    /// Whether the other end reads and answers within `limit`.
    pub(crate) async fn is_alive(&self, limit: Duration) -> bool {
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if waiting.broken.is_some() {
                return false;
            }
            waiting.alive.push(sender);
        }
        let empty = Bytes::new();
        let frame =
            Frame { kind: Kind::Probe, lane: self.lane, code: 0, id: 0, head: empty.clone(), body: empty, _held: () };
        let asked = async { self.frames.send(frame).await.is_ok() && receiver.await.is_ok() };
        tokio::time::timeout(limit, asked).await.unwrap_or(false)
    }

    /// To be called when a request timed out: finds out whether it was the request or the connection, and closes a
    /// connection that brings nothing at all any more; `dead` is then called.
    pub(crate) fn suspect(self: &Arc<Self>, tasks: &TaskTracker, dead: impl FnOnce() + Send + 'static) {
        if self.probing.swap(true, Ordering::Relaxed) {
            return;
        }
        let connection = self.clone();
        tasks.spawn(async move {
            let before = connection.received.load(Ordering::Relaxed);
            let closed = connection.closed.clone();
            let alive = tokio::select! {
                () = closed.cancelled() => true,
                alive = connection.is_alive(PROBE_TIMEOUT) => alive,
            };
            if !alive && connection.received.load(Ordering::Relaxed) == before {
                connection.close("it went silent");
                dead();
            }
            connection.probing.store(false, Ordering::Relaxed);
        });
    }

    fn take_in(&self, kind: Kind, id: u64, code: u16, payload: Payload) -> io::Result<()> {
        let mut waiting = self.waiting();
        let answer = match kind {
            Kind::Response => Ok(Response { status: code, head: payload.head, body: payload.body }),
            Kind::Refusal => {
                Err(NoResponse::Refused(String::from_utf8_lossy(&payload.head).chars().take(300).collect()))
            }
            Kind::Alive => {
                for asked in waiting.alive.drain(..) {
                    let _ = asked.send(());
                }
                return Ok(());
            }
            Kind::Request | Kind::Probe => return Err(io::Error::other("the answering end asked something")),
        };
        if id >= self.next_id.load(Ordering::Relaxed) {
            return Err(io::Error::other("an answer to what was never asked"));
        }
        // Whoever gave up is not there any more; its answer is dropped.
        if let Some(sender) = waiting.answers.remove(&id) {
            let _ = sender.send(answer);
        }
        Ok(())
    }
}

/// Stops waiting when the asking future is dropped.
struct Forget<'a> {
    connection: &'a Connection,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.connection.waiting().answers.remove(&self.id);
    }
}

async fn run<S>(connection: Arc<Connection>, stream: S, queue: mpsc::Receiver<Frame>)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (reader, writer) = tokio::io::split(stream);
    // A request nobody waits for any more is not sent.
    let wanted = |frame: &Frame| frame.kind != Kind::Request || connection.waiting().answers.contains_key(&frame.id);
    let ended = tokio::select! {
        () = connection.closed.cancelled() => Err(io::Error::other("it was closed")),
        ended = read_answers(&connection, reader) => ended,
        ended = write_frames(writer, queue, wanted) => ended,
    };
    let reason = ended.err().map_or_else(|| "it ended".to_owned(), |error| error.to_string());
    connection.close(&reason);
}

async fn read_answers<R: AsyncRead + Unpin>(connection: &Connection, mut reader: R) -> io::Result<()> {
    loop {
        let header = read_header(&mut reader).await?;
        if header.lane != connection.lane {
            return Err(io::Error::other("an answer on the wrong lane"));
        }
        connection.received.fetch_add(1, Ordering::Relaxed);
        let payload = read_payload(&mut reader, &header).await?;
        connection.take_in(header.kind, header.id, header.code, payload)?;
    }
}
