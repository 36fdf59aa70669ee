//! `shoal run`: a command on one agent or many, its output as it comes.
//!
//! Asks with one request and follows what comes of it: [`Board`] keeps who has got how far and says what is to be shown; here that is
//! printed.

mod board;

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::time::Duration;

use clap::Args;
use dci_proto::SessionId;
use serde_json::{Value, json};
use shoal_run::{Request, Stream, TIMEOUT_LIMIT_S};
use ureq::http::Method;

use super::client::Client;
use super::duration;
use super::message::{Recipients, on_behalf_of};
use super::print::{harmless, harmless_json, raw, say, table};
use super::{AgentChoice, CliError};
use crate::api::messages::types::{AskEvent, AskRequest, SendRequest};
use board::{Board, Shown, State};

/// How much longer than the command may take its end is waited for.
const PATIENCE_S: u64 = 15;
/// How much longer than that the call may take: its connection and the agent's own work.
const CALL_SLACK: Duration = Duration::from_secs(30);
/// Bytes of standard input, at most; what is more than a request takes is told by its codec.
const INPUT_LIMIT_BYTES: u64 = 1024 * 1024;
/// The longest that agents may take to come up: as long as a message may be valid.
const WITHIN_LIMIT_S: u64 = 30 * 24 * 60 * 60;
/// Colours of the agents' names, one after the other: those that are read on dark and on light.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

#[derive(Args)]
pub(super) struct RunOptions {
    #[command(flatten)]
    recipients: Recipients,
    /// How long the command may take on each agent; then it is ended (status 124).
    #[arg(long, default_value = "60s", value_name = "TIME")]
    timeout: String,
    /// How long agents that are asleep have to come up; who comes later does not run it any more.
    #[arg(long, default_value = "60s", value_name = "TIME")]
    within: String,
    /// Give the command what comes on standard input: text, at most 128 KiB.
    #[arg(long)]
    stdin: bool,
    /// The command and its arguments; no shell reads them.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(super) fn run(agent: &AgentChoice, options: &RunOptions, json: bool) -> Result<(), CliError> {
    let timeout_s = within("--timeout", &options.timeout, TIMEOUT_LIMIT_S)?;
    let within_s = within("--within", &options.within, WITHIN_LIMIT_S)?;
    let mut words = options.command.iter().cloned();
    let request = Request {
        command: words.next().unwrap_or_default(),
        arguments: words.collect(),
        input: options.stdin.then(standard_input).transpose()?,
        timeout_s,
    };
    let body = request.to_body().map_err(|error| CliError::Usage(error.to_string()))?;
    let wait_s = within_s.saturating_add(timeout_s).saturating_add(PATIENCE_S);
    let to = options.recipients.to();
    let to = to.ok_or_else(|| CliError::Usage("where to run it: --on NODE, --group GROUP or --all".into()))?;
    let message = SendRequest {
        kind: shoal_run::MESSAGE_TYPE.to_owned(),
        to,
        text: None,
        xml: Some(body.as_xml().to_owned()),
        session: None,
        // Answers to one session come in the order they were sent.
        from_session: Some(fresh_session()),
        ttl: None,
        expires_s: Some(within_s),
        in_reply_to: None,
        user: on_behalf_of(agent),
    };
    let wish = AskRequest { message, timeout_s: Some(wait_s) };
    let client = Client::open(agent)?;
    let deadline = Duration::from_secs(wait_s).saturating_add(CALL_SLACK);
    let mut board = Board::default();
    let mut printer = Printer::new(json);
    for event in client.events(Method::POST, "requests", &wish, Some(deadline))? {
        let event: AskEvent = event?.read()?;
        let done = matches!(event, AskEvent::Done { .. });
        board.take(event).iter().for_each(|shown| printer.show(&board, shown));
        if done {
            break;
        }
    }
    board.finish().iter().for_each(|shown| printer.show(&board, shown));
    summary(&board, json);
    verdict(&board)
}

fn within(option: &str, text: &str, limit_s: u64) -> Result<u64, CliError> {
    let seconds = duration::seconds(option, text)?;
    if (1..=limit_s).contains(&seconds) {
        return Ok(seconds);
    }
    Err(CliError::Usage(format!("{option} {text}: 1s to {}", duration::exact(limit_s))))
}

fn standard_input() -> Result<String, CliError> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(INPUT_LIMIT_BYTES).read_to_end(&mut bytes);
    read.map_err(|error| CliError::Failed(format!("cannot read standard input: {error}")))?;
    String::from_utf8(bytes)
        .map_err(|_| CliError::Usage("--stdin takes text (UTF-8); put other things on the drive".into()))
}

/// A new session, as a random UUID (version 4).
pub(super) fn fresh_session() -> SessionId {
    let mut bytes: [u8; 16] = rand::random();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    SessionId(bytes)
}

/// Puts on the screen, or out as lines of JSON, what the board says.
struct Printer {
    json: bool,
    colours: bool,
}

impl Printer {
    fn new(json: bool) -> Self {
        let colours =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { json, colours }
    }

    fn show(&mut self, board: &Board, shown: &Shown) {
        if self.json {
            if let Some(line) = shown.as_json() {
                raw(&harmless_json(&line.to_string()));
            }
            return;
        }
        let Shown::Line { index, name, stream, text } = shown else { return };
        let (name, width) = (harmless(name), board.name_width());
        let prefix = format!("{name:<width$} | ");
        let prefix = match COLOURS.get(index % COLOURS.len()) {
            Some(colour) if self.colours => format!("\u{1b}[{colour}m{prefix}\u{1b}[0m"),
            _ => prefix,
        };
        let text = harmless(text);
        match stream {
            Stream::Out => raw(&format!("{prefix}{text}")),
            // Nobody may be there to read it.
            Stream::Err => drop(writeln!(std::io::stderr(), "{prefix}{text}")),
        }
    }
}

fn summary(board: &Board, json: bool) {
    if json {
        let agents: Vec<Value> = board.agents().iter().map(board::AgentRun::as_json).collect();
        let summary = json!({ "event": "summary", "finished": board.is_finished(), "agents": agents });
        raw(&harmless_json(&summary.to_string()));
        return;
    }
    let rows = board.agents().iter().map(|agent| {
        let status = agent.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let time = agent.time_ms.map_or_else(|| "-".to_owned(), shown_time);
        vec![agent.name.clone(), agent.state.as_str().to_owned(), status, time, agent.note()]
    });
    say!("");
    table(&["AGENT", "STATE", "STATUS", "TIME", ""], rows);
}

fn shown_time(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{ms} ms"),
        _ => duration::exact(ms / 1_000),
    }
}

fn verdict(board: &Board) -> Result<(), CliError> {
    let all = board.agents().len();
    let well = board.agents().iter().filter(|agent| agent.state == State::Done && agent.status == Some(0)).count();
    match (all, well) {
        (0, _) => Err(CliError::NotAllDone("there is no agent to run it".into())),
        _ if well == all => Ok(()),
        (1, _) => Err(CliError::NotAllDone("the agent did not run it to an end with status 0".into())),
        _ => Err(CliError::NotAllDone(format!("{well} of {all} agents ran it to an end with status 0"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_a_random_uuid() {
        let (one, other) = (fresh_session().to_string(), fresh_session().to_string());
        assert_ne!(one, other);
        assert_eq!((one.len(), one.get(14..15)), (36, Some("4")), "{one}");
    }

    #[test]
    fn times_are_within_their_limits() {
        assert_eq!(within("--timeout", "5m", 600).ok(), Some(300));
        assert!(within("--timeout", "11m", 600).is_err() && within("--timeout", "0", 600).is_err());
    }
}
