//! What a program prints, on its way to replies. Reads no further while a reply waits to be taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dci_proto::message::Body;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::{mpsc, oneshot, watch};

use super::actor::FromProcess;
use crate::core::{Event, ProcessId, ReplyLine};
use crate::framing::{LINE_LIMIT_BYTES, LineCutter, parse_reply};
use crate::manifest::{Manifest, Output, Ready};

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// How long what is in the pipe is waited for when the program is gone: somebody else may hold the other end.
const DRAIN: Duration = Duration::from_secs(2);
/// Bytes kept of the end of standard error.
const SAID_BYTES: usize = 2 * 1024;
/// Reads of standard error after the program is gone: a pipe's fill, should somebody else still write.
const LAST_READS: usize = 64;
const KIB: u64 = 1024;

/// Where lines go.
pub(super) struct Printed {
    pub(super) process: ProcessId,
    pub(super) manifest: Arc<Manifest>,
    pub(super) events: mpsc::Sender<FromProcess>,
    /// Bytes printed since something was fed.
    pub(super) since_fed: Arc<AtomicU64>,
    pub(super) gone: watch::Receiver<bool>,
}

/// Why no more is read.
enum Stop {
    /// It did what it may not.
    Broke(String),
    /// Nobody is there to hear.
    Deaf,
}

impl Printed {
    /// Reads to the end. Answers all of it where it is one reply.
    pub(super) async fn read(mut self, stream: impl AsyncRead + Unpin) -> Vec<u8> {
        let mut text = Vec::new();
        match self.read_all(stream, &mut text).await {
            Ok(()) => self.say(Event::OutputClosed(self.process)).await,
            Err(Stop::Broke(why)) => {
                text.clear();
                self.say(Event::Broke(self.process, why)).await;
            }
            Err(Stop::Deaf) => {}
        }
        text
    }

    async fn read_all(&mut self, mut stream: impl AsyncRead + Unpin, text: &mut Vec<u8>) -> Result<(), Stop> {
        let mut buffer = vec![0; READ_BYTES];
        let limit_bytes = self.manifest.limits.output_kib * KIB;
        let line_limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX).min(LINE_LIMIT_BYTES);
        let mut cutter = LineCutter::new(line_limit);
        let mut awaited = match &self.manifest.ready {
            Ready::AtOnce => None,
            Ready::Line(line) => Some(line.clone()),
        };
        loop {
            let count = next(&mut stream, &mut buffer, &mut self.gone).await;
            let bytes = buffer.get(..count).unwrap_or_default();
            if self.manifest.output != Output::None || awaited.is_some() {
                let before = self.since_fed.fetch_add(count as u64, Ordering::Relaxed);
                if before + count as u64 > limit_bytes {
                    let kib = self.manifest.limits.output_kib;
                    return Err(Stop::Broke(format!("the program printed more than {kib} KiB (limits.output_kib)")));
                }
            }
            if self.manifest.output == Output::Text {
                text.extend_from_slice(bytes);
            } else if self.manifest.output != Output::None || awaited.is_some() {
                let mut lines = cutter.push(bytes).map_err(|error| Stop::Broke(error.to_string()))?;
                if count == 0 {
                    lines.extend(cutter.rest());
                }
                for line in lines {
                    self.line(&line, &mut awaited).await?;
                }
            }
            // What nobody reads need not be read to its end, should somebody else still write it.
            let unread = self.manifest.output == Output::None && *self.gone.borrow();
            if count == 0 || unread {
                return Ok(());
            }
        }
    }

    async fn line(&self, line: &str, awaited: &mut Option<String>) -> Result<(), Stop> {
        if let Some(wanted) = awaited.as_deref() {
            if line == wanted {
                *awaited = None;
                self.say(Event::Ready(self.process)).await;
            }
            return Ok(());
        }
        let reply = match self.manifest.output {
            Output::None | Output::Text => return Ok(()),
            Output::Lines => text_reply(line),
            Output::Json => parse_reply(line),
        };
        let reply = reply.map_err(Stop::Broke)?;
        let (taken, waits) = oneshot::channel();
        let sent = self.events.send(FromProcess::Reply(self.process, reply, taken)).await;
        sent.map_err(|_| Stop::Deaf)?;
        // Dropped where nobody wants it: then the next may come as well.
        let _ = waits.await;
        Ok(())
    }

    async fn say(&self, event: Event) {
        // A host that is gone needs to hear nothing.
        let _ = self.events.send(FromProcess::Event(event)).await;
    }
}

/// A reply of text.
pub(super) fn text_reply(text: &str) -> Result<ReplyLine, String> {
    let body =
        Body::of_text(text).map_err(|error| format!("the program printed a reply that cannot be sent: {error}"))?;
    Ok(ReplyLine { about: None, body: Some(body), more: false, status: 0 })
}

/// Reads the end of standard error.
pub(super) async fn read_said(mut stream: impl AsyncRead + Unpin, mut gone: watch::Receiver<bool>) -> String {
    let mut said = Vec::new();
    let mut buffer = vec![0; SAID_BYTES];
    let mut reads_left = LAST_READS;
    while reads_left > 0 {
        if *gone.borrow() {
            reads_left -= 1;
        }
        let count = next(&mut stream, &mut buffer, &mut gone).await;
        if count == 0 {
            break;
        }
        said.extend_from_slice(buffer.get(..count).unwrap_or_default());
        said.drain(..said.len().saturating_sub(SAID_BYTES));
    }
    // For people and terminals: no orders to either.
    let plain = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
    String::from_utf8_lossy(&said).chars().map(plain).collect()
}

/// The next bytes; none at the end, or when the program is gone and nothing has come for a while.
async fn next(stream: &mut (impl AsyncRead + Unpin), buffer: &mut [u8], gone: &mut watch::Receiver<bool>) -> usize {
    let drained = async {
        // Whoever would say so is gone as well.
        let _ = gone.wait_for(|gone| *gone).await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        biased;
        read = stream.read(buffer) => read.unwrap_or(0),
        () = drained => 0,
    }
}
