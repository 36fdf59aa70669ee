//! The log as it grows.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Query as UrlQuery, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use serde::Serialize;
use serde_json::Value;
use shoal_ledger::UserRole;
use shoal_mailbox::{Direction, Happening, LogEntry, Query};

use super::super::Api;
use super::super::caller::Caller;
use super::super::events::Slot;
use super::super::failure::Failure;
use super::log::{may_see, to_query};
use super::types::{LogFilter, StateChange};
use super::views;

pub(super) async fn follow(
    State(api): State<Arc<Api>>,
    caller: Caller,
    UrlQuery(filter): UrlQuery<LogFilter>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let slot = Slot::take()?;
    let query = to_query(&api, &filter)?;
    let follower = api.messages()?.follow();
    let stopping = api.agent.shutdown_token();
    let state = (api, slot, follower, caller, query, stopping);
    let stream = futures::stream::unfold(state, |(api, slot, mut follower, caller, query, stopping)| async move {
        loop {
            let happening = stopping.run_until_cancelled(follower.next()).await??;
            if let Some((name, data)) = news(&api, &caller, &query, &happening) {
                let event = Event::default().event(name).data(data.to_string());
                return Some((Ok(event), (api, slot, follower, caller, query, stopping)));
            }
        }
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

/// What is told of a happening, with the name of that kind of thing.
pub(super) fn news(api: &Api, caller: &Caller, query: &Query, happening: &Happening) -> Option<(&'static str, Value)> {
    match happening {
        Happening::Logged(entry) if may_see(caller, entry) && fits(query, entry) => {
            Some(("entry", as_json(&views::entry(&api.names(), entry))))
        }
        // What a change is about is not known here, so it is told to who sees everything.
        Happening::Changed { place, id, recipient } if caller.role >= UserRole::Operator => {
            let change = StateChange { id: *id, place: place.0, state: views::state(&api.names(), recipient) };
            Some(("state", as_json(&change)))
        }
        Happening::Missed(count) => Some(("missed", serde_json::json!({ "count": count }))),
        Happening::Logged(_) | Happening::Changed { .. } => None,
    }
}

/// Whether an entry is what a query asks for; the mailbox itself decides so for what is on disk.
fn fits(query: &Query, entry: &LogEntry) -> bool {
    let message = &entry.envelope.message;
    let texts = || {
        let wanted = query.text.as_deref().unwrap_or_default().to_lowercase();
        [message.body.text(), message.body.as_xml().to_owned()].iter().any(|text| text.to_lowercase().contains(&wanted))
    };
    let to_receiver = |receiver| {
        message.to == dci_proto::message::Recipient::Agent(receiver)
            || entry.states.iter().any(|state| state.agent == receiver)
    };
    query.id.is_none_or(|id| id == message.id)
        && query.kind.as_ref().is_none_or(|kind| *kind == message.kind)
        && query.sender.is_none_or(|sender| sender == message.from.agent)
        && query.receiver.is_none_or(to_receiver)
        && query.session.is_none_or(|session| [message.session, message.from.session].contains(&Some(session)))
        && query.direction.map_or(entry.direction != Direction::Relayed, |direction| direction == entry.direction)
        && (query.text.is_none() || texts())
}

/// All of it can be written as JSON; one that cannot would be a fault of ours.
fn as_json(data: &impl Serialize) -> Value {
    serde_json::to_value(data).unwrap_or_default()
}
