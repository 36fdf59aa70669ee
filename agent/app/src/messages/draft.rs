//! A message as a door hands it in, and what is made of it.

use std::sync::Arc;
use std::time::Duration;

use dci_proto::message::{
    Body, Envelope, GroupName, MESSAGE_LIMIT_BYTES, Message, MessageError, MessageType, Recipient, SIGNATURE_BYTES,
    Sender, TTL_LIMIT, UserName, encode, signed_bytes,
};
use dci_proto::{AgentId, MessageId, SessionId};
use shoal_ledger::{TypePolicy, query};
use shoal_mailbox::{MailboxError, Place};

use super::Messages;
use super::crowd::{MESSAGES_OF_USER_LIMIT, WATCHES_OF_USER_LIMIT};
use super::permission::{Permission, Question, policy_of};

/// How long a message is valid unless said otherwise: a day.
pub(crate) const LIFE_USUAL: Duration = Duration::from_secs(24 * 60 * 60);

/// More than all but the body of a message takes.
const HEAD_BYTES: usize = 8 * 1024;

/// Whom a draft is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Agent(AgentId),
    Group(GroupName),
    All,
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    /// The id it will have.
    pub(crate) id: MessageId,
    pub(crate) kind: MessageType,
    pub(crate) to: Target,
    /// On behalf of whom; `None`: the agent itself, for what answers.
    pub(crate) user: Option<UserName>,
    pub(crate) session: Option<SessionId>,
    pub(crate) from_session: Option<SessionId>,
    pub(crate) ttl: u8,
    pub(crate) life: Duration,
    pub(crate) in_reply_to: Option<MessageId>,
    pub(crate) replay_of: Option<MessageId>,
    pub(crate) body: Body,
}

impl Draft {
    /// With what most messages have.
    pub(crate) fn new(kind: MessageType, to: Target, user: UserName, body: Body) -> Self {
        Self {
            id: new_id(),
            kind,
            to,
            user: Some(user),
            session: None,
            from_session: None,
            ttl: TTL_LIMIT,
            life: LIFE_USUAL,
            in_reply_to: None,
            replay_of: None,
            body,
        }
    }
}

/// An id nothing else has; those made later are greater.
pub(crate) fn new_id() -> MessageId {
    MessageId(*uuid::Uuid::now_v7().as_bytes())
}

/// A message that is on this disk and will be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) id: MessageId,
    pub(crate) place: Place,
    pub(crate) to: Recipient,
    pub(crate) recipients: Vec<AgentId>,
}

/// Why a message is not sent.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum SendError {
    /// The type is the agents' own.
    #[error("messages of type {0} are the agents' own")]
    Reserved(MessageType),
    /// The user may not.
    #[error("{0}")]
    Denied(String),
    /// Whether the user may cannot be known now.
    #[error("whether that is permitted cannot be known now: {0}")]
    Unknown(String),
    /// No such group.
    #[error("there is no group {0}")]
    NoGroup(GroupName),
    /// Nobody is meant.
    #[error("nobody is in the group {0}")]
    Nobody(GroupName),
    /// No member.
    #[error("{0} is no agent of this pool")]
    NoMember(AgentId),
    /// The user has too many messages under way.
    #[error(
        "{MESSAGES_OF_USER_LIMIT} messages of {0} are waiting to be dealt with, which is as many as one user may have; send more when \
         some are"
    )]
    TooMany(UserName),
    /// The user waits for the answers to too many.
    #[error(
        "{0} waits for the answers to {WATCHES_OF_USER_LIMIT} requests, which is as many as one user may; ask again when some are there"
    )]
    TooManyWatches(UserName),
    /// Too many are waited for.
    #[error("too many requests are waited for at this agent; try again when some are done")]
    TooManyWaits,
    /// It is no message.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The mailbox does not take it.
    #[error(transparent)]
    Mailbox(#[from] MailboxError),
    /// It could not be signed, or the ledger could not be read.
    #[error("{0}")]
    Internal(String),
}

impl Messages {
    /// Makes a message of a draft, signs it and keeps it for its recipients. It is on this disk when this returns.
    pub(crate) async fn send(&self, draft: Draft) -> Result<Sent, SendError> {
        if draft.kind.is_reserved() {
            return Err(SendError::Reserved(draft.kind));
        }
        // First of all: who floods costs no more than this.
        if let Some(user) = draft.user.as_ref().filter(|user| !self.crowd.has_room(user, self.steady_ms())) {
            return Err(SendError::TooMany(user.clone()));
        }
        self.may_send(&draft).await?;
        let (to, recipients) = self.recipients(&draft.to)?;
        let (id, user) = (draft.id, draft.user.clone());
        let envelope = Arc::new(self.sealed(draft, to.clone())?);
        if let Some(user) = &user {
            self.crowd.sends(user, id, recipients.len(), self.steady_ms());
        }
        match self.mailbox.post(envelope, recipients.clone()).await {
            Ok(place) => Ok(Sent { id, place, to, recipients }),
            Err(error) => {
                self.crowd.was_not_sent(id);
                Err(error.into())
            }
        }
    }

    /// The sender's own agent asks too: who may not is told at once, and not by every recipient. What the peerlets of
    /// recipients ask for is for them to know.
    async fn may_send(&self, draft: &Draft) -> Result<(), SendError> {
        let Some(user) = &draft.user else { return Ok(()) };
        let policy = self.peerlets.rights_of(&draft.kind).map_or_else(TypePolicy::default, |rights| policy_of(&rights));
        let question = Question { user: user.as_str().to_owned(), kind: draft.kind.clone(), policy };
        match self.permissions.ask(question).await {
            Permission::Given => Ok(()),
            Permission::Denied(why) => {
                if policy.right {
                    self.note_not_sent(user, &draft.kind, &draft.body, &why).await;
                }
                Err(SendError::Denied(why))
            }
            Permission::Unknown(why) => Err(SendError::Unknown(why)),
        }
    }

    /// Who is to get it, as of now.
    fn recipients(&self, target: &Target) -> Result<(Recipient, Vec<AgentId>), SendError> {
        match target {
            Target::Agent(agent) if self.members.is_member(*agent) => Ok((Recipient::Agent(*agent), vec![*agent])),
            Target::Agent(agent) => Err(SendError::NoMember(*agent)),
            Target::All => Ok((Recipient::All, self.members.all())),
            Target::Group(name) => {
                let Some(ledger) = &self.ledger else {
                    let reason = "this agent holds no ledger, so it does not know the groups; send from another one";
                    return Err(SendError::Internal(reason.to_owned()));
                };
                let group = ledger.view().and_then(|view| query::group(&*view, name));
                let group = group.map_err(|error| SendError::Internal(error.to_string()))?;
                let group = group.ok_or_else(|| SendError::NoGroup(name.clone()))?;
                if group.agents.is_empty() {
                    return Err(SendError::Nobody(name.clone()));
                }
                Ok((Recipient::Group(name.clone()), group.agents))
            }
        }
    }

    /// A draft as a signed message, with an id and times of its own.
    pub(super) fn sealed(&self, draft: Draft, to: Recipient) -> Result<Envelope, SendError> {
        let sent_ms = self.now_ms();
        let life_ms = u64::try_from(draft.life.as_millis()).unwrap_or(u64::MAX);
        let message = Message {
            id: draft.id,
            kind: draft.kind,
            session: draft.session,
            sent_ms,
            expires_ms: sent_ms.saturating_add(life_ms),
            from: Sender { agent: self.agent, user: draft.user, session: draft.from_session },
            to,
            in_reply_to: draft.in_reply_to,
            replay_of: draft.replay_of,
            body: draft.body,
        };
        message.check()?;
        let signed = self.signer.sign(&signed_bytes(&message));
        let signature = signed.ok().and_then(|bytes| <[u8; SIGNATURE_BYTES]>::try_from(bytes).ok());
        let signature = signature.ok_or_else(|| SendError::Internal("the agent's key does not sign".to_owned()))?;
        let envelope = Envelope { message, ttl: draft.ttl.min(TTL_LIMIT), signature };
        // Refused now rather than when it is to be sent; written out only where it may be too large.
        if envelope.message.body.as_xml().len() > MESSAGE_LIMIT_BYTES - HEAD_BYTES {
            encode(&envelope)?;
        }
        Ok(envelope)
    }
}
