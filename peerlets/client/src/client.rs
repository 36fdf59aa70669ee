//! The agent of this computer, as a program sees it.

use std::iter::FusedIterator;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::ClientError;
use crate::line::{Call, Said};
use crate::types::{
    Event, EventLine, Filter, FollowLine, Happening, Message, Page, RequestBody, Sent, SentAnswer, State, StatesAnswer,
    Which,
};

/// The socket's name in a data directory.
const SOCKET_FILE: &str = "messages.sock";
/// How long an answer may take that waits for nobody else.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// An agent. Nothing is connected between calls.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The agent with this data directory.
    #[must_use]
    pub fn new(data: impl AsRef<Path>) -> Self {
        Self { socket: data.as_ref().join(SOCKET_FILE) }
    }

    /// Sends a message; it is on the agent's disk when this returns. Several agents get a message each.
    ///
    /// # Errors
    /// If no agent answers, or it does not take the message.
    pub fn send(&self, message: &Message) -> Result<Vec<Sent>, ClientError> {
        self.call::<SentAnswer>("send", message).map(|answer| answer.messages)
    }

    /// What became of a message, at each recipient.
    ///
    /// # Errors
    /// If no agent answers, or it knows no such message.
    pub fn states(&self, id: &str) -> Result<Vec<State>, ClientError> {
        self.call::<StatesAnswer>("states", &Which { id }).map(|answer| answer.recipients)
    }

    /// Sends a message and tells what comes of it, until every recipient has dealt with it or the time is over. The last event
    /// is [`Event::Done`]. Who drops the iterator goes; the message does not.
    ///
    /// # Errors
    /// If no agent answers. That it does not take the message is told by the first event.
    pub fn request(&self, message: &Message, timeout: Duration) -> Result<Replies, ClientError> {
        // Rounded up: who waits for half a second does not wait for none.
        let timeout_s = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
        let body = RequestBody { message, timeout_s };
        let silence = timeout.saturating_add(ANSWER_DEADLINE);
        Ok(Replies { call: Some(Call::make(&self.socket, "request", &body, Some(silence))?) })
    }

    /// A page of the log.
    ///
    /// # Errors
    /// If no agent answers, or the filter makes no sense.
    pub fn log(&self, filter: &Filter) -> Result<Page, ClientError> {
        self.call("log", filter)
    }

    /// The log as it grows from now on. Never ends by itself but with the agent.
    ///
    /// # Errors
    /// If no agent answers.
    pub fn follow(&self, filter: &Filter) -> Result<Happenings, ClientError> {
        Ok(Happenings { call: Some(Call::make(&self.socket, "follow", filter, None)?) })
    }

    fn call<A: DeserializeOwned>(&self, call: &str, body: &impl Serialize) -> Result<A, ClientError> {
        match Call::make(&self.socket, call, body, Some(ANSWER_DEADLINE))?.next::<A, IgnoredAny>()? {
            Said::Answer(answer) => Ok(answer),
            Said::Event(_) => Err(ClientError::Garbled("an event where an answer was due".into())),
        }
    }
}

/// What comes of a request.
pub struct Replies {
    /// `None` after the last event.
    call: Option<Call>,
}

impl Iterator for Replies {
    type Item = Result<Event, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        let event = loop {
            match self.call.as_mut()?.next::<IgnoredAny, EventLine>() {
                Ok(Said::Event(line)) => match line.event() {
                    Some(event) => break Ok(event),
                    None => continue,
                },
                Ok(Said::Answer(_)) => break Err(ClientError::Garbled("an answer where an event was due".into())),
                Err(error) => break Err(error),
            }
        };
        if !matches!(event, Ok(Event::Sent(_) | Event::State(_) | Event::Reply(_))) {
            self.call = None;
        }
        Some(event)
    }
}

impl FusedIterator for Replies {}

/// What happens to the log.
pub struct Happenings {
    call: Option<Call>,
}

impl Iterator for Happenings {
    type Item = Result<Happening, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        let told = loop {
            match self.call.as_mut()?.next::<IgnoredAny, FollowLine>() {
                Ok(Said::Event(line)) => match line.happening() {
                    Some(happening) => break Ok(happening),
                    None => continue,
                },
                Ok(Said::Answer(_)) => break Err(ClientError::Garbled("an answer where an event was due".into())),
                Err(error) => break Err(error),
            }
        };
        if told.is_err() {
            self.call = None;
        }
        Some(told)
    }
}

impl FusedIterator for Happenings {}
