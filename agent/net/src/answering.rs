//! The answering end of a connection: reads requests of one member, lets the handler work on many at once, writes
//! the responses as they come.
//!
//! What bounds it: a share of a byte budget is taken before a body is read, a place among the handlers before one is
//! started, and both are given back only when the response has left. A peer that sends faster than it is served, or
//! does not read its answers, is simply not read from.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use dci_proto::AgentId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::frame::{Header, Kind, oversize};
use crate::limits::{
    BACKGROUND_BODY_BUDGET_BYTES, BACKGROUND_HANDLERS, CONTROL_BODY_BUDGET_BYTES, FOREGROUND_BODY_BUDGET_BYTES,
    IN_FLIGHT_BACKGROUND, IN_FLIGHT_CONTROL, IN_FLIGHT_FOREGROUND, WRITE_QUEUE_FRAMES,
};
use crate::wire::{Frame, read_header, read_payload, write_frames};
use crate::{Handler, Lane, Request, Response};

/// Which requests a connection may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    Control,
    Data,
    /// A data connection that came over others; it stands in for the control network too.
    Tunnelled,
}

/// What handlers of all connections share.
pub(crate) struct Shares {
    control_bytes: Arc<Semaphore>,
    foreground_bytes: Arc<Semaphore>,
    background_bytes: Arc<Semaphore>,
    background_handlers: Arc<Semaphore>,
}

impl Default for Shares {
    fn default() -> Self {
        let bytes = |count| Arc::new(Semaphore::new(count));
        Self {
            control_bytes: bytes(CONTROL_BODY_BUDGET_BYTES),
            foreground_bytes: bytes(FOREGROUND_BODY_BUDGET_BYTES),
            background_bytes: bytes(BACKGROUND_BODY_BUDGET_BYTES),
            background_handlers: Arc::new(Semaphore::new(BACKGROUND_HANDLERS)),
        }
    }
}

impl Shares {
    /// Room for a request's bytes; waits until there is some.
    async fn room(&self, header: &Header) -> io::Result<OwnedSemaphorePermit> {
        let budget = match header.lane {
            Lane::Control => &self.control_bytes,
            Lane::Foreground => &self.foreground_bytes,
            Lane::Background => &self.background_bytes,
        };
        // Both lengths were checked against limits far below the budgets.
        take(budget, (header.head_bytes + header.body_bytes) as u32).await
    }
}

async fn take(semaphore: &Arc<Semaphore>, count: u32) -> io::Result<OwnedSemaphorePermit> {
    semaphore.clone().acquire_many_owned(count).await.map_err(|_| io::Error::other("shutting down"))
}

/// Everything the answering end needs besides the stream.
#[derive(Clone)]
pub(crate) struct Answering {
    pub(crate) from: AgentId,
    pub(crate) channel: Channel,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) shares: Arc<Shares>,
    pub(crate) closing: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// What a request in work holds until its response has left.
struct Held {
    _bytes: OwnedSemaphorePermit,
    _slot: OwnedSemaphorePermit,
}

type Answers = mpsc::Sender<Frame<Option<Held>>>;

impl Answering {
    /// Serves a member until the connection ends, breaks a rule, or is closed.
    pub(crate) async fn serve<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, writer) = tokio::io::split(stream);
        let (answers, queue) = mpsc::channel(WRITE_QUEUE_FRAMES);
        let ended = tokio::select! {
            () = self.closing.cancelled() => Ok(()),
            ended = self.read_requests(reader, answers) => ended,
            ended = write_frames(writer, queue, |_| true) => ended,
        };
        if let Err(error) = ended
            && error.kind() != io::ErrorKind::UnexpectedEof
        {
            tracing::debug!(from = %self.from, %error, "closed a connection");
        }
    }

    async fn read_requests<R: AsyncRead + Unpin>(&self, mut reader: R, answers: Answers) -> io::Result<()> {
        let mut lane_and_slots: Option<(Lane, Arc<Semaphore>)> = None;
        loop {
            let header = read_header(&mut reader).await?;
            // A connection keeps the lane of its first frame, so that lanes never wait for each other in one.
            let (lane, slots) = match &lane_and_slots {
                Some((lane, slots)) => (*lane, slots.clone()),
                None => lane_and_slots.insert((header.lane, self.slots(header.lane)?)).clone(),
            };
            if header.lane != lane {
                return Err(io::Error::other("two lanes on one connection"));
            }
            match header.kind {
                Kind::Probe => answer(&answers, Kind::Alive, &header, Response::default(), None).await?,
                Kind::Request => {
                    let bytes = self.shares.room(&header).await?;
                    let payload = read_payload(&mut reader, &header).await?;
                    let slot = take(&slots, 1).await?;
                    let request = Request { method: header.code, head: payload.head, body: payload.body };
                    let held = Held { _bytes: bytes, _slot: slot };
                    self.tasks.spawn(self.clone().handle(header, request, held, answers.clone()));
                }
                Kind::Response | Kind::Refusal | Kind::Alive => {
                    return Err(io::Error::other("an answer on the asking side"));
                }
            }
        }
    }

    /// Places for requests in work on one connection of a lane.
    fn slots(&self, lane: Lane) -> io::Result<Arc<Semaphore>> {
        let count = match (self.channel, lane) {
            (Channel::Control | Channel::Tunnelled, Lane::Control) => IN_FLIGHT_CONTROL,
            (Channel::Data | Channel::Tunnelled, Lane::Foreground) => IN_FLIGHT_FOREGROUND,
            (Channel::Data | Channel::Tunnelled, Lane::Background) => IN_FLIGHT_BACKGROUND,
            (Channel::Control, _) | (Channel::Data, Lane::Control) => {
                return Err(io::Error::other("a lane that does not belong on this channel"));
            }
        };
        Ok(Arc::new(Semaphore::new(count)))
    }

    async fn handle(self, header: Header, request: Request, held: Held, answers: Answers) {
        let response = {
            let _turn = match header.lane {
                Lane::Background => take(&self.shares.background_handlers, 1).await.ok(),
                Lane::Control | Lane::Foreground => None,
            };
            self.handler.handle(self.from, header.lane, request).await
        };
        let (kind, response) = match oversize("response", header.lane, response.head.len(), response.body.len()) {
            None => (Kind::Response, response),
            Some(reason) => (Kind::Refusal, Response { head: Bytes::from(reason), ..Response::default() }),
        };
        // The connection may be gone; then so is whoever asked.
        let _ = answer(&answers, kind, &header, response, Some(held)).await;
    }
}

async fn answer(answers: &Answers, kind: Kind, to: &Header, response: Response, held: Option<Held>) -> io::Result<()> {
    let Response { status, head, body } = response;
    let frame = Frame { kind, lane: to.lane, code: status, id: to.id, head, body, _held: held };
    answers.send(frame).await.map_err(|_| io::Error::other("the connection is gone"))
}
