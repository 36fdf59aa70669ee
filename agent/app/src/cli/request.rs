//! `shoal request`: a message, and what its recipients answer.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use dci_proto::{AgentId, MessageId};
use ureq::http::Method;

use super::client::Client;
use super::message::{MessageOptions, state_of};
use super::print::{harmless, line, say};
use super::stream::ServerEvent;
use super::{AgentChoice, CliError, duration};
use crate::api::messages::types::{AskEvent, AskRequest, StateView};

/// How much longer than asked the agent may take to say that the time is over.
const GRACE: Duration = Duration::from_secs(30);

/// What `shoal request` takes.
#[derive(Args, Clone, Debug)]
pub(super) struct RequestOptions {
    #[command(flatten)]
    message: MessageOptions,
    /// How long to wait for answers: a number with s, m or h. The message goes on to be delivered until it expires.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    timeout: String,
}

/// What is known of each recipient of each message.
#[derive(Default)]
struct Outcome {
    recipients: BTreeMap<(MessageId, AgentId), Known>,
    finished: bool,
}

struct Known {
    name: String,
    state: Option<StateView>,
}

pub(super) fn request(agent: &AgentChoice, options: &RequestOptions, json: bool) -> Result<(), CliError> {
    let timeout_s = duration::seconds("--timeout", &options.timeout)?;
    let request = AskRequest { message: options.message.request(agent)?, timeout_s: Some(timeout_s) };
    let deadline = Duration::from_secs(timeout_s).saturating_add(GRACE);
    let mut outcome = Outcome::default();
    for event in Client::open(agent)?.events(Method::POST, "requests", &request, Some(deadline))? {
        let event = event?;
        if json {
            line(&event.data);
        }
        if let Some(event) = known(&event)? {
            outcome.take(event, json);
        }
    }
    outcome.judge(json)
}

/// An event; `None` for one that a newer agent tells.
fn known(event: &ServerEvent) -> Result<Option<AskEvent>, CliError> {
    if !["sent", "state", "reply", "done"].contains(&event.name.as_str()) {
        return Ok(None);
    }
    event.read().map(Some)
}

impl Outcome {
    fn take(&mut self, event: AskEvent, json: bool) {
        match event {
            AskEvent::Sent { messages } => {
                for message in messages {
                    for recipient in message.recipients {
                        let known = Known { name: recipient.name, state: None };
                        self.recipients.insert((message.id, recipient.agent), known);
                    }
                }
            }
            AskEvent::State { message, state } => {
                let known = Known { name: state.name.clone(), state: Some(state.clone()) };
                self.recipients.insert((message, state.agent), known);
            }
            AskEvent::Reply { from, text, xml, .. } if !json => {
                let name = (self.recipients.len() > 1).then_some(from.name.as_str());
                tell(name, text.as_deref().unwrap_or(&xml));
            }
            AskEvent::Reply { .. } => {}
            AskEvent::Done { finished } => self.finished = finished,
        }
    }

    /// Tells who did not deal with it; fails if there is anybody.
    fn judge(&self, json: bool) -> Result<(), CliError> {
        let is_done = |known: &&Known| known.state.as_ref().is_some_and(|state| state.exit_status == Some(0));
        let left: Vec<&Known> = self.recipients.values().filter(|known| !is_done(known)).collect();
        if !json {
            left.iter().flat_map(|known| lines(known)).for_each(|line| eprintln!("{}", harmless(&line)));
        }
        if left.is_empty() && self.finished {
            return Ok(());
        }
        Err(CliError::NotAllDone(self.told(&left)))
    }

    /// How many did what instead of dealing with it well.
    fn told(&self, left: &[&Known]) -> String {
        let all = self.recipients.len();
        let status = |known: &Known| known.state.as_ref().and_then(|state| state.exit_status);
        let is_out = |known: &Known| {
            let word = known.state.as_ref().map_or("", |state| state.state.as_str());
            matches!(word, "refused" | "expired")
        };
        let failed = left.iter().filter(|known| status(known).is_some()).count();
        let out = left.iter().filter(|known| is_out(known)).count();
        let open = left.len() - failed - out;
        let mut parts = Vec::new();
        if failed > 0 {
            parts.push(format!("{failed} of {all} handled it and failed"));
        }
        if out > 0 {
            parts.push(format!("{out} of {all} did not handle it"));
        }
        if open > 0 || !self.finished {
            parts.push(format!("{open} of {all} had not handled it yet when the time to wait was over"));
        }
        parts.join(", ")
    }
}

fn sentence(known: &Known) -> String {
    match &known.state {
        None => format!("{}: waiting", known.name),
        Some(state) => match &state.why {
            Some(why) => format!("{}: {}: {why}", known.name, state_of(state)),
            None => format!("{}: {}", known.name, state_of(state)),
        },
    }
}

/// The same in lines, where what a program said has several.
fn lines(known: &Known) -> Vec<String> {
    sentence(known)
        .split('\n')
        .enumerate()
        .map(|(number, line)| match number {
            0 => line.to_owned(),
            _ => format!("  {line}"),
        })
        .collect()
}

/// Prints an answer; with a name, before each of its lines.
fn tell(name: Option<&str>, text: &str) {
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        match name {
            Some(name) => say!("{name}: {line}"),
            None => say!("{line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(agent: u8, word: &str, exit_status: Option<i32>) -> AskEvent {
        let state = StateView {
            agent: AgentId([agent; 32]),
            name: format!("pc-{agent}"),
            state: word.to_owned(),
            since_ms: 0,
            attempts: 1,
            exit_status,
            why: None,
        };
        AskEvent::State { message: MessageId([1; 16]), state }
    }

    #[test]
    fn only_what_all_dealt_with_well_is_done() {
        let handled = |agent| state(agent, "handled", Some(0));
        let done = |finished| AskEvent::Done { finished };
        for (events, expected) in [
            (vec![handled(1), handled(2), done(true)], None),
            (vec![state(1, "delivered", None), handled(1), done(true)], None),
            (vec![handled(1), state(2, "handled", Some(3)), done(true)], Some("1 of 2 handled it and failed")),
            (vec![handled(1), state(2, "refused", None), done(true)], Some("1 of 2 did not handle it")),
            (
                vec![handled(1), state(2, "delivered", None), done(false)],
                Some("1 of 2 had not handled it yet when the time to wait was over"),
            ),
            (vec![handled(1)], Some("0 of 1 had not handled it yet when the time to wait was over")),
        ] {
            let mut outcome = Outcome::default();
            events.into_iter().for_each(|event| outcome.take(event, true));
            let judged = outcome.judge(true).err().map(|error| error.to_string());
            assert_eq!(judged.as_deref(), expected);
        }
    }

    #[test]
    fn what_a_newer_agent_tells_is_passed_over_and_garbage_is_not() {
        let event = |name: &str, data: &str| known(&ServerEvent { name: name.into(), data: data.into() });
        assert!(matches!(event("done", r#"{"event":"done","finished":true}"#), Ok(Some(AskEvent::Done { .. }))));
        assert!(matches!(event("news", "{}"), Ok(None)));
        assert!(event("done", "{").is_err());
    }
}
