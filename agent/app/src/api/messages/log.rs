//! The log: asked a page at a time, and said again.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query as UrlQuery, State};
use dci_proto::message::{Recipient, UserName};
use shoal_ledger::UserRole;
use shoal_mailbox::{Direction, LogEntry, Order, Place, Query};

use super::super::Api;
use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::handlers::{Answer, Body as JsonBody};
use super::types::{LogFilter, LogPage, ReplayRequest, SentAnswer};
use super::{send::targets, user_of, views};
use crate::messages::{Draft, SendError, Target};

/// Entries of a page, unless said otherwise.
const LIMIT_USUAL: usize = 100;
/// Messages said again in one call, at most.
const REPLAY_LIMIT: usize = 1_000;

pub(super) async fn query(
    State(api): State<Arc<Api>>,
    caller: Caller,
    UrlQuery(filter): UrlQuery<LogFilter>,
) -> Answer<LogPage> {
    let query = to_query(&api, &filter)?;
    let page = api.messages()?.mailbox().query(query).await.map_err(SendError::from)?;
    let names = api.names();
    let seen = page.entries.iter().filter(|entry| may_see(&caller, entry));
    let entries = seen.map(|entry| views::entry(&names, entry)).collect();
    Ok(Json(LogPage { entries, next: page.next.map(|place| place.0), damaged: page.damaged }))
}

/// Who tends the pool sees all of an agent's log, others what they sent themselves.
pub(super) fn may_see(caller: &Caller, entry: &LogEntry) -> bool {
    let sender = entry.envelope.message.from.user.as_ref();
    caller.role >= UserRole::Operator || sender.is_some_and(|user| user.as_str() == caller.user)
}

/// What is asked of the mailbox.
pub(super) fn to_query(api: &Api, filter: &LogFilter) -> Result<Query, Failure> {
    let agent = |name: &Option<String>| {
        name.as_ref().map(|name| api.agent.member(name).map(|member| member.id)).transpose().map_err(Failure::from)
    };
    let direction = match filter.direction.as_deref() {
        None => None,
        Some("sent") => Some(Direction::Sent),
        Some("received") => Some(Direction::Received),
        Some("relayed") => Some(Direction::Relayed),
        Some(_) => return Err(Failure::bad("`direction` is sent, received or relayed")),
    };
    let order = match filter.order.as_deref() {
        None | Some("newest") => Order::NewestFirst,
        Some("oldest") => Order::OldestFirst,
        Some(_) => return Err(Failure::bad("`order` is newest or oldest")),
    };
    Ok(Query {
        id: filter.id,
        kind: filter.kind.as_ref().map(|kind| kind.parse()).transpose()?,
        sender: agent(&filter.sender)?,
        receiver: agent(&filter.receiver)?,
        session: filter.session,
        from_ms: filter.from_ms,
        before_ms: filter.before_ms,
        text: filter.text.clone(),
        direction,
        order,
        after: filter.after.map(Place),
        limit: filter.limit.unwrap_or(LIMIT_USUAL),
    })
}

pub(super) async fn replay(
    State(api): State<Arc<Api>>,
    caller: Caller,
    JsonBody(request): JsonBody<ReplayRequest>,
) -> Answer<SentAnswer> {
    let user = user_of(&caller, request.user.as_deref())?;
    let messages = api.messages()?;
    let mut entries = Vec::new();
    if request.places.len() > REPLAY_LIMIT {
        return Err(Failure::bad(format!("at most {REPLAY_LIMIT} messages are said again in one call")));
    }
    for place in &request.places {
        let entry = messages.mailbox().entry(Place(*place)).await.map_err(SendError::from)?;
        let entry = entry.filter(|entry| may_see(&caller, entry));
        entries.push(entry.ok_or_else(|| Failure::missing(format!("nothing stands at {place} of the log")))?);
    }
    if let Some(filter) = &request.filter {
        let page = messages.mailbox().query(to_query(&api, filter)?).await.map_err(SendError::from)?;
        // One that came and was handed to its peerlet stands there twice.
        let once = page.entries.into_iter().filter(|entry| entry.direction != Direction::Relayed);
        entries.extend(once.filter(|entry| may_see(&caller, entry)));
    }
    let mut sent = Vec::new();
    for entry in &entries {
        for draft in again(&api, entry, &request, &user)? {
            sent.push(messages.send(draft).await?);
        }
    }
    let names = api.names();
    Ok(Json(SentAnswer { messages: sent.iter().map(|one| views::sent(&names, one)).collect() }))
}

/// A message as new ones that name it.
fn again(api: &Api, entry: &LogEntry, request: &ReplayRequest, user: &UserName) -> Result<Vec<Draft>, Failure> {
    let message = &entry.envelope.message;
    let targets = match &request.to {
        Some(to) => targets(api, to)?,
        None => vec![match &message.to {
            Recipient::Agent(agent) => Target::Agent(*agent),
            Recipient::Group(name) => Target::Group(name.clone()),
            Recipient::All => Target::All,
        }],
    };
    let draft = |target: Target| {
        let mut draft = Draft::new(message.kind.clone(), target, user.clone(), message.body.clone());
        draft.session = message.session;
        draft.from_session = message.from.session;
        draft.replay_of = Some(message.id);
        draft
    };
    Ok(targets.into_iter().map(draft).collect())
}
