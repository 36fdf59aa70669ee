//! Archives and what is in them.

use axum::Json;
use axum::extract::State;
use shoal_backup::plan::PathBytes;
use shoal_backup_service::recovery::{self, ArchiveRef};
use shoal_ledger::UserRole;

use super::super::caller::Caller;
use super::super::handlers::{Answer, Shared, Wish};
use super::types::{
    ArchiveView, DIFFERENCES_LIMIT, DiffRequest, DiffView, EntryView, FilesPage, FilesRequest, FindRequest, FindView,
    OwnerView, Which,
};
use super::views;

/// Entries of a page, at most.
const PAGE_LIMIT: usize = 1_000;
/// Entries that are found, at most.
const FOUND_LIMIT: usize = 10_000;

pub(super) async fn owners(State(api): Shared, caller: Caller) -> Answer<Vec<OwnerView>> {
    caller.needs(UserRole::Operator)?;
    let backups = api.backups()?;
    let owners = backups.recovery.owners().await;
    Ok(Json(owners.into_iter().map(|owner| views::owner(backups, owner)).collect()))
}

pub(super) async fn list(State(api): Shared, caller: Caller, wish: Wish<Which>) -> Answer<Vec<ArchiveView>> {
    let which = wish.from(&caller, UserRole::Admin)?;
    let backups = api.backups()?;
    let which = backups.which(which)?;
    let mut archives: Vec<ArchiveView> = match &which {
        recovery::Which::Own => backups.owner.archives()?.into_iter().map(views::own_archive).collect(),
        recovery::Which::Kit { .. } => {
            backups.recovery.archives(&which).await?.into_iter().map(views::archive).collect()
        }
    };
    archives.sort_by_key(|archive| std::cmp::Reverse((archive.number, archive.made_ms)));
    Ok(Json(archives))
}

pub(super) async fn files(State(api): Shared, caller: Caller, wish: Wish<FilesRequest>) -> Answer<FilesPage> {
    let asked = wish.from(&caller, UserRole::Admin)?;
    let backups = api.backups()?;
    let which = backups.which(asked.which)?;
    let folder = asked.folder.unwrap_or_else(|| PathBytes::new(b"/"));
    let archive = ArchiveRef::from(asked.archive);
    let page = backups.recovery.files(&which, archive, folder, asked.after, PAGE_LIMIT).await?;
    Ok(Json(FilesPage { entries: page.entries.into_iter().map(EntryView::from).collect(), more: page.more }))
}

pub(super) async fn diff(State(api): Shared, caller: Caller, wish: Wish<DiffRequest>) -> Answer<DiffView> {
    let asked = wish.from(&caller, UserRole::Admin)?;
    let backups = api.backups()?;
    let which = backups.which(asked.which)?;
    let (from, to) = (asked.from.into(), asked.to.into());
    let page = backups.recovery.diff(&which, from, to, None, DIFFERENCES_LIMIT).await?;
    Ok(Json(DiffView {
        differences: page.differences.into_iter().map(views::difference).collect(),
        more: page.more,
        unread: page.unread,
    }))
}

pub(super) async fn find(State(api): Shared, caller: Caller, wish: Wish<FindRequest>) -> Answer<FindView> {
    let asked = wish.from(&caller, UserRole::Admin)?;
    let backups = api.backups()?;
    let which = backups.which(asked.which)?;
    let page = backups.recovery.find(&which, asked.pattern, FOUND_LIMIT).await?;
    let entry = |found: recovery::FoundView| EntryView {
        archives: found.archives.iter().map(|archive| archive.0).collect(),
        ..EntryView::from(found.file)
    };
    Ok(Json(FindView { entries: page.found.into_iter().map(entry).collect(), more: page.more, unread: page.unread }))
}
