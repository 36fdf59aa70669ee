//! Carries out what the flow's core says: a thread for each attempt, one that looks who is there, one that listens for Ctrl-C,
//! and this one, which waits in one place for all of them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use shoal_flow::{Effect, Event, Flow, PARALLEL_LIMIT, Start};

use super::super::CliError;
use super::super::client::Client;
use super::show::Show;
use super::{attempt, directory};

/// Words of the threads that wait to be heard: one of each attempt, and some.
const WORDS_WAITING: usize = 2 * PARALLEL_LIMIT;
/// Time between two looks who is there.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Time between two views of the steps.
const SHOW_INTERVAL: Duration = Duration::from_millis(250);

/// What came of a flow.
pub(super) struct Ended {
    pub(super) flow: Flow,
    /// When, in ms since it began.
    pub(super) now_ms: u64,
    /// Whether a person stopped it.
    pub(super) interrupted: bool,
}

/// Runs a flow to its end.
pub(super) fn drive(client: Client, user: Option<String>, flow: Flow) -> Result<Ended, CliError> {
    let (sender, words) = sync_channel(WORDS_WAITING);
    let client = Arc::new(client);
    listen_for_interrupt(sender.clone())?;
    look_who_is_there(client.clone(), sender.clone())?;
    let begun = Instant::now();
    let driver =
        Driver { client, user, flow, begun, sender, words, show: Show::new(), wake_ms: None, interrupted: false };
    Ok(driver.run())
}

struct Driver {
    client: Arc<Client>,
    user: Option<String>,
    flow: Flow,
    begun: Instant,
    sender: SyncSender<Event>,
    words: Receiver<Event>,
    show: Show,
    wake_ms: Option<u64>,
    interrupted: bool,
}

impl Driver {
    fn run(mut self) -> Ended {
        let mut event = Some(Event::Woken);
        while !self.flow.is_finished() {
            if let Some(event) = event.take() {
                self.interrupted |= event == Event::Stop;
                let effects = self.flow.handle(self.now_ms(), event);
                effects.into_iter().for_each(|effect| self.carry_out(effect));
            }
            self.show.show(&self.flow, self.now_ms());
            event = self.next();
        }
        let now_ms = self.now_ms();
        self.show.end(&self.flow, now_ms);
        Ended { flow: self.flow, now_ms, interrupted: self.interrupted }
    }

    fn now_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Start(start) => self.start(*start),
            Effect::WakeAt(at_ms) => self.wake_ms = Some(at_ms),
            // Its thread goes on to hear it out; what it says is not listened to any more.
            Effect::Abandon(_) | Effect::Finished => {}
        }
    }

    fn start(&self, start: Start) {
        let (client, user, sender, attempt) =
            (self.client.clone(), self.user.clone(), self.sender.clone(), start.attempt);
        let work = move || {
            // Nobody listens any more when all is over.
            let _ = sender.send(attempt::run(&client, user, &start));
        };
        if let Err(error) = thread::Builder::new().name("flow-attempt".into()).spawn(work) {
            let why = format!("this computer gives no thread: {error}");
            // There is room: a word of each attempt under way, and this one is not.
            let _ = self.sender.try_send(Event::Failed { attempt, why, output: String::new() });
        }
    }

    /// The next event; `None` when it is only time to show how things are.
    fn next(&mut self) -> Option<Event> {
        let wake_in = self.wake_ms.map(|wake_ms| Duration::from_millis(wake_ms.saturating_sub(self.now_ms())));
        let wait = wake_in.unwrap_or(SHOW_INTERVAL).min(SHOW_INTERVAL);
        match self.words.recv_timeout(wait) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let due = self.wake_ms.is_some_and(|wake_ms| wake_ms <= self.now_ms());
                due.then(|| {
                    self.wake_ms = None;
                    Event::Woken
                })
            }
        }
    }
}

fn look_who_is_there(client: Arc<Client>, sender: SyncSender<Event>) -> Result<(), CliError> {
    let look = move || {
        loop {
            thread::sleep(LOOK_INTERVAL);
            // An agent that does not answer now is asked again; what was known stays.
            if let Ok(directory) = directory::directory(&client)
                && sender.send(Event::Agents(directory)).is_err()
            {
                return;
            }
        }
    };
    spawn("flow-agents", look)
}

/// The first Ctrl-C stops the flow, the second one ends the command at once.
fn listen_for_interrupt(sender: SyncSender<Event>) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start: {error}")))?;
    let listen = move || {
        runtime.block_on(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                let _ = sender.send(Event::Stop);
                if tokio::signal::ctrl_c().await.is_ok() {
                    std::process::exit(i32::from(CliError::Interrupted(String::new()).exit_code()));
                }
            }
        });
    };
    spawn("flow-interrupt", listen)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), CliError> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map(drop).map_err(|error| CliError::Failed(format!("this computer gives no thread: {error}")))
}
