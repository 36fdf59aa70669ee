//! An offer that came: taken up once, ended once, and its sender told what became of it.

use std::sync::Arc;
use std::time::Duration;

use dci_proto::message::{Body, Message, TTL_LIMIT};
use dci_proto::{AgentId, MessageId};
use shoal_file_exchange::{Listing, Offer, Progress, ProgressState, TransferId};

use super::offering::kind;
use super::places::{Place, blocking};
use super::record::{self, RECORD_VERSION};
use super::room::Key;
use super::{Files, FilesError, Incoming, IncomingRecord, IncomingState};
use crate::messages::{Draft, SendError, Target, new_id};

/// Transfers that are remembered, at most, and of one sender that are coming.
const INCOMING_LIMIT: usize = 2_000;
const SENDER_LIMIT: usize = 200;
/// How long what failed is remembered, in ms.
const FAILED_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// How long the sender is told what became of it.
const REPLY_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl Files {
    /// Takes up an offer whose peerlet has said yes; what is known already is left as it is.
    pub(super) async fn receive(self: &Arc<Self>, message: &Message) {
        let Ok(offer) = Offer::of_xml(message.body.as_xml()) else { return };
        let now_ms = self.now_ms();
        let known = self.incoming_map().get(&offer.transfer).map(|known| known.record().from);
        if message.expires_ms <= now_ms || known == Some(message.from.agent) {
            return;
        }
        if known.is_some() {
            return self.tell_failed(message, offer.transfer, "that transfer is known from another agent").await;
        }
        if let Err(why) = self.has_place(message.from.agent) {
            return self.tell_failed(message, offer.transfer, &why).await;
        }
        match self.take(message, &offer).await {
            Ok(one) => self.go_on(&one),
            Err(error) => {
                tracing::info!(%error, transfer = %offer.transfer, from = %message.from.agent, "files are not taken");
            }
        }
    }

    /// Numbers are bounded too.
    fn has_place(&self, from: AgentId) -> Result<(), String> {
        let incoming = self.incoming_map();
        let coming = |one: &&Arc<Incoming>| {
            let record = one.record();
            record.from == from && record.state == IncomingState::Coming
        };
        if incoming.len() >= INCOMING_LIMIT {
            return Err("that computer has too many transfers; some must be removed there first".to_owned());
        }
        if incoming.values().filter(coming).count() >= SENDER_LIMIT {
            return Err(format!("{SENDER_LIMIT} transfers of this sender are coming already"));
        }
        Ok(())
    }

    async fn take(&self, message: &Message, offer: &Offer) -> Result<Arc<Incoming>, FilesError> {
        let transfer = offer.transfer;
        let key = Key::In(transfer);
        let place = Place::incoming(&self.folder, transfer);
        let roomy = self.room.take(key, offer.bytes);
        let mut record = IncomingRecord {
            version: RECORD_VERSION,
            transfer,
            from: message.from.agent,
            user: message.from.user.as_ref().map(ToString::to_string).unwrap_or_default(),
            message: message.id,
            note: offer.note.clone(),
            received_ms: self.now_ms(),
            expires_ms: message.expires_ms,
            files: offer.files,
            bytes: offer.bytes,
            manifest: None,
            state: IncomingState::Coming,
            ended_ms: None,
            told: false,
        };
        if let Err(error) = &roomy {
            record.state = IncomingState::Failed(error.to_string());
            record.ended_ms = Some(record.received_ms);
        }
        let lines = match &offer.listing {
            Listing::Here(manifest) => Some(manifest.to_lines()),
            Listing::Apart { size_bytes, hash } => {
                record.manifest = Some((*size_bytes, *hash));
                None
            }
        };
        let (there, kept) = (place.clone(), record.clone());
        let made = blocking(move || {
            there.make()?;
            if let Some(lines) = lines {
                there.write_manifest(&lines)?;
            }
            record::store(&there.record(), &kept)
        })
        .await;
        if let Err(error) = made {
            self.room.free(key);
            self.tell_failed(message, transfer, &error.to_string()).await;
            return Err(error);
        }
        let one = Arc::new(Incoming::new(place, record));
        self.incoming_map().insert(transfer, one.clone());
        Ok(one)
    }

    /// Ends something that was coming; its sender is told.
    pub(super) async fn end_incoming(&self, one: &Arc<Incoming>, state: IncomingState) {
        let now_ms = self.now_ms();
        let failed = matches!(state, IncomingState::Failed(_));
        let kept = one
            .change(|record| {
                record.state = state;
                record.ended_ms = Some(now_ms);
            })
            .await;
        if let Err(error) = kept {
            tracing::warn!(%error, transfer = %one.transfer, "what became of files cannot be kept");
        }
        if failed {
            self.let_go(one).await;
        }
        self.tell_ending(one).await;
    }

    async fn let_go(&self, one: &Arc<Incoming>) {
        let place = one.place.clone();
        if let Err(error) = blocking(move || place.drop_content()).await {
            tracing::warn!(%error, transfer = %one.transfer, "files that are not wanted cannot be removed");
        }
        one.set_have(0);
        self.room.free(Key::In(one.transfer));
    }

    /// Tells the sender what became of it, once; what is told is on disk when this is noted.
    pub(super) async fn tell_ending(&self, one: &Arc<Incoming>) {
        let record = one.record();
        let (state, why) = match &record.state {
            IncomingState::Coming => return,
            IncomingState::Done => (ProgressState::Done, String::new()),
            IncomingState::Failed(why) => (ProgressState::Failed, why.clone()),
            IncomingState::Removed => (ProgressState::Failed, "it was removed there".to_owned()),
        };
        if record.told {
            return;
        }
        let bytes = if state == ProgressState::Done { record.bytes } else { 0 };
        match self.tell(&record, state, bytes, why).await {
            // To one that is no member any more there is nothing to tell.
            Ok(()) | Err(SendError::NoMember(_)) => {
                let _ = one.change(|record| record.told = true).await;
            }
            Err(error) => tracing::warn!(%error, transfer = %one.transfer, "a sender of files cannot be told"),
        }
    }

    /// Answers the offer.
    pub(super) async fn tell(
        &self,
        record: &IncomingRecord,
        state: ProgressState,
        bytes: u64,
        why: String,
    ) -> Result<(), SendError> {
        let progress = Progress { transfer: record.transfer, state, bytes, why };
        self.answer(record.from, record.message, &progress).await
    }

    async fn answer(&self, sender: AgentId, offer: MessageId, progress: &Progress) -> Result<(), SendError> {
        let draft = Draft {
            id: new_id(),
            kind: kind()?,
            to: Target::Agent(sender),
            user: None,
            session: None,
            from_session: None,
            ttl: TTL_LIMIT,
            life: REPLY_LIFE,
            in_reply_to: Some(offer),
            replay_of: None,
            body: Body::of_xml(progress.to_xml())?,
        };
        self.messages.send(draft).await.map(drop)
    }

    /// Of what is not even noted here.
    async fn tell_failed(&self, message: &Message, transfer: TransferId, why: &str) {
        let progress = Progress { transfer, state: ProgressState::Failed, bytes: 0, why: why.to_owned() };
        if let Err(error) = self.answer(message.from.agent, message.id, &progress).await {
            tracing::debug!(%error, "a sender of files cannot be told");
        }
    }

    /// Removes something that came or is coming. It is remembered until its offer has expired, so that it does not come again.
    pub(crate) async fn remove_incoming(&self, transfer: TransferId) -> Result<(), FilesError> {
        let one = self.incoming(transfer)?;
        one.gone.cancel();
        let _work = one.work.lock().await;
        let now_ms = self.now_ms();
        one.change(|record| {
            record.told |= record.state != IncomingState::Coming;
            record.state = IncomingState::Removed;
            record.ended_ms = Some(now_ms);
        })
        .await?;
        self.let_go(&one).await;
        self.tell_ending(&one).await;
        Ok(())
    }

    pub(super) async fn sweep_incoming(&self) {
        let now_ms = self.now_ms();
        let all: Vec<_> = self.incoming_map().values().cloned().collect();
        for one in all {
            let record = one.record();
            let old_ms = match record.state {
                IncomingState::Coming | IncomingState::Done => u64::MAX,
                IncomingState::Failed(_) => record.ended_ms.unwrap_or_default().saturating_add(FAILED_MS),
                IncomingState::Removed => 0,
            };
            // While its offer is valid the log would have it taken up again.
            if old_ms <= now_ms && record.expires_ms <= now_ms {
                self.incoming_map().remove(&one.transfer);
                let place = one.place.clone();
                if let Err(error) = blocking(move || place.drop_all()).await {
                    tracing::warn!(%error, "files that came cannot be forgotten");
                }
            }
        }
    }
}
