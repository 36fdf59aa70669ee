//! One program: started, fed, listened to, ended, reported.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dci_proto::message::Envelope;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use super::actor::FromProcess;
use super::output::{Printed, read_said, text_reply};
use super::prepare::{self, Occasion, Prepared};
use super::users::Users;
use super::{HostConfig, LauncherProgram};
use crate::core::{End, Event, ProcessId, Ticket};
use crate::framing::frame_past;
use crate::launcher::{self, Ended, REPORT_FILE, Report, WARDEN};
use crate::manifest::{Manifest, Output, Ready};
use crate::registry::Installed;

/// How long the launcher has to end a program that is to be ended. Then the agent does it itself.
const WARDEN_PATIENCE: Duration = Duration::from_secs(5);

/// What the host tells a program's tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopOrder {
    /// To ask it to end.
    Ask,
    /// To end it.
    End,
}

/// What a program's tasks need.
pub(super) struct Run {
    pub(super) config: Arc<HostConfig>,
    pub(super) users: Arc<Users>,
    pub(super) installed: Arc<Installed>,
    pub(super) occasion: Occasion,
    /// What is fed to it; closed, its input is.
    pub(super) food: mpsc::Receiver<(Ticket, Bytes)>,
    pub(super) stops: mpsc::Receiver<StopOrder>,
    pub(super) events: mpsc::Sender<FromProcess>,
}

/// The tasks that wait for a program's streams.
struct Streams {
    text: JoinHandle<Vec<u8>>,
    said: JoinHandle<String>,
    feeder: JoinHandle<()>,
    gone: watch::Sender<bool>,
}

impl Run {
    /// From the start to the end; tells the host all of it.
    pub(super) async fn run(self) {
        let process = self.occasion.process;
        let events = self.events.clone();
        let last = match self.start().await {
            Ok(end) => Event::Exited(process, end),
            Err(why) => Event::StartFailed(process, why),
        };
        // A host that is gone needs to hear nothing.
        let _ = events.send(FromProcess::Event(last)).await;
    }

    async fn start(self) -> Result<End, String> {
        let Self { config, users, installed, occasion, food, mut stops, events } = self;
        let process = occasion.process;
        let manifest = Arc::new(installed.manifest.clone());
        let (runtime, fresh) = (config.runtime.clone(), Arc::clone(&installed));
        let prepared = spawn_blocking(move || prepare::prepare(&runtime, &users, &fresh, &occasion)).await;
        let prepared = Arc::new(prepared.map_err(|_| "the host ends".to_owned())??);
        let done = match spawn(&config.launcher, &prepared) {
            Ok(mut child) => {
                let past = config.past.as_ref().filter(|_| manifest.past).map(|past| past.tell(&manifest.kind));
                let ready = manifest.ready == Ready::AtOnce && past.is_none();
                let streams = streams(process, &mut child, &manifest, Food { past, present: food }, &events);
                if ready {
                    let _ = events.send(FromProcess::Event(Event::Ready(process))).await;
                }
                wait(&mut child, &prepared, &mut stops).await;
                Ok(finish(process, &manifest, &prepared, streams, &events).await)
            }
            Err(error) => Err(format!("the launcher cannot be started: {error}")),
        };
        spawn_blocking(move || prepare::clear_away(&prepared));
        done
    }
}

fn spawn(launcher: &LauncherProgram, prepared: &Prepared) -> std::io::Result<Child> {
    let mut command = tokio::process::Command::new(&launcher.program);
    command.args(&launcher.words).arg(WARDEN).arg(&prepared.control_folder).args(&launcher.words);
    command.env_clear().current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

fn streams(
    process: ProcessId,
    child: &mut Child,
    manifest: &Arc<Manifest>,
    food: Food,
    events: &mpsc::Sender<FromProcess>,
) -> Streams {
    let since_fed = Arc::new(AtomicU64::new(0));
    let (gone, is_gone) = watch::channel(false);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let printed = Printed {
        process,
        manifest: Arc::clone(manifest),
        events: events.clone(),
        since_fed: Arc::clone(&since_fed),
        gone: is_gone.clone(),
    };
    let feeder = tokio::spawn(feed(process, stdin, food, since_fed, events.clone()));
    let text = tokio::spawn(async move {
        match stdout {
            Some(stdout) => printed.read(stdout).await,
            None => Vec::new(),
        }
    });
    let said = tokio::spawn(async move {
        match stderr {
            Some(stderr) => read_said(stderr, is_gone).await,
            None => String::new(),
        }
    });
    Streams { text, said, feeder, gone }
}

/// What a program is fed.
struct Food {
    /// What was sent before, if it wants to know.
    past: Option<mpsc::Receiver<Arc<Envelope>>>,
    present: mpsc::Receiver<(Ticket, Bytes)>,
}

/// Writes what the program is fed, for as long as it takes it. One that is told what was sent before is ready when it has that.
async fn feed(
    process: ProcessId,
    stdin: Option<ChildStdin>,
    food: Food,
    since_fed: Arc<AtomicU64>,
    events: mpsc::Sender<FromProcess>,
) {
    let Some(mut stdin) = stdin else { return };
    let Food { past, present: mut food } = food;
    if let Some(mut past) = past {
        while let Some(envelope) = past.recv().await {
            let Ok(line) = frame_past(&envelope) else { continue };
            if stdin.write_all(&line).await.is_err() {
                return;
            }
        }
        if stdin.flush().await.is_err() || events.send(FromProcess::Event(Event::Ready(process))).await.is_err() {
            return;
        }
    }
    while let Some((ticket, bytes)) = food.recv().await {
        since_fed.store(0, Ordering::Relaxed);
        // One that reads no more has what it wants: what becomes of the message is said by what it answers and how it ends.
        if stdin.write_all(&bytes).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
        if events.send(FromProcess::Event(Event::Fed(process, ticket))).await.is_err() {
            return;
        }
    }
}

/// Waits until the launcher has ended, and hands it the host's orders meanwhile.
async fn wait(child: &mut Child, prepared: &Arc<Prepared>, stops: &mut mpsc::Receiver<StopOrder>) {
    let mut patience: Option<tokio::time::Instant> = None;
    let mut listening = true;
    loop {
        let out_of_patience = async {
            match patience {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // One that cannot be waited for is not there.
            _ = child.wait() => return,
            stop = stops.recv(), if listening => match stop {
                Some(StopOrder::Ask) => order(prepared, launcher::ASK),
                Some(StopOrder::End) => {
                    order(prepared, launcher::END);
                    patience.get_or_insert_with(|| tokio::time::Instant::now() + WARDEN_PATIENCE);
                }
                // The host is gone.
                None => {
                    listening = false;
                    order(prepared, launcher::END);
                    patience.get_or_insert_with(|| tokio::time::Instant::now() + WARDEN_PATIENCE);
                }
            },
            () = out_of_patience => {
                end_ourselves(child).await;
                return;
            }
        }
    }
}

fn order(prepared: &Prepared, word: u8) {
    use std::io::Write as _;
    // A FIFO that is open at both ends takes a byte at once.
    if let Err(error) = (&prepared.control).write_all(&[word]) {
        tracing::warn!(%error, "a program's launcher cannot be told to end it");
    }
}

/// The launcher does not do what it is for.
async fn end_ourselves(child: &mut Child) {
    if let Some(warden) = child.id() {
        tracing::warn!(warden, "a program's launcher does not end it; the host does");
        let _ = spawn_blocking(move || launcher::end_tree(warden, None)).await;
    }
    let _ = child.start_kill();
    let _ = tokio::time::timeout(WARDEN_PATIENCE, child.wait()).await;
}

async fn finish(
    process: ProcessId,
    manifest: &Manifest,
    prepared: &Arc<Prepared>,
    streams: Streams,
    events: &mpsc::Sender<FromProcess>,
) -> End {
    streams.gone.send_replace(true);
    streams.feeder.abort();
    let text = streams.text.await.unwrap_or_default();
    let said = streams.said.await.unwrap_or_default();
    let kept = Arc::clone(prepared);
    let report = spawn_blocking(move || std::fs::read(kept.control_folder.join(REPORT_FILE)).ok()).await.ok().flatten();
    let report: Option<Report> = report.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let (status, fault) = match report {
        Some(report) => {
            if report.left_behind > 0 {
                tracing::debug!(kind = %manifest.kind, count = report.left_behind, "what a program left running was ended");
            }
            fate(report.ended, manifest)
        }
        // It failed, which it says on standard error, or somebody ended it.
        None => (0, Some(format!("the program's launcher is gone without a word about it: {}", said.trim()))),
    };
    let end = End { status, fault, said };
    if manifest.output == Output::Text && end.fault.is_none() && !text.is_empty() {
        let (taken, waits) = tokio::sync::oneshot::channel();
        let event = match text_reply(&String::from_utf8_lossy(&text)) {
            Ok(reply) => FromProcess::Reply(process, reply, taken),
            Err(why) => FromProcess::Event(Event::Broke(process, why)),
        };
        if events.send(event).await.is_ok() {
            let _ = waits.await;
        }
    }
    end
}

/// The status, and what was wrong.
fn fate(ended: Ended, manifest: &Manifest) -> (i32, Option<String>) {
    let limits = &manifest.limits;
    match ended {
        Ended::Exited(status) => (status, None),
        Ended::Killed => (0, None),
        Ended::NotStarted(why) => (0, Some(why)),
        Ended::Memory(_) => {
            (0, Some(format!("the program took more than {} MiB of memory (limits.memory_mib)", limits.memory_mib)))
        }
        Ended::Processes(count) => {
            let most = limits.processes;
            (0, Some(format!("the program had {count} processes and threads, more than {most} (limits.processes)")))
        }
    }
}
