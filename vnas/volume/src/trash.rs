//! The trash as folders and files, as doors show it: the folders as they were, and in them every version as a file of
//! its own. Read-only but for copying out.

use dci_proto::InodeId;
use shoal_ledger::{Command, Guard, Node, NodeKind, NodePath, Outcome, Rejection, TrashEntry, query};

use crate::namespace::unexpected;
use crate::{Drive, DriveError, trash_name};

/// What doors call the trash in the root of each volume. A real entry of that name goes before it.
pub const TRASH_FOLDER: &str = ".trash";

/// Names that begin alike looked through for the one that a cut name means, at most.
const CUT_LOOKED_AT: usize = 10_000;

impl Drive {
    /// What the trash shows at a path below its root; `None` for nothing. From the local copy (no refresh).
    pub fn trash_node(&self, path: &NodePath) -> Result<Option<Node>, DriveError> {
        let since_ms = query::trash_folder(&*self.shared.view()?, path)?;
        if since_ms.is_some() || path.is_root() {
            let name = path.name().unwrap_or(TRASH_FOLDER);
            return Ok(Some(folder(name, since_ms.unwrap_or(0))));
        }
        Ok(self.trash_version(path)?.map(|(name, entry)| Node { name, ..entry.node }))
    }

    /// What the trash shows in a folder after `after`, about `limit` nodes or a few more, and what to go on after, if
    /// there may be more. From the local copy (no refresh).
    pub fn trash_children(
        &self,
        path: &NodePath,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Node>, Option<String>), DriveError> {
        let (mut nodes, mut last) = (Vec::new(), None);
        query::trash_children(&*self.shared.view()?, path, after, &mut |child| {
            nodes.extend(child.folder_since_ms.map(|since_ms| folder(&child.name, since_ms)));
            let names = trash_name::names(&child.versions);
            nodes.extend(child.versions.into_iter().zip(names).map(|(entry, name)| Node { name, ..entry.node }));
            last = Some(child.name);
            nodes.len() < limit
        })?;
        let more = nodes.len() >= limit;
        Ok((nodes, last.filter(|_| more)))
    }

    /// Makes a file of a version the trash shows; true if nothing was at the destination.
    pub async fn copy_from_trash(
        &self,
        from: &NodePath,
        to: &NodePath,
        overwrite: bool,
        guard: Guard,
    ) -> Result<bool, DriveError> {
        let found = self.trash_version(from)?;
        let (_, entry) = found.ok_or_else(|| Rejection::NotFound(format!("{from} in the trash")))?;
        let (volume, id, to) = (entry.path.volume, entry.id, to.clone());
        match self.change(Command::CopyTrash { volume, id, to, overwrite, guard }).await? {
            Outcome::Node { created, .. } => Ok(created),
            other => Err(unexpected(&other)),
        }
    }

    /// The version shown at a path, and its name there.
    fn trash_version(&self, path: &NodePath) -> Result<Option<(String, TrashEntry)>, DriveError> {
        let Some((name, folders)) = path.names.split_last() else { return Ok(None) };
        let view = self.shared.view()?;
        for original in trash_name::originals(name) {
            let names = folders.iter().cloned().chain([original]).collect();
            let versions = query::trash_versions(&*view, &NodePath { volume: path.volume, names })?;
            let named = trash_name::names(&versions).into_iter().zip(versions);
            if let Some(found) = named.into_iter().find(|(shown, _)| shown == name) {
                return Ok(Some(found));
            }
        }
        let folder = NodePath { volume: path.volume, names: folders.to_vec() };
        for cut in trash_name::originals(name) {
            if let Some(beginning) = trash_name::beginning(&cut)
                && let Some(found) = self.cut_version(&folder, beginning, name)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The version of that name, which was cut: of the files in a folder whose names begin so.
    fn cut_version(
        &self,
        folder: &NodePath,
        beginning: &str,
        name: &str,
    ) -> Result<Option<(String, TrashEntry)>, DriveError> {
        let (mut found, mut looked_at) = (None, 0);
        let after = Some(beginning).filter(|beginning| !beginning.is_empty());
        query::trash_children(&*self.shared.view()?, folder, after, &mut |child| {
            looked_at += 1;
            let begins = child.name.starts_with(beginning);
            let named = trash_name::names(&child.versions).into_iter().zip(child.versions);
            found = named.into_iter().find(|(shown, _)| shown == name);
            found.is_none() && begins && looked_at < CUT_LOOKED_AT
        })?;
        Ok(found)
    }
}

fn folder(name: &str, since_ms: u64) -> Node {
    let since_ms = i64::try_from(since_ms).unwrap_or(i64::MAX);
    Node {
        inode: InodeId(0),
        name: name.to_owned(),
        kind: NodeKind::Folder,
        size_bytes: 0,
        modified_ms: since_ms,
        created_ms: since_ms,
        version: 0,
        content: None,
        sha1: None,
        media_type: None,
        has_properties: false,
    }
}
