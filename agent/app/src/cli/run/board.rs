//! Who was asked to run the command, how far each has got, and what is to be shown of it. Pure: events in, what to show out.

use dci_proto::message::Body;
use dci_proto::{AgentId, MessageId};
use serde_json::{Value, json};
use shoal_run::{Reply, Stream};

use crate::api::messages::types::{AgentView, AskEvent, StateView};

/// Bytes of a line that has no end yet; a longer one is shown in pieces.
const LINE_LIMIT_BYTES: usize = 64 * 1024;

/// What is said of an answer that cannot be read.
const NOT_UNDERSTOOD: &str = "an answer that this version of Shoal does not understand";

/// How far an agent has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It has not been reached.
    Asleep,
    /// It has it, and has not said that it is through.
    Running,
    /// It ran it to an end, or answered why not.
    Done,
    /// It answered what is not understood: whether it ran it cannot be told.
    Unclear,
    /// It does not take it.
    Refused,
    /// It was not reached in time, and does not run it any more.
    Expired,
}

impl State {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Asleep => "asleep",
            Self::Running => "running",
            Self::Done => "done",
            Self::Unclear => "unclear",
            Self::Refused => "refused",
            Self::Expired => "expired",
        }
    }

    fn of(state: &str) -> Option<Self> {
        Some(match state {
            "waiting" => Self::Asleep,
            "delivered" => Self::Running,
            "handled" => Self::Done,
            "refused" => Self::Refused,
            "expired" | "expired-on-the-way" => Self::Expired,
            _ => return None,
        })
    }
}

/// An agent that was asked.
#[derive(Debug, Clone)]
pub(super) struct AgentRun {
    message: MessageId,
    agent: AgentId,
    pub(super) name: String,
    pub(super) state: State,
    pub(super) status: Option<i32>,
    pub(super) time_ms: Option<u64>,
    why: String,
    /// Lines that have no end yet: of standard output, of standard error.
    begun: [String; 2],
}

impl AgentRun {
    /// What there is to say of it besides.
    pub(super) fn note(&self) -> String {
        if !self.why.is_empty() {
            return self.why.clone();
        }
        match self.state {
            State::Asleep => "it could not be reached, and may still run it if it comes up in time",
            State::Running => "it has not said yet that it is through",
            State::Expired => "it was not reached in time and does not run it",
            State::Unclear => NOT_UNDERSTOOD,
            State::Done | State::Refused => "",
        }
        .to_owned()
    }

    pub(super) fn as_json(&self) -> Value {
        let Self { agent, name, state, status, time_ms, .. } = self;
        json!({ "agent": agent, "name": name, "state": state.as_str(), "status": status, "time_ms": time_ms, "why": self.note() })
    }
}

/// Something to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    /// A line an agent's command printed, or something said of it; for people.
    Line {
        /// Which agent, counted.
        index: usize,
        /// Its nickname.
        name: String,
        /// Where it belongs.
        stream: Stream,
        /// What, without its end.
        text: String,
    },
    /// What happened; for programs.
    Event(Value),
}

impl Shown {
    /// The line for programs, if it is for them.
    pub(super) fn as_json(&self) -> Option<String> {
        match self {
            Self::Line { .. } => None,
            Self::Event(value) => Some(value.to_string()),
        }
    }
}

/// All that were asked.
#[derive(Debug, Default)]
pub(super) struct Board {
    agents: Vec<AgentRun>,
    finished: bool,
}

impl Board {
    pub(super) fn agents(&self) -> &[AgentRun] {
        &self.agents
    }

    /// Whether all are through.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Characters of the longest name.
    pub(super) fn name_width(&self) -> usize {
        self.agents.iter().map(|agent| agent.name.chars().count()).max().unwrap_or(0)
    }

    /// Takes what happened; answers what to show.
    pub(super) fn take(&mut self, event: AskEvent) -> Vec<Shown> {
        match event {
            AskEvent::Sent { messages } => {
                let mut shown = Vec::new();
                for message in messages {
                    for recipient in message.recipients {
                        self.find(message.id, &recipient);
                        let AgentView { agent, name } = recipient;
                        let sent = json!({ "event": "sent", "agent": agent, "name": name, "message": message.id });
                        shown.push(Shown::Event(sent));
                    }
                }
                shown
            }
            AskEvent::State { message, state } => self.state(message, state),
            AskEvent::Reply { message, from, xml, .. } => self.reply(message, &from, xml),
            AskEvent::Done { finished } => {
                self.finished = finished;
                Vec::new()
            }
        }
    }

    /// Lines that never got an end.
    pub(super) fn finish(&mut self) -> Vec<Shown> {
        (0..self.agents.len()).flat_map(|index| self.rest(index)).collect()
    }

    fn state(&mut self, message: MessageId, told: StateView) -> Vec<Shown> {
        let Some(state) = State::of(&told.state) else { return Vec::new() };
        let StateView { agent, name, exit_status: status, why, .. } = told;
        let from = AgentView { agent, name };
        let index = self.find(message, &from);
        let why = why.unwrap_or_default();
        // That it was handled says nothing where the answer to it was not understood.
        if let Some(run) = self.agents.get_mut(index).filter(|run| run.state != State::Unclear) {
            run.state = state;
            // The end itself says more than its state, and comes before it.
            run.status = run.status.or(status);
            if run.time_ms.is_none() {
                run.why.clone_from(&why);
            }
        }
        let AgentView { agent, name } = from;
        vec![Shown::Event(
            json!({ "event": "state", "agent": agent, "name": name, "state": state.as_str(), "status": status, "why": why }),
        )]
    }

    fn reply(&mut self, message: MessageId, from: &AgentView, xml: String) -> Vec<Shown> {
        let index = self.find(message, from);
        let AgentView { agent, name } = from;
        let reply = Body::of_xml(xml).ok().and_then(|body| Reply::of_body(&body).ok());
        match reply {
            Some(Reply::Output { stream, text }) => {
                let mut shown = vec![Shown::Event(
                    json!({ "event": "output", "agent": agent, "name": name, "stream": stream.as_str(), "text": text }),
                )];
                shown.extend(self.lines(index, stream, &text));
                shown
            }
            Some(Reply::Ended { status, time_ms, why }) => {
                let mut shown = vec![Shown::Event(
                    json!({ "event": "ended", "agent": agent, "name": name, "status": status, "time_ms": time_ms, "why": why }),
                )];
                shown.extend(self.rest(index));
                if status != 0 || !why.is_empty() {
                    let why = if why.is_empty() { String::new() } else { format!(": {why}") };
                    shown.extend(self.line(index, Stream::Err, format!("status {status}{why}")));
                }
                if let Some(run) = self.agents.get_mut(index) {
                    (run.status, run.time_ms, run.why) = (Some(status), Some(time_ms), why);
                }
                shown
            }
            None => {
                if let Some(run) = self.agents.get_mut(index) {
                    (run.state, run.status) = (State::Unclear, None);
                }
                self.line(index, Stream::Err, NOT_UNDERSTOOD.to_owned()).into_iter().collect()
            }
        }
    }

    /// Lines that are whole now.
    fn lines(&mut self, index: usize, stream: Stream, text: &str) -> Vec<Shown> {
        let mut whole = Vec::new();
        if let Some(begun) = self.agents.get_mut(index).and_then(|run| run.begun.get_mut(stream as usize)) {
            for piece in text.split_inclusive('\n') {
                begun.push_str(piece);
                if piece.ends_with('\n') || begun.len() > LINE_LIMIT_BYTES {
                    whole.push(std::mem::take(begun));
                }
            }
        }
        whole.into_iter().filter_map(|line| self.line(index, stream, line)).collect()
    }

    /// What an agent printed without an end of line.
    fn rest(&mut self, index: usize) -> Vec<Shown> {
        let begun = self.agents.get_mut(index).map(|run| std::mem::take(&mut run.begun)).unwrap_or_default();
        let streams = [Stream::Out, Stream::Err].into_iter().zip(begun).filter(|(_, text)| !text.is_empty());
        streams.filter_map(|(stream, text)| self.line(index, stream, text)).collect()
    }

    fn line(&self, index: usize, stream: Stream, text: String) -> Option<Shown> {
        let name = self.agents.get(index)?.name.clone();
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text).to_owned();
        Some(Shown::Line { index, name, stream, text })
    }

    /// The place of an agent; one that was not named before is added.
    fn find(&mut self, message: MessageId, from: &AgentView) -> usize {
        let known = self.agents.iter().position(|run| run.agent == from.agent && run.message == message);
        known.unwrap_or_else(|| {
            self.agents.push(AgentRun {
                message,
                agent: from.agent,
                name: from.name.clone(),
                state: State::Asleep,
                status: None,
                time_ms: None,
                why: String::new(),
                begun: Default::default(),
            });
            self.agents.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::messages::types::{SentView, To};

    const MESSAGE: MessageId = MessageId([5; 16]);

    /// An agent of this name, with an id made of its first letter.
    fn agent(name: &str) -> AgentView {
        AgentView { agent: AgentId([name.as_bytes()[0]; 32]), name: name.to_owned() }
    }

    fn board(names: &[&str]) -> Board {
        let recipients = names.iter().map(|name| agent(name)).collect();
        let mut board = Board::default();
        board.take(AskEvent::Sent { messages: vec![SentView { id: MESSAGE, to: To::All(true), recipients }] });
        board
    }

    fn answer(board: &mut Board, name: &str, xml: &str) -> Vec<(String, String)> {
        let (xml, id) = (xml.to_owned(), MessageId([6; 16]));
        lines(board.take(AskEvent::Reply { message: MESSAGE, from: agent(name), id, text: None, xml, sent_ms: 0 }))
    }

    fn say(board: &mut Board, name: &str, reply: &Reply) -> Vec<(String, String)> {
        answer(board, name, reply.to_body().expect("a body").as_xml())
    }

    fn lines(shown: Vec<Shown>) -> Vec<(String, String)> {
        let line = |shown| match shown {
            Shown::Line { name, text, .. } => Some((name, text)),
            Shown::Event(_) => None,
        };
        shown.into_iter().filter_map(line).collect()
    }

    fn state(board: &mut Board, name: &str, state: &str, exit_status: Option<i32>, why: Option<&str>) {
        let AgentView { agent, name } = agent(name);
        let (state, why) = (state.to_owned(), why.map(str::to_owned));
        let state = StateView { agent, name, state, since_ms: 0, attempts: 1, exit_status, why };
        board.take(AskEvent::State { message: MESSAGE, state });
    }

    fn out(text: &str) -> Reply {
        Reply::Output { stream: Stream::Out, text: text.to_owned() }
    }

    #[test]
    fn lines_of_several_agents_are_not_mixed() {
        let mut board = board(&["ana", "bo"]);
        let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        assert_eq!(say(&mut board, "ana", &out("one\r\nbeg")), [pair("ana", "one")]);
        assert_eq!(say(&mut board, "bo", &out("two\n\nun")), [pair("bo", "two"), pair("bo", "")]);
        assert_eq!(say(&mut board, "ana", &out("un\n")), [pair("ana", "begun")]);
        let ended = Reply::Ended { status: 0, time_ms: 5, why: String::new() };
        assert_eq!(say(&mut board, "bo", &ended), [pair("bo", "un")]);
        assert_eq!(lines(board.finish()), []);
        let long = say(&mut board, "ana", &out(&"x".repeat(LINE_LIMIT_BYTES + 1)));
        assert_eq!(long.len(), 1, "a line without end is not kept for ever");
    }

    #[test]
    fn what_became_of_each_is_told_apart() {
        let mut board = board(&["done", "failed", "asleep", "late", "not-allowed", "busy"]);
        state(&mut board, "done", "delivered", None, None);
        say(&mut board, "done", &Reply::Ended { status: 0, time_ms: 7, why: String::new() });
        state(&mut board, "done", "handled", Some(0), None);
        let ended = Reply::Ended { status: 124, time_ms: 60_000, why: "it took more than 60 s and was ended".into() };
        let told = say(&mut board, "failed", &ended);
        assert_eq!(told, [("failed".to_owned(), "status 124: it took more than 60 s and was ended".to_owned())]);
        state(&mut board, "failed", "handled", Some(124), None);
        state(&mut board, "late", "expired", None, None);
        state(&mut board, "not-allowed", "refused", None, Some("ana has no right"));
        state(&mut board, "busy", "delivered", None, None);
        let told: Vec<_> = board.agents().iter().map(|run| (run.state.as_str(), run.status, run.time_ms)).collect();
        let expected = [
            ("done", Some(0), Some(7)),
            ("done", Some(124), Some(60_000)),
            ("asleep", None, None),
            ("expired", None, None),
            ("refused", None, None),
            ("running", None, None),
        ];
        assert_eq!(told, expected);
        assert_eq!(board.agents()[4].note(), "ana has no right");
        assert!(!board.is_finished());
    }

    #[test]
    fn a_late_joiner_is_added_and_an_answer_from_elsewhere_is_harmless() {
        let mut board = board(&["ana"]);
        state(&mut board, "new", "delivered", None, None);
        assert_eq!(board.agents().len(), 2);
        assert!(answer(&mut board, "ana", "<other/>")[0].1.contains("does not understand"));
        state(&mut board, "ana", "handled", Some(0), None);
        let ana = &board.agents()[0];
        assert_eq!((ana.state.as_str(), ana.status), ("unclear", None), "nobody knows that it is done");
        assert!(ana.note().contains("does not understand"));
    }
}
