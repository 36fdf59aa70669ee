//! Whiteboards at this agent: what users draw goes out for them, what was drawn is known.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use dci_proto::message::{LIFE_LIMIT_MS, MessageType, UserName};
use dci_proto::{MessageId, SessionId};
use shoal_mailbox::{LogEntry, Place, RecipientStatus};
use shoal_whiteboard::{Act, ActKind, Board, BoardName, Boards, Deed, LineId, MESSAGE_TYPE};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::TalkError;
use super::kept::{Kept, Picture};
use crate::messages::{Draft, Messages, Target};

/// Something changed.
#[derive(Debug, Clone)]
pub(crate) enum BoardNews {
    /// A stroke lies on top of all others.
    Drawn(BoardName, Deed),
    /// A board looks different otherwise; none: all may.
    Anew(Option<BoardName>),
}

/// All boards, as this agent's log has them.
#[derive(Default)]
pub(crate) struct BoardsPicture {
    pub(crate) boards: Boards,
}

impl Picture for BoardsPicture {
    type News = BoardNews;

    fn take(&mut self, entry: &LogEntry) -> Option<BoardNews> {
        let message = &entry.envelope.message;
        let user = message.from.user.as_ref()?;
        let from = (message.from.agent, message.id);
        // What is not as it should be was told its sender by the peerlet.
        let (name, deed) = self.boards.take(from, user, message.sent_ms, &message.body).ok()??;
        let is_on_top = self.boards.board(&name).and_then(Board::last).is_some_and(|last| *last == deed);
        let is_stroke = matches!(deed.kind, ActKind::Stroke(_));
        Some(if is_on_top && is_stroke { BoardNews::Drawn(name, deed) } else { BoardNews::Anew(Some(name)) })
    }

    fn minds(&self, _place: Place) -> bool {
        false
    }

    fn set_states(&mut self, _id: MessageId, _states: &[RecipientStatus]) -> Option<BoardNews> {
        None
    }

    fn anew() -> BoardNews {
        BoardNews::Anew(None)
    }
}

/// Whiteboards.
pub(crate) struct Whiteboards {
    messages: Arc<Messages>,
    kind: MessageType,
    kept: Kept<BoardsPicture>,
}

impl Whiteboards {
    pub(crate) fn new(messages: Arc<Messages>, shutdown: CancellationToken) -> Option<Arc<Self>> {
        let kind: MessageType = MESSAGE_TYPE.parse().ok()?;
        Some(Arc::new(Self { kept: Kept::new(kind.clone(), messages.clone(), shutdown), kind, messages }))
    }

    /// All boards.
    pub(crate) async fn picture(&self) -> Result<MutexGuard<'_, BoardsPicture>, TalkError> {
        Ok(self.kept.picture().await?)
    }

    /// What changes from now on.
    pub(crate) fn news(&self) -> broadcast::Receiver<BoardNews> {
        self.kept.news()
    }

    /// A line nothing else has.
    pub(crate) fn new_line() -> LineId {
        SessionId(*uuid::Uuid::now_v7().as_bytes())
    }

    /// Does something on a board for a user. It is on this disk when this returns.
    pub(crate) async fn act(&self, user: UserName, act: Act) -> Result<MessageId, TalkError> {
        let body = act.to_body().map_err(|error| TalkError::Board(error.to_string()))?;
        let mut draft = Draft::new(self.kind.clone(), Target::All, user, body);
        draft.session = Some(act.board.session());
        draft.life = Duration::from_millis(LIFE_LIMIT_MS);
        Ok(self.messages.send(draft).await?.id)
    }
}
