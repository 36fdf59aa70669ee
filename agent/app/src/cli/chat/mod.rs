//! `shoal chat`: what was said, what is said, and saying something, a line at a time. Readable on a terminal and in a pipe.

mod listen;
mod plain;
mod screen;

use std::collections::VecDeque;
use std::io::{BufRead as _, IsTerminal as _};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use ureq::http::Method;

use super::client::Client;
use super::commands::segment;
use super::message::on_behalf_of;
use super::print::{harmless_json, raw, say};
use super::{AgentChoice, CliError};
use crate::api::chat::types::{
    ChatEvent, ConversationList, History, SayAnswer, SayRequest, SeenRequest, TickView, Where,
};
use listen::Listener;
use screen::Screen;

/// Lines and events that wait to be dealt with.
const WAITING_LIMIT: usize = 64;
/// How long it may take until something is on all agents before it is told on how many it is.
const TICK_PATIENCE: Duration = Duration::from_secs(3);
/// Lines that wait until what was said is shown, at most.
const EARLY_LIMIT: usize = 1_000;
/// Messages whose ticks are waited for, at most.
const TICKS_LIMIT: usize = 32;
/// How long what was typed before its end is waited for to come back as said.
const LAST_PATIENCE: Duration = Duration::from_secs(10);
/// What a terminal is told so that the line that was just typed is written over.
const LINE_UP: &str = "\u{1b}[1A\u{1b}[2K\r";

/// What `shoal chat` takes.
#[derive(Args, Clone, Debug)]
pub(super) struct ChatOptions {
    /// The room; it is there as soon as something is said in it.
    #[arg(value_name = "ROOM", default_value = "lobby", conflicts_with = "with")]
    room: String,
    /// Talk to this user, and nobody else.
    #[arg(long, value_name = "USER")]
    with: Option<String>,
    /// Show so much of what was said before.
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u16).range(0..=500))]
    last: u16,
    /// Go on showing what is said when standard input has ended.
    #[arg(long)]
    follow: bool,
}

/// What happens to the command.
enum Input {
    Typed(String),
    /// Nothing more will be typed.
    TypedAll,
    Event(ChatEvent),
    /// The agent cannot be listened to; it is tried again.
    Lost(String),
    /// It does not let us.
    Refused(CliError),
}

/// A message of ours that is not everywhere, and when it is told that it is not.
struct Pending {
    id: dci_proto::MessageId,
    tick: TickView,
    /// None: it was told.
    until: Option<Instant>,
}

struct Chat<'a> {
    agent: &'a AgentChoice,
    client: Client,
    place: Where,
    options: &'a ChatOptions,
    screen: Screen,
    inputs: SyncSender<Input>,
    listener: Listener,
    pending: Vec<Pending>,
    interactive: bool,
    json: bool,
    /// Messages that were said and have not come back.
    unheard: usize,
    shown_once: bool,
    /// Typed before what was said is shown.
    early: VecDeque<String>,
    typed_all: Option<Instant>,
}

pub(super) fn chat(agent: &AgentChoice, options: &ChatOptions, json: bool) -> Result<(), CliError> {
    let client = Client::open(agent)?;
    let place = match &options.with {
        Some(user) => Where::With(user.clone()),
        None => Where::Room(options.room.clone()),
    };
    let (inputs, received) = sync_channel(WAITING_LIMIT);
    // Asked first, so that a name that is none is told at once.
    let history: History = client.get(&history_path(agent, &place, 1))?;
    let interactive = std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && !json;
    let listener = Listener::start(agent, &place, inputs.clone());
    read_lines(inputs.clone());
    let mut chat = Chat {
        agent,
        client,
        place,
        options,
        screen: Screen::new(history.user),
        inputs,
        listener,
        pending: Vec::new(),
        interactive,
        json,
        unheard: 0,
        shown_once: false,
        early: VecDeque::new(),
        typed_all: None,
    };
    loop {
        if chat.is_done() {
            return Ok(());
        }
        let input = match chat.wait_until() {
            Some(until) => received.recv_timeout(until.saturating_duration_since(Instant::now())),
            None => received.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match input {
            Ok(input) => {
                if !chat.take(input)? {
                    return Ok(());
                }
            }
            Err(RecvTimeoutError::Timeout) => chat.tell_late_ticks(),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// Reads what is typed, besides.
fn read_lines(inputs: SyncSender<Input>) {
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if inputs.send(Input::Typed(line)).is_err() {
                return;
            }
        }
        let _ = inputs.send(Input::TypedAll);
    });
}

fn path_of(place: &Where) -> String {
    match place {
        Where::Room(room) => format!("chat/rooms/{}", segment(room)),
        Where::With(user) => format!("chat/with/{}", segment(user)),
    }
}

fn history_path(agent: &AgentChoice, place: &Where, limit: u16) -> String {
    let user = on_behalf_of(agent).map_or_else(String::new, |user| format!("&as={}", segment(&user)));
    format!("{}?limit={}{user}", path_of(place), limit.max(1))
}

impl Chat<'_> {
    /// Whether all that was typed is said and nothing else is waited for.
    fn is_done(&self) -> bool {
        let Some(since) = self.typed_all.filter(|_| !self.options.follow) else { return false };
        let waited_enough = since.elapsed() >= LAST_PATIENCE;
        let all_said = self.shown_once && self.early.is_empty() && self.unheard == 0;
        (all_said && self.pending.iter().all(|pending| pending.until.is_none())) || waited_enough
    }

    fn wait_until(&self) -> Option<Instant> {
        let last = self.typed_all.filter(|_| !self.options.follow).map(|since| since + LAST_PATIENCE);
        self.pending.iter().filter_map(|pending| pending.until).chain(last).min()
    }

    /// Deals with one; answers whether to go on.
    fn take(&mut self, input: Input) -> Result<bool, CliError> {
        match input {
            // What is typed is answered below what is shown.
            Input::Typed(line) if !self.shown_once && self.early.len() < EARLY_LIMIT => self.early.push_back(line),
            Input::Typed(line) => return self.typed(&line),
            Input::TypedAll => self.typed_all = Some(Instant::now()),
            Input::Event(event) => {
                self.event(event)?;
                while self.shown_once
                    && let Some(line) = self.early.pop_front()
                {
                    if !self.typed(&line)? {
                        return Ok(false);
                    }
                }
            }
            Input::Lost(reason) => self.note(&format!("the agent does not answer; trying again ({reason})")),
            Input::Refused(error) => return Err(error),
        }
        Ok(true)
    }

    fn typed(&mut self, line: &str) -> Result<bool, CliError> {
        // Colours and the like of a program in the pipe are for a terminal; what it says is said.
        let line = plain::plain(line);
        let line = line.trim_end();
        let (command, rest) = line.split_once(' ').map_or((line, ""), |(command, rest)| (command, rest.trim()));
        match command {
            "" => {}
            "/quit" | "/exit" => return Ok(false),
            "/help" => self.note("/who, /rooms, /join ROOM, /with USER, /quit; //… says a line that begins with /"),
            "/who" => self.who()?,
            "/rooms" => self.rooms()?,
            "/join" if !rest.is_empty() => self.go_to(Where::Room(rest.to_owned()))?,
            "/with" if !rest.is_empty() => self.go_to(Where::With(rest.to_owned()))?,
            word if word.starts_with('/') && !word.starts_with("//") => {
                self.note(&format!("{word} is no command; /help tells which there are"));
            }
            _ => self.speak(line.strip_prefix('/').unwrap_or(line))?,
        }
        Ok(true)
    }

    fn speak(&mut self, text: &str) -> Result<(), CliError> {
        let request = SayRequest { text: text.to_owned(), user: on_behalf_of(self.agent) };
        match self.call::<SayAnswer>(&path_of(&self.place), &request) {
            Ok(_) => {
                self.unheard += 1;
                if self.interactive {
                    // It comes back as what was said, with its time.
                    raw_part(LINE_UP);
                }
                Ok(())
            }
            Err(error) if self.interactive => {
                self.note(&format!("not said: {error}"));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Calls the agent; one that was started anew has another token.
    fn call<T: serde::de::DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, CliError> {
        match self.client.call(Method::POST, path, body) {
            Err(CliError::NoAgent { .. } | CliError::Api { status: 401, .. }) if self.agent.api.is_none() => {
                self.client = Client::open(self.agent)?;
                self.client.call(Method::POST, path, body)
            }
            answer => answer,
        }
    }

    fn event(&mut self, event: ChatEvent) -> Result<(), CliError> {
        if self.json && !matches!(event, ChatEvent::Ready { .. }) {
            let heard = matches!(&event, ChatEvent::Said { entry, .. } if entry.own);
            self.unheard = self.unheard.saturating_sub(usize::from(heard));
            let line = serde_json::to_string(&event).map_err(|error| CliError::Failed(error.to_string()))?;
            raw(&harmless_json(&line));
            return Ok(());
        }
        match event {
            ChatEvent::Ready { people, .. } => {
                self.client = Client::open(self.agent)?;
                self.screen.people(people, &self.place);
                self.show_history()?;
            }
            ChatEvent::Anew => self.show_history()?,
            ChatEvent::Said { place, entry } if place == self.place => {
                self.unheard = self.unheard.saturating_sub(usize::from(entry.own));
                for line in self.screen.said(&entry) {
                    say!("{line}");
                }
                if let Some(tick) = entry.tick.filter(|_| entry.own) {
                    self.await_tick(entry.id, tick);
                }
                self.see(entry.sent_ms);
            }
            ChatEvent::Said { place, entry } if !entry.own => self.note(&screen::elsewhere(&place, &entry)),
            ChatEvent::Tick { id, tick, .. } => self.ticked(id, tick),
            ChatEvent::People { people } => {
                for line in self.screen.people(people, &self.place) {
                    self.note(&line);
                }
            }
            ChatEvent::Said { .. } | ChatEvent::Seen { .. } => {}
        }
        Ok(())
    }

    fn show_history(&mut self) -> Result<(), CliError> {
        let history: History = self.client.get(&history_path(self.agent, &self.place, self.options.last))?;
        if self.json {
            for entry in history.entries.into_iter().filter(|_| self.options.last > 0) {
                let event = ChatEvent::Said { place: self.place.clone(), entry };
                let line = serde_json::to_string(&event).map_err(|error| CliError::Failed(error.to_string()))?;
                raw(&harmless_json(&line));
            }
            self.shown_once = true;
            return Ok(());
        }
        if !self.shown_once {
            say!("{}", self.screen.title(&self.place));
        }
        if self.options.last > 0 {
            for line in history.entries.iter().flat_map(|entry| self.screen.said(entry)) {
                say!("{line}");
            }
        }
        // What was said while nobody listened counts as heard.
        self.unheard = 0;
        self.shown_once = true;
        if let Some(last) = history.entries.last() {
            self.see(last.sent_ms);
        }
        Ok(())
    }

    /// Tells the agent what was shown. That it does not hear it does no harm.
    fn see(&mut self, until_ms: u64) {
        let request = SeenRequest { until_ms, user: on_behalf_of(self.agent) };
        let _ = self.client.call::<()>(Method::POST, &format!("{}/seen", path_of(&self.place)), &request);
    }

    fn await_tick(&mut self, id: dci_proto::MessageId, tick: TickView) {
        if tick.got >= tick.of {
            return;
        }
        if self.pending.len() >= TICKS_LIMIT {
            self.pending.remove(0);
        }
        self.pending.push(Pending { id, tick, until: Some(Instant::now() + TICK_PATIENCE) });
    }

    fn ticked(&mut self, id: dci_proto::MessageId, tick: TickView) {
        let Some(at) = self.pending.iter().position(|pending| pending.id == id) else { return };
        if tick.got < tick.of {
            if let Some(pending) = self.pending.get_mut(at) {
                pending.tick = tick;
            }
            return;
        }
        self.pending.remove(at);
        // What was said in one go is told once.
        if self.pending.iter().all(|pending| pending.until.is_none()) {
            say!("{}", screen::tick(tick));
        }
    }

    fn tell_late_ticks(&mut self) {
        let now = Instant::now();
        let late = self.pending.iter_mut().filter(|pending| pending.until.is_some_and(|until| until <= now));
        let last = late.map(|pending| (pending.until = None, pending.tick).1).last();
        if let Some(tick) = last {
            say!("{}", screen::tick(tick));
        }
    }

    fn go_to(&mut self, place: Where) -> Result<(), CliError> {
        let path = history_path(self.agent, &place, 1);
        if let Err(error) = self.client.get::<History>(&path) {
            self.note(&error.to_string());
            return Ok(());
        }
        self.place = place;
        self.shown_once = false;
        self.pending.clear();
        self.screen.begin_anew();
        self.listener = Listener::start(self.agent, &self.place, self.inputs.clone());
        Ok(())
    }

    fn list(&self) -> Result<ConversationList, CliError> {
        let user = on_behalf_of(self.agent).map_or_else(String::new, |user| format!("?as={}", segment(&user)));
        self.client.get(&format!("chat/rooms{user}"))
    }

    fn who(&mut self) -> Result<(), CliError> {
        let list = self.list()?;
        let lines = screen::who(&list.people);
        lines.iter().for_each(|line| self.note(line));
        Ok(())
    }

    fn rooms(&mut self) -> Result<(), CliError> {
        let list = self.list()?;
        let lines = screen::rooms(&list.conversations, &self.place);
        lines.iter().for_each(|line| self.note(line));
        Ok(())
    }

    /// A remark that nobody said: not in JSON, and not where only what was said is wanted.
    fn note(&self, text: &str) {
        if !self.json {
            say!("· {text}");
        }
    }
}

/// Prints without an end of the line.
fn raw_part(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout();
    // A terminal that is gone is found out with the next line.
    let _ = write!(out, "{text}").and_then(|()| out.flush());
}
