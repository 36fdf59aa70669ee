//! What the operations answer.

use dci_proto::MessageId;
use dci_proto::message::{NAMESPACE as ENVELOPE, format_time};

use super::super::super::types::{EntryView, LogPage, MessageStates, SentView, StateView, To};
use super::super::super::views;
use super::super::gathered::Gathered;
use super::super::writer::Writer;
use super::NAMESPACE;
use super::envelope::open_body;

fn open(name: &'static str) -> Writer {
    let mut writer = open_body();
    writer.open(name).with("xmlns:s", NAMESPACE);
    writer
}

pub(super) fn sent(messages: &[SentView]) -> String {
    let mut writer = open("s:SendResponse");
    messages.iter().for_each(|message| sent_one(&mut writer, message));
    writer.end()
}

pub(super) fn gathered(gathered: &Gathered) -> String {
    let mut writer = open("s:RequestResponse");
    writer.leaf("s:finished", if gathered.finished { "true" } else { "false" });
    for one in &gathered.sent {
        sent_one(&mut writer, &views::sent(&gathered.names, one));
    }
    for (message, one) in &gathered.states {
        state(&mut writer, Some(*message), one);
    }
    for reply in &gathered.replies {
        let (message, agent) = Gathered::of(reply);
        writer.open("s:reply").leaf("s:message", &message.to_string());
        writer.leaf("s:id", &reply.message.id.to_string()).leaf("s:agent", &agent.to_string());
        writer.leaf("s:name", &views::name_of(&gathered.names, agent));
        writer.leaf("s:sent", &format_time(reply.message.sent_ms));
        content(&mut writer, views::text(&reply.message).as_deref(), reply.message.body.as_xml());
        writer.close();
    }
    writer.end()
}

pub(super) fn states(states: &MessageStates) -> String {
    let mut writer = open("s:StatesResponse");
    states.recipients.iter().for_each(|one| state(&mut writer, None, one));
    writer.end()
}

pub(super) fn log(page: &LogPage) -> String {
    let mut writer = open("s:LogResponse");
    page.entries.iter().for_each(|one| entry(&mut writer, one));
    writer.leaf_some("s:next", page.next.map(|next| next.to_string()).as_deref());
    writer.leaf("s:damaged", &page.damaged.to_string());
    writer.end()
}

fn sent_one(writer: &mut Writer, message: &SentView) {
    writer.open("s:message").leaf("s:id", &message.id.to_string());
    for recipient in &message.recipients {
        writer.open("s:recipient").leaf("s:agent", &recipient.agent.to_string());
        writer.leaf("s:name", &recipient.name).close();
    }
    writer.close();
}

fn state(writer: &mut Writer, message: Option<MessageId>, state: &StateView) {
    writer.open("s:state").leaf_some("s:message", message.map(|id| id.to_string()).as_deref());
    writer.leaf("s:agent", &state.agent.to_string()).leaf("s:name", &state.name).leaf("s:state", &state.state);
    writer.leaf("s:since", &format_time(state.since_ms)).leaf("s:attempts", &state.attempts.to_string());
    writer.leaf_some("s:exitStatus", state.exit_status.map(|status| status.to_string()).as_deref());
    writer.leaf_some("s:why", state.why.as_deref()).close();
}

fn entry(writer: &mut Writer, entry: &EntryView) {
    writer.open("s:entry").leaf("s:place", &entry.place.to_string()).leaf("s:at", &format_time(entry.at_ms));
    writer.leaf("s:direction", &entry.direction).leaf("s:id", &entry.id.to_string()).leaf("s:type", &entry.kind);
    writer.leaf_some("s:session", entry.session.map(|id| id.to_string()).as_deref());
    writer.open("s:from").leaf("s:agent", &entry.from.agent.to_string()).leaf("s:name", &entry.from.name);
    writer.leaf_some("s:user", entry.from.user.as_deref());
    writer.leaf_some("s:session", entry.from.session.map(|id| id.to_string()).as_deref()).close();
    writer.open("s:to");
    match &entry.to {
        To::Agents(names) => names.iter().for_each(|name| {
            writer.leaf("s:agent", name);
        }),
        To::Group(name) => {
            writer.leaf("s:group", name);
        }
        To::All(_) => {
            writer.leaf("s:all", "true");
        }
    }
    writer.close();
    writer.leaf_some("s:inReplyTo", entry.in_reply_to.map(|id| id.to_string()).as_deref());
    writer.leaf_some("s:replayOf", entry.replay_of.map(|id| id.to_string()).as_deref());
    writer.leaf("s:sent", &format_time(entry.sent_ms)).leaf("s:expires", &format_time(entry.expires_ms));
    content(writer, entry.text.as_deref(), &entry.xml);
    entry.states.iter().for_each(|one| state(writer, None, one));
    writer.close();
}

/// What a message says: as text where it is plain text, else as XML.
fn content(writer: &mut Writer, text: Option<&str>, xml: &str) {
    match text {
        Some(text) => writer.leaf("s:text", text),
        // What has no namespace of its own in it is in the envelope's.
        None => writer.open("s:xml").with("xmlns", ENVELOPE).raw(xml).close(),
    };
}
