//! One attempt of one run: a message to a peerlet, and what comes back of it.

use std::time::{Duration, Instant};

use dci_proto::message::Body as MessageBody;
use shoal_flow::{Body, Event, OUTPUT_LIMIT_BYTES, Start};
use shoal_run::{MESSAGE_TYPE, Reply, Request, Stream};
use ureq::http::Method;

use super::super::CliError;
use super::super::client::Client;
use super::super::run::fresh_session;
use crate::api::messages::types::{AskEvent, AskRequest, SendRequest, StateView, To};

/// Seconds beyond the run's own time in which its end may be told: that it took too long, too.
const PATIENCE_S: u64 = 5;
/// How much longer than that the call may take.
const CALL_SLACK: Duration = Duration::from_secs(5);
/// Time between two tries while the agent of this computer has no room for one more request.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How long it is tried.
const NO_ROOM_FOR: Duration = Duration::from_secs(60);
/// The status of an API that cannot do it just now.
const STATUS_UNAVAILABLE: u16 = 503;

/// Sends it and waits for its end.
pub(super) fn run(client: &Client, user: Option<String>, start: &Start) -> Event {
    let failed = |why: String| Event::Failed { attempt: start.attempt, why, output: String::new() };
    let request = match request(user, start) {
        Ok(request) => request,
        Err(why) => return failed(why),
    };
    let deadline = Duration::from_millis(start.timeout_ms) + Duration::from_secs(PATIENCE_S) + CALL_SLACK;
    let begun = Instant::now();
    let events = loop {
        match client.events(Method::POST, "requests", &request, Some(deadline)) {
            Err(CliError::Api { status: STATUS_UNAVAILABLE, .. }) if begun.elapsed() < NO_ROOM_FOR => {
                std::thread::sleep(AGAIN_AFTER);
            }
            Err(error) => return failed(error.to_string()),
            Ok(events) => break events,
        }
    };
    let mut heard = Heard::new(&start.type_name);
    for event in events {
        match event.and_then(|event| event.read()) {
            Ok(AskEvent::Done { finished }) => return heard.end(start, finished),
            Ok(event) => heard.take(event),
            Err(error) => return heard.failed(start, error.to_string()),
        }
    }
    heard.failed(start, "the agent of this computer ended".to_owned())
}

fn request(user: Option<String>, start: &Start) -> Result<AskRequest, String> {
    // A message that was not taken in time must not be taken later: the run may have been tried elsewhere by then.
    let timeout_s = start.timeout_ms.div_ceil(1000);
    let (text, xml) = match &start.body {
        Body::Text(text) => (Some(text.clone()), None),
        Body::Xml(xml) => (None, Some(xml.clone())),
        Body::Command { command, input } => {
            let (program, arguments) = command.split_first().ok_or("there is no command")?;
            let input = (!input.is_empty()).then(|| input.clone());
            let request = Request { command: program.clone(), arguments: arguments.to_vec(), input, timeout_s };
            let body = request.to_body().map_err(|error| error.to_string())?;
            (None, Some(body.as_xml().to_owned()))
        }
    };
    let message = SendRequest {
        kind: start.type_name.clone(),
        to: To::Agents(vec![start.agent.clone()]),
        text,
        xml,
        session: None,
        // Answers to one session come in the order they were sent.
        from_session: Some(fresh_session()),
        ttl: None,
        expires_s: Some(timeout_s),
        in_reply_to: None,
        user,
    };
    Ok(AskRequest { message, timeout_s: Some(timeout_s + PATIENCE_S) })
}

/// What was heard of an attempt so far.
struct Heard {
    /// Whether the replies are those of the peerlet `run`.
    commands: bool,
    output: String,
    errors: String,
    /// How the command ended, and what else was said of it.
    ended: Option<(i32, String)>,
    state: Option<StateView>,
}

impl Heard {
    fn new(type_name: &str) -> Self {
        let commands = type_name == MESSAGE_TYPE;
        Self { commands, output: String::new(), errors: String::new(), ended: None, state: None }
    }

    fn take(&mut self, event: AskEvent) {
        match event {
            AskEvent::State { state, .. } => self.state = Some(state),
            AskEvent::Reply { text, xml, .. } if self.commands => {
                let reply = MessageBody::of_xml(xml).ok().and_then(|body| Reply::of_body(&body).ok());
                match reply {
                    Some(Reply::Output { stream: Stream::Out, text }) => push(&mut self.output, &text),
                    Some(Reply::Output { stream: Stream::Err, text }) => push(&mut self.errors, &text),
                    Some(Reply::Ended { status, why, .. }) => self.ended = Some((status, why)),
                    None => push(&mut self.errors, &text.unwrap_or_default()),
                }
            }
            AskEvent::Reply { text, xml, .. } => {
                // One reply after the other, each on lines of its own.
                if !self.output.is_empty() && !self.output.ends_with('\n') {
                    push(&mut self.output, "\n");
                }
                push(&mut self.output, text.as_deref().unwrap_or(&xml));
            }
            AskEvent::Sent { .. } | AskEvent::Done { .. } => {}
        }
    }

    fn end(mut self, start: &Start, finished: bool) -> Event {
        let state = self.state.take();
        let said =
            state.as_ref().and_then(|state| state.why.as_ref()).map(|why| format!(": {why}")).unwrap_or_default();
        let word = state.as_ref().map_or("waiting", |state| state.state.as_str()).replace('-', " ");
        match (self.ended.take(), state.and_then(|state| state.exit_status)) {
            (Some((status, why)), _) if !why.is_empty() => self.failed(start, format!("{why} (status {status})")),
            (Some((status, _)), _) => self.done(start, status),
            (None, Some(0)) if self.commands => self.failed(start, "it did not say how the command ended".to_owned()),
            (None, Some(status)) => self.done(start, status),
            (None, None) if finished => self.failed(start, format!("{word}{said}")),
            (None, None) => {
                let seconds = start.timeout_ms.div_ceil(1000);
                self.failed(start, format!("not done within {seconds} s, {word}{said}"))
            }
        }
    }

    fn done(self, start: &Start, status: i32) -> Event {
        let Self { mut output, errors, .. } = self;
        if status != 0 {
            push(&mut output, &errors);
        }
        Event::Done { attempt: start.attempt, output, exit_status: Some(status) }
    }

    fn failed(self, start: &Start, why: String) -> Event {
        let Self { mut output, errors, .. } = self;
        push(&mut output, &errors);
        Event::Failed { attempt: start.attempt, why, output }
    }
}

/// Adds to an output as long as it is not over its limit by more than one character: that it is over is then known.
fn push(output: &mut String, text: &str) {
    let room = (OUTPUT_LIMIT_BYTES + 1).saturating_sub(output.len());
    let mut end = room.min(text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    output.push_str(text.get(..end).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use dci_proto::{AgentId, MessageId};
    use shoal_flow::Attempt;

    use super::*;
    use crate::api::messages::types::AgentView;

    fn start(type_name: &str, body: Body) -> Start {
        Start {
            attempt: Attempt { run: 3, number: 1 },
            step: "s".into(),
            item: None,
            agent: "12D3".into(),
            agent_name: "a".into(),
            type_name: type_name.into(),
            body,
            timeout_ms: 5_000,
        }
    }

    fn state(state: &str, exit_status: Option<i32>, why: &str) -> AskEvent {
        let why = (!why.is_empty()).then(|| why.to_owned());
        let (agent, name, since_ms, attempts) = (AgentId([1; 32]), "a".to_owned(), 0, 1);
        let state = StateView { agent, name, state: state.to_owned(), since_ms, attempts, exit_status, why };
        AskEvent::State { message: MessageId::default(), state }
    }

    fn reply(text: Option<&str>, xml: &str) -> AskEvent {
        let from = AgentView { agent: AgentId([1; 32]), name: "a".into() };
        let (message, id) = (MessageId::default(), MessageId::default());
        AskEvent::Reply { message, from, id, text: text.map(str::to_owned), xml: xml.to_owned(), sent_ms: 0 }
    }

    fn said(reply: &Reply) -> AskEvent {
        self::reply(None, reply.to_body().expect("a body").as_xml())
    }

    fn output(stream: Stream, text: &str) -> AskEvent {
        said(&Reply::Output { stream, text: text.into() })
    }

    fn ended(status: i32, why: &str) -> AskEvent {
        said(&Reply::Ended { status, time_ms: 1, why: why.into() })
    }

    fn heard(type_name: &str, events: Vec<AskEvent>, finished: bool) -> Event {
        let mut heard = Heard::new(type_name);
        events.into_iter().for_each(|event| heard.take(event));
        heard.end(&start(type_name, Body::Text(String::new())), finished)
    }

    fn check_done(event: Event, expected: &str, status: i32) {
        match event {
            Event::Done { output, exit_status, .. } => {
                assert_eq!((output.as_str(), exit_status), (expected, Some(status)))
            }
            other => panic!("{other:?}"),
        }
    }

    fn check_failed(event: Event, expected: &str, said: &str) {
        match event {
            Event::Failed { output, why, .. } => assert_eq!((output.as_str(), why.as_str()), (expected, said)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_command_gives_what_it_prints_and_its_own_exit_status() {
        let handled = || state("handled", Some(0), "");
        let printed = || vec![state("delivered", None, ""), output(Stream::Out, "one\n"), output(Stream::Err, "oh\n")];
        let with = |rest: Vec<AskEvent>| [printed(), rest].concat();
        check_done(heard("run", with(vec![ended(0, ""), handled()]), true), "one\n", 0);
        check_done(heard("run", with(vec![handled(), ended(3, "")]), true), "one\noh\n", 3);
        check_failed(
            heard("run", with(vec![ended(126, "the owner does not allow it"), handled()]), true),
            "one\noh\n",
            "the owner does not allow it (status 126)",
        );
        check_failed(heard("run", with(vec![handled()]), true), "one\noh\n", "it did not say how the command ended");
        check_failed(heard("run", with(vec![]), false), "one\noh\n", "not done within 5 s, delivered");
    }

    #[test]
    fn a_peerlet_gives_its_replies() {
        let handled = |status| state("handled", Some(status), "");
        let replies = || vec![reply(Some("one"), "one"), reply(None, "<b/>")];
        check_done(heard("sum", [replies(), vec![handled(0)]].concat(), true), "one\n<b/>", 0);
        check_done(heard("sum", [replies(), vec![handled(2)]].concat(), true), "one\n<b/>", 2);
        check_failed(heard("sum", vec![state("refused", None, "no right")], true), "", "refused: no right");
        check_failed(heard("sum", vec![], false), "", "not done within 5 s, waiting");
    }

    #[test]
    fn an_endless_output_is_kept_only_so_far_that_it_is_known_to_be_too_long() {
        let piece = "ü".repeat(100_000);
        let mut heard = Heard::new("sum");
        for _ in 0..100 {
            heard.take(reply(Some(&piece), &piece));
        }
        assert!(heard.output.len() > OUTPUT_LIMIT_BYTES && heard.output.len() < OUTPUT_LIMIT_BYTES + 8);
    }

    #[test]
    fn a_message_is_void_when_its_run_is_given_up() {
        let command = vec!["echo".to_owned(), "<1>".to_owned()];
        let start = start("run", Body::Command { command, input: String::new() });
        let request = request(Some("ana".into()), &start).expect("a request");
        assert_eq!((request.timeout_s, request.message.expires_s), (Some(5 + PATIENCE_S), Some(5)));
        let body = MessageBody::of_xml(request.message.xml.expect("XML")).expect("a body");
        let run = Request::of_body(&body).expect("a command");
        assert_eq!((run.command_line().as_str(), run.timeout_s), ("echo '<1>'", 5));
    }
}
