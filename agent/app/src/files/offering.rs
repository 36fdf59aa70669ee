//! What was handed in is offered: sealed, noted, and told to its recipients in messages.

use std::sync::Arc;
use std::time::Duration;

use dci_proto::message::{Body, MessageType, UserName};
use shoal_file_exchange::{Offer, TYPE, TransferId};
use shoal_mailbox::{Direction, LogEntry};

use super::outgoing::Outgoing;
use super::places::blocking;
use super::room::Key;
use super::uploading::seal;
use super::{Files, FilesError, OutgoingState};
use crate::messages::{Draft, SendError, Sent, Target};

/// To whom something is offered.
#[derive(Debug, Clone)]
pub(crate) struct OfferRequest {
    pub(crate) targets: Vec<Target>,
    /// The same for people.
    pub(crate) to: String,
    pub(crate) user: UserName,
    /// How long it can be fetched.
    pub(crate) life: Duration,
}

impl Files {
    /// Offers what was handed in. It is on disk, and so are the messages, when this returns.
    pub(crate) async fn offer(&self, transfer: TransferId, request: OfferRequest) -> Result<Vec<Sent>, FilesError> {
        let one = self.outgoing(transfer)?;
        let _turn = one.upload.clone().try_lock_owned().map_err(|_| {
            FilesError::Busy("a piece of that transfer is being taken; offer it when it is there".to_owned())
        })?;
        let record = one.record();
        if record.state != OutgoingState::Uploading {
            return Err(FilesError::not_handed_in(record));
        }
        let (place, draft, known) = (one.place.clone(), one.draft(), one.changing().hashes.clone());
        let note = record.note;
        let offer = blocking(move || {
            let manifest = seal(&place, &draft, &known)?;
            place.write_manifest(&manifest.to_lines())?;
            Ok(Offer::new(transfer, &note, manifest)?.0)
        })
        .await?;
        let expires_ms = self.now_ms().saturating_add(u64::try_from(request.life.as_millis()).unwrap_or(u64::MAX));
        one.change(|record| {
            record.state = OutgoingState::Sending;
            record.expires_ms = expires_ms;
            record.to.clone_from(&request.to);
        })
        .await?;
        let sent = self.send_offers(&offer, &request).await;
        let ids: Vec<_> = sent.iter().flatten().map(|sent| sent.id).collect();
        self.offered(&one, ids).await?;
        sent
    }

    async fn send_offers(&self, offer: &Offer, request: &OfferRequest) -> Result<Vec<Sent>, FilesError> {
        let body = Body::of_xml(offer.to_xml()).map_err(SendError::from)?;
        let mut sent = Vec::new();
        for target in &request.targets {
            let mut draft = Draft::new(kind()?, target.clone(), request.user.clone(), body.clone());
            draft.life = request.life;
            match self.messages.send(draft).await {
                Ok(one) => sent.push(one),
                Err(error) if sent.is_empty() => return Err(error.into()),
                // It is on its way to others; who misses it shows in the list.
                Err(error) => tracing::warn!(%error, ?target, "an offer of files could not be sent"),
            }
        }
        Ok(sent)
    }

    /// Notes which messages offer it; without any it can be offered again.
    async fn offered(&self, one: &Arc<Outgoing>, ids: Vec<dci_proto::MessageId>) -> Result<(), FilesError> {
        if ids.is_empty() {
            return one.change(|record| record.state = OutgoingState::Uploading).await;
        }
        one.change(|record| {
            record.state = OutgoingState::Offered;
            record.messages = ids;
        })
        .await?;
        // All of it is there: nothing more is promised to it.
        let _ = self.room.wrote(Key::Out(one.transfer), one.record().bytes);
        *one.draft.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = [].into();
        one.changing().hashes.clear();
        let place = one.place.clone();
        blocking(move || {
            let _ = std::fs::remove_file(place.draft());
            Ok(())
        })
        .await
    }

    /// An agent that ended while it sent offers learns from its log which were sent.
    pub(super) async fn take_up_offers(&self, unfinished: &[Arc<Outgoing>], entries: &[LogEntry]) {
        for one in unfinished {
            let offers = |entry: &&LogEntry| {
                let message = &entry.envelope.message;
                let is_offer = entry.direction == Direction::Sent && message.in_reply_to.is_none();
                is_offer && Offer::of_xml(message.body.as_xml()).is_ok_and(|offer| offer.transfer == one.transfer)
            };
            let ids = entries.iter().filter(offers).map(|entry| entry.envelope.message.id).collect();
            if let Err(error) = self.offered(one, ids).await {
                tracing::warn!(%error, transfer = %one.transfer, "files that were being offered cannot be taken up");
            }
        }
    }
}

/// The type of messages about files.
pub(super) fn kind() -> Result<MessageType, SendError> {
    TYPE.parse().map_err(|error: dci_proto::message::NameError| SendError::Internal(error.to_string()))
}
