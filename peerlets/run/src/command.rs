//! One command: started without a shell, fed, listened to, ended with its process group when its time is over, when it prints too
//! much, or when nobody listens any more.
//!
//! ```text
//! feeder ─► stdin     stdout, stderr ─► two readers ─► main: gathers, tells
//! keeper: waits for the end, the time, or an order to end it; asks (SIGTERM), then ends (SIGKILL). Never waits for whoever listens.
//! ```

use std::io::{self, PipeReader, PipeWriter, Read, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::gather::Gatherer;
use crate::{ALLOW_VARIABLE, Reply, Request, Stream};

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// Pieces read that wait to be gathered; then the command waits.
const WAITING_LIMIT: usize = 16;
/// How long a command has to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);
/// How long what is in the pipes is waited for when the command has ended: what it started may hold the other ends.
const DRAIN: Duration = Duration::from_millis(500);
/// What a shell adds to the number of a signal that ended a command.
const SIGNAL_STATUS: i32 = 128;

/// Why a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// By itself, or by somebody's signal.
    Itself,
    /// Its time was over.
    Time,
    /// It was ordered to.
    Order,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) status: i32,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    pub(crate) cause: Cause,
    /// Whether more was printed than was told.
    pub(crate) over: bool,
}

enum Event {
    Printed(Stream, Vec<u8>),
    Closed,
    Ended(Cause),
}

/// A command that runs.
pub(crate) struct Running {
    child: Child,
    group: Pid,
    events: Receiver<Event>,
    /// Closed, it is the order to end it.
    order: Option<PipeWriter>,
    began: Instant,
}

/// Starts a program for a request.
pub(crate) fn start(program: &Path, request: &Request) -> io::Result<Running> {
    let mut command = std::process::Command::new(program);
    command.args(&request.arguments).env_remove(ALLOW_VARIABLE).process_group(0);
    command.stdin(if request.input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let group = Pid::from_child(&child);
    match watch(&mut child, group, request) {
        Ok((events, order)) => Ok(Running { child, group, events, order: Some(order), began: Instant::now() }),
        Err(error) => {
            // What is not watched does not run.
            let _ = kill_process_group(group, Signal::KILL);
            let _ = child.wait();
            Err(error)
        }
    }
}

/// Sets everything going round a command.
fn watch(child: &mut Child, group: Pid, request: &Request) -> io::Result<(Receiver<Event>, PipeWriter)> {
    let watched = pidfd_open(group, PidfdFlags::empty())?;
    let (orders, order) = io::pipe()?;
    let (sender, events) = sync_channel(WAITING_LIMIT);
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), request.input.clone()) {
        // One that reads no more has what it wants.
        background(move || drop(stdin.write_all(input.as_bytes())))?;
    }
    let out: Option<Box<dyn Read + Send>> = child.stdout.take().map(|pipe| Box::new(pipe) as _);
    let err: Option<Box<dyn Read + Send>> = child.stderr.take().map(|pipe| Box::new(pipe) as _);
    for (stream, pipe) in [(Stream::Out, out), (Stream::Err, err)] {
        let sender = sender.clone();
        background(move || read(stream, pipe, &sender))?;
    }
    let (keeper, timeout) = (Keeper { group, watched, orders }, Duration::from_secs(request.timeout_s));
    background(move || drop(sender.send(Event::Ended(keeper.keep(timeout)))))?;
    Ok((events, order))
}

/// Does something beside; fails where the system gives no thread.
fn background(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().spawn(work).map(drop)
}

fn read(stream: Stream, pipe: Option<Box<dyn Read + Send>>, events: &SyncSender<Event>) {
    if let Some(mut pipe) = pipe {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    let bytes = buffer.get(..count).unwrap_or_default().to_vec();
                    if events.send(Event::Printed(stream, bytes)).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    }
    // Whoever listened has heard enough.
    let _ = events.send(Event::Closed);
}

impl Running {
    /// Tells what it prints until it has ended. Where nobody listens any more it is ended.
    pub(crate) fn tell(mut self, tell: &mut dyn FnMut(Reply) -> io::Result<()>) -> io::Result<End> {
        let told = self.listen(tell);
        self.order = None;
        // What it left behind in its group. The group is still its own: the command was not asked for its status yet.
        let _ = kill_process_group(self.group, Signal::KILL);
        let status = self.child.wait()?;
        let (cause, over) = told?;
        let (code, signal) = (status_of(status), status.signal());
        Ok(End { status: code, signal, cause, over })
    }

    fn listen(&mut self, tell: &mut dyn FnMut(Reply) -> io::Result<()>) -> io::Result<(Cause, bool)> {
        let (mut gatherer, mut open) = (Gatherer::default(), 2);
        let mut ended: Option<(Cause, Instant)> = None;
        while ended.is_none() || open > 0 {
            let until =
                [gatherer.due_ms().map(|ms| self.began + Duration::from_millis(ms)), ended.map(|(_, at)| at + DRAIN)];
            let event = match until.into_iter().flatten().min() {
                Some(until) => self.events.recv_timeout(until.saturating_duration_since(Instant::now())),
                None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(Event::Printed(stream, bytes)) => {
                    let now_ms = self.now_ms();
                    gatherer.push(stream, &bytes, now_ms).into_iter().try_for_each(&mut *tell)?;
                    if gatherer.is_over() {
                        self.order = None;
                    }
                }
                Ok(Event::Closed) => open -= 1,
                Ok(Event::Ended(cause)) => ended = Some((cause, Instant::now())),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if gatherer.due_ms().is_some_and(|due_ms| due_ms <= self.now_ms()) {
                gatherer.flush().into_iter().try_for_each(&mut *tell)?;
            }
            if ended.is_some_and(|(_, at)| at.elapsed() >= DRAIN) {
                break;
            }
        }
        gatherer.finish().into_iter().try_for_each(tell)?;
        Ok((ended.map_or(Cause::Itself, |(cause, _)| cause), gatherer.is_over()))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn status_of(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| SIGNAL_STATUS + signal)).unwrap_or(crate::STATUS_FAILED)
}

/// Watches over a command's end.
struct Keeper {
    group: Pid,
    watched: OwnedFd,
    orders: PipeReader,
}

impl Keeper {
    fn keep(self, timeout: Duration) -> Cause {
        let cause = match self.wait(Some(timeout), true) {
            Some(cause) => cause,
            None => return Cause::Itself,
        };
        self.signal(Signal::TERM);
        if self.wait(Some(GRACE), false).is_some() {
            self.signal(Signal::KILL);
            self.wait(None, false);
        }
        cause
    }

    /// Waits for the command's end, or why it should end: its time, or with `obey` an order.
    fn wait(&self, timeout: Option<Duration>, obey: bool) -> Option<Cause> {
        let began = Instant::now();
        loop {
            let left = timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
            let left_spec = left.map(|left| Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            });
            let wanted = if obey { PollFlags::IN } else { PollFlags::empty() };
            let mut fds = [PollFd::new(&self.watched, PollFlags::IN), PollFd::new(&self.orders, wanted)];
            let count = if obey { 2 } else { 1 };
            let polled = poll(fds.get_mut(..count).unwrap_or_default(), left_spec.as_ref());
            let [ended, ordered] = [fds[0].revents(), fds[1].revents()];
            match polled {
                Err(rustix::io::Errno::INTR) => {}
                // What cannot be watched is ended.
                Err(_) => return Some(Cause::Order),
                Ok(_) if !ended.is_empty() => return None,
                Ok(_) if obey && !ordered.is_empty() => return Some(Cause::Order),
                Ok(_) if left == Some(Duration::ZERO) => return Some(Cause::Time),
                Ok(_) => {}
            }
        }
    }

    fn signal(&self, signal: Signal) {
        // It may have ended by now.
        let _ = kill_process_group(self.group, signal);
    }
}
