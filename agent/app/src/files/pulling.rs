//! Fetching what was offered: piece by piece, a few at once, from where it stopped; what fails for now is tried again until the
//! offer expires.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use shoal_file_exchange::{Entry, FileEntry, Manifest, Offer, ProgressState};
use shoal_net::{Lane, NetworkError};

use super::outgoing::number;
use super::places::{Place, blocking, make_folder, sync_folder};
use super::room::Key;
use super::uploading::hash_all;
use super::{Files, FilesError, Incoming, IncomingState, add};
use crate::wire::{self, FilePiece, MANIFEST_NUMBER, Method, Status, WireError};

/// Bytes of a piece, usually, and over a link on which that took too long.
const PIECE_BYTES: u32 = 2 * 1024 * 1024;
const SMALL_PIECE_BYTES: u32 = 128 * 1024;
/// Files of a transfer that are fetched at once, and pieces of a file.
const FILES_AT_ONCE: usize = 4;
const AHEAD: usize = 2;
/// Bytes after which a file is synced, so that a power cut costs no more.
const SYNC_EVERY_BYTES: u64 = 16 * 1024 * 1024;
/// How long a piece may take.
const PIECE_TIMEOUT: Duration = Duration::from_secs(45);
/// Pause after a try that failed: the first, and the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_LAST: Duration = Duration::from_secs(10);
/// How often the sender is told how far it is, besides what each piece asked for says.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Why a try did not get everything.
#[derive(Debug)]
enum Trouble {
    /// It may get better.
    Passing(String),
    /// The disk has no room for more of it now; the sender is to know.
    Full(String),
    /// It took too long; smaller pieces may not.
    Slow(String),
    /// It will not.
    Final(String),
}

impl From<FilesError> for Trouble {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::Disk { .. } => Self::Passing(error.to_string()),
            // It had room when it was taken up; who filled the disk meanwhile may make some.
            FilesError::NoRoom(why) => Self::Full(why),
            error => Self::Final(error.to_string()),
        }
    }
}

/// One transfer being fetched.
struct Pull {
    files: Arc<Files>,
    one: Arc<Incoming>,
    /// Small pieces, one at a time.
    gently: AtomicBool,
}

impl Files {
    /// Goes on with what is coming; tells the sender what is over.
    pub(super) fn go_on(self: &Arc<Self>, one: &Arc<Incoming>) {
        let (files, one) = (self.clone(), one.clone());
        self.tasks.spawn(async move {
            if one.record().state != IncomingState::Coming {
                return files.tell_ending(&one).await;
            }
            let stop = files.shutdown.clone();
            let gone = one.gone.clone();
            let pull = Pull { files, one, gently: AtomicBool::new(false) };
            let ending = stop.run_until_cancelled(gone.run_until_cancelled(pull.see_through())).await;
            let Some(Some(Some(ending))) = ending else { return };
            // Who removes it takes turns with this.
            let _work = pull.one.work.lock().await;
            if pull.one.record().state == IncomingState::Coming {
                pull.files.end_incoming(&pull.one, ending).await;
            }
        });
    }
}

impl Pull {
    /// Tries until it is all there or will not be; `None`: the agent ends.
    async fn see_through(&self) -> Option<IncomingState> {
        let one = &self.one;
        let mut pause = PAUSE_FIRST;
        let mut told_full = false;
        let ending = loop {
            if one.record().expires_ms <= self.files.now_ms() {
                let why = one.progress().waits_for.map(|why| format!(" ({why})")).unwrap_or_default();
                break IncomingState::Failed(format!("it could not be fetched before it expired{why}"));
            }
            one.waits_for("others are fetched first");
            let Ok(_turn) = self.files.pulling.clone().acquire_owned().await else { return None };
            let _work = one.work.lock().await;
            one.waits_for("its sender is asked");
            let before = one.have_bytes();
            match self.try_all().await {
                Ok(()) => break IncomingState::Done,
                Err(Trouble::Final(why)) => break IncomingState::Failed(why),
                Err(Trouble::Passing(why)) => one.waits_for(&why),
                Err(Trouble::Full(why)) => {
                    one.waits_for(&why);
                    if !std::mem::replace(&mut told_full, true) {
                        self.tell_receiving(why).await;
                    }
                }
                Err(Trouble::Slow(why)) => {
                    self.gently.store(true, Ordering::Relaxed);
                    one.waits_for(&why);
                }
            }
            if one.have_bytes() > before {
                pause = PAUSE_FIRST;
                told_full = false;
            }
            // Others have their turn meanwhile.
            drop((_turn, _work));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LAST);
        };
        if let IncomingState::Failed(why) = &ending {
            tracing::info!(transfer = %one.transfer, why, "files did not come");
        }
        Some(ending)
    }

    /// Fetches all that is not there.
    async fn try_all(&self) -> Result<(), Trouble> {
        let place = self.one.place.clone();
        let manifest = self.manifest().await?;
        let (there, listed) = (place.clone(), manifest.clone());
        let (missing, have) = blocking(move || prepare(&there, &listed)).await?;
        self.one.set_have(have);
        self.files.room.wrote(Key::In(self.one.transfer), have)?;
        // Nothing is hashed and fetched again that could not be kept.
        self.files.room.check_for(manifest.bytes().saturating_sub(have).min(SYNC_EVERY_BYTES))?;
        let at_once = if self.gently.load(Ordering::Relaxed) { 1 } else { FILES_AT_ONCE };
        let fetched = futures::stream::iter(missing.into_iter().map(Ok))
            .try_for_each_concurrent(at_once, |(number, file)| async move { self.file(number, &file).await });
        let told = async {
            loop {
                tokio::time::sleep(TELL_EVERY).await;
                self.tell_receiving(String::new()).await;
            }
        };
        tokio::select! {
            fetched = fetched => fetched?,
            () = told => {}
        }
        Ok(blocking(move || finish(&place, &manifest)).await?)
    }

    /// Tells the sender how far it is, and why nothing comes now if so.
    async fn tell_receiving(&self, why: String) {
        let (record, bytes) = (self.one.record(), self.one.have_bytes());
        if let Err(error) = self.files.tell(&record, ProgressState::Receiving, bytes, why).await {
            tracing::debug!(%error, transfer = %self.one.transfer, "a sender of files cannot be told how far they are");
        }
    }

    /// Which files it has; fetched first where that was too long for the message.
    async fn manifest(&self) -> Result<Manifest, Trouble> {
        let record = self.one.record();
        let place = self.one.place.clone();
        if let Some((size_bytes, hash)) = record.manifest
            && !place.manifest().exists()
        {
            let mut bytes = Vec::new();
            while (bytes.len() as u64) < size_bytes {
                bytes.extend_from_slice(&self.piece(MANIFEST_NUMBER, bytes.len() as u64, size_bytes).await?);
            }
            if blake3::hash(&bytes) != hash {
                return Err(Trouble::Final("its list of files is not the one that was offered".to_owned()));
            }
            let lines = String::from_utf8(bytes);
            let lines = lines.map_err(|_| Trouble::Final("its list of files is no text".to_owned()))?;
            let checked = Manifest::of_lines(&lines).and_then(|manifest| {
                let listing = shoal_file_exchange::Listing::Apart { size_bytes, hash };
                let (note, transfer) = (String::new(), record.transfer);
                Offer { transfer, note, files: record.files, bytes: record.bytes, listing }.check(&manifest)?;
                Ok(manifest)
            });
            let manifest = checked.map_err(|error| Trouble::Final(error.to_string()))?;
            blocking(move || place.write_manifest(&lines)).await?;
            return Ok(manifest);
        }
        Ok(blocking(move || place.read_manifest()).await?)
    }

    /// Fetches one file: from where it stopped, and once more from the beginning if what was there before was bad.
    async fn file(&self, number: u32, wanted: &FileEntry) -> Result<(), Trouble> {
        let place = self.one.place.clone();
        let mut part = blocking(move || Part::open(&place, number)).await?;
        if part.length > wanted.size_bytes {
            self.one.lost(part.length);
            part = blocking(move || part.begin_anew()).await?;
        }
        let mut resumed = part.length > 0;
        loop {
            part = self.rest(part, number, wanted).await?;
            if *part.hasher.finalize().as_bytes() == wanted.hash {
                break;
            }
            if !resumed {
                return Err(Trouble::Final(format!(
                    "{} is not what was offered: its bytes have another hash",
                    wanted.path
                )));
            }
            // A power cut may have left anything.
            self.one.lost(part.length);
            part = blocking(move || part.begin_anew()).await?;
            resumed = false;
        }
        let (place, wanted) = (self.one.place.clone(), wanted.clone());
        Ok(blocking(move || part.put_in_place(&place, number, &wanted)).await?)
    }

    /// Fetches what a part lacks, a few pieces ahead, in order.
    async fn rest(&self, mut part: Part, number: u32, wanted: &FileEntry) -> Result<Part, Trouble> {
        let gently = self.gently.load(Ordering::Relaxed);
        let step = u64::from(if gently { SMALL_PIECE_BYTES } else { PIECE_BYTES });
        let (mut offset, end) = (part.length, wanted.size_bytes);
        let offsets = std::iter::from_fn(move || {
            let next = (offset < end).then_some(offset);
            offset = offset.saturating_add(step);
            next
        });
        let pieces = futures::stream::iter(offsets).map(|offset| self.piece(number, offset, end));
        let mut pieces = std::pin::pin!(pieces.buffered(if gently { 1 } else { AHEAD }));
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            let length = piece.len() as u64;
            let synced = part.unsynced + length >= SYNC_EVERY_BYTES;
            part = blocking(move || part.write(&piece)).await?;
            self.one.came(length);
            if synced {
                self.files.room.wrote(Key::In(self.one.transfer), self.one.have_bytes())?;
            }
        }
        Ok(part)
    }

    /// Asks for one piece, of the usual length where there is as much.
    async fn piece(&self, file: u32, offset: u64, end: u64) -> Result<Bytes, Trouble> {
        let Ok(_place) = self.files.pieces.acquire().await else {
            return Err(Trouble::Passing("this agent is ending".to_owned()));
        };
        let usual = if self.gently.load(Ordering::Relaxed) { SMALL_PIECE_BYTES } else { PIECE_BYTES };
        let length = u32::try_from(end - offset).unwrap_or(u32::MAX).min(usual);
        let asked =
            FilePiece { transfer: *self.one.transfer.0.as_bytes(), file, offset, length, have: self.one.have_bytes() };
        let bytes = self.ask(asked).await?;
        add(&self.files.counts.pulled, bytes.len());
        // Whatever came, it is no more than the data channel takes at once.
        if bytes.len() != usize::try_from(length).unwrap_or(usize::MAX) {
            return Err(Trouble::Final("its sender gives other pieces than it is asked for".to_owned()));
        }
        Ok(bytes)
    }

    async fn ask(&self, asked: FilePiece) -> Result<Bytes, Trouble> {
        let trouble = |status, why: String| match status {
            Status::NotFound | Status::Refused => Trouble::Final(why),
            _ => Trouble::Passing(why),
        };
        let sender = self.one.record().from;
        if sender == self.files.agent {
            return self.files.find_piece(sender, asked).await.map_err(|(status, why)| trouble(status, why));
        }
        let request = wire::request(Method::FilePiece, &asked);
        let request = request.map_err(|error| Trouble::Passing(error.to_string()))?;
        let answer = self.files.network.call(sender, Lane::Background, request, PIECE_TIMEOUT).await;
        let response = answer.map_err(|error| match error {
            NetworkError::Timeout { .. } => {
                Trouble::Slow("its sender answers too slowly; smaller pieces are tried".into())
            }
            NetworkError::UnknownPeer(_) => Trouble::Passing("its sender is no member of the pool".into()),
            _ => Trouble::Passing("its sender does not answer; it is tried again".into()),
        })?;
        match wire::check(&response) {
            Ok(()) => Ok(response.body),
            Err(WireError::Refused { status, reason }) => Err(trouble(status, reason)),
            Err(error) => Err(Trouble::Passing(error.to_string())),
        }
    }
}

/// What there is of a file.
struct Part {
    file: File,
    hasher: blake3::Hasher,
    length: u64,
    unsynced: u64,
}

impl Part {
    fn open(place: &Place, number: u32) -> Result<Self, FilesError> {
        let open = || -> std::io::Result<Self> {
            let mut options = OpenOptions::new();
            let mut file =
                options.read(true).write(true).create(true).truncate(false).mode(0o600).open(place.part(number))?;
            let mut hasher = blake3::Hasher::new();
            let length = hash_all(&mut file, &mut hasher)?;
            Ok(Self { file, hasher, length, unsynced: 0 })
        };
        open().map_err(fault)
    }

    fn begin_anew(mut self) -> Result<Self, FilesError> {
        self.file.set_len(0).map_err(fault)?;
        self.hasher.reset();
        (self.length, self.unsynced) = (0, 0);
        Ok(self)
    }

    fn write(mut self, bytes: &[u8]) -> Result<Self, FilesError> {
        self.file.write_all_at(bytes, self.length).map_err(fault)?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= SYNC_EVERY_BYTES {
            self.file.sync_data().map_err(fault)?;
            self.unsynced = 0;
        }
        Ok(self)
    }

    /// Durable, and under its name.
    fn put_in_place(self, place: &Place, number: u32, wanted: &FileEntry) -> Result<(), FilesError> {
        if wanted.executable {
            self.file.set_permissions(std::fs::Permissions::from_mode(0o700)).map_err(fault)?;
        }
        if let Some(time) =
            wanted.modified_ms.and_then(|ms| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms)))
        {
            self.file.set_modified(time).map_err(fault)?;
        }
        self.file.sync_all().map_err(fault)?;
        std::fs::rename(place.part(number), place.named(&wanted.path)).map_err(fault)
    }
}

fn fault(error: std::io::Error) -> FilesError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            FilesError::NoRoom("the disk has run full".to_owned())
        }
        _ => FilesError::disk("cannot keep what came", &error),
    }
}

/// Makes all folders; says which files are missing, with their places, and how many bytes are there.
fn prepare(place: &Place, manifest: &Manifest) -> Result<(Vec<(u32, FileEntry)>, u64), FilesError> {
    make_folder(&place.parts())?;
    let mut missing = Vec::new();
    let mut have = 0;
    for (index, entry) in manifest.entries().iter().enumerate() {
        let file = match entry {
            Entry::Folder(path) => {
                make_folder(&place.named(path))?;
                continue;
            }
            Entry::File(file) => file,
        };
        let path = place.named(&file.path);
        let length = |path| std::fs::metadata(path).map(|found| found.len()).ok();
        if length(&path) == Some(file.size_bytes) {
            have += file.size_bytes;
            continue;
        }
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
        let number = number(index)?;
        have += length(&place.part(number)).unwrap_or_default();
        missing.push((number, file.clone()));
    }
    Ok((missing, have))
}

/// Makes all names durable.
fn finish(place: &Place, manifest: &Manifest) -> Result<(), FilesError> {
    let mut folders = std::collections::BTreeSet::from([place.content()]);
    for entry in manifest.entries() {
        let path = place.named(entry.path());
        let first = if matches!(entry, Entry::Folder(_)) { Some(path.as_path()) } else { path.parent() };
        let own = first.into_iter().flat_map(std::path::Path::ancestors);
        folders.extend(own.take_while(|folder| folder.starts_with(place.content())).map(std::path::Path::to_owned));
    }
    folders.iter().try_for_each(|folder| sync_folder(folder))?;
    let _ = std::fs::remove_dir(place.parts());
    sync_folder(place.folder())
}
