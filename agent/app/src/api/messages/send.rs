//! Sending a message, and what became of it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State as Shared};
use dci_proto::MessageId;
use dci_proto::message::{Body, MessageType, NameError, UserName};

use shoal_mailbox::{Direction, Query, RecipientStatus, State};

use super::super::Api;
use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::handlers::{Answer, Body as JsonBody};
use super::log::may_see;
use super::types::{MessageStates, SendRequest, SentAnswer, StateView, To};
use super::{user_of, views};
use crate::messages::{Draft, SendError, Sent, Target};

/// Agents that are named in one call, at most.
const AGENTS_LIMIT: usize = 1_000;

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        match &error {
            SendError::Reserved(_) | SendError::Message(_) => Self::bad(error.to_string()),
            SendError::Denied(_) => Self::denied(error.to_string()),
            SendError::NoGroup(_) | SendError::NoMember(_) => Self::missing(error.to_string()),
            SendError::Nobody(_) => Self::conflict(error.to_string()),
            SendError::TooMany(_) | SendError::TooManyWatches(_) => Self::too_many(error.to_string()),
            SendError::Unknown(_) | SendError::Mailbox(_) | SendError::TooManyWaits => Self::later(error.to_string()),
            SendError::Internal(_) => Self::broken(error.to_string()),
        }
    }
}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        Self::bad(error.to_string())
    }
}

pub(super) async fn send(
    Shared(api): Shared<Arc<Api>>,
    caller: Caller,
    JsonBody(request): JsonBody<SendRequest>,
) -> Answer<SentAnswer> {
    let sent = send_all(&api, &caller, &request).await?;
    let names = api.names();
    Ok(Json(SentAnswer { messages: sent.iter().map(|one| views::sent(&names, one)).collect() }))
}

/// Sends what a caller asks for; answers the messages it became.
pub(super) async fn send_all(api: &Api, caller: &Caller, request: &SendRequest) -> Result<Vec<Sent>, Failure> {
    let drafts = drafts_of(api, caller, request)?;
    let messages = api.messages()?;
    let mut sent = Vec::with_capacity(drafts.len());
    for draft in drafts {
        sent.push(messages.send(draft).await?);
    }
    Ok(sent)
}

/// What a caller asks for, as messages that can be sent.
pub(super) fn drafts_of(api: &Api, caller: &Caller, request: &SendRequest) -> Result<Vec<Draft>, Failure> {
    drafts(api, user_of(caller, request.user.as_deref())?, request)
}

fn drafts(api: &Api, user: UserName, request: &SendRequest) -> Result<Vec<Draft>, Failure> {
    let kind: MessageType = request.kind.parse()?;
    let body = match (&request.text, &request.xml) {
        (Some(_), Some(_)) => return Err(Failure::bad("a message has `text` or `xml`, not both")),
        (Some(text), None) => Body::of_text(text),
        (None, Some(xml)) => Body::of_xml(xml.clone()),
        (None, None) => Ok(Body::default()),
    };
    let body = body.map_err(|error| Failure::bad(error.to_string()))?;
    let draft = |target: Target| {
        let mut draft = Draft::new(kind.clone(), target, user.clone(), body.clone());
        draft.session = request.session;
        draft.from_session = request.from_session;
        draft.in_reply_to = request.in_reply_to;
        draft.ttl = request.ttl.unwrap_or(draft.ttl);
        draft.life = request.expires_s.map_or(draft.life, Duration::from_secs);
        draft
    };
    Ok(targets(api, &request.to)?.into_iter().map(draft).collect())
}

/// Whom a caller means.
pub(in super::super) fn targets(api: &Api, to: &To) -> Result<Vec<Target>, Failure> {
    match to {
        To::All(true) => Ok(vec![Target::All]),
        To::All(false) => Err(Failure::bad("`all` is true, or left out")),
        To::Group(name) => Ok(vec![Target::Group(name.parse()?)]),
        To::Agents(names) if names.is_empty() => Err(Failure::bad("no agent is named")),
        To::Agents(names) if names.len() > AGENTS_LIMIT => {
            Err(Failure::bad(format!("at most {AGENTS_LIMIT} agents are named; make a group of them")))
        }
        To::Agents(names) => {
            let mut agents = Vec::with_capacity(names.len());
            for name in names {
                let agent = api.agent.member(name)?.id;
                if !agents.contains(&Target::Agent(agent)) {
                    agents.push(Target::Agent(agent));
                }
            }
            Ok(agents)
        }
    }
}

pub(super) async fn states(
    Shared(api): Shared<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<MessageStates> {
    let id: MessageId = id.parse().map_err(|error: dci_proto::IdParseError| Failure::bad(error.to_string()))?;
    let states = api.messages()?.mailbox().states(id).await.map_err(SendError::from)?;
    let states = states.ok_or_else(|| {
        Failure::missing(format!("no message {id} was sent from this agent, or it is too old to be known"))
    })?;
    let (names, said) = (api.names(), may_see_what_is_said(&api, &caller, id).await);
    let view = |recipient: &RecipientStatus| {
        let view = views::state(&names, recipient);
        // What a program said of its failure is for who may have it run.
        let is_said = matches!(recipient.status.state, State::Failed { .. });
        StateView { why: view.why.filter(|_| said || !is_said), ..view }
    };
    Ok(Json(MessageStates { id, recipients: states.iter().map(view).collect() }))
}

/// Whether a caller sent a message, or tends the pool.
async fn may_see_what_is_said(api: &Api, caller: &Caller, id: MessageId) -> bool {
    let Ok(messages) = api.messages() else { return false };
    let wanted = Query { id: Some(id), direction: Some(Direction::Sent), limit: 1, ..Query::default() };
    let page = messages.mailbox().query(wanted).await;
    page.is_ok_and(|page| page.entries.iter().any(|entry| may_see(caller, entry)))
}
