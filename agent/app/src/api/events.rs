//! The event stream that keeps pages fresh (server-sent events): the status as drawn for the page, whenever it
//! differs from what was sent last.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use shoal_ledger::UserRole;

use super::Api;
use super::caller::Caller;
use super::failure::Failure;
use crate::page;

/// How often the status is looked at while someone watches.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Streams at a time, at most.
const STREAMS_LIMIT: usize = 64;

static STREAMS: AtomicUsize = AtomicUsize::new(0);

/// Counts a stream while it lives.
pub(super) struct Slot;

impl Slot {
    /// Fails where too many are followed already.
    pub(super) fn take() -> Result<Self, Failure> {
        let take = |count: usize| (count < STREAMS_LIMIT).then_some(count + 1);
        let taken = STREAMS.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        taken.map(|_| Self).map_err(|_| {
            Failure::later(format!(
                "{STREAMS_LIMIT} pages and programs follow this agent already; close some, or use another agent's pages"
            ))
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        STREAMS.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(super) async fn events(
    State(api): State<Arc<Api>>,
    caller: Caller,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let slot = Slot::take()?;
    let may_act = caller.role >= UserRole::Operator;
    let stopping = api.agent.shutdown_token();
    let state = (api, slot, String::new(), true);
    let stream = futures::stream::unfold(state, move |(api, slot, mut sent, first)| {
        let stopping = stopping.clone();
        async move {
            let mut wait = if first { Duration::ZERO } else { LOOK_EVERY };
            loop {
                stopping.run_until_cancelled(tokio::time::sleep(wait)).await?;
                wait = LOOK_EVERY;
                let Ok(report) = api.agent.status().await else { continue };
                let drawn = page::live(&report, may_act).into_string();
                if drawn != sent {
                    sent.clone_from(&drawn);
                    return Some((Ok(Event::default().event("status").data(drawn)), (api, slot, sent, false)));
                }
            }
        }
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}
