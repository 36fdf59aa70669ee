//! What stands in a line of the audit log.

use dci_proto::message::{Body, MessageType};
use dci_proto::{AgentId, MessageId};
use serde::{Deserialize, Serialize};

/// Format of a line. A newer one is refused.
pub(crate) const ENTRY_VERSION: u32 = 1;
/// Characters of what was asked for, at most; the rest is cut off.
const WHAT_LIMIT_CHARS: usize = 2_000;
/// Characters of a reason, at most; the rest is cut off.
const WHY_LIMIT_CHARS: usize = 500;
/// Characters of a user's name, at most. The names of the pool are shorter; of others' names nobody knows.
const USER_LIMIT_CHARS: usize = 128;

/// What somebody wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// On behalf of whom; `None`: the agent itself.
    pub user: Option<String>,
    /// Which agent says so.
    pub from: AgentId,
    /// Messages of which type; `shoal.…` for what is the agents' own.
    pub kind: MessageType,
    /// The message that says so.
    pub message: Option<MessageId>,
    /// What exactly, for people: see [`what_is_asked`].
    pub what: String,
}

/// What came of an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It was done, with this exit status.
    Handled {
        /// 0 for success, as programs have it.
        status: i32,
    },
    /// It was not done.
    Refused {
        /// Why.
        why: String,
    },
    /// Nobody knows.
    Unknown {
        /// Why not.
        why: String,
    },
}

/// What an entry says of its act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "kebab-case")]
pub enum Decision {
    /// It begins now.
    Begun,
    /// It was done, with this exit status.
    Handled {
        /// 0 for success, as programs have it.
        status: i32,
    },
    /// It was not done.
    Refused {
        /// Why.
        why: String,
    },
    /// It had begun, and nobody knows how it ended.
    Unknown {
        /// Why not.
        why: String,
    },
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its format.
    pub(super) version: u32,
    /// Its number, growing.
    pub place: u64,
    /// When, in ms since 1970 UTC by this agent's clock.
    pub at_ms: u64,
    /// Where: the agent whose log this is.
    pub agent: AgentId,
    /// On behalf of whom; missing: the agent itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Which agent said so.
    pub from: AgentId,
    /// Messages of which type.
    #[serde(rename = "type")]
    pub kind: MessageType,
    /// The message that said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageId>,
    /// What exactly, for people.
    pub what: String,
    /// The entry with which the act began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// What was decided, or came of it.
    #[serde(flatten)]
    pub decision: Decision,
}

impl AuditEntry {
    pub(super) fn new(place: u64, at_ms: u64, agent: AgentId, act: &Act, of: Option<u64>, decision: Decision) -> Self {
        let Act { user, from, kind, message, what } = act.clone();
        let (user, what) = (user.map(|user| cut(&user, USER_LIMIT_CHARS)), cut(&what, WHAT_LIMIT_CHARS));
        let decision = match decision {
            Decision::Refused { why } => Decision::Refused { why: cut(&why, WHY_LIMIT_CHARS) },
            Decision::Unknown { why } => Decision::Unknown { why: cut(&why, WHY_LIMIT_CHARS) },
            decision => decision,
        };
        Self { version: ENTRY_VERSION, place, at_ms, agent, user, from, kind, message, what, of, decision }
    }

    /// The act it is about.
    pub(super) fn act(&self) -> Act {
        let Self { user, from, kind, message, what, .. } = self.clone();
        Act { user, from, kind, message, what }
    }
}

impl From<Ending> for Decision {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Handled { status } => Self::Handled { status },
            Ending::Refused { why } => Self::Refused { why },
            Ending::Unknown { why } => Self::Unknown { why },
        }
    }
}

fn cut(text: &str, limit_chars: usize) -> String {
    match text.char_indices().nth(limit_chars) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// What a message asks for, as far as the audit log tells it: the command line of `run`, of others only how large they are. Never
/// what a command is given to read.
#[must_use]
pub fn what_is_asked(kind: &MessageType, body: &Body) -> String {
    if kind.as_str() == shoal_run::MESSAGE_TYPE {
        return match shoal_run::Request::of_body(body) {
            Ok(request) => request.command_line(),
            Err(error) => format!("no command: {error}"),
        };
    }
    format!("a message of {} bytes", body.as_xml().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line as version 1 writes it.
    const SAMPLE: &str = r#"{"version":1,"place":7,"at_ms":1795251600000,"agent":"12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5","user":"ana","from":"12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq","type":"run","message":"11111111-1111-1111-1111-111111111111","what":"df -h","of":6,"decision":"handled","status":0}"#;

    #[test]
    fn a_line_of_version_1_is_read_and_written_as_it_was() {
        let entry: AuditEntry = serde_json::from_str(SAMPLE).expect("an entry");
        assert_eq!((entry.place, entry.what.as_str()), (7, "df -h"));
        assert_eq!(entry.decision, Decision::Handled { status: 0 });
        assert_eq!(serde_json::to_string(&entry).expect("JSON"), SAMPLE);
    }

    #[test]
    fn a_command_line_is_told_and_what_it_reads_is_not() {
        let kind = |name: &str| name.parse().expect("a type");
        let (command, input) = ("cat".to_owned(), Some("secret".to_owned()));
        let request = shoal_run::Request { command, arguments: vec!["-".into()], input, timeout_s: 1 };
        let body = request.to_body().expect("a body");
        assert_eq!(what_is_asked(&kind("run"), &body), "cat -");
        assert_eq!(what_is_asked(&kind("python"), &Body::of_text("secret").expect("a body")), "a message of 6 bytes");
        assert!(what_is_asked(&kind("run"), &Body::of_text("secret").expect("a body")).starts_with("no command: "));
    }

    #[test]
    fn what_is_long_is_cut() {
        let sample: AuditEntry = serde_json::from_str(SAMPLE).expect("an entry");
        let act = Act { what: "é".repeat(10_000), user: Some("u".repeat(1_000)), ..sample.act() };
        let refused = Decision::Refused { why: "w".repeat(10_000) };
        let entry = AuditEntry::new(1, 0, sample.agent, &act, None, refused);
        let line = serde_json::to_string(&entry).expect("JSON");
        assert!(line.len() < 6_000, "{}", line.len());
        assert!(entry.what.ends_with("é…"));
    }
}
