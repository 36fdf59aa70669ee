//! One program's connection: its calls run side by side, their lines go out one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::super::super::super::failure::Failure;
use super::Shared;
use super::calls::{self, Answers, Call, CallLine, Seq};
use super::lines::{Line, Lines};
use super::waiting::{Told, waiting};

/// Calls of a connection under way at once, at most.
const CALLS_LIMIT: usize = 16;
/// How long a connection without calls may say nothing.
const IDLE_LIMIT: Duration = Duration::from_secs(15 * 60);
/// How long a program may let lines wait to be read by it.
const WRITE_DEADLINE: Duration = Duration::from_secs(60);
/// How often it is looked whether a program that says nothing more is still there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A call under way.
struct Running {
    /// Tells it from an earlier one with the same name.
    number: u64,
    /// It ends only when it is told to.
    endless: bool,
    handle: AbortHandle,
}

struct Connection {
    shared: Arc<Shared>,
    answers: Answers,
    calls: JoinSet<(Seq, u64)>,
    running: BTreeMap<Seq, Running>,
    numbers: u64,
}

/// Serves a program until it goes, is told why it is left, or the agent ends.
pub(super) async fn serve(stream: UnixStream, shared: Arc<Shared>) {
    let (read, write) = stream.into_split();
    let (lines, waiting) = waiting();
    let mut writer = tokio::spawn(write_all(write, waiting));
    let answers = Answers { seq: None, lines };
    let source = Lines::new(read, shared.long_lines.clone());
    let mut connection = Connection { shared, answers, calls: JoinSet::new(), running: BTreeMap::new(), numbers: 0 };
    tokio::select! {
        () = connection.run(source) => {
            drop(connection);
            let _ = writer.await;
        }
        // Nobody reads any more.
        _ = &mut writer => {}
    }
}

/// Tells a program that there are too many.
pub(super) async fn turn_away(mut stream: UnixStream, limit: usize) {
    let reason = format!("{limit} programs are connected already; try again when one has gone");
    let line = json!({ "seq": null, "error": { "status": StatusCode::SERVICE_UNAVAILABLE.as_u16(), "error": reason } });
    let _ = tokio::time::timeout(LOOK_EVERY, stream.write_all(format!("{line}\n").as_bytes())).await;
}

async fn write_all(mut target: OwnedWriteHalf, mut waiting: mpsc::Receiver<Told>) {
    loop {
        let line = tokio::select! {
            line = waiting.recv() => line,
            () = gone(&target) => None,
        };
        let Some(told) = line else { return };
        let written = tokio::time::timeout(WRITE_DEADLINE, target.write_all(told.line.as_bytes())).await;
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

/// Ends when the other end is closed. One that only says that nothing more comes from it is still there.
async fn gone(target: &OwnedWriteHalf) {
    while target.ready(Interest::WRITABLE).await.is_ok_and(|ready| !ready.is_write_closed()) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Connection {
    async fn run(&mut self, mut lines: Lines) {
        let shutdown = self.shared.shutdown.clone();
        let mut more = true;
        while more || !self.running.is_empty() {
            let idle = self.running.is_empty();
            tokio::select! {
                line = lines.next(), if more => match line {
                    Ok(Some(line)) => self.begin(line).await,
                    Ok(None) => {
                        more = false;
                        self.stop_endless();
                    }
                    Err(error) => return self.answers.failed(&Failure::bad(error.to_string())).await,
                },
                Some(ended) = self.calls.join_next() => self.ended(ended.ok()),
                () = tokio::time::sleep(IDLE_LIMIT), if idle => {
                    let reason = format!("nothing was asked for {} minutes", IDLE_LIMIT.as_secs() / 60);
                    return self.answers.failed(&Failure::with(StatusCode::REQUEST_TIMEOUT, reason)).await;
                }
                () = shutdown.cancelled() => return,
            }
        }
    }

    async fn begin(&mut self, line: Line) {
        let mut call = match CallLine::read(line) {
            Ok(call) => call,
            Err((seq, failure)) => {
                let answers = Answers { seq, lines: self.answers.lines.clone() };
                return answers.failed(&failure).await;
            }
        };
        let answers = Answers { seq: Some(call.seq.clone()), lines: self.answers.lines.clone() };
        if call.call == Call::Stop {
            return match call.stopped() {
                Ok(seq) => {
                    let stopped = self.running.remove(&seq).map(|running| running.handle.abort()).is_some();
                    answers.answer(&json!({ "stopped": stopped })).await;
                }
                Err(failure) => answers.failed(&failure).await,
            };
        }
        if self.running.contains_key(&call.seq) {
            return answers.failed(&Failure::conflict("a call with this `seq` is under way")).await;
        }
        if self.running.len() >= CALLS_LIMIT {
            let reason = format!("{CALLS_LIMIT} calls of this connection are under way");
            return answers.failed(&Failure::with(StatusCode::TOO_MANY_REQUESTS, reason)).await;
        }
        self.numbers += 1;
        let (number, seq, endless) = (self.numbers, call.seq.clone(), call.call == Call::Follow);
        let (shared, name) = (self.shared.clone(), seq.clone());
        let handle = self.calls.spawn(async move {
            calls::run(shared, call, answers).await;
            (name, number)
        });
        self.running.insert(seq, Running { number, endless, handle });
    }

    fn ended(&mut self, ended: Option<(Seq, u64)>) {
        // One that was stopped has been forgotten already.
        let Some((seq, number)) = ended else { return };
        if self.running.get(&seq).is_some_and(|running| running.number == number) {
            self.running.remove(&seq);
        }
    }

    fn stop_endless(&mut self) {
        self.running.retain(|_, running| {
            if running.endless {
                running.handle.abort();
            }
            !running.endless
        });
    }
}
