//! The calls about the trash.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use shoal_ledger::{
    Command, Guard, KvRead, NodePath, Outcome, Rejection, SubmitError, TrashEntry, TrashReason, UserRole, VolumeRecord,
    limits, query,
};

use super::Api;
use super::caller::Caller;
use super::failure::Failure;
use super::handlers::{Wish, volume_named};
use super::types::{EmptyAnswer, EmptyRequest, RestoreAnswer, RestoreRequest, TrashList, TrashView};

/// Versions one call lists unless it asks for fewer.
const LIST_LIMIT: usize = 1_000;
/// Files of a folder one call restores; whoever wants more calls again.
const RESTORE_LIMIT: usize = 500;
/// Steps in which one call empties; whoever wants more calls again.
const EMPTY_STEPS_LIMIT: usize = 20;

type Shared = State<Arc<Api>>;
type Answer<T> = Result<Json<T>, Failure>;

/// What is to be listed.
#[derive(Deserialize)]
pub(super) struct Wanted {
    volume: Option<String>,
    path: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn list(State(api): Shared, _caller: Caller, Query(wanted): Query<Wanted>) -> Answer<TrashList> {
    if let Err(error) = api.agent.ledger.barrier().await {
        tracing::debug!(%error, "the trash is listed as this agent knows it");
    }
    let view = api.agent.ledger.view()?;
    let volumes = match &wanted.volume {
        Some(name) => vec![volume_named(&api, name)?],
        None => query::volumes(&*view)?,
    };
    let limit = wanted.limit.unwrap_or(LIST_LIMIT).min(LIST_LIMIT);
    let keep_ms = query::care_policy(&*view)?.trash_keep_s.saturating_mul(1_000);
    let mut list = TrashList { entries: Vec::new(), more: false, files: 0, bytes: 0 };
    for volume in &volumes {
        let totals = query::trash_totals_of(&*view, volume.id)?;
        list.files += totals.files;
        list.bytes = list.bytes.saturating_add(totals.bytes);
        let path = path_in(volume, wanted.path.as_deref().unwrap_or("/"))?;
        query::trash_below(&*view, &path, &mut |entry| {
            list.more = list.entries.len() >= limit;
            if !list.more {
                list.entries.push(shown(volume, entry, keep_ms));
            }
            !list.more
        })?;
    }
    Ok(Json(list))
}

fn shown(volume: &VolumeRecord, entry: TrashEntry, keep_ms: u64) -> TrashView {
    TrashView {
        id: entry.id,
        volume: volume.name.clone(),
        path: entry.path.to_string(),
        bytes: entry.node.size_bytes,
        modified_ms: entry.node.modified_ms,
        since_ms: entry.since_ms,
        expires_ms: entry.since_ms.saturating_add(keep_ms),
        user: entry.user,
        reason: entry.reason,
    }
}

pub(super) async fn restore(State(api): Shared, caller: Caller, wish: Wish<RestoreRequest>) -> Answer<RestoreAnswer> {
    let wish = wish.from(&caller, UserRole::User)?;
    api.agent.ledger.barrier().await?;
    let view = api.agent.ledger.view()?;
    let guard = Guard { user: caller.user.clone(), ..Guard::default() };
    let (volume, entries, at) = match (wish.id, wish.path.as_deref()) {
        (Some(id), _) => {
            let entry = query::trash_entry(&*view, id)?;
            let entry = entry.ok_or_else(|| Failure::missing(format!("there is no version {id} in the trash")))?;
            let volume = query::volume(&*view, entry.path.volume)?;
            let volume = volume.ok_or_else(|| Failure::missing("its volume is not there any more"))?;
            let at = entry.path.clone();
            (volume, vec![entry], at)
        }
        (None, Some(path)) => {
            let volume = only_volume(&api, &*view, wish.volume.as_deref())?;
            let at = path_in(&volume, path)?;
            let entries = newest(&*view, &at)?;
            (volume, entries, at)
        }
        (None, None) => return Err(Failure::bad("say what to restore: an `id` or a `path`")),
    };
    if entries.is_empty() {
        return Err(Failure::missing(format!("nothing of {at} is in the trash of {}", volume.name)));
    }
    let to = wish.to.as_deref().map(|to| path_in(&volume, to)).transpose()?;
    let single = matches!(entries.as_slice(), [only] if only.path == at);
    let mut answer = RestoreAnswer { restored: Vec::new(), skipped: 0, more: false };
    for entry in entries {
        if answer.restored.len() >= RESTORE_LIMIT {
            answer.more = true;
            break;
        }
        let to = to.as_ref().map(|to| moved(&entry.path, &at, to));
        let (volume, id, guard) = (entry.path.volume, entry.id, guard.clone());
        let restore = Command::RestoreTrash { volume, id, to, overwrite: wish.overwrite, guard };
        match api.agent.ledger.submit(restore).await {
            Ok(Outcome::Restored { path, .. }) => answer.restored.push(path.to_string()),
            Ok(_) => return Err(Failure::unavailable("the agents run versions that do not understand each other")),
            // Of a folder, what stands there stays.
            Err(SubmitError::Rejected(Rejection::Exists(_) | Rejection::IsAFolder(_))) if !single => {
                answer.skipped += 1
            }
            Err(error) => return Err(error.into()),
        }
    }
    let restored = answer.restored.len();
    tracing::info!(user = %caller.user, volume = %volume.name, path = %at, restored, "restored from the trash");
    Ok(Json(answer))
}

/// Of a file its newest version; of a folder, of each file that was deleted from it the newest.
fn newest(view: &dyn KvRead, at: &NodePath) -> Result<Vec<TrashEntry>, Failure> {
    if let Some(newest) = query::trash_versions(view, at)?.pop() {
        return Ok(vec![newest]);
    }
    let mut newest: Vec<TrashEntry> = Vec::new();
    query::trash_below(view, at, &mut |entry| {
        // Versions of one path come together, the newest last.
        if newest.last().is_some_and(|last| last.path == entry.path) {
            newest.pop();
        }
        newest.push(entry);
        newest.len() <= limits::COPY_LIMIT_NODES
    })?;
    newest.retain(|entry| entry.reason == TrashReason::Deleted);
    Ok(newest)
}

/// Where a path below `from` is when `from` is at `to`.
fn moved(path: &NodePath, from: &NodePath, to: &NodePath) -> NodePath {
    let below = path.names.get(from.names.len()..).unwrap_or_default();
    NodePath { volume: to.volume, names: [&to.names, below].concat() }
}

pub(super) async fn empty(State(api): Shared, caller: Caller, wish: Wish<EmptyRequest>) -> Answer<EmptyAnswer> {
    let wish = wish.from(&caller, UserRole::Operator)?;
    let ledger = &api.agent.ledger;
    ledger.barrier().await?;
    let volumes = match &wish.volume {
        Some(name) => vec![volume_named(&api, name)?],
        None => query::volumes(&*ledger.view()?)?,
    };
    let mut answer = EmptyAnswer { files: 0, bytes: 0, more: false };
    // What goes to the trash while it is emptied stays in it.
    let now_ms = query::time_ms(&*ledger.view()?)?;
    let until_ms = now_ms.saturating_sub(wish.older_than_s.saturating_mul(1_000));
    for volume in &volumes {
        for step in 0..=EMPTY_STEPS_LIMIT {
            let ids = due(&*ledger.view()?, volume, until_ms)?;
            answer.more |= step == EMPTY_STEPS_LIMIT && !ids.is_empty();
            if ids.is_empty() || answer.more {
                break;
            }
            if let Outcome::Purged(purged) = ledger.submit(Command::PurgeTrash { volume: volume.id, ids }).await? {
                answer.files += purged.files;
                answer.bytes = answer.bytes.saturating_add(purged.bytes);
            }
            ledger.barrier().await?;
        }
    }
    tracing::info!(user = %caller.user, files = answer.files, bytes = answer.bytes, "trash emptied");
    Ok(Json(answer))
}

/// Versions of a volume that went up to a time, as many as one command takes.
fn due(view: &dyn KvRead, volume: &VolumeRecord, until_ms: u64) -> Result<Vec<u64>, Failure> {
    let (mut ids, mut after) = (Vec::new(), 0);
    loop {
        // Numbers and times grow together.
        let page = query::trash_oldest(view, after, limits::TRASH_PURGE_LIMIT)?;
        let Some(last) = page.last() else { return Ok(ids) };
        after = last.id;
        let over = last.since_ms > until_ms;
        let due = page.iter().filter(|entry| entry.since_ms <= until_ms && entry.path.volume == volume.id);
        ids.extend(due.map(|entry| entry.id));
        if over || ids.len() >= limits::TRASH_PURGE_LIMIT {
            ids.truncate(limits::TRASH_PURGE_LIMIT);
            return Ok(ids);
        }
    }
}

/// The volume of a name; without one, the only one there is.
fn only_volume(api: &Api, view: &dyn KvRead, name: Option<&str>) -> Result<VolumeRecord, Failure> {
    if let Some(name) = name {
        return volume_named(api, name);
    }
    let mut volumes = query::volumes(view)?;
    match (volumes.pop(), volumes.is_empty()) {
        (Some(only), true) => Ok(only),
        _ => Err(Failure::bad("there are several volumes: name the one it was in")),
    }
}

fn path_in(volume: &VolumeRecord, path: &str) -> Result<NodePath, Failure> {
    let names = path.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    NodePath::new(volume.id, names).map_err(|error| Rejection::from(error).into())
}
