//! The task that decides: events and orders in, by way of the core, and what the core says carried out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use dci_proto::message::{Body, Envelope, MessageType};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::outcomes::Outlet;
use super::prepare::{Card, Occasion};
use super::process::{Run, StopOrder};
use super::users::Users;
use super::{HostConfig, Listing};
use crate::core::{
    Core, Effect, Event, Pace, Policy, ProcessId, ReplyLine, Settles, Ticket, UNWRITTEN_LIMIT, Verdict, Work,
};
use crate::framing::frame;
use crate::manifest::{Manifest, Mode, Output};
use crate::registry::Installed;

/// Events of programs that wait for the host; then programs wait.
const EVENTS_WAITING: usize = 256;
/// Orders to end one program: there are two, and none is given twice.
const STOPS_WAITING: usize = 4;
/// What [`Pace::Soon`] means.
const SOON: Duration = Duration::from_millis(50);
/// What [`Pace::Seldom`] means.
const SELDOM: Duration = Duration::from_secs(1);
const MS_PER_S: u64 = 1_000;

/// What a host is told to do.
#[derive(Debug)]
pub(super) enum Command {
    Deliver(Arc<Envelope>, Outlet),
    List(oneshot::Sender<Vec<Listing>>),
    /// What the folder holds now, and the type whose files were replaced.
    Reload(BTreeMap<MessageType, Installed>, Option<MessageType>, oneshot::Sender<()>),
    ShutDown(oneshot::Sender<()>),
}

/// What a program's tasks tell the host.
#[derive(Debug)]
pub(super) enum FromProcess {
    Event(Event),
    /// A reply; the sender is dropped when the next may come.
    Reply(ProcessId, ReplyLine, oneshot::Sender<()>),
}

/// All that the task waits for.
enum Heard {
    Command(Option<Command>),
    Process(Option<FromProcess>),
    Tick,
}

/// A message that is not settled.
struct Delivery {
    outlet: Outlet,
    input: Bytes,
    card: Card,
}

/// A program.
struct Running {
    food: Option<mpsc::Sender<(Ticket, Bytes)>>,
    stops: mpsc::Sender<StopOrder>,
}

/// The host's state.
pub(super) struct Actor {
    config: Arc<HostConfig>,
    users: Arc<Users>,
    core: Core,
    peerlets: BTreeMap<MessageType, Arc<Installed>>,
    deliveries: HashMap<Ticket, Delivery>,
    waiting_bytes: usize,
    running: HashMap<ProcessId, Running>,
    next_ticket: u64,
    events: mpsc::Sender<FromProcess>,
    heard: mpsc::Receiver<FromProcess>,
    began: Instant,
    ticked: Instant,
    ending: Vec<oneshot::Sender<()>>,
    shutting_down: bool,
}

impl Actor {
    pub(super) fn new(config: HostConfig, users: Users) -> Self {
        let (events, heard) = mpsc::channel(EVENTS_WAITING);
        Self {
            core: Core::new(config.instances),
            config: Arc::new(config),
            users: Arc::new(users),
            peerlets: BTreeMap::new(),
            deliveries: HashMap::new(),
            waiting_bytes: 0,
            running: HashMap::new(),
            next_ticket: 0,
            events,
            heard,
            began: Instant::now(),
            ticked: Instant::now(),
            ending: Vec::new(),
            shutting_down: false,
        }
    }

    /// Until it was told to shut down, or nobody is there to tell it anything, and all programs are gone.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut open = true;
        while !(self.shutting_down && self.core.totals() == (0, 0)) {
            match self.next(&mut commands, open).await {
                Heard::Command(Some(command)) => self.command(command),
                Heard::Command(None) => {
                    open = false;
                    self.shut_down();
                }
                Heard::Process(Some(FromProcess::Event(event))) => self.event(event),
                Heard::Process(Some(FromProcess::Reply(process, line, taken))) => self.reply(process, line, taken),
                Heard::Process(None) => break,
                Heard::Tick => {
                    self.ticked = Instant::now();
                    self.event(Event::Tick);
                }
            }
        }
        // What was said while the last program ended is answered before the senders are told.
        commands.close();
        while let Ok(command) = commands.try_recv() {
            self.command(command);
        }
        for done in self.ending {
            let _ = done.send(());
        }
    }

    async fn next(&mut self, commands: &mut mpsc::Receiver<Command>, open: bool) -> Heard {
        let rest = match self.core.pace() {
            Pace::Soon => Some(SOON),
            Pace::Seldom => Some(SELDOM),
            Pace::Never => None,
        };
        let due = rest.map(|rest| self.ticked + rest);
        let tick = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            command = commands.recv(), if open => Heard::Command(command),
            event = self.heard.recv() => Heard::Process(event),
            () = tick => Heard::Tick,
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Deliver(envelope, outlet) => self.deliver(&envelope, outlet),
            Command::List(answer) => {
                let listing = |installed: &Arc<Installed>| Listing {
                    manifest: installed.manifest.clone(),
                    standing: self.core.standing(&installed.manifest.kind),
                };
                // Who asked may have gone.
                let _ = answer.send(self.peerlets.values().map(listing).collect());
            }
            Command::Reload(peerlets, replaced, answer) => {
                self.reload(peerlets, replaced.as_ref());
                let _ = answer.send(());
            }
            Command::ShutDown(done) => {
                self.ending.push(done);
                self.shut_down();
            }
        }
    }

    fn shut_down(&mut self) {
        self.shutting_down = true;
        self.event(Event::ShutDown);
    }

    fn deliver(&mut self, envelope: &Envelope, outlet: Outlet) {
        let message = &envelope.message;
        let installed = self.peerlets.get(&message.kind);
        let input = match installed.map(|one| frame(one.manifest.input, one.manifest.mode, envelope)) {
            Some(Ok(input)) => input,
            // The core says that there is none.
            None => Vec::new(),
            Some(Err(why)) => return settle(outlet, Verdict::Refused { why }),
        };
        if self.waiting_bytes + input.len() > self.config.waiting_bytes {
            let why = "the host of peerlets holds as much as it can; send it again later".to_owned();
            return settle(outlet, Verdict::Refused { why });
        }
        self.waiting_bytes += input.len();
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.deliveries.insert(ticket, Delivery { outlet, input: input.into(), card: Card::of(message) });
        let valid_ms = message.expires_ms.saturating_sub(wall_ms());
        let void_ms = self.now_ms().saturating_add(valid_ms);
        let (id, kind, session) = (message.id, message.kind.clone(), message.session);
        self.event(Event::Arrived(Work { ticket, id, kind, session, void_ms }));
    }

    fn reload(&mut self, peerlets: BTreeMap<MessageType, Installed>, replaced: Option<&MessageType>) {
        let gone: Vec<MessageType> =
            self.peerlets.keys().filter(|kind| !peerlets.contains_key(*kind)).cloned().collect();
        for kind in gone {
            self.peerlets.remove(&kind);
            self.event(Event::Forgotten(kind));
        }
        for (kind, installed) in peerlets {
            let before = self.peerlets.get(&kind);
            let same = before.is_some_and(|before| before.manifest == installed.manifest);
            if same && replaced != Some(&kind) {
                continue;
            }
            // What waits was made for a program that reads otherwise.
            let reads_otherwise = before.is_some_and(|before| {
                (before.manifest.input, before.manifest.mode) != (installed.manifest.input, installed.manifest.mode)
            });
            if reads_otherwise {
                self.event(Event::Forgotten(kind.clone()));
            }
            let policy = policy(&installed.manifest);
            self.peerlets.insert(kind.clone(), Arc::new(installed));
            self.event(Event::Learnt(kind, policy));
        }
    }

    fn event(&mut self, event: Event) {
        self.handle(event, None);
    }

    fn reply(&mut self, process: ProcessId, line: ReplyLine, taken: oneshot::Sender<()>) {
        self.handle(Event::Reply(process, line), Some(taken));
    }

    fn handle(&mut self, event: Event, mut taken: Option<oneshot::Sender<()>>) {
        if let Event::Exited(process, _) | Event::StartFailed(process, _) = &event {
            self.running.remove(process);
        }
        if let Event::Fed(_, ticket) = &event
            && let Some(delivery) = self.deliveries.get_mut(ticket)
        {
            // It is the program's now.
            self.waiting_bytes -= std::mem::take(&mut delivery.input).len();
        }
        for effect in self.core.handle(self.now_ms(), event) {
            match effect {
                Effect::Start { process, kind, session, ticket } => {
                    let message = ticket.and_then(|ticket| self.deliveries.get(&ticket)).map(|one| one.card.clone());
                    self.start(&kind, Occasion { process, session, message });
                }
                Effect::Feed(process, ticket) => self.feed(process, ticket),
                Effect::CloseInput(process) => {
                    if let Some(running) = self.running.get_mut(&process) {
                        running.food = None;
                    }
                }
                Effect::Terminate(process) => self.stop(process, StopOrder::Ask),
                Effect::Kill(process) => self.stop(process, StopOrder::End),
                Effect::Reply(ticket, body) => self.hand_on(ticket, body, taken.take()),
                Effect::Settle(ticket, verdict) => {
                    if let Some(delivery) = self.deliveries.remove(&ticket) {
                        self.waiting_bytes -= delivery.input.len();
                        settle(delivery.outlet, verdict);
                    }
                }
                Effect::Stray(process) => tracing::debug!(?process, "a program printed what answers no message it has"),
            }
        }
    }

    /// Hands a reply on. Where it is not taken at once, the program that printed it waits until it is.
    fn hand_on(&self, ticket: Ticket, body: Body, taken: Option<oneshot::Sender<()>>) {
        let Some(delivery) = self.deliveries.get(&ticket) else { return };
        if let Err(mpsc::error::TrySendError::Full(body)) = delivery.outlet.replies.try_send(body) {
            let replies = delivery.outlet.replies.clone();
            tokio::spawn(async move {
                // Whoever wanted it may have gone.
                let _ = replies.send(body).await;
                drop(taken);
            });
        }
    }

    fn start(&mut self, kind: &MessageType, occasion: Occasion) {
        let process = occasion.process;
        let Some(installed) = self.peerlets.get(kind).cloned() else {
            let events = self.events.clone();
            let why = "the peerlet was removed".to_owned();
            tokio::spawn(async move { events.send(FromProcess::Event(Event::StartFailed(process, why))).await });
            return;
        };
        let (food, eats) = mpsc::channel(UNWRITTEN_LIMIT);
        let (stops, stopped) = mpsc::channel(STOPS_WAITING);
        self.running.insert(process, Running { food: Some(food), stops });
        let run = Run {
            config: Arc::clone(&self.config),
            users: Arc::clone(&self.users),
            installed,
            occasion,
            food: eats,
            stops: stopped,
            events: self.events.clone(),
        };
        tokio::spawn(run.run());
    }

    fn feed(&self, process: ProcessId, ticket: Ticket) {
        let food = self.running.get(&process).and_then(|running| running.food.as_ref());
        if let (Some(food), Some(delivery)) = (food, self.deliveries.get(&ticket)) {
            // The core feeds no more than fits. One that reads no more is found out by its silence.
            let _ = food.try_send((ticket, delivery.input.clone()));
        }
    }

    fn stop(&self, process: ProcessId, order: StopOrder) {
        if let Some(running) = self.running.get(&process) {
            // Each order is given once, and there is room for all.
            let _ = running.stops.try_send(order);
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn settle(outlet: Outlet, verdict: Verdict) {
    // Whoever wanted to know may have gone.
    let _ = outlet.verdict.send(verdict);
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn policy(manifest: &Manifest) -> Policy {
    let limits = &manifest.limits;
    let settles = match (manifest.mode, manifest.output) {
        (Mode::Oneshot, _) => Settles::AtExit,
        (_, Output::None) => Settles::WhenFed,
        (_, Output::Json) => Settles::WithItsReply,
        (_, Output::Text | Output::Lines) => Settles::WithItsLine,
    };
    Policy {
        mode: manifest.mode,
        settles,
        time_ms: limits.time_s * MS_PER_S,
        queue: limits.queue,
        idle_ms: limits.idle_s * MS_PER_S,
        instances: limits.instances,
        grace_ms: limits.grace_s * MS_PER_S,
    }
}
