//! Files that are handed in at a door, in pieces: each piece is on disk when it is acknowledged, and goes on where the last
//! one ended, after a restart too.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use shoal_file_exchange::{Entry, FileEntry, Manifest, NOTE_LIMIT_CHARS, TransferId};
use uuid::Uuid;

use super::outgoing::{DraftEntry, number};
use super::places::{Place, blocking, sync_folder};
use super::record::{self, RECORD_VERSION};
use super::room::Key;
use super::{Files, FilesError, Outgoing, OutgoingRecord, OutgoingState};

/// Transfers that are remembered, at most.
const OUTGOING_LIMIT: usize = 1_000;
/// How long one may take to be handed in, in ms.
const DRAFT_LIFE_MS: u64 = 24 * 60 * 60 * 1000;
/// How long a piece that is under way may bring nothing.
const PIECE_PATIENCE: Duration = Duration::from_secs(60);
/// Bytes gathered before they are written.
const GATHER_BYTES: usize = 1024 * 1024;
/// Bytes read at once where a file is hashed anew.
const READ_BYTES: usize = 1024 * 1024;

/// The file that is being handed in.
#[derive(Debug)]
pub(crate) struct Upload {
    number: u32,
    offset: u64,
    file: File,
    hasher: blake3::Hasher,
}

impl Upload {
    /// Opens what there is of a file, and hashes it.
    fn open(place: &Place, number: u32) -> Result<Self, FilesError> {
        let path = place.numbered(number);
        let open = || -> std::io::Result<Self> {
            let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
            let mut hasher = blake3::Hasher::new();
            let offset = hash_all(&mut file, &mut hasher)?;
            Ok(Self { number, offset, file, hasher })
        };
        open().map_err(|error| FilesError::disk("cannot keep what is handed in", &error))
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

/// Feeds the rest of a file to a hasher; returns its length.
pub(super) fn hash_all(file: &mut File, hasher: &mut blake3::Hasher) -> std::io::Result<u64> {
    let mut buffer = vec![0; READ_BYTES];
    let mut length = 0u64;
    loop {
        let read = file.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(length) };
        hasher.update(bytes);
        length += read as u64;
    }
}

impl Files {
    /// Begins to send something: says which files and folders will be handed in.
    pub(crate) async fn begin(
        &self,
        user: &str,
        note: &str,
        entries: Vec<DraftEntry>,
    ) -> Result<TransferId, FilesError> {
        let note = note.trim();
        if note.chars().count() > NOTE_LIMIT_CHARS || note.chars().any(|found| found.is_control() && found != '\n') {
            return Err(FilesError::Bad(format!(
                "a note has at most {NOTE_LIMIT_CHARS} characters, and none that control"
            )));
        }
        // Refused now rather than when all is handed in.
        let manifest = manifest(&entries, |_| Some([0; 32]))?;
        if self.outgoing_map().len() >= OUTGOING_LIMIT {
            return Err(FilesError::Busy("too many transfers are remembered here; remove some".to_owned()));
        }
        let transfer = TransferId(Uuid::new_v4());
        let now_ms = self.now_ms();
        let record = OutgoingRecord {
            version: RECORD_VERSION,
            transfer,
            state: OutgoingState::Uploading,
            note: note.to_owned(),
            user: user.to_owned(),
            to: String::new(),
            created_ms: now_ms,
            expires_ms: now_ms.saturating_add(DRAFT_LIFE_MS),
            files: manifest.files(),
            bytes: manifest.bytes(),
            messages: Vec::new(),
            endings: std::collections::BTreeMap::new(),
            given_up: None,
        };
        self.room.take(Key::Out(transfer), record.bytes)?;
        let place = Place::out(&self.folder, transfer);
        let (kept, draft) = (record.clone(), entries.clone());
        let there = place.clone();
        let made = blocking(move || {
            there.make()?;
            record::store(&there.draft(), &draft)?;
            record::store(&there.record(), &kept)
        })
        .await;
        if let Err(error) = made {
            self.room.free(Key::Out(transfer));
            let _ = blocking(move || place.drop_all()).await;
            return Err(error);
        }
        self.outgoing_map().insert(transfer, Arc::new(Outgoing::new(place, record, entries)));
        Ok(transfer)
    }

    /// Takes bytes of a file from an offset on, which must be where it ends now. Returns how long it is then. What came of a
    /// piece that breaks off is kept.
    pub(crate) async fn upload<E: std::fmt::Display>(
        &self,
        transfer: TransferId,
        file: u32,
        offset: u64,
        body: impl Stream<Item = Result<Bytes, E>> + Send,
    ) -> Result<u64, FilesError> {
        let one = self.outgoing(transfer)?;
        let mut turn = one.upload.clone().try_lock_owned().map_err(|_| {
            FilesError::Busy("a piece of that transfer is being taken; send the next when it is there".to_owned())
        })?;
        let record = one.record();
        if record.state != OutgoingState::Uploading {
            return Err(FilesError::not_handed_in(record));
        }
        one.touch();
        let size_bytes = size_of(&one, file)?;
        let place = one.place.clone();
        // The turn goes along to where the disk is waited for: who breaks off here leaves nothing that still writes.
        turn = blocking(move || {
            if turn.as_ref().is_none_or(|upload| upload.number != file) {
                *turn = Some(Upload::open(&place, file)?);
            }
            Ok(turn)
        })
        .await?;
        let there = turn.as_ref().map_or(0, |upload| upload.offset);
        if offset != there {
            return Err(FilesError::Conflict(format!("{there} bytes of that file are there; go on from there")));
        }
        let mut body = std::pin::pin!(body);
        let (mut gathered, mut there, mut broken, mut ended) = (BytesMut::new(), there, None, false);
        while !ended {
            match tokio::time::timeout(PIECE_PATIENCE, body.next()).await {
                Ok(Some(Ok(bytes))) => gathered.extend_from_slice(&bytes),
                Ok(Some(Err(error))) => (broken, ended) = (Some(error.to_string()), true),
                Ok(None) => ended = true,
                Err(_) => {
                    (broken, ended) = (Some(format!("nothing came for {} s", PIECE_PATIENCE.as_secs())), true);
                }
            }
            one.touch();
            if there + gathered.len() as u64 > size_bytes {
                gathered.clear();
                (broken, ended) = (Some(format!("more came than the {size_bytes} bytes it was to have")), true);
            }
            if gathered.len() >= GATHER_BYTES || ended {
                there += gathered.len() as u64;
                let bytes = std::mem::take(&mut gathered);
                turn = blocking(move || {
                    let Some(upload) = turn.as_mut() else { return Ok(turn) };
                    let written =
                        upload.write(&bytes).and_then(|()| if ended { upload.file.sync_data() } else { Ok(()) });
                    if let Err(error) = written {
                        *turn = None;
                        return Err(FilesError::disk("cannot keep what is handed in", &error));
                    }
                    Ok(turn)
                })
                .await?;
                self.room.check()?;
            }
        }
        if there == size_bytes
            && let Some(upload) = turn.take()
        {
            one.changing().hashes.insert(file, *upload.hasher.finalize().as_bytes());
        }
        match broken {
            Some(why) => Err(FilesError::Bad(format!("the piece broke off: {why}"))),
            None => Ok(there),
        }
    }

    /// How many bytes of each file are there, by its place among the entries.
    pub(crate) async fn uploaded(&self, one: &Arc<Outgoing>) -> Result<Vec<u64>, FilesError> {
        let (place, count) = (one.place.clone(), one.draft().len());
        blocking(move || {
            let length = |index| Ok(std::fs::metadata(place.numbered(number(index)?)).map_or(0, |found| found.len()));
            (0..count).map(length).collect()
        })
        .await
    }
}

fn size_of(one: &Outgoing, file: u32) -> Result<u64, FilesError> {
    let draft = one.draft();
    let entry = usize::try_from(file).ok().and_then(|index| draft.get(index)).filter(|entry| !entry.folder);
    entry.map(|entry| entry.size_bytes).ok_or_else(|| FilesError::Missing("there is no such file in it".to_owned()))
}

/// What is handed in, as it is offered. `hash` gives those of files by their place.
pub(super) fn manifest(
    entries: &[DraftEntry],
    mut hash: impl FnMut(u32) -> Option<[u8; 32]>,
) -> Result<Manifest, FilesError> {
    let mut all = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        if entry.folder {
            all.push(Entry::Folder(entry.path.clone()));
            continue;
        }
        let hash = hash(number(index)?).ok_or_else(|| FilesError::Bad(format!("{} has no hash", entry.path)))?;
        all.push(Entry::File(FileEntry {
            path: entry.path.clone(),
            size_bytes: entry.size_bytes,
            hash,
            modified_ms: entry.modified_ms,
            executable: entry.executable,
        }));
    }
    Ok(Manifest::new(all)?)
}

/// All that was handed in, checked: every file is there with all its bytes, and durable. Hashes that are not known since a
/// restart are made anew. Blocks.
pub(super) fn seal(
    place: &Place,
    entries: &[DraftEntry],
    known: &std::collections::BTreeMap<u32, [u8; 32]>,
) -> Result<Manifest, FilesError> {
    let fault = |error: std::io::Error| FilesError::disk("cannot read what was handed in", &error);
    let mut hashes = known.clone();
    for (index, entry) in entries.iter().enumerate().filter(|(_, entry)| !entry.folder) {
        let number = number(index)?;
        let path = place.numbered(number);
        if entry.size_bytes == 0 && !path.exists() {
            let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
            made.map_err(fault)?;
        }
        let length = std::fs::metadata(&path).map_or(0, |found| found.len());
        if length != entry.size_bytes {
            return Err(FilesError::Conflict(format!(
                "{} of the {} bytes of {} are there",
                length, entry.size_bytes, entry.path
            )));
        }
        if let std::collections::btree_map::Entry::Vacant(unknown) = hashes.entry(number) {
            let mut hasher = blake3::Hasher::new();
            let mut file = File::open(&path).map_err(fault)?;
            hash_all(&mut file, &mut hasher).map_err(fault)?;
            unknown.insert(*hasher.finalize().as_bytes());
        }
    }
    sync_folder(&place.content())?;
    manifest(entries, |number| hashes.get(&number).copied())
}
