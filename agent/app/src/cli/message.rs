//! `shoal send`, `shoal message`, `shoal log`, `shoal replay`: messages and what became of them.

use std::io::Read as _;

use clap::Args;
use dci_proto::{MessageId, SessionId};
use ureq::http::Method;

use super::client::Client;
use super::commands::segment;
use super::duration;
use super::print::{answer, moment, say, table};
use super::{AgentChoice, CliError, follow};
use crate::api::messages::types::{
    EntryView, LogFilter, LogPage, MessageStates, ReplayRequest, SendRequest, SentAnswer, SentView, StateView, To,
};

/// Bytes of a body that are read from a file or standard input, at most.
const BODY_LIMIT_BYTES: u64 = 1024 * 1024;
/// Characters of a message shown in a line of the log.
const SHOWN_CHARS: usize = 60;

/// Whom a message is for.
#[derive(Args, Clone, Debug)]
pub(super) struct Recipients {
    /// Agents by name, id or fingerprint, with commas between; each gets a message of its own.
    #[arg(long, value_name = "NODE,…", value_delimiter = ',', group = "recipient")]
    pub(super) on: Vec<String>,
    /// All agents of a group.
    #[arg(long, value_name = "GROUP", group = "recipient")]
    pub(super) group: Option<String>,
    /// All agents of the pool, this one too.
    #[arg(long, group = "recipient")]
    pub(super) all: bool,
}

impl Recipients {
    /// As the API takes it; `None` where nobody is named.
    pub(super) fn to(&self) -> Option<To> {
        match (&self.group, self.all, self.on.is_empty()) {
            (Some(group), _, _) => Some(To::Group(group.clone())),
            (None, true, _) => Some(To::All(true)),
            (None, false, false) => Some(To::Agents(self.on.clone())),
            (None, false, true) => None,
        }
    }
}

/// A message as it is typed.
#[derive(Args, Clone, Debug)]
pub(super) struct MessageOptions {
    /// Which peerlet it is for, such as `word-count`.
    #[arg(value_name = "TYPE")]
    kind: String,
    /// What it says, as plain text; `-` reads it from standard input.
    #[arg(value_name = "TEXT", conflicts_with = "xml")]
    text: Option<String>,
    /// A file with what it says, as XML; `-` reads it from standard input.
    #[arg(long, value_name = "FILE")]
    xml: Option<String>,
    #[command(flatten)]
    pub(super) recipients: Recipients,
    /// Which instance of the peerlet: a UUID; one that is new begins a conversation.
    #[arg(long, value_name = "UUID")]
    session: Option<SessionId>,
    /// Hops it may go, 0 to 9.
    #[arg(long, default_value_t = 9)]
    ttl: u8,
    /// How long it is valid: a number with s, m, h or d.
    #[arg(long, value_name = "TIME", default_value = "1d")]
    expires: String,
}

impl MessageOptions {
    /// As the API takes it.
    pub(super) fn request(&self, agent: &AgentChoice) -> Result<SendRequest, CliError> {
        let to = self.recipients.to();
        let to = to.ok_or_else(|| CliError::Usage("whom it is for: --on NODE, --group GROUP or --all".into()))?;
        Ok(SendRequest {
            kind: self.kind.clone(),
            to,
            text: self.text.as_deref().map(text).transpose()?,
            xml: self.xml.as_deref().map(file).transpose()?,
            session: self.session,
            from_session: None,
            ttl: Some(self.ttl),
            expires_s: Some(duration::seconds("--expires", &self.expires)?),
            in_reply_to: None,
            user: on_behalf_of(agent),
        })
    }
}

/// With the token of this computer one sends on behalf of --user; who signs in is who they sign in as.
pub(super) fn on_behalf_of(agent: &AgentChoice) -> Option<String> {
    agent.api.is_none().then(|| agent.user.clone())
}

fn text(word: &str) -> Result<String, CliError> {
    if word == "-" { read(std::io::stdin(), "standard input") } else { Ok(word.to_owned()) }
}

fn file(name: &str) -> Result<String, CliError> {
    if name == "-" {
        return read(std::io::stdin(), "standard input");
    }
    let file = std::fs::File::open(name).map_err(|error| CliError::Failed(format!("cannot open {name}: {error}")))?;
    read(file, name)
}

fn read(source: impl std::io::Read, name: &str) -> Result<String, CliError> {
    let mut text = String::new();
    let read = source.take(BODY_LIMIT_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| CliError::Failed(format!("cannot read {name}: {error}")))?;
    if text.len() as u64 > BODY_LIMIT_BYTES {
        return Err(CliError::Usage(format!("{name} has more than a message may have (1 MiB); send it as a file")));
    }
    Ok(text)
}

pub(super) fn send(agent: &AgentChoice, options: &MessageOptions, json: bool) -> Result<(), CliError> {
    let request = options.request(agent)?;
    let sent: SentAnswer = Client::open(agent)?.call(Method::POST, "messages", &request)?;
    if json {
        return answer(&sent);
    }
    tell_sent(&sent.messages);
    Ok(())
}

fn tell_sent(messages: &[SentView]) {
    for message in messages {
        let names: Vec<&str> = message.recipients.iter().map(|recipient| recipient.name.as_str()).collect();
        say!("{}  to {}", message.id, names.join(", "));
    }
    if let Some(message) = messages.first() {
        say!("`shoal message {}` tells what became of it.", message.id);
    }
}

pub(super) fn states(agent: &AgentChoice, id: MessageId, json: bool) -> Result<(), CliError> {
    let states: MessageStates = Client::open(agent)?.get(&format!("messages/{id}"))?;
    if json {
        return answer(&states);
    }
    let rows = states.recipients.iter().map(|state| {
        vec![state.name.clone(), state_of(state), moment(state.since_ms), state.why.clone().unwrap_or_default()]
    });
    table(&["AGENT", "STATE", "SINCE", "WHY"], rows);
    Ok(())
}

/// A state in a word or two.
pub(super) fn state_of(state: &StateView) -> String {
    match state.exit_status {
        Some(0) => "handled".to_owned(),
        Some(status) => format!("handled, status {status}"),
        None => state.state.replace('-', " "),
    }
}

/// Which entries of the log are wanted.
#[derive(Args, Clone, Debug)]
pub(super) struct FilterOptions {
    /// Only the message with this id, as it was sent, came and was handed to its peerlet.
    #[arg(long, value_name = "UUID")]
    id: Option<MessageId>,
    /// Only messages of this type.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only messages of this agent.
    #[arg(long, value_name = "NODE")]
    sender: Option<String>,
    /// Only messages to this agent, also as one of many.
    #[arg(long, value_name = "NODE")]
    receiver: Option<String>,
    /// Only messages to or from this session.
    #[arg(long, value_name = "UUID")]
    session: Option<SessionId>,
    /// Only what was logged in the last while: a number with s, m, h or d.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what was logged longer ago than this.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only messages that have this text, upper and lower case alike.
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// Only `sent`, `received` or `relayed` (handed to a peerlet).
    #[arg(long, value_name = "WAY")]
    direction: Option<String>,
    /// Entries, at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
}

impl FilterOptions {
    fn filter(&self) -> Result<LogFilter, CliError> {
        let ago =
            |name: &str, text: &Option<String>| text.as_deref().map(|text| duration::ago_ms(name, text)).transpose();
        Ok(LogFilter {
            id: self.id,
            kind: self.kind.clone(),
            sender: self.sender.clone(),
            receiver: self.receiver.clone(),
            session: self.session,
            from_ms: ago("--since", &self.since)?,
            before_ms: ago("--until", &self.until)?,
            text: self.text.clone(),
            direction: self.direction.clone(),
            order: None,
            limit: usize::try_from(self.limit).ok(),
            after: None,
        })
    }
}

/// The filter as the query of a URL.
pub(super) fn as_query(filter: &LogFilter) -> Result<String, CliError> {
    let value = serde_json::to_value(filter).map_err(|error| CliError::Failed(error.to_string()))?;
    let fields = value.as_object().cloned().unwrap_or_default();
    let pair = |(name, value): (String, serde_json::Value)| match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(format!("{name}={}", segment(&text))),
        other => Some(format!("{name}={other}")),
    };
    Ok(fields.into_iter().filter_map(pair).collect::<Vec<_>>().join("&"))
}

/// What `shoal log` takes.
#[derive(Args, Clone, Debug)]
pub(super) struct LogOptions {
    #[command(flatten)]
    pub(super) filter: FilterOptions,
    /// Go on with what is logged from now on, and with what becomes of it, until Ctrl-C.
    #[arg(long, conflicts_with = "until")]
    pub(super) follow: bool,
    /// Show what agents tell each other of who is at the chat, too; with --json it always is.
    #[arg(long)]
    pub(super) all: bool,
}

/// The columns of the log.
pub(super) const COLUMNS: [&str; 8] = ["PLACE", "WHEN", "WAY", "TYPE", "FROM", "TO", "WHAT", "STATE"];

/// Whether an entry only says who is at the chat: every agent does so again and again.
pub(super) fn is_presence(entry: &EntryView) -> bool {
    entry.kind == shoal_chat::MESSAGE_TYPE && entry.xml.trim_start().starts_with("<presence ")
}

pub(super) fn log(agent: &AgentChoice, options: &LogOptions, json: bool) -> Result<(), CliError> {
    let client = Client::open(agent)?;
    let filter = options.filter.filter()?;
    let presence = options.all || json;
    if options.follow {
        return follow::follow(&client, &filter, presence, json);
    }
    let all = newest(&client, filter, presence)?;
    if json {
        return answer(&all);
    }
    if all.entries.is_empty() {
        say!("Nothing of that is in the log.");
    } else {
        // The newest last, where one looks.
        table(&COLUMNS, all.entries.iter().rev().map(row));
    }
    if all.damaged > 0 {
        say!("{} entries are damaged and left out.", all.damaged);
    }
    Ok(())
}

/// As many of the newest entries as wanted, the newest first; with or without those that only say who is at the chat.
pub(super) fn newest(client: &Client, mut filter: LogFilter, presence: bool) -> Result<LogPage, CliError> {
    let wanted = filter.limit.unwrap_or(usize::MAX);
    let mut all = LogPage { entries: Vec::new(), next: None, damaged: 0 };
    loop {
        let page: LogPage = client.get(&format!("log?{}", as_query(&filter)?))?;
        all.entries.extend(page.entries.into_iter().filter(|entry| presence || !is_presence(entry)));
        all.damaged += page.damaged;
        all.next = page.next;
        filter.after = page.next;
        if page.next.is_none() || all.entries.len() >= wanted {
            break;
        }
    }
    all.entries.truncate(wanted);
    Ok(all)
}

/// A line of the log.
pub(super) fn row(entry: &EntryView) -> Vec<String> {
    let from = match &entry.from.user {
        Some(user) => format!("{user}@{}", entry.from.name),
        None => entry.from.name.clone(),
    };
    let to = match &entry.to {
        To::Agents(names) => names.join(", "),
        To::Group(name) => format!("group {name}"),
        To::All(_) => "all".to_owned(),
    };
    vec![
        entry.place.to_string(),
        moment(entry.at_ms),
        entry.direction.clone(),
        entry.kind.clone(),
        from,
        to,
        shown(entry),
        outcome(entry),
    ]
}

fn shown(entry: &EntryView) -> String {
    let text = entry.text.as_deref().unwrap_or(&entry.xml).trim();
    let mut short: String = text.chars().take(SHOWN_CHARS).collect();
    if text.chars().count() > SHOWN_CHARS {
        short.push('…');
    }
    short
}

/// What became of a message, in a word where all recipients agree.
fn outcome(entry: &EntryView) -> String {
    let mut words: Vec<String> = entry.states.iter().map(state_of).collect();
    words.sort_unstable();
    let count = words.len();
    words.dedup();
    match (words.as_slice(), count) {
        ([], _) => String::new(),
        ([one], 1) => one.clone(),
        ([one], count) => format!("{one} ({count})"),
        (several, _) => several.join(", "),
    }
}

/// What `shoal replay` takes.
#[derive(Args, Clone, Debug)]
pub(super) struct ReplayOptions {
    /// Which messages, by the places `shoal log` shows.
    #[arg(value_name = "PLACE")]
    places: Vec<u64>,
    #[command(flatten)]
    filter: FilterOptions,
    #[command(flatten)]
    recipients: Recipients,
}

pub(super) fn replay(agent: &AgentChoice, options: &ReplayOptions, json: bool) -> Result<(), CliError> {
    let filter = options.filter.filter()?;
    let anything = LogFilter { limit: filter.limit, ..LogFilter::default() } != filter;
    if options.places.is_empty() && !anything {
        return Err(CliError::Usage("which messages: their places in `shoal log`, or a filter such as --type".into()));
    }
    let request = ReplayRequest {
        places: options.places.clone(),
        filter: anything.then_some(filter),
        to: options.recipients.to(),
        user: on_behalf_of(agent),
    };
    let sent: SentAnswer = Client::open(agent)?.call(Method::POST, "log/replay", &request)?;
    if json {
        return answer(&sent);
    }
    if sent.messages.is_empty() {
        say!("Nothing of that is in the log.");
    } else {
        tell_sent(&sent.messages);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use dci_proto::AgentId;
    use shoal_chat::{Presence, State, Utterance};

    use super::*;
    use crate::api::messages::types::FromView;

    #[test]
    fn only_what_says_who_is_at_the_chat_is_noise() {
        let entry = |kind: &str, utterance: &Utterance| EntryView {
            place: 1,
            at_ms: 0,
            direction: "received".to_owned(),
            id: MessageId([1; 16]),
            kind: kind.to_owned(),
            session: None,
            from: FromView { agent: AgentId([1; 32]), name: "pc-1".to_owned(), user: None, session: None },
            to: To::All(true),
            in_reply_to: None,
            replay_of: None,
            sent_ms: 0,
            expires_ms: 0,
            text: None,
            xml: utterance.to_body().expect("a body").as_xml().to_owned(),
            states: Vec::new(),
        };
        let presence = Utterance::Presence(Presence { state: State::Here, rooms: Vec::new() });
        let said = Utterance::Say { room: "lobby".parse().expect("a room"), text: "<presence >".to_owned() };
        assert!(is_presence(&entry("chat", &presence)));
        assert!(!is_presence(&entry("chat", &said)) && !is_presence(&entry("other", &presence)));
    }
}
