//! Lines of bounded length, in bounded time.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Bytes of a line, at most: the largest message, escaped in JSON.
pub(super) const LINE_LIMIT_BYTES: usize = 4 * 1024 * 1024;
/// Bytes from which on a line is long.
const LONG_BYTES: usize = 64 * 1024;
/// Long lines in memory at once, at most, for all connections; others wait within their deadline.
pub(super) const LONG_LINES_LIMIT: usize = 8;
/// How long a line may take from its first byte to its last.
pub(super) const LINE_DEADLINE: Duration = Duration::from_secs(30);
/// Bytes read at once.
const PIECE_BYTES: usize = 16 * 1024;

/// Why no line came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LineError {
    #[error("a line has at most {LINE_LIMIT_BYTES} bytes")]
    TooLong,
    #[error("a line was not whole after {} seconds, or too many long ones come at once", LINE_DEADLINE.as_secs())]
    TooSlow,
    #[error("the last line has no end")]
    Cut,
    #[error("reading failed: {0}")]
    Broken(String),
}

/// A line without its end, and its place among the long ones.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) bytes: Vec<u8>,
    pub(super) place: Option<OwnedSemaphorePermit>,
}

/// Takes lines out of what is read.
pub(super) struct Lines {
    source: OwnedReadHalf,
    long_lines: Arc<Semaphore>,
    read: Vec<u8>,
    /// How much of what is read has no line end in it.
    looked_at: usize,
    begun: Option<Instant>,
    place: Option<OwnedSemaphorePermit>,
}

impl Lines {
    pub(super) fn new(source: OwnedReadHalf, long_lines: Arc<Semaphore>) -> Self {
        Self { source, long_lines, read: Vec::new(), looked_at: 0, begun: None, place: None }
    }

    /// The next line; `None` at the end. May be dropped half-way.
    pub(super) async fn next(&mut self) -> Result<Option<Line>, LineError> {
        loop {
            if let Some(line) = self.take() {
                return Ok(Some(line));
            }
            if self.read.len() > LINE_LIMIT_BYTES {
                return Err(LineError::TooLong);
            }
            let deadline = self.begun.map(|begun| begun + LINE_DEADLINE);
            let more = async {
                if self.read.len() > LONG_BYTES && self.place.is_none() {
                    self.place = self.long_lines.clone().acquire_owned().await.ok();
                }
                self.read.reserve(PIECE_BYTES);
                self.source.read_buf(&mut self.read).await
            };
            let count = match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, more).await.map_err(|_| LineError::TooSlow)?,
                None => more.await,
            };
            match count.map_err(|error| LineError::Broken(error.to_string()))? {
                0 if self.read.is_empty() => return Ok(None),
                0 => return Err(LineError::Cut),
                _ => {
                    self.begun.get_or_insert_with(Instant::now);
                }
            }
        }
    }

    fn take(&mut self) -> Option<Line> {
        let end = self.read.get(self.looked_at..)?.iter().position(|byte| *byte == b'\n');
        let Some(end) = end.map(|at| self.looked_at + at) else {
            self.looked_at = self.read.len();
            return None;
        };
        let rest = self.read.split_off(end + 1);
        let mut bytes = std::mem::replace(&mut self.read, rest);
        bytes.truncate(bytes.len() - 1);
        self.looked_at = 0;
        self.begun = (!self.read.is_empty()).then(Instant::now);
        Some(Line { bytes, place: self.place.take() })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::UnixStream;

    use super::*;

    fn pair(limit: usize) -> (UnixStream, Lines) {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        (theirs, Lines::new(ours.into_split().0, Arc::new(Semaphore::new(limit))))
    }

    #[tokio::test]
    async fn lines_come_as_they_were_sent_and_the_last_needs_an_end() {
        let (mut theirs, mut lines) = pair(1);
        let long = "x".repeat(3 * LONG_BYTES);
        let text = format!("one\n\n{long}\ntwo\nthree");
        let sent = tokio::spawn(async move { theirs.write_all(text.as_bytes()).await });
        for expected in ["one", "", &long, "two"] {
            let line = lines.next().await.expect("no failure").expect("a line");
            assert!(line.bytes == expected.as_bytes(), "{} bytes instead of {}", line.bytes.len(), expected.len());
        }
        assert_eq!(lines.next().await.err(), Some(LineError::Cut));
        sent.await.expect("sent").expect("sent");
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_too_long_at_some_point() {
        let (mut theirs, mut lines) = pair(1);
        tokio::spawn(async move { while theirs.write_all(&[b'x'; LONG_BYTES]).await.is_ok() {} });
        assert_eq!(lines.next().await.err(), Some(LineError::TooLong));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_line_and_one_too_many_long_ones_are_not_waited_for() {
        let (mut theirs, mut lines) = pair(1);
        theirs.write_all(b"slow").await.expect("sent");
        assert_eq!(lines.next().await.err(), Some(LineError::TooSlow));
        let (mut theirs, mut lines) = pair(0);
        let sent = tokio::spawn(async move { theirs.write_all(&[b'x'; 2 * LONG_BYTES]).await.map(|()| theirs) });
        assert_eq!(lines.next().await.err(), Some(LineError::TooSlow));
        drop(lines);
        let _ = sent.await;
    }
}
