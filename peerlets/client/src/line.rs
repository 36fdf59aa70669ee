//! One call: a line out, lines in.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ClientError;

/// Bytes of a line, at most: a page of the log.
const LINE_LIMIT_BYTES: u64 = 64 * 1024 * 1024;
/// How long the agent may take to read a call.
const WRITE_DEADLINE: Duration = Duration::from_secs(60);
/// What all calls here are named: each has a connection of its own.
const SEQ: u64 = 1;

#[derive(Serialize)]
struct CallLine<'a, T> {
    seq: u64,
    call: &'a str,
    body: T,
}

/// What a line says, but for which call it is about.
#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Error { error: Refusal },
    Event { event: serde_json::Value },
    Answer { answer: serde_json::Value },
}

#[derive(Deserialize)]
struct Refusal {
    status: u16,
    error: String,
    hint: Option<String>,
}

/// What a line brought.
pub(crate) enum Said<A, E> {
    Answer(A),
    Event(E),
}

/// A call under way.
pub(crate) struct Call {
    lines: BufReader<UnixStream>,
}

impl Call {
    /// Makes a call. `silence`: how long the agent may say nothing; `None`: for ever.
    pub(crate) fn make(
        socket: &Path,
        call: &str,
        body: &impl Serialize,
        silence: Option<Duration>,
    ) -> Result<Self, ClientError> {
        let no_agent = |source: io::Error| ClientError::NoAgent { path: socket.to_owned(), source };
        let mut stream = UnixStream::connect(socket).map_err(no_agent)?;
        stream.set_read_timeout(silence)?;
        stream.set_write_timeout(Some(WRITE_DEADLINE))?;
        let line = serde_json::to_string(&CallLine { seq: SEQ, call, body });
        let line = line.map_err(|error| ClientError::Garbled(error.to_string()))?;
        // One that turns us away says why instead of reading.
        let _ = stream.write_all(format!("{line}\n").as_bytes());
        Ok(Self { lines: BufReader::new(stream) })
    }

    /// What the agent says next.
    pub(crate) fn next<A: DeserializeOwned, E: DeserializeOwned>(&mut self) -> Result<Said<A, E>, ClientError> {
        let mut line = Vec::new();
        self.lines.by_ref().take(LINE_LIMIT_BYTES).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let garbled = |error: serde_json::Error| ClientError::Garbled(error.to_string());
        match serde_json::from_slice(&line).map_err(garbled)? {
            Told::Error { error: Refusal { status, error, hint } } => Err(ClientError::Refused { status, error, hint }),
            Told::Event { event } => serde_json::from_value(event).map(Said::Event).map_err(garbled),
            Told::Answer { answer } => serde_json::from_value(answer).map(Said::Answer).map_err(garbled),
        }
    }
}
