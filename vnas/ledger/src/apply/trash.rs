//! The trash: content that files let go of changes hands, and is let go of for good when its time is over, the room is
//! needed, or somebody says so. A row a version; overwriting and removing stay as cheap as they were.

use dci_proto::VolumeId;

use super::namespace::chunk_list;
use super::state::{PAGE_ROWS, State};
use super::{Step, content};
use crate::tables::{self, TrashRow};
use crate::{KvError, Node, Outcome, Rejection, TrashReason, TrashTotals, query};

/// Versions kept of one path; the oldest goes for one more.
pub const TRASH_VERSIONS_LIMIT: usize = 32;
/// Versions in the trash of a pool; the oldest goes for one more.
pub const TRASH_ROWS_LIMIT: u64 = 1_000_000;
/// Versions one command lets go of for good.
pub const TRASH_PURGE_LIMIT: usize = 512;

/// How a file's content goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Departure<'a> {
    /// By whom.
    pub(super) user: &'a str,
    pub(super) reason: TrashReason,
}

/// Takes over the content a file at these names lets go of. Without a departure, where nothing is kept, and of an empty
/// file, nothing remains.
pub(super) fn take(
    state: &mut State,
    volume: VolumeId,
    names: &[String],
    node: &Node,
    departure: Option<Departure<'_>>,
) -> Step<()> {
    let Some(Departure { user, reason }) = departure.filter(|_| node.size_bytes > 0) else {
        return Ok(let_go(state, node)?);
    };
    if query::care_policy(&*state.kv)?.trash_keep_s == 0 {
        return Ok(let_go(state, node)?);
    }
    make_room(state, volume, names)?;
    let books = state.trash_mut()?;
    let id = books.next_id;
    books.next_id += 1;
    let name = names.last().cloned().unwrap_or_default();
    let row = TrashRow {
        volume,
        names: names.to_vec(),
        node: Node { name, has_properties: false, ..node.clone() },
        since_ms: state.now_ms(),
        user: user.to_owned(),
        reason,
    };
    state.put(tables::TRASH, &tables::trash_key(id), &row)?;
    state.put(tables::TRASH_PATHS, &tables::trash_path_key(volume, names, id), &())?;
    count(state, volume, &mut |totals| {
        totals.files += 1;
        totals.bytes = totals.bytes.saturating_add(node.size_bytes);
    })?;
    Ok(())
}

/// Lets go for good of versions a caller names.
pub(super) fn purge(state: &mut State, volume: VolumeId, ids: &[u64]) -> Step<Outcome> {
    if ids.len() > TRASH_PURGE_LIMIT {
        return Err(Rejection::TooMany("versions to purge at once".to_owned()).into());
    }
    let mut purged = TrashTotals::default();
    for id in ids {
        let row = read(state, *id)?.filter(|row| row.volume == volume);
        if let Some(row) = row {
            purged.files += 1;
            purged.bytes = purged.bytes.saturating_add(row.node.size_bytes);
            take_out(state, *id, &row)?;
            let_go(state, &row.node)?;
        }
    }
    Ok(Outcome::Purged(purged))
}

/// Lets go for good of a whole volume's trash.
pub(super) fn drop_volume(state: &mut State, volume: VolumeId) -> Result<(), KvError> {
    let prefix = tables::trash_below_key(volume, &[]);
    loop {
        let page = state.page::<()>(tables::TRASH_PATHS, &prefix, &prefix)?;
        for (key, ()) in &page {
            drop_version(state, tables::trash_id(key))?;
        }
        if page.len() < PAGE_ROWS {
            return Ok(());
        }
    }
}

/// A version in a volume's trash.
pub(super) fn find(state: &State, volume: VolumeId, id: u64) -> Step<TrashRow> {
    let row = read(state, id)?.filter(|row| row.volume == volume);
    Ok(row.ok_or_else(|| Rejection::NotFound(format!("version {id} in the trash")))?)
}

/// Takes a version out of the books; its content is the caller's from now on.
pub(super) fn take_out(state: &mut State, id: u64, row: &TrashRow) -> Result<(), KvError> {
    state.delete(&tables::trash_key(id))?;
    state.delete(&tables::trash_path_key(row.volume, &row.names, id))?;
    count(state, row.volume, &mut |totals| {
        totals.files = totals.files.saturating_sub(1);
        totals.bytes = totals.bytes.saturating_sub(row.node.size_bytes);
    })
}

/// Drops the oldest version where there are as many as may be: of the path, and of all.
fn make_room(state: &mut State, volume: VolumeId, names: &[String]) -> Result<(), KvError> {
    let prefix = tables::trash_on_key(volume, names);
    let (mut count, mut oldest) = (0, None);
    state.kv.scan(&prefix, &tables::after_prefix(&prefix), &mut |key, _| {
        oldest.get_or_insert(tables::trash_id(key));
        count += 1;
        Ok(count < TRASH_VERSIONS_LIMIT)
    })?;
    if let (Some(oldest), true) = (oldest, count >= TRASH_VERSIONS_LIMIT) {
        drop_version(state, oldest)?;
    }
    if state.trash_mut()?.totals.files >= TRASH_ROWS_LIMIT {
        let oldest = query::trash_oldest(&*state.kv, 0, 1)?;
        if let Some(oldest) = oldest.first() {
            drop_version(state, oldest.id)?;
        }
    }
    Ok(())
}

fn drop_version(state: &mut State, id: u64) -> Result<(), KvError> {
    let Some(row) = read(state, id)? else { return Ok(()) };
    take_out(state, id, &row)?;
    let_go(state, &row.node)
}

fn let_go(state: &mut State, node: &Node) -> Result<(), KvError> {
    chunk_list(node).map_or(Ok(()), |list| content::unlink(state, list))
}

fn read(state: &State, id: u64) -> Result<Option<TrashRow>, KvError> {
    state.read(tables::TRASH, &tables::trash_key(id))
}

fn count(state: &mut State, volume: VolumeId, change: &mut dyn FnMut(&mut TrashTotals)) -> Result<(), KvError> {
    change(&mut state.trash_mut()?.totals);
    change(state.trash_totals_mut(volume)?);
    Ok(())
}
