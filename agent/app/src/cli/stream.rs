//! Answers that come piece by piece (server-sent events): for commands that tell what happens while it does.
//!
//! [`Client::events`] makes the call; the [`EventStream`] it answers is an iterator that ends when the agent ends the stream.

use std::io::{BufRead, BufReader, Read as _};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::BodyReader;
use ureq::http::Method;

use super::CliError;
use super::client::{Client, refusal};

/// How long a stream may say nothing at all: the agent says every 15 s that it is still there.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// Bytes of one event, at most: a message of 1 MiB as text and as XML, all of it written as escapes.
const EVENT_LIMIT_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of what an agent says that did not take the call.
const REFUSAL_LIMIT_BYTES: u64 = 64 * 1024;
/// The name of an event that has none.
const NAME_USUAL: &str = "message";

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerEvent {
    /// What kind of thing; `message` where the agent does not say.
    pub(super) name: String,
    /// What exactly; usually JSON.
    pub(super) data: String,
}

impl ServerEvent {
    /// What its data says.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, CliError> {
        serde_json::from_str(&self.data).map_err(|error| CliError::Failed(format!("the agent's event: {error}")))
    }
}

/// Events as they come.
pub(super) struct EventStream<R = BufReader<BodyReader<'static>>> {
    address: String,
    lines: R,
    gathering: Gathering,
    ended: bool,
}

impl Client {
    /// Calls what answers with events. `deadline`: how long all of it may take; `None`: as long as events come.
    pub(super) fn events(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        deadline: Option<Duration>,
    ) -> Result<EventStream, CliError> {
        let failed = |reason: String| CliError::NoAgent { address: self.base.clone(), reason };
        let request = self.agent.configure_request(self.request(method, path, body)?);
        let request = request.timeout_global(deadline).timeout_per_read(Some(SILENCE_LIMIT)).build();
        let mut response = self.agent.run(request).map_err(|error| failed(error.to_string()))?;
        let status = response.status().as_u16();
        if !(200..300).contains(&status) {
            let text = response.body_mut().with_config().limit(REFUSAL_LIMIT_BYTES).read_to_string();
            return Err(refusal(status, &text.unwrap_or_default()));
        }
        // Each event is bounded, their number is not.
        let body = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(EventStream::new(self.base.clone(), BufReader::new(body)))
    }
}

impl<R: BufRead> EventStream<R> {
    fn new(address: String, lines: R) -> Self {
        Self { address, lines, gathering: Gathering::default(), ended: false }
    }

    fn read(&mut self) -> Result<Option<ServerEvent>, CliError> {
        let failed = |reason: String| CliError::NoAgent { address: self.address.clone(), reason };
        loop {
            let mut line = Vec::new();
            let room = EVENT_LIMIT_BYTES.saturating_sub(self.gathering.data.len());
            let count = self.lines.by_ref().take(room as u64).read_until(b'\n', &mut line);
            let count = count.map_err(|error| failed(format!("the stream of events broke off: {error}")))?;
            if count == 0 && room > 0 {
                // An event that is not whole is none.
                return Ok(None);
            }
            if line.pop() != Some(b'\n') {
                return Err(failed("the stream of events ended within one, or has one that is too large".into()));
            }
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            let line = std::str::from_utf8(line).map_err(|_| failed("the stream of events is garbled".into()))?;
            if let Some(event) = self.gathering.line(line) {
                return Ok(Some(event));
            }
        }
    }
}

impl<R: BufRead> Iterator for EventStream<R> {
    type Item = Result<ServerEvent, CliError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let read = self.read().transpose();
        self.ended = !matches!(read, Some(Ok(_)));
        read
    }
}

/// Lines on their way to an event (HTML standard §9.2.6).
#[derive(Debug, Default)]
struct Gathering {
    name: String,
    data: String,
    has_data: bool,
}

impl Gathering {
    /// Takes a line without its end; answers the event it ends.
    fn line(&mut self, line: &str) -> Option<ServerEvent> {
        if line.is_empty() {
            let whole = std::mem::take(self);
            let name = if whole.name.is_empty() { NAME_USUAL.to_owned() } else { whole.name };
            return whole.has_data.then_some(ServerEvent { name, data: whole.data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.has_data = true;
                self.data.push_str(value);
            }
            // A comment, which only says that the agent is there, or a field nobody here needs.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(bytes: &[u8]) -> EventStream<&[u8]> {
        EventStream::new("http://agent".into(), bytes)
    }

    fn events(text: &str) -> Vec<(String, String)> {
        stream(text.as_bytes()).map(|event| event.expect("an event")).map(|event| (event.name, event.data)).collect()
    }

    #[test]
    fn events_have_names_and_data_and_what_is_no_event_is_passed_over() {
        let pair = |name: &str, data: &str| (name.to_owned(), data.to_owned());
        for (text, expected) in [
            ("data: {\"a\":1}\n\n", vec![pair("message", "{\"a\":1}")]),
            ("event: entry\ndata: x\n\nevent:state\ndata:y\n\n", vec![pair("entry", "x"), pair("state", "y")]),
            ("data: one\ndata\ndata:  two\r\n\r\n", vec![pair("message", "one\n\n two")]),
            (": still here\n\nid: 7\nretry: 1\n\ndata: x\n\n", vec![pair("message", "x")]),
            ("event: named\n\ndata: x\n\n", vec![pair("message", "x")]),
            ("data: whole\n\ndata: not\n", vec![pair("message", "whole")]),
            ("", vec![]),
        ] {
            assert_eq!(events(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_stream_that_breaks_within_a_line_or_is_too_large_says_so_once() {
        for bytes in [b"data: x\n\ndata: cut".to_vec(), b"data: x\n\n\xff\n\n".to_vec()] {
            let mut stream = stream(&bytes);
            assert!(stream.next().expect("an event").is_ok());
            assert!(stream.next().expect("a failure").is_err());
            assert!(stream.next().is_none());
        }
        let line = [b"data: ".as_slice(), &vec![b'a'; EVENT_LIMIT_BYTES / 2], b"\n"].concat();
        let mut endless = stream(&[0; 0]);
        let bytes = line.repeat(3);
        endless.lines = &bytes;
        assert!(endless.next().expect("a failure").is_err());
    }
}
