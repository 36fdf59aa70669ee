//! Transfers as drawn for the page, whenever that differs from what was sent last.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use shoal_ledger::UserRole;

use super::super::Api;
use super::super::caller::Caller;
use super::super::events::Slot;
use super::super::failure::Failure;
use super::views;
use crate::page;

/// How often it is looked while someone watches.
const LOOK_EVERY: Duration = Duration::from_millis(700);

pub(super) async fn events(
    State(api): State<Arc<Api>>,
    caller: Caller,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    caller.needs(UserRole::User)?;
    let slot = Slot::take()?;
    let stopping = api.agent.shutdown_token();
    let state = (api, slot, String::new(), stopping);
    let stream = futures::stream::unfold(state, |(api, slot, mut sent, stopping)| async move {
        loop {
            if !sent.is_empty() {
                stopping.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await?;
            }
            let Ok(list) = views::all(&api).await else {
                stopping.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await?;
                continue;
            };
            let drawn = page::files_live(&list).into_string();
            if drawn != sent {
                sent.clone_from(&drawn);
                return Some((Ok(Event::default().event("files").data(drawn)), (api, slot, sent, stopping)));
            }
        }
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}
