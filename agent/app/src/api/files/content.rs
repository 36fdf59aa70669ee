//! Bytes of files: handed in a piece at a time, fetched from any byte on.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use shoal_file_exchange::{Entry, FileEntry};
use shoal_ledger::UserRole;

use super::super::Api;
use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::handlers::Answer;
use super::handlers::{is_there, may_change, transfer_of};
use super::types::Uploaded;
use crate::files::{FilesError, blocking};

/// Bytes read from the disk at once for who fetches.
const READ_BYTES: usize = 256 * 1024;

/// Where a piece begins.
#[derive(Deserialize)]
pub(super) struct Offset {
    #[serde(default)]
    offset: u64,
}

pub(super) async fn put(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((id, number)): Path<(String, u32)>,
    Query(Offset { offset }): Query<Offset>,
    body: Body,
) -> Answer<Uploaded> {
    let (transfer, files) = (transfer_of(&id)?, api.files()?);
    let one = files.outgoing(transfer)?;
    may_change(&caller, &one)?;
    let there_bytes = files.upload(transfer, number, offset, body.into_data_stream()).await?;
    Ok(Json(Uploaded { there_bytes }))
}

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((id, number)): Path<(String, usize)>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    caller.needs(UserRole::User)?;
    let one = api.files()?.incoming(transfer_of(&id)?)?;
    let none = || Failure::missing("that file is not here");
    if !is_there(&one) {
        return Err(none());
    }
    let manifest = one.manifest().await.map_err(|_| none())?;
    let Some(Entry::File(wanted)) = manifest.entries().get(number) else { return Err(none()) };
    let from = first_byte(&headers, wanted.size_bytes)?;
    let path = one.path_of(&wanted.path);
    let file = blocking(move || {
        let open = || -> std::io::Result<std::fs::File> {
            let mut file = std::fs::File::open(&path)?;
            file.seek(SeekFrom::Start(from.unwrap_or(0)))?;
            Ok(file)
        };
        open().map_err(|_| FilesError::Missing("that file is not here".to_owned()))
    })
    .await?;
    Ok(answer(wanted, from, file))
}

/// The first byte that is wanted: `Range: bytes=N-` is all that is taken of ranges; others get the whole file.
fn first_byte(headers: &HeaderMap, size_bytes: u64) -> Result<Option<u64>, Failure> {
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<u64>().ok());
    match from {
        Some(from) if from > size_bytes => Err(Failure::bad("the file ends before that")),
        from => Ok(from.filter(|from| *from > 0)),
    }
}

fn answer(wanted: &FileEntry, from: Option<u64>, file: std::fs::File) -> Response {
    let stream = futures::stream::unfold(Some(file), |file| async move {
        let mut file = file?;
        let read = blocking(move || {
            let mut buffer = vec![0; READ_BYTES];
            let read = file.read(&mut buffer);
            let read =
                read.map_err(|error| FilesError::Disk { what: "cannot read".into(), reason: error.to_string() })?;
            buffer.truncate(read);
            Ok((Bytes::from(buffer), file))
        });
        match read.await {
            Ok((bytes, _)) if bytes.is_empty() => None,
            Ok((bytes, file)) => Some((Ok(bytes), Some(file))),
            Err(error) => Some((Err(error.to_string()), None)),
        }
    });
    let mut response = Body::from_stream(stream).into_response();
    let begin = from.unwrap_or(0);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(wanted.size_bytes - begin));
    // Kept, never shown: what others send runs nowhere.
    let name = crate::cli::escaped(wanted.path.name());
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename*=UTF-8''{name}")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    if from.is_some() {
        let range = format!("bytes {begin}-{}/{}", wanted.size_bytes.saturating_sub(1), wanted.size_bytes);
        if let Ok(range) = HeaderValue::from_str(&range) {
            headers.insert(header::CONTENT_RANGE, range);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}
