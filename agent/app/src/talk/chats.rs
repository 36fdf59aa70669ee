//! Chat at this agent: what users say goes out for them, what was said is known, and that they are here is told.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use dci_proto::MessageId;
use dci_proto::message::{LIFE_LIMIT_MS, MessageType, UserName};
use shoal_chat::{CodecError, Conversation, MESSAGE_TYPE, RoomName, Utterance, presence_session};
use shoal_mailbox::MailboxError;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::attendance::{Attendance, WORD_LIFE};
use super::kept::Kept;
use super::picture::{ChatNews, ChatPicture};
use super::seen::Seen;
use crate::messages::{Draft, Messages, SendError, Target};
use crate::secret_file;

/// How often it is looked who is to be told what.
const TEND_EVERY: Duration = Duration::from_millis(500);

/// Why something is not said or known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TalkError {
    /// It is nothing that can be said.
    #[error(transparent)]
    Chat(#[from] CodecError),
    /// It is nothing that can be drawn.
    #[error("{0}")]
    Board(String),
    /// It cannot be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] MailboxError),
}

/// Chat.
pub(crate) struct Chats {
    messages: Arc<Messages>,
    kind: MessageType,
    kept: Kept<ChatPicture>,
    attendance: Mutex<Attendance>,
    seen: Mutex<Seen>,
    started: Instant,
    tended: OnceLock<()>,
    shutdown: CancellationToken,
}

/// A window somebody looks through; dropped, it is closed.
pub(crate) struct Window {
    chats: Arc<Chats>,
    user: UserName,
    number: u64,
}

impl Window {
    /// Its number, by which its user says that it is hidden.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let now = self.chats.started.elapsed();
        lock(&self.chats.attendance).close(&self.user, self.number, now);
    }
}

impl Chats {
    pub(crate) fn new(messages: Arc<Messages>, data: &Path, shutdown: CancellationToken) -> Option<Arc<Self>> {
        let kind: MessageType = MESSAGE_TYPE.parse().ok()?;
        Some(Arc::new(Self {
            kept: Kept::new(kind.clone(), messages.clone(), shutdown.clone()),
            kind,
            messages,
            attendance: Mutex::default(),
            seen: Mutex::new(Seen::open(data)),
            started: Instant::now(),
            tended: OnceLock::new(),
            shutdown,
        }))
    }

    /// What was said and who is there.
    pub(crate) async fn picture(&self) -> Result<MutexGuard<'_, ChatPicture>, TalkError> {
        Ok(self.kept.picture().await?)
    }

    /// What changes from now on.
    pub(crate) fn news(&self) -> broadcast::Receiver<ChatNews> {
        self.kept.news()
    }

    /// ms since 1970, as the pool has it.
    pub(crate) fn now_ms(&self) -> u64 {
        self.messages.now_ms()
    }

    /// Says something for a user. It is on this disk when this returns.
    pub(crate) async fn say(
        self: &Arc<Self>,
        user: UserName,
        conversation: &Conversation,
        text: &str,
    ) -> Result<MessageId, TalkError> {
        // So that what is said is seen in the picture's news, and not only by who looks later.
        drop(self.picture().await?);
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let utterance = match conversation {
            Conversation::Room(room) => Utterance::Say { room: room.clone(), text },
            Conversation::Pair(one, other) => {
                Utterance::Direct { to: if *one == user { other.clone() } else { one.clone() }, text }
            }
        };
        let mut draft = Draft::new(self.kind.clone(), Target::All, user.clone(), utterance.to_body()?);
        draft.session = Some(conversation.session());
        draft.life = Duration::from_millis(LIFE_LIMIT_MS);
        let sent = self.messages.send(draft).await?;
        // Who answers has read.
        let now_ms = self.now_ms();
        self.see(&user, conversation, now_ms);
        Ok(sent.id)
    }

    /// Up to when a user has seen a conversation.
    pub(crate) fn seen_ms(&self, user: &UserName, conversation: &Conversation) -> u64 {
        lock(&self.seen).until_ms(user.as_str(), conversation.session())
    }

    /// A user has seen a conversation up to a time.
    pub(crate) fn see(self: &Arc<Self>, user: &UserName, conversation: &Conversation, until_ms: u64) {
        let until_ms = until_ms.min(self.now_ms());
        if lock(&self.seen).set(user.as_str(), conversation.session(), until_ms) {
            self.begin_tending();
            self.kept.tell(ChatNews::Seen(user.to_string(), conversation.clone(), until_ms));
        }
    }

    /// A user looks, at a room or at chat as a whole.
    pub(crate) fn open(self: &Arc<Self>, user: &UserName, room: Option<RoomName>) -> Window {
        self.begin_tending();
        let number = lock(&self.attendance).open(user, room, self.started.elapsed());
        Window { chats: self.clone(), user: user.clone(), number }
    }

    /// A user's window is hidden, or is before their eyes again.
    pub(crate) fn set_away(&self, user: &UserName, window: u64, away: bool) {
        lock(&self.attendance).set_away(user, window, away, self.started.elapsed());
    }

    fn begin_tending(self: &Arc<Self>) {
        self.tended.get_or_init(|| {
            let chats = self.clone();
            tokio::spawn(async move { chats.shutdown.clone().run_until_cancelled(chats.tend()).await });
        });
    }

    /// Tells others who is here, and keeps what was seen.
    async fn tend(self: Arc<Self>) {
        loop {
            tokio::time::sleep(TEND_EVERY).await;
            let due = lock(&self.attendance).due(self.started.elapsed());
            for (user, presence) in due {
                let Ok(body) = Utterance::Presence(presence).to_body() else { continue };
                let mut draft = Draft::new(self.kind.clone(), Target::All, user, body);
                draft.session = Some(presence_session());
                draft.life = WORD_LIFE;
                if let Err(error) = self.messages.send(draft).await {
                    tracing::debug!(%error, "who is here cannot be told");
                }
            }
            let changes = lock(&self.seen).take_changes();
            if let Some((path, bytes)) = changes {
                let written = tokio::task::spawn_blocking(move || secret_file::replace(&path, &bytes)).await;
                if let Ok(Err(error)) = written {
                    tracing::warn!(%error, "what was seen of the chat cannot be kept");
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
