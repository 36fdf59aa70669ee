//! All files of a transfer that came, as one ZIP archive that is made as it is fetched.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use shoal_file_exchange::Entry;
use shoal_ledger::UserRole;

use super::super::Api;
use super::super::caller::Caller;
use super::super::failure::Failure;
use super::handlers::transfer_of;
use super::zip::{self, Checksum, Member};
use crate::files::{FilesError, IncomingState, blocking};

/// Bytes read from the disk at once.
const READ_BYTES: usize = 256 * 1024;
/// Characters of a transfer's id in the archive's name.
const ID_CHARS: usize = 8;

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    caller.needs(UserRole::User)?;
    let one = api.files()?.incoming(transfer_of(&id)?)?;
    if one.record().state != IncomingState::Done {
        return Err(Failure::conflict("it is not all there yet; single files can be fetched as they come"));
    }
    let manifest = one.manifest().await?;
    let (members, places) = manifest.entries().iter().map(|entry| (member(entry), one.path_of(entry.path()))).unzip();
    let archive = Archive { members, places, checksums: Vec::new(), reading: None, ended: false };
    let length = zip::length_bytes(&archive.members);
    let name: String = one.transfer.to_string().chars().take(ID_CHARS).collect();
    let stream = futures::stream::unfold(Some(archive), |archive| async move {
        let archive = archive?;
        match blocking(move || archive.next()).await {
            Ok((piece, rest)) => piece.map(|piece| (Ok(piece), Some(rest))),
            // The length that was announced is not reached: who fetches knows that it is not all there.
            Err(error) => Some((Err(error.to_string()), None)),
        }
    });
    let mut response = Body::from_stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"files-{name}.zip\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

fn member(entry: &Entry) -> Member {
    let path = entry.path().to_string();
    match entry {
        Entry::Folder(_) => Member { path, size_bytes: 0, folder: true, executable: false, modified_ms: None },
        Entry::File(file) => Member {
            path,
            size_bytes: file.size_bytes,
            folder: false,
            executable: file.executable,
            modified_ms: file.modified_ms,
        },
    }
}

/// An archive, as far as it was read.
struct Archive {
    members: Vec<Member>,
    /// Where they lie here.
    places: Vec<PathBuf>,
    /// Of members that were read.
    checksums: Vec<u32>,
    /// The file that is being read, what is left of it, its checksum so far.
    reading: Option<(File, u64, Checksum)>,
    ended: bool,
}

impl Archive {
    /// The next piece; none after the last. Blocks.
    fn next(mut self) -> Result<(Option<Bytes>, Self), FilesError> {
        let fault = |error: std::io::Error| FilesError::Disk { what: "cannot read".into(), reason: error.to_string() };
        let cut = || FilesError::Missing("a file of it is not here as it came".to_owned());
        let Some(member) = self.members.get(self.checksums.len()) else {
            let last = (!self.ended).then(|| zip::ending(&self.members, &self.checksums).into());
            self.ended = true;
            return Ok((last, self));
        };
        let piece = match self.reading.take() {
            None if member.folder => {
                self.checksums.push(0);
                [member.head(), member.tail(0)].concat()
            }
            None => {
                let place = self.places.get(self.checksums.len()).ok_or_else(cut)?;
                let file = File::open(place).map_err(fault)?;
                self.reading = Some((file, member.size_bytes, Checksum::new()));
                member.head()
            }
            Some((_, 0, checksum)) => {
                self.checksums.push(checksum.value());
                member.tail(checksum.value())
            }
            Some((mut file, left, mut checksum)) => {
                let mut buffer = vec![0; usize::try_from(left).unwrap_or(READ_BYTES).min(READ_BYTES)];
                let read = file.read(&mut buffer).map_err(fault)?;
                if read == 0 {
                    return Err(cut());
                }
                buffer.truncate(read);
                checksum.take(&buffer);
                self.reading = Some((file, left - read as u64, checksum));
                buffer
            }
        };
        Ok((Some(piece.into()), self))
    }
}
