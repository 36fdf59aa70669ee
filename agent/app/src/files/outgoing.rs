//! Something that is sent: what is on disk of it, and how far each recipient is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dci_proto::AgentId;
use serde::{Deserialize, Serialize};
use shoal_file_exchange::{FormatError, Manifest, ProgressState, RelativePath, TransferId};
use shoal_mailbox::{RecipientStatus, State};
use tokio::time::Instant;

use super::pace::Pace;
use super::places::{self, Place, blocking};
use super::record::{self, Ending};
use super::room::{Held, Key};
use super::uploading::Upload;
use super::{Files, FilesError, OutgoingRecord, OutgoingState};
use crate::cli::print::count;

/// How long what was sent is remembered when its bytes are gone, in ms.
const REMEMBERED_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// A file or folder that is to be handed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DraftEntry {
    /// Where it lies among what is sent.
    pub(crate) path: RelativePath,
    /// A folder; then the rest means nothing.
    #[serde(default)]
    pub(crate) folder: bool,
    #[serde(default)]
    pub(crate) size_bytes: u64,
    #[serde(default)]
    pub(crate) modified_ms: Option<u64>,
    #[serde(default)]
    pub(crate) executable: bool,
}

/// How far a recipient is, as it says itself with each piece it asks for.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) have_bytes: u64,
    pub(super) served_bytes: u64,
    pub(super) pace: Pace,
    /// Why it fetches nothing now, as it says; `None` while it does.
    pub(super) why: Option<String>,
}

/// What changes.
#[derive(Debug)]
pub(super) struct Changing {
    pub(super) record: OutgoingRecord,
    /// By recipient; only of those it was offered to.
    pub(super) live: BTreeMap<AgentId, Live>,
    /// To whom it was offered, as far as asked.
    pub(super) offered_to: BTreeSet<AgentId>,
    /// Hashes of files that were handed in since the start.
    pub(super) hashes: BTreeMap<u32, [u8; 32]>,
    /// When something of it was handed in last, or this agent started.
    touched: Instant,
}

/// Something that is sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) transfer: TransferId,
    pub(super) place: Place,
    /// What is handed in; empty when it is offered.
    pub(super) draft: Mutex<Arc<[DraftEntry]>>,
    pub(super) changing: Mutex<Changing>,
    /// Who hands in takes turns.
    pub(super) upload: Arc<tokio::sync::Mutex<Option<Upload>>>,
    /// Who replaces the record takes turns.
    saving: tokio::sync::Mutex<()>,
}

/// Where a recipient stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RecipientState {
    /// It has not heard of it yet.
    Waiting,
    /// It has, and has fetched nothing yet.
    Accepted,
    /// It is fetching it, or was, and goes on.
    Receiving,
    /// It has all of it.
    Done,
    /// It does not get it.
    Failed,
}

/// How far a recipient is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecipientView {
    pub(crate) agent: AgentId,
    pub(crate) state: RecipientState,
    pub(crate) since_ms: u64,
    pub(crate) have_bytes: u64,
    pub(crate) served_bytes: u64,
    pub(crate) rate_bytes_s: Option<u64>,
    pub(crate) why: Option<String>,
}

/// All that is in a folder. Blocks.
pub(super) fn load_all(files: &Path) -> Result<Vec<Outgoing>, FilesError> {
    let mut all = Vec::new();
    for transfer in places::transfers_in(&places::out_folder(files))? {
        let place = Place::out(files, transfer);
        let Some(record) = record::load::<OutgoingRecord>(&place.record()) else { continue };
        let draft = match record.state {
            OutgoingState::Uploading | OutgoingState::Sending => std::fs::read(place.draft()).ok(),
            OutgoingState::Offered | OutgoingState::Ended => None,
        };
        let draft = draft.and_then(|bytes| serde_json::from_slice::<Vec<DraftEntry>>(&bytes).ok());
        all.push(Outgoing::new(place, record, draft.unwrap_or_default()));
    }
    Ok(all)
}

impl Outgoing {
    pub(super) fn new(place: Place, record: OutgoingRecord, draft: Vec<DraftEntry>) -> Self {
        let (live, offered_to, hashes) = Default::default();
        let changing = Changing { record, live, offered_to, hashes, touched: Instant::now() };
        Self {
            transfer: changing.record.transfer,
            place,
            draft: Mutex::new(draft.into()),
            changing: Mutex::new(changing),
            upload: Arc::default(),
            saving: tokio::sync::Mutex::default(),
        }
    }

    /// What is known of it.
    pub(crate) fn record(&self) -> OutgoingRecord {
        self.changing().record.clone()
    }

    /// What is handed in; nothing when it is offered.
    pub(crate) fn entries(&self) -> Arc<[DraftEntry]> {
        self.draft()
    }

    /// Its files.
    pub(crate) async fn manifest(&self) -> Result<Manifest, FilesError> {
        let place = self.place.clone();
        blocking(move || place.read_manifest()).await
    }

    /// Something of it is handed in.
    pub(super) fn touch(&self) {
        self.changing().touched = Instant::now();
    }

    pub(super) fn held_bytes(&self) -> Held {
        let record = self.record();
        let total_bytes = if record.state == OutgoingState::Ended { 0 } else { record.bytes };
        let written_bytes = if record.state == OutgoingState::Uploading { 0 } else { total_bytes };
        Held { total_bytes, written_bytes }
    }

    pub(super) fn changing(&self) -> MutexGuard<'_, Changing> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn draft(&self) -> Arc<[DraftEntry]> {
        self.draft.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the record, and keeps it if that changed anything.
    pub(super) async fn change(&self, change: impl FnOnce(&mut OutgoingRecord)) -> Result<(), FilesError> {
        let _turn = self.saving.lock().await;
        let (before, after) = {
            let mut changing = self.changing();
            let before = changing.record.clone();
            change(&mut changing.record);
            (before, changing.record.clone())
        };
        if before == after {
            return Ok(());
        }
        let path = self.place.record();
        blocking(move || record::store(&path, &after)).await
    }

    /// How far a recipient is, from what its messages say and what it asked for.
    fn view(&self, recipient: &RecipientStatus) -> RecipientView {
        let changing = self.changing();
        let status = &recipient.status;
        let live = changing.live.get(&recipient.agent);
        let have_bytes = live.map_or(0, |live| live.have_bytes);
        let mut view = RecipientView {
            agent: recipient.agent,
            state: RecipientState::Waiting,
            since_ms: status.since_ms,
            have_bytes,
            served_bytes: live.map_or(0, |live| live.served_bytes),
            rate_bytes_s: live.and_then(|live| live.pace.rate(Instant::now())),
            why: None,
        };
        if let Some(ending) = changing.record.endings.get(&recipient.agent) {
            (view.since_ms, view.rate_bytes_s, view.why) = (ending.at_ms, None, ending.failed.clone());
            view.state = if ending.failed.is_some() { RecipientState::Failed } else { RecipientState::Done };
            if ending.failed.is_none() {
                view.have_bytes = changing.record.bytes;
            }
            return view;
        }
        view.state = match &status.state {
            State::Waiting | State::ExpiredOnTheWay { .. } | State::Delivered => RecipientState::Waiting,
            State::Handled { exit_status: 0 } if live.is_none() => RecipientState::Accepted,
            State::Handled { exit_status: 0 } => RecipientState::Receiving,
            State::Handled { .. } | State::Failed { .. } | State::Refused { .. } | State::Expired { .. } => {
                RecipientState::Failed
            }
        };
        view.why = match &status.state {
            State::Handled { exit_status: 0 } => live.and_then(|live| live.why.clone()),
            State::Handled { .. } | State::Failed { .. } => Some("its peerlet does not take the offer".to_owned()),
            _ => status.why(),
        };
        view
    }
}

impl Files {
    /// How far each recipient is.
    pub(crate) async fn recipients(&self, one: &Outgoing) -> Result<Vec<RecipientView>, FilesError> {
        let mut all: BTreeMap<AgentId, RecipientView> = BTreeMap::new();
        for id in one.record().messages {
            let states = self.messages.mailbox().states(id).await.map_err(crate::messages::SendError::from)?;
            for recipient in states.unwrap_or_default() {
                let view = one.view(&recipient);
                // In two of its messages: what has come further counts.
                let further = all.get(&view.agent).is_none_or(|other| rank(other.state) < rank(view.state));
                if further {
                    all.insert(view.agent, view);
                }
            }
        }
        Ok(all.into_values().collect())
    }

    /// Whether something was offered to an agent.
    pub(super) async fn is_offered_to(&self, one: &Outgoing, agent: AgentId) -> bool {
        if one.changing().offered_to.contains(&agent) {
            return true;
        }
        for id in one.record().messages {
            let states = self.messages.mailbox().states(id).await.ok().flatten().unwrap_or_default();
            one.changing().offered_to.extend(states.iter().map(|state| state.agent));
        }
        one.changing().offered_to.contains(&agent)
    }

    /// A recipient says how far it is.
    pub(super) async fn heard(&self, one: &Arc<Outgoing>, agent: AgentId, state: ProgressState, bytes: u64, why: &str) {
        if !self.is_offered_to(one, agent).await {
            return;
        }
        let failed = match state {
            ProgressState::Accepted => return,
            ProgressState::Receiving => {
                let mut changing = one.changing();
                let live = changing.live.entry(agent).or_default();
                live.have_bytes = live.have_bytes.max(bytes);
                live.why = (!why.is_empty()).then(|| why.to_owned());
                return;
            }
            ProgressState::Done => None,
            ProgressState::Failed => Some(why.to_owned()),
        };
        let at_ms = self.now_ms();
        let ending = Ending { failed, at_ms };
        let kept = one
            .change(|record| {
                record.endings.entry(agent).or_insert(ending);
            })
            .await;
        if let Err(error) = kept {
            tracing::warn!(%error, "what a recipient of files says cannot be kept");
        }
        self.end_if_over(one).await;
    }

    /// Lets go of the bytes when nobody needs them any more.
    pub(super) async fn end_if_over(&self, one: &Arc<Outgoing>) {
        let record = one.record();
        if record.state != OutgoingState::Offered {
            return;
        }
        let expired = record.expires_ms <= self.now_ms();
        let over = || async {
            let recipients = self.recipients(one).await.unwrap_or_default();
            let ended = |view: &RecipientView| matches!(view.state, RecipientState::Done | RecipientState::Failed);
            !recipients.is_empty() && recipients.iter().all(ended)
        };
        if expired || over().await {
            self.end(one).await;
        }
    }

    async fn end(&self, one: &Arc<Outgoing>) {
        let ended = async {
            one.change(|record| record.state = OutgoingState::Ended).await?;
            let place = one.place.clone();
            blocking(move || place.drop_content()).await
        };
        if let Err(error) = ended.await {
            tracing::warn!(%error, transfer = %one.transfer, "files that nobody needs any more cannot be removed");
        }
        self.room.free(Key::Out(one.transfer));
    }

    /// Gives up something whose handing in broke off, and that nobody goes on with.
    async fn give_up_if_left(&self, one: &Arc<Outgoing>) {
        let patience = self.room.upload_patience();
        let is_left = |one: &Outgoing| one.changing().touched.elapsed() >= patience;
        if !is_left(one) {
            return;
        }
        // Nobody goes on with it meanwhile; who does just now is not waited for.
        let Ok(_turn) = one.upload.clone().try_lock_owned() else { return };
        if !is_left(one) || one.record().state != OutgoingState::Uploading {
            return;
        }
        let why = format!("given up: nothing more of it was handed in for {}", span(patience));
        if let Err(error) = one.change(|record| record.given_up = Some(why)).await {
            tracing::warn!(%error, "that files are given up cannot be kept");
        }
        self.end(one).await;
    }

    /// Forgets something that is sent: who has not got it does not get it.
    pub(crate) async fn withdraw(&self, transfer: TransferId) -> Result<(), FilesError> {
        let one = self.outgoing(transfer)?;
        // Nobody hands in meanwhile.
        let _turn = one.upload.clone().lock_owned().await;
        self.outgoing_map().remove(&transfer);
        let place = one.place.clone();
        let gone = blocking(move || place.drop_all()).await;
        self.room.free(Key::Out(transfer));
        gone
    }

    pub(super) async fn sweep_outgoing(&self) {
        let now_ms = self.now_ms();
        for one in self.all_outgoing() {
            let record = one.record();
            match record.state {
                OutgoingState::Offered => self.end_if_over(&one).await,
                OutgoingState::Sending => {}
                OutgoingState::Uploading if record.expires_ms > now_ms => self.give_up_if_left(&one).await,
                OutgoingState::Ended if record.expires_ms.saturating_add(REMEMBERED_MS) > now_ms => {}
                OutgoingState::Uploading | OutgoingState::Ended => {
                    if let Err(error) = self.withdraw(one.transfer).await {
                        tracing::warn!(%error, "files that were sent cannot be forgotten");
                    }
                }
            }
        }
    }
}

/// A length of time for people.
fn span(time: Duration) -> String {
    const MINUTE_S: u64 = 60;
    match time.as_secs() {
        seconds if seconds < 2 * MINUTE_S => count(seconds, "second"),
        seconds => count(seconds / MINUTE_S, "minute"),
    }
}

fn rank(state: RecipientState) -> u8 {
    match state {
        RecipientState::Failed => 0,
        RecipientState::Waiting => 1,
        RecipientState::Accepted => 2,
        RecipientState::Receiving => 3,
        RecipientState::Done => 4,
    }
}

/// A place among the entries, as files are asked for.
pub(super) fn number(index: usize) -> Result<u32, FilesError> {
    u32::try_from(index).map_err(|_| FilesError::Format(FormatError::Shape("there are too many files".to_owned())))
}
