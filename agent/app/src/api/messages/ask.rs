//! Sending a message and hearing what comes of it, as a stream: states and replies as they come, until every recipient has
//! dealt with it or the time is over.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;

use super::super::Api;
use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::handlers::Body as JsonBody;
use super::send::drafts_of;
use super::types::{AskEvent, AskRequest, SendRequest};
use super::{user_of, views};
use crate::messages::{Sent, Watch};

/// Seconds that answers are waited for unless said otherwise, and at most.
const TIMEOUT_USUAL_S: u64 = 60;
const TIMEOUT_LIMIT_S: u64 = 24 * 60 * 60;

pub(super) async fn ask(
    State(api): State<Arc<Api>>,
    caller: Caller,
    JsonBody(request): JsonBody<AskRequest>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let (watch, first) = open(&api, &caller, &request).await?;
    let stream = futures::stream::unfold((watch, Some(first), api), move |(watch, first, api)| async move {
        let (event, watch) = match first {
            Some(first) => (first, watch),
            None => next(watch, &api).await?,
        };
        Some((Ok(as_sse(&event)), (watch, None, api)))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

/// Sends what is asked; answers the first event and the watch that tells the others.
pub(super) async fn open(api: &Api, caller: &Caller, request: &AskRequest) -> Result<(Watch, AskEvent), Failure> {
    let timeout_s = request.timeout_s.unwrap_or(TIMEOUT_USUAL_S).min(TIMEOUT_LIMIT_S);
    let (watch, sent) = begin(api, caller, &request.message, Duration::from_secs(timeout_s)).await?;
    let names = api.names();
    Ok((watch, AskEvent::Sent { messages: sent.iter().map(|one| views::sent(&names, one)).collect() }))
}

/// Sends messages and watches what comes of them.
pub(super) async fn begin(
    api: &Api,
    caller: &Caller,
    request: &SendRequest,
    timeout: Duration,
) -> Result<(Watch, Vec<Sent>), Failure> {
    let user = user_of(caller, request.user.as_deref())?;
    let mut watch = api.messages()?.watch(&user, timeout)?;
    let mut sent = Vec::new();
    for draft in drafts_of(api, caller, request)? {
        sent.push(watch.send(draft).await?);
    }
    Ok((watch, sent))
}

/// The next event of a watch; none after the last.
pub(super) async fn next(mut watch: Watch, api: &Api) -> Option<(AskEvent, Watch)> {
    let happened = watch.next().await?;
    let names = api.names();
    let event = match happened {
        crate::messages::Watched::State { message, recipient } => {
            AskEvent::State { message, state: views::state(&names, &recipient) }
        }
        crate::messages::Watched::Reply(envelope) => {
            let reply = &envelope.message;
            AskEvent::Reply {
                message: reply.in_reply_to.unwrap_or(reply.id),
                from: views::agent(&names, reply.from.agent),
                id: reply.id,
                text: views::text(reply),
                xml: reply.body.as_xml().to_owned(),
                sent_ms: reply.sent_ms,
            }
        }
        crate::messages::Watched::Done { finished } => AskEvent::Done { finished },
    };
    Some((event, watch))
}

fn as_sse(event: &AskEvent) -> Event {
    let name = match event {
        AskEvent::Sent { .. } => "sent",
        AskEvent::State { .. } => "state",
        AskEvent::Reply { .. } => "reply",
        AskEvent::Done { .. } => "done",
    };
    // All of it can be written as JSON; an event without data would be a fault of ours.
    Event::default().event(name).data(serde_json::to_string(event).unwrap_or_default())
}
