//! Messages for tests.

use dci_proto::message::{Body, Envelope, Message, Recipient, SIGNATURE_BYTES, Sender};
use dci_proto::{AgentId, MessageId, SessionId};

/// When the messages of tests were sent, in ms since 1970.
const SENT_MS: u64 = 1_800_000_000_000;

/// A message of a type, with a text, from `ana` to an agent.
///
/// # Panics
/// If the type or the text cannot be those of a message.
#[allow(clippy::expect_used)]
#[must_use]
pub(crate) fn envelope(kind: &str, text: &str, session: Option<SessionId>) -> Envelope {
    let message = Message {
        id: MessageId([1; 16]),
        kind: kind.parse().expect("a type"),
        session,
        sent_ms: SENT_MS,
        expires_ms: SENT_MS + 60_000,
        from: Sender { agent: AgentId([1; 32]), user: Some("ana".parse().expect("a user")), session: None },
        to: Recipient::Agent(AgentId([2; 32])),
        in_reply_to: None,
        replay_of: None,
        body: Body::of_text(text).expect("a body"),
    };
    Envelope { message, ttl: 9, signature: [0; SIGNATURE_BYTES] }
}
