//! Pieces for those it was offered to, and for nobody else.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use dci_proto::AgentId;
use shoal_file_exchange::TransferId;
use shoal_net::Response;
use tokio::time::Instant;
use uuid::Uuid;

use super::places::blocking;
use super::{Files, FilesError, Outgoing, OutgoingState, add};
use crate::wire::{self, FILE_PIECE_LIMIT_BYTES, FilePiece, MANIFEST_NUMBER, Status};

impl Files {
    /// Answers who asks for a piece. How many are asked for at once is for the data channel to bound.
    pub(crate) async fn piece(&self, from: AgentId, asked: FilePiece) -> Response {
        match self.find_piece(from, asked).await {
            Ok(bytes) => wire::answer_bytes(bytes),
            Err((status, why)) => {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%from, why, "a piece of a file is not given");
                wire::refusal(status, &why)
            }
        }
    }

    /// The same, for this agent too, which may be among those it was offered to.
    pub(super) async fn find_piece(&self, from: AgentId, asked: FilePiece) -> Result<Bytes, (Status, String)> {
        let gone = || (Status::NotFound, "the sender does not keep it any more".to_owned());
        let transfer = TransferId(Uuid::from_bytes(asked.transfer));
        let one = self.outgoing(transfer).map_err(|_| gone())?;
        let record = one.record();
        match record.state {
            OutgoingState::Uploading | OutgoingState::Ended => return Err(gone()),
            OutgoingState::Sending => return Err((Status::NotReady, "it is still being offered".to_owned())),
            OutgoingState::Offered if record.expires_ms <= self.now_ms() => return Err(gone()),
            OutgoingState::Offered => {}
        }
        if !self.is_offered_to(&one, from).await {
            return Err((Status::Refused, "it was not sent to that agent".to_owned()));
        }
        if asked.length == 0 || asked.length > FILE_PIECE_LIMIT_BYTES {
            return Err((Status::Refused, "that is no length of a piece".to_owned()));
        }
        let bytes = read(&one, asked).await.map_err(|error| match error {
            FilesError::Missing(why) => (Status::Refused, why),
            error => (Status::Failed, error.to_string()),
        })?;
        add(&self.counts.served, bytes.len());
        let mut changing = one.changing();
        let live = changing.live.entry(from).or_default();
        live.served_bytes += bytes.len() as u64;
        live.have_bytes = asked.have.min(record.bytes);
        live.why = None;
        live.pace.note(Instant::now(), asked.have);
        Ok(bytes)
    }
}

async fn read(one: &Arc<Outgoing>, asked: FilePiece) -> Result<Bytes, FilesError> {
    let place = &one.place;
    let path = if asked.file == MANIFEST_NUMBER { place.manifest() } else { place.numbered(asked.file) };
    blocking(move || {
        let none = || FilesError::Missing("there is no such piece in it".to_owned());
        let fault = |error: &std::io::Error| FilesError::disk("cannot read what is to be sent", error);
        let file = File::open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => none(),
            _ => fault(&error),
        })?;
        let length = file.metadata().map_err(|error| fault(&error))?.len();
        let end = asked.offset.checked_add(u64::from(asked.length)).filter(|end| *end <= length).ok_or_else(none)?;
        let mut bytes = vec![0; usize::try_from(end - asked.offset).map_err(|_| none())?];
        file.read_exact_at(&mut bytes, asked.offset).map_err(|error| fault(&error))?;
        Ok(bytes.into())
    })
    .await
}
