//! Messages and what became of them, as the API shows them.

use std::collections::BTreeMap;

use dci_proto::AgentId;
use dci_proto::message::{Message, Recipient};
use shoal_mailbox::{Direction, LogEntry, RecipientStatus, State};

use super::types::{AgentView, EntryView, FromView, SentView, StateView, To};
use crate::messages::Sent;

/// Names of agents by id.
pub(super) type Names = BTreeMap<AgentId, String>;

/// An agent's name; its fingerprint where it is no member any more.
pub(super) fn name_of(names: &Names, agent: AgentId) -> String {
    names.get(&agent).cloned().unwrap_or_else(|| agent.fingerprint())
}

pub(super) fn agent(names: &Names, agent: AgentId) -> AgentView {
    AgentView { agent, name: name_of(names, agent) }
}

pub(super) fn to(names: &Names, recipient: &Recipient) -> To {
    match recipient {
        Recipient::Agent(agent) => To::Agents(vec![name_of(names, *agent)]),
        Recipient::Group(name) => To::Group(name.to_string()),
        Recipient::All => To::All(true),
    }
}

pub(super) fn sent(names: &Names, sent: &Sent) -> SentView {
    let recipients = sent.recipients.iter().map(|id| agent(names, *id)).collect();
    SentView { id: sent.id, to: to(names, &sent.to), recipients }
}

pub(super) fn state(names: &Names, recipient: &RecipientStatus) -> StateView {
    let (word, exit_status) = match &recipient.status.state {
        State::Waiting => ("waiting", None),
        State::ExpiredOnTheWay { .. } => ("expired-on-the-way", None),
        State::Delivered => ("delivered", None),
        State::Handled { exit_status } | State::Failed { exit_status, .. } => ("handled", Some(*exit_status)),
        State::Refused { .. } => ("refused", None),
        State::Expired { .. } => ("expired", None),
    };
    let mut why = recipient.status.why();
    if let State::ExpiredOnTheWay { hop, reason } = &recipient.status.state {
        why = Some(format!("at {}: {reason}", name_of(names, *hop)));
    }
    StateView {
        agent: recipient.agent,
        name: name_of(names, recipient.agent),
        state: word.to_owned(),
        since_ms: recipient.status.since_ms,
        attempts: recipient.status.attempts,
        exit_status,
        why,
    }
}

pub(super) fn entry(names: &Names, entry: &LogEntry) -> EntryView {
    let message = &entry.envelope.message;
    let direction = match entry.direction {
        Direction::Sent => "sent",
        Direction::Received => "received",
        Direction::Relayed => "relayed",
    };
    EntryView {
        place: entry.place.0,
        at_ms: entry.at_ms,
        direction: direction.to_owned(),
        id: message.id,
        kind: message.kind.to_string(),
        session: message.session,
        from: FromView {
            agent: message.from.agent,
            name: name_of(names, message.from.agent),
            user: message.from.user.as_ref().map(ToString::to_string),
            session: message.from.session,
        },
        to: to(names, &message.to),
        in_reply_to: message.in_reply_to,
        replay_of: message.replay_of,
        sent_ms: message.sent_ms,
        expires_ms: message.expires_ms,
        text: text(message),
        xml: message.body.as_xml().to_owned(),
        states: entry.states.iter().map(|recipient| state(names, recipient)).collect(),
    }
}

/// What a message says, where it has no elements.
pub(super) fn text(message: &Message) -> Option<String> {
    message.body.elements().is_empty().then(|| message.body.text())
}
