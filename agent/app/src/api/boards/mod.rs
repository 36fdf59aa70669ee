//! Whiteboards over HTTP: which there are, what is on one, drawing, what happens as it does, a picture to take along.

pub mod types;

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use shoal_ledger::UserRole;
use shoal_whiteboard::{Act, ActKind, BOARD_USUAL, Board, BoardName, Colour, Deed, LineId, NameError, Stroke};
use tokio::sync::broadcast::error::RecvError;

use super::Api;
use super::caller::Caller;
use super::events::Slot;
use super::failure::Failure;
use super::handlers::{Answer, Wish};
use super::messages::user_of;
use crate::talk::{BoardNews, Whiteboards};
use types::{BoardAct, BoardAnswer, BoardList, BoardRequest, BoardSummary, BoardView, NewStroke, ShapeView};

/// The calls.
pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/boards", get(list))
        .route("/boards/{board}", get(board).post(act))
        .route("/boards/{board}/events", get(events))
        .route("/boards/{board}/svg", get(svg))
}

impl Api {
    /// Whiteboards, or why there are none.
    fn whiteboards(&self) -> Result<&Arc<Whiteboards>, Failure> {
        self.messages()?;
        self.whiteboards.as_ref().ok_or_else(|| Failure::unavailable("this agent has no whiteboards"))
    }
}

/// On whose behalf it is asked.
#[derive(Deserialize)]
struct Wanted {
    #[serde(rename = "as")]
    user: Option<String>,
}

fn named(board: &str) -> Result<BoardName, Failure> {
    board.parse().map_err(|error: NameError| Failure::bad(error.to_string()))
}

async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Answer<BoardList> {
    caller.needs(UserRole::User)?;
    let picture = api.whiteboards()?.picture().await?;
    let summary = |(name, board): (&BoardName, &Board)| BoardSummary {
        board: name.to_string(),
        strokes: board.shapes().len(),
        last_ms: board.last_ms(),
    };
    let mut boards: Vec<BoardSummary> = picture.boards.all().map(summary).collect();
    if !boards.iter().any(|one| one.board == BOARD_USUAL) {
        boards.push(BoardSummary { board: BOARD_USUAL.to_owned(), strokes: 0, last_ms: 0 });
    }
    boards.sort_by_cached_key(|one| (one.board != BOARD_USUAL, one.board.clone()));
    Ok(Json(BoardList { boards }))
}

async fn board(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Answer<BoardView> {
    caller.needs(UserRole::User)?;
    let user = user_of(&caller, wanted.user.as_deref())?;
    let name = named(&name)?;
    let picture = api.whiteboards()?.picture().await?;
    let board = picture.boards.board(&name);
    let shapes = board.map(Board::shapes).unwrap_or_default();
    let shape = |shape: &shoal_whiteboard::Shape<'_>| view(shape.id, shape.user.as_str(), shape.line, shape.stroke);
    let undo = board.is_some_and(|board| board.last_of(user.as_str()).is_some());
    Ok(Json(BoardView { board: name.to_string(), shapes: shapes.iter().map(shape).collect(), undo }))
}

fn view(id: dci_proto::MessageId, user: &str, line: LineId, stroke: &Stroke) -> ShapeView {
    ShapeView {
        id,
        user: user.to_owned(),
        line,
        colour: stroke.colour.to_string(),
        width: stroke.width,
        points: stroke.points.clone(),
    }
}

async fn act(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    request: Wish<BoardRequest>,
) -> Answer<BoardAnswer> {
    let request = request.from(&caller, UserRole::User)?;
    let user = user_of(&caller, request.user.as_deref())?;
    let board = named(&name)?;
    let whiteboards = api.whiteboards()?;
    let (line, kind) = match request.act {
        BoardAct::Stroke(NewStroke { colour, width, points, line }) => {
            let colour: Colour = colour.parse().map_err(|reason: &str| Failure::bad(reason))?;
            let stroke = Stroke { colour, width, points };
            stroke.check().map_err(Failure::bad)?;
            (line.unwrap_or_else(Whiteboards::new_line), ActKind::Stroke(stroke))
        }
        BoardAct::Clear(_) => (Whiteboards::new_line(), ActKind::Clear),
        BoardAct::Undo(_) => {
            let picture = whiteboards.picture().await?;
            let last = picture.boards.board(&board).and_then(|board| board.last_of(user.as_str()));
            (last.ok_or_else(|| Failure::conflict("there is nothing of yours to take back"))?, ActKind::Undo)
        }
    };
    let id = whiteboards.act(user, Act { board, line, kind }).await?;
    Ok(Json(BoardAnswer { id, line }))
}

async fn svg(State(api): State<Arc<Api>>, caller: Caller, Path(name): Path<String>) -> Result<Response, Failure> {
    caller.needs(UserRole::User)?;
    let name = named(&name)?;
    let picture = api.whiteboards()?.picture().await?;
    let svg = picture.boards.board(&name).cloned().unwrap_or_default().to_svg();
    let disposition = format!("inline; filename=\"{name}.svg\"");
    let kind = "image/svg+xml; charset=utf-8".to_owned();
    Ok(([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, disposition)], svg).into_response())
}

/// `ready` first, then `drawn` with each stroke that lies on top of all, and `anew` whenever the board looks different otherwise.
async fn events(State(api): State<Arc<Api>>, caller: Caller, Path(name): Path<String>) -> Result<Response, Failure> {
    caller.needs(UserRole::User)?;
    let slot = Slot::take()?;
    let name = named(&name)?;
    let whiteboards = api.whiteboards()?;
    let news = whiteboards.news();
    // Made now, so that what happens is told from the first event on.
    drop(whiteboards.picture().await?);
    let stopping = api.agent.shutdown_token();
    let state = (news, name, stopping, slot, true);
    let stream = futures::stream::unfold(state, |(mut news, name, stopping, slot, first)| async move {
        if first {
            return Some((event("ready", "{}"), (news, name, stopping, slot, false)));
        }
        loop {
            let event = match stopping.run_until_cancelled(news.recv()).await? {
                Ok(BoardNews::Drawn(board, deed)) if board == name => drawn(&deed),
                Ok(BoardNews::Anew(board)) if board.as_ref().is_none_or(|board| *board == name) => event("anew", "{}"),
                Ok(_) => continue,
                Err(RecvError::Lagged(_)) => event("anew", "{}"),
                Err(RecvError::Closed) => return None,
            };
            return Some((event, (news, name, stopping, slot, false)));
        }
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()).into_response())
}

fn event(name: &str, data: &str) -> Result<Event, Infallible> {
    Ok(Event::default().event(name).data(data))
}

fn drawn(deed: &Deed) -> Result<Event, Infallible> {
    match &deed.kind {
        ActKind::Stroke(stroke) => {
            let shape = view(deed.id, deed.user.as_str(), deed.line, stroke);
            event("drawn", &serde_json::to_string(&shape).unwrap_or_default())
        }
        ActKind::Clear | ActKind::Undo => event("anew", "{}"),
    }
}
