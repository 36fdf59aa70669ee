//! Something that came or is coming: what is on disk of it, and how far it is.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use shoal_file_exchange::{Manifest, TransferId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::pace::Pace;
use super::places::{self, Place, blocking};
use super::record;
use super::room::Held;
use super::{FilesError, IncomingRecord, IncomingState};

/// What changes.
#[derive(Debug)]
struct Changing {
    record: IncomingRecord,
    /// Why nothing comes now; `None` while something does.
    waits_for: Option<String>,
    pace: Pace,
}

/// Something that came or is coming.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) transfer: TransferId,
    pub(super) place: Place,
    changing: Mutex<Changing>,
    /// Bytes that are there.
    have: AtomicU64,
    /// Bytes fetched since the start.
    pulled: AtomicU64,
    /// Fires when it is removed.
    pub(super) gone: CancellationToken,
    /// Held by who fetches, and by who removes.
    pub(super) work: tokio::sync::Mutex<()>,
    saving: tokio::sync::Mutex<()>,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IncomingProgress {
    pub(crate) have_bytes: u64,
    pub(crate) pulled_bytes: u64,
    pub(crate) rate_bytes_s: Option<u64>,
    pub(crate) waits_for: Option<String>,
}

/// All that is in a folder. Blocks.
pub(super) fn load_all(files: &Path) -> Result<Vec<Incoming>, FilesError> {
    let mut all = Vec::new();
    for transfer in places::transfers_in(&places::in_folder(files))? {
        let place = Place::incoming(files, transfer);
        if let Some(record) = record::load::<IncomingRecord>(&place.record()) {
            all.push(Incoming::new(place, record));
        }
    }
    Ok(all)
}

impl Incoming {
    pub(super) fn new(place: Place, record: IncomingRecord) -> Self {
        let have = if record.state == IncomingState::Done { record.bytes } else { 0 };
        Self {
            transfer: record.transfer,
            place,
            changing: Mutex::new(Changing { record, waits_for: None, pace: Pace::default() }),
            have: AtomicU64::new(have),
            pulled: AtomicU64::default(),
            gone: CancellationToken::new(),
            work: tokio::sync::Mutex::default(),
            saving: tokio::sync::Mutex::default(),
        }
    }

    /// What is known of it.
    pub(crate) fn record(&self) -> IncomingRecord {
        self.changing().record.clone()
    }

    /// Where its files lie.
    pub(crate) fn content(&self) -> PathBuf {
        self.place.content()
    }

    /// Where a file of it lies when it is there.
    pub(crate) fn path_of(&self, path: &shoal_file_exchange::RelativePath) -> PathBuf {
        self.place.named(path)
    }

    /// Its files; none are known before its manifest is there.
    pub(crate) async fn manifest(&self) -> Result<Manifest, FilesError> {
        let place = self.place.clone();
        blocking(move || place.read_manifest()).await
    }

    /// How far it is.
    pub(crate) fn progress(&self) -> IncomingProgress {
        let changing = self.changing();
        IncomingProgress {
            have_bytes: self.have.load(Ordering::Relaxed),
            pulled_bytes: self.pulled.load(Ordering::Relaxed),
            rate_bytes_s: changing.pace.rate(Instant::now()),
            waits_for: changing.waits_for.clone(),
        }
    }

    pub(super) fn held_bytes(&self) -> Held {
        let record = self.record();
        match record.state {
            IncomingState::Coming => Held { total_bytes: record.bytes, written_bytes: 0 },
            IncomingState::Done => Held { total_bytes: record.bytes, written_bytes: record.bytes },
            IncomingState::Failed(_) | IncomingState::Removed => Held::default(),
        }
    }

    pub(super) fn have_bytes(&self) -> u64 {
        self.have.load(Ordering::Relaxed)
    }

    /// So many bytes are there, as counted on disk.
    pub(super) fn set_have(&self, bytes: u64) {
        self.have.store(bytes, Ordering::Relaxed);
    }

    /// So many bytes have come.
    pub(super) fn came(&self, bytes: u64) {
        let have = self.have.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.pulled.fetch_add(bytes, Ordering::Relaxed);
        let mut changing = self.changing();
        changing.pace.note(Instant::now(), have);
        changing.waits_for = None;
    }

    /// So many bytes are there no more: a file is begun anew.
    pub(super) fn lost(&self, bytes: u64) {
        let less = |have: u64| Some(have.saturating_sub(bytes));
        let _ = self.have.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    pub(super) fn waits_for(&self, why: &str) {
        self.changing().waits_for = Some(why.to_owned());
    }

    fn changing(&self) -> MutexGuard<'_, Changing> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the record and keeps it.
    pub(super) async fn change(&self, change: impl FnOnce(&mut IncomingRecord)) -> Result<(), FilesError> {
        let _turn = self.saving.lock().await;
        let record = {
            let mut changing = self.changing();
            change(&mut changing.record);
            changing.record.clone()
        };
        let path = self.place.record();
        blocking(move || record::store(&path, &record)).await
    }
}
