//! The calls.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use shoal_file_exchange::{Entry, TransferId};
use shoal_ledger::UserRole;

use super::super::Api;
use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::handlers::{Answer, Wish};
use super::super::messages::types::{SentAnswer, To};
use super::super::messages::{targets, user_of};
use super::super::pages::Visitor;
use super::types::{
    BegunTransfer, EntriesView, EntryOfTransfer, FilesList, NewEntry, NewTransfer, OfferTransfer, TransferView,
};
use super::views;
use crate::files::{DraftEntry, Incoming, IncomingState, OfferRequest, Outgoing, OutgoingState, blocking};
use crate::page;

/// How long an offer can be fetched, unless said otherwise.
const LIFE_USUAL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

pub(super) fn transfer_of(text: &str) -> Result<TransferId, Failure> {
    text.parse().map_err(|error: shoal_file_exchange::FormatError| Failure::bad(error.to_string()))
}

pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Answer<FilesList> {
    caller.needs(UserRole::User)?;
    Ok(Json(views::all(&api).await?))
}

pub(super) async fn one(State(api): State<Arc<Api>>, caller: Caller, Path(id): Path<String>) -> Answer<TransferView> {
    caller.needs(UserRole::User)?;
    let (transfer, files, names) = (transfer_of(&id)?, api.files()?, api.names());
    Ok(Json(match files.incoming(transfer) {
        Ok(one) => TransferView::Incoming(views::incoming(&names, &one)),
        Err(_) => TransferView::Outgoing(views::outgoing(&api, &names, &files.outgoing(transfer)?).await?),
    }))
}

/// What is in a transfer; of one that is handed in also how much of each file is there.
pub(super) async fn entries(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<EntriesView> {
    caller.needs(UserRole::User)?;
    let (transfer, files) = (transfer_of(&id)?, api.files()?);
    let entries = match files.incoming(transfer) {
        Ok(one) => incoming_entries(&one).await?,
        Err(_) => outgoing_entries(&api, &files.outgoing(transfer)?).await?,
    };
    Ok(Json(EntriesView { entries }))
}

async fn incoming_entries(one: &Arc<Incoming>) -> Result<Vec<EntryOfTransfer>, Failure> {
    let manifest = match one.manifest().await {
        Ok(manifest) => manifest,
        // It is fetched first, and not there yet.
        Err(_) => return Ok(Vec::new()),
    };
    let one = one.clone();
    let listed = blocking(move || {
        let there = |entry: &Entry| std::fs::metadata(one.path_of(entry.path())).map_or(0, |found| found.len());
        Ok(manifest.entries().iter().enumerate().map(|(index, entry)| listed(index, entry, there(entry))).collect())
    });
    Ok(listed.await?)
}

async fn outgoing_entries(api: &Api, one: &Arc<Outgoing>) -> Result<Vec<EntryOfTransfer>, Failure> {
    let record = one.record();
    if record.state != OutgoingState::Uploading {
        let there = |entry: &Entry| match entry {
            Entry::File(file) if record.state != OutgoingState::Ended => file.size_bytes,
            _ => 0,
        };
        let manifest = one.manifest().await?;
        return Ok(manifest
            .entries()
            .iter()
            .enumerate()
            .map(|(index, entry)| listed(index, entry, there(entry)))
            .collect());
    }
    let there = api.files()?.uploaded(one).await?;
    let draft = one.entries();
    let entries = draft.iter().zip(there).enumerate().map(|(index, (entry, there_bytes))| EntryOfTransfer {
        number: u32::try_from(index).unwrap_or(u32::MAX),
        path: entry.path.to_string(),
        folder: entry.folder,
        size_bytes: entry.size_bytes,
        hash: String::new(),
        modified_ms: entry.modified_ms,
        executable: entry.executable,
        there_bytes,
    });
    Ok(entries.collect())
}

fn listed(index: usize, entry: &Entry, there_bytes: u64) -> EntryOfTransfer {
    let number = u32::try_from(index).unwrap_or(u32::MAX);
    let path = entry.path().to_string();
    match entry {
        Entry::Folder(_) => EntryOfTransfer {
            number,
            path,
            folder: true,
            size_bytes: 0,
            hash: String::new(),
            modified_ms: None,
            executable: false,
            there_bytes: 0,
        },
        Entry::File(file) => EntryOfTransfer {
            number,
            path,
            folder: false,
            size_bytes: file.size_bytes,
            hash: blake3::Hash::from_bytes(file.hash).to_hex().to_string(),
            modified_ms: file.modified_ms,
            executable: file.executable,
            there_bytes,
        },
    }
}

pub(super) async fn begin(
    State(api): State<Arc<Api>>,
    caller: Caller,
    wanted: Wish<NewTransfer>,
) -> Answer<BegunTransfer> {
    let wanted = wanted.from(&caller, UserRole::User)?;
    let user = user_of(&caller, wanted.user.as_deref())?;
    let entry = |entry: NewEntry| -> Result<DraftEntry, Failure> {
        let path = entry.path.parse();
        Ok(DraftEntry {
            path: path.map_err(|error: shoal_file_exchange::FormatError| Failure::bad(error.to_string()))?,
            folder: entry.folder,
            size_bytes: entry.size_bytes,
            modified_ms: entry.modified_ms,
            executable: entry.executable,
        })
    };
    let entries = wanted.entries.into_iter().map(entry).collect::<Result<_, _>>()?;
    let transfer = api.files()?.begin(user.as_str(), &wanted.note, entries).await?;
    Ok(Json(BegunTransfer { transfer: transfer.to_string() }))
}

/// Fails unless a caller may do something with what is sent: who sent it, and who tends the pool.
pub(super) fn may_change(caller: &Caller, one: &Outgoing) -> Result<(), Failure> {
    caller.needs(UserRole::User)?;
    if caller.local || caller.role >= UserRole::Operator || one.record().user == caller.user {
        return Ok(());
    }
    Err(Failure::denied("another user sends that"))
}

pub(super) async fn offer(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    wanted: Wish<OfferTransfer>,
) -> Answer<SentAnswer> {
    let wanted = wanted.from(&caller, UserRole::User)?;
    let (transfer, files) = (transfer_of(&id)?, api.files()?);
    let one = files.outgoing(transfer)?;
    may_change(&caller, &one)?;
    let request = OfferRequest {
        targets: targets(&api, &wanted.to)?,
        to: match &wanted.to {
            To::Agents(names) => names.join(", "),
            To::Group(name) => format!("group {name}"),
            To::All(_) => "all".to_owned(),
        },
        user: user_of(&caller, wanted.user.as_deref())?,
        life: wanted.expires_s.map_or(LIFE_USUAL, Duration::from_secs),
    };
    // Begun is gone through with, whether the caller waits or not: half an offer would stay so.
    let files = files.clone();
    let offered = tokio::spawn(async move { files.offer(transfer, request).await });
    let sent = offered.await.map_err(|error| Failure::broken(error.to_string()))??;
    Ok(Json(super::super::messages::sent_answer(&api, &sent)))
}

pub(super) async fn remove(State(api): State<Arc<Api>>, caller: Caller, Path(id): Path<String>) -> Answer<()> {
    let (transfer, files) = (transfer_of(&id)?, api.files()?);
    caller.needs(UserRole::User)?;
    match files.incoming(transfer) {
        Ok(_) => files.remove_incoming(transfer).await?,
        Err(_) => {
            let one = files.outgoing(transfer)?;
            may_change(&caller, &one)?;
            files.withdraw(transfer).await?;
        }
    }
    tracing::info!(user = %caller.user, %transfer, "files are removed");
    Ok(Json(()))
}

/// The page.
pub(in super::super) async fn page(State(api): State<Arc<Api>>, Visitor(caller): Visitor) -> Result<Response, Failure> {
    caller.needs(UserRole::User)?;
    let list = views::all(&api).await?;
    let recipients = super::super::pages::recipients(&api, false).await?;
    let input =
        page::FilesInput { pool: &api.agent.pool()?.name, user: &caller.user, recipients: &recipients, list: &list };
    Ok(page::files(&input).into_response())
}

/// Whether a file that came can be fetched: it is whole as soon as it has its name.
pub(super) fn is_there(one: &Incoming) -> bool {
    matches!(one.record().state, IncomingState::Coming | IncomingState::Done)
}
