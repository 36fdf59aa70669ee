//! Files and folders: making, replacing, removing one; its times.

use bytes::Bytes;
use dci_proto::InodeId;

use super::content::{self, inconsistent};
use super::state::State;
use super::trash::{self, Departure};
use super::{Step, locks, tree, uploads};
use crate::tables;
use crate::{
    Expect, FileContent, Guard, INLINE_LIMIT_BYTES, KvError, Node, NodeContent, NodeKind, NodePath, Outcome, Rejection,
    TrashReason, query,
};

/// Bytes of a media type, at most.
const MEDIA_TYPE_LIMIT_BYTES: usize = 1_024;
/// Bytes of a path in a rejection, at most: rejections are kept.
const SHOWN_LIMIT_BYTES: usize = 300;

/// A place in the namespace whose folder is there, and what stands at it.
pub(super) struct Place {
    /// The key of its row.
    pub(super) key: Vec<u8>,
    /// What stands there.
    pub(super) node: Option<Node>,
}

impl Place {
    /// Looks a path up; refused if its folder is not there.
    pub(super) fn find(state: &mut State, path: &NodePath) -> Step<Self> {
        check_path(path)?;
        let root = state.volume(path.volume)?.root;
        let Some((name, folders)) = path.names.split_last() else {
            let key = tables::volume_key(tables::ROOTS, path.volume);
            let node = state.read(tables::ROOTS, &key)?;
            return Ok(Self { key, node });
        };
        let folder = query::walk(&*state.kv, root, folders)?;
        let folder = folder.ok_or_else(|| Rejection::ParentMissing(shown(path)))?;
        let node = query::entry(&*state.kv, folder, name)?;
        Ok(Self { key: tables::node_key(folder, name), node })
    }

    /// Looks up what must be there.
    pub(super) fn existing(state: &mut State, path: &NodePath, guard: &Guard) -> Step<(Vec<u8>, Node)> {
        let place = match Self::find(state, path) {
            Err(super::Fail::Rejected(Rejection::ParentMissing(at))) => return Err(Rejection::NotFound(at).into()),
            found => found?,
        };
        check_expect(guard, place.node.as_ref(), path)?;
        let node = place.node.ok_or_else(|| Rejection::NotFound(shown(path)))?;
        Ok((place.key, node))
    }
}

/// A file as it is to be committed.
pub(super) struct FileCommit<'a> {
    pub(super) content: &'a FileContent,
    pub(super) size_bytes: u64,
    pub(super) modified_ms: Option<i64>,
    pub(super) sha1: Option<[u8; 20]>,
    pub(super) media_type: Option<&'a str>,
}

pub(super) fn make_folder(
    state: &mut State,
    path: &NodePath,
    guard: &Guard,
    modified_ms: Option<i64>,
) -> Step<Outcome> {
    let place = Place::find(state, path)?;
    check_expect(guard, place.node.as_ref(), path)?;
    let (None, Some(name)) = (place.node, path.name()) else { return Err(Rejection::Exists(shown(path)).into()) };
    locks::check_member(state, path, guard)?;
    let node = new_node(state, name, NodeKind::Folder, modified_ms);
    state.put(tables::NODES, &place.key, &node)?;
    Ok(Outcome::Node { node, created: true })
}

pub(super) fn commit_file(state: &mut State, path: &NodePath, guard: &Guard, file: &FileCommit<'_>) -> Step<Outcome> {
    let place = Place::find(state, path)?;
    check_expect(guard, place.node.as_ref(), path)?;
    match &place.node {
        Some(node) if node.kind == NodeKind::Folder => return Err(Rejection::IsAFolder(shown(path)).into()),
        Some(_) => locks::check_node(state, path, guard)?,
        None => locks::check_member(state, path, guard)?,
    }
    check_file(state, file)?;
    let content = take_content(state, file.content)?;
    let created = place.node.is_none();
    let mut node = match place.node {
        Some(before) => {
            let departure = Departure { user: &guard.user, reason: TrashReason::Overwritten };
            drop_content(state, path, &before, departure)?;
            Node { modified_ms: state.now_signed_ms(), version: state.new_version(), ..before }
        }
        None => new_node(state, path.name().unwrap_or_default(), NodeKind::File, None),
    };
    node.modified_ms = file.modified_ms.unwrap_or(node.modified_ms);
    node.size_bytes = file.size_bytes;
    node.content = Some(content);
    node.sha1 = file.sha1;
    node.media_type = file.media_type.map(str::to_owned);
    state.count_files(path.volume, i64::from(created), signed(file.size_bytes))?;
    state.put(tables::NODES, &place.key, &node)?;
    Ok(Outcome::Node { node, created })
}

pub(super) fn remove(state: &mut State, path: &NodePath, guard: &Guard) -> Step<Outcome> {
    let (key, node) = Place::existing(state, path, guard)?;
    if path.is_root() {
        return Err(Rejection::Invalid("the root of a volume cannot be removed".to_owned()).into());
    }
    locks::check_member(state, path, guard)?;
    locks::check_tree(state, path, guard)?;
    let departure = Departure { user: &guard.user, reason: TrashReason::Deleted };
    tree::remove(state, path, &key, &node, Some(departure))?;
    locks::drop_below(state, path, false)?;
    Ok(Outcome::Done)
}

pub(super) fn set_times(
    state: &mut State,
    path: &NodePath,
    guard: &Guard,
    modified_ms: Option<i64>,
    created_ms: Option<i64>,
) -> Step<Outcome> {
    let (key, mut node) = Place::existing(state, path, guard)?;
    locks::check_node(state, path, guard)?;
    node.modified_ms = modified_ms.unwrap_or(node.modified_ms);
    node.created_ms = created_ms.unwrap_or(node.created_ms);
    state.put(tables::NODES, &key, &node)?;
    Ok(Outcome::Done)
}

/// Makes an empty file at a free place that has been checked.
pub(super) fn put_empty_file(state: &mut State, path: &NodePath, place: &Place) -> Step<()> {
    let mut node = new_node(state, path.name().unwrap_or_default(), NodeKind::File, None);
    node.content = Some(NodeContent::Inline(Bytes::new()));
    state.count_files(path.volume, 1, 0)?;
    Ok(state.put(tables::NODES, &place.key, &node)?)
}

/// A node of a new number, now.
pub(super) fn new_node(state: &mut State, name: &str, kind: NodeKind, modified_ms: Option<i64>) -> Node {
    let now_ms = state.now_signed_ms();
    Node {
        inode: state.new_inode(),
        name: name.to_owned(),
        kind,
        size_bytes: 0,
        modified_ms: modified_ms.unwrap_or(now_ms),
        created_ms: now_ms,
        version: state.new_version(),
        content: None,
        sha1: None,
        media_type: None,
        has_properties: false,
    }
}

/// Checks the bytes of a file: nothing is written yet.
fn check_file(state: &State, file: &FileCommit<'_>) -> Step<()> {
    if file.media_type.is_some_and(|media_type| media_type.len() > MEDIA_TYPE_LIMIT_BYTES) {
        return Err(Rejection::Invalid("the media type is too long".to_owned()).into());
    }
    let bytes = match file.content {
        FileContent::Inline(bytes) if bytes.len() > INLINE_LIMIT_BYTES => {
            return Err(inconsistent(format!("{} bytes are too many to keep inline", bytes.len())));
        }
        FileContent::Inline(bytes) => bytes.len() as u64,
        FileContent::Chunks(chunks) => content::check(state, chunks)?,
        FileContent::Staged(upload, chunks) => {
            let staged = uploads::find(state, *upload)?;
            if staged.ended && !chunks.is_empty() {
                return Err(inconsistent(format!("upload {upload} goes on after its last chunk")));
            }
            uploads::index_after(&staged, chunks.len())?;
            staged.bytes.saturating_add(content::check(state, chunks)?)
        }
    };
    if bytes != file.size_bytes {
        return Err(inconsistent(format!("the parts have {bytes} bytes, the whole {}", file.size_bytes)));
    }
    Ok(())
}

/// Takes checked bytes in.
fn take_content(state: &mut State, content: &FileContent) -> Step<NodeContent> {
    match content {
        FileContent::Inline(bytes) => Ok(NodeContent::Inline(bytes.clone())),
        FileContent::Chunks(chunks) if chunks.is_empty() => Ok(NodeContent::Inline(Bytes::new())),
        FileContent::Chunks(chunks) => {
            let list = state.new_inode();
            content::link(state, list, 0, chunks)?;
            Ok(NodeContent::Chunks(list))
        }
        FileContent::Staged(upload, chunks) => {
            let staged = uploads::find(state, *upload)?;
            content::link(state, *upload, staged.next_index, chunks)?;
            uploads::forget(state, *upload)?;
            let empty = staged.bytes == 0 && chunks.is_empty();
            Ok(if empty { NodeContent::Inline(Bytes::new()) } else { NodeContent::Chunks(*upload) })
        }
    }
}

/// Lets go of the content that is replaced.
pub(super) fn drop_content(state: &mut State, path: &NodePath, before: &Node, departure: Departure<'_>) -> Step<()> {
    trash::take(state, path.volume, &path.names, before, Some(departure))?;
    state.count_files(path.volume, 0, -signed(before.size_bytes))
}

pub(super) fn check_expect(guard: &Guard, node: Option<&Node>, path: &NodePath) -> Step<()> {
    let holds = match (guard.expect, node) {
        (None, _) | (Some(Expect::Absent), None) | (Some(Expect::Present), Some(_)) => true,
        (Some(Expect::Version { inode, version }), Some(node)) => (node.inode, node.version) == (inode, version),
        _ => false,
    };
    if holds { Ok(()) } else { Err(Rejection::PreconditionFailed(shown(path)).into()) }
}

/// Paths in commands come from other agents: nobody has checked them here.
pub(super) fn check_path(path: &NodePath) -> Step<()> {
    Ok(NodePath::check(&path.names).map_err(Rejection::from)?)
}

/// A path for people, its end if it is long.
pub(super) fn shown(path: &NodePath) -> String {
    shortened(&path.to_string())
}

/// The end of a long text.
pub(super) fn shortened(text: &str) -> String {
    if text.len() <= SHOWN_LIMIT_BYTES {
        return text.to_owned();
    }
    let mut start = text.len() - SHOWN_LIMIT_BYTES;
    while !text.is_char_boundary(start) {
        start += 1;
    }
    format!("…{}", text.get(start..).unwrap_or_default())
}

/// A file's size as a counter's step.
pub(super) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The chunk list a node holds, if it has one.
pub(super) fn chunk_list(node: &Node) -> Option<InodeId> {
    match &node.content {
        Some(NodeContent::Chunks(list)) => Some(*list),
        _ => None,
    }
}

/// Removes all properties of a node.
pub(super) fn drop_properties(state: &mut State, node: &Node) -> Result<(), KvError> {
    if node.has_properties {
        for property in query::properties(&*state.kv, node.inode)? {
            let name = &property.name;
            state.delete(&tables::property_key(node.inode, &name.namespace, &name.name))?;
        }
    }
    Ok(())
}
