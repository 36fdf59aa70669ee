//! What an agent is expected to hold, and which files a content is of.

use std::collections::{BTreeMap, BTreeSet};

use dci_proto::{AgentId, ContentId, InodeId, ShardHash, ShardKey, StripeId};
use serde::{Deserialize, Serialize};

use crate::tables::{self, ChunkRow, TrashRow};
use crate::{KvError, KvRead, Node, NodeContent, NodeKind};

/// Stripes looked at for one page, so that a page takes little time even where few of them are on the agent.
const PAGE_STRIPES: usize = 20_000;
/// Names told of one content, at most; further files are counted.
pub const NAMES_PER_CONTENT: usize = 8;
/// Chunk lists remembered while names are looked for: as many files as can be told with all there is to tell of them.
const LISTS_LIMIT: usize = 100_000;
/// Folders remembered while names are looked for (some 20 MB); paths below others begin with `…`.
const FOLDERS_LIMIT: usize = 200_000;

/// A shard a stripe in use counts on an agent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedShard {
    /// Which.
    pub key: ShardKey,
    /// Hash of its bytes.
    pub hash: ShardHash,
    /// Its bytes.
    pub bytes: u32,
}

/// Some of the shards an agent is expected to hold, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ExpectedPage {
    /// They. May be none though more follow.
    pub shards: Vec<ExpectedShard>,
    /// Where to go on after; `None`: that was all.
    pub next: Option<StripeId>,
}

/// The files a content is of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FilesOfContent {
    /// `VOLUME/FOLDER/NAME`, those in the trash marked; at most [`NAMES_PER_CONTENT`].
    pub names: Vec<String>,
    /// Further files.
    pub more: u64,
}

/// The shards stripes in use count on an agent for, of stripes after `after`, at most `limit`.
pub fn expected(
    kv: &dyn KvRead,
    agent: AgentId,
    after: Option<StripeId>,
    limit: usize,
) -> Result<ExpectedPage, KvError> {
    let (mut page, mut seen) = (ExpectedPage::default(), 0);
    super::stripes(kv, after, &mut |stripe, record| {
        let place = (0u8..).zip(&record.shards).find(|(_, place)| place.agent == Some(agent));
        if let Some((index, place)) = place {
            let key = ShardKey { stripe, index };
            page.shards.push(ExpectedShard { key, hash: place.hash, bytes: record.shard_bytes });
        }
        seen += 1;
        let full = seen >= PAGE_STRIPES || page.shards.len() >= limit.max(1);
        page.next = full.then_some(stripe);
        !full
    })?;
    Ok(page)
}

/// The files these contents are of. There is no index from contents to files: this reads all chunk lists and all names,
/// some seconds for a million files; ask it for many contents at once, where it may block. Contents no file has (any
/// more) are left out.
pub fn files_of(
    kv: &dyn KvRead,
    contents: &BTreeSet<ContentId>,
) -> Result<BTreeMap<ContentId, FilesOfContent>, KvError> {
    let lists = lists_with(kv, contents)?;
    let mut found: BTreeMap<ContentId, FilesOfContent> = BTreeMap::new();
    if lists.is_empty() {
        return Ok(found);
    }
    let (files, folders) = nodes_with(kv, &lists)?;
    let roots: BTreeMap<InodeId, String> =
        super::volumes(kv)?.into_iter().map(|volume| (volume.root, volume.name)).collect();
    let standing = files.into_iter().map(|(folder, name, list)| (path_of(folder, &name, &folders, &roots), list));
    for (path, list) in standing.chain(trash_with(kv, &lists)?) {
        for content in lists.get(&list).into_iter().flatten() {
            let files = found.entry(*content).or_default();
            if files.names.len() < NAMES_PER_CONTENT {
                files.names.push(path.clone());
            } else {
                files.more += 1;
            }
        }
    }
    Ok(found)
}

type Lists = BTreeMap<InodeId, BTreeSet<ContentId>>;
type Folders = BTreeMap<InodeId, (InodeId, String)>;
/// Folder, name and chunk list of a file.
type Named = (InodeId, String, InodeId);

/// The chunk lists that name any of these contents, and which.
fn lists_with(kv: &dyn KvRead, contents: &BTreeSet<ContentId>) -> Result<Lists, KvError> {
    let (mut lists, prefix) = (Lists::new(), tables::CHUNKS.key(&[]));
    if contents.is_empty() {
        return Ok(lists);
    }
    tables::visit(kv, tables::CHUNKS, &prefix, &prefix, &mut |key, row: ChunkRow| {
        if contents.contains(&row.content) {
            lists.entry(inode_of(key)?).or_default().insert(row.content);
        }
        Ok(lists.len() < LISTS_LIMIT)
    })?;
    Ok(lists)
}

/// The files with these chunk lists (folder, name, list), and all folders by number.
fn nodes_with(kv: &dyn KvRead, lists: &Lists) -> Result<(Vec<Named>, Folders), KvError> {
    let (mut files, mut folders, prefix) = (Vec::new(), Folders::new(), tables::NODES.key(&[]));
    tables::visit(kv, tables::NODES, &prefix, &prefix, &mut |key, node: Node| {
        match (node.kind, &node.content) {
            (NodeKind::Folder, _) if folders.len() < FOLDERS_LIMIT => {
                folders.insert(node.inode, (inode_of(key)?, node.name));
            }
            (_, Some(NodeContent::Chunks(list))) if lists.contains_key(list) => {
                files.push((inode_of(key)?, node.name, *list));
            }
            _ => {}
        }
        Ok(true)
    })?;
    Ok((files, folders))
}

/// What the trash has with these chunk lists: path and list.
fn trash_with(kv: &dyn KvRead, lists: &Lists) -> Result<Vec<(String, InodeId)>, KvError> {
    let volumes: BTreeMap<_, String> = super::volumes(kv)?.into_iter().map(|volume| (volume.id, volume.name)).collect();
    let (mut found, prefix) = (Vec::new(), tables::TRASH.key(&[]));
    tables::visit(kv, tables::TRASH, &prefix, &prefix, &mut |_, row: TrashRow| {
        if let Some(NodeContent::Chunks(list)) = row.node.content
            && lists.contains_key(&list)
        {
            let volume = volumes.get(&row.volume).map_or("…", String::as_str);
            found.push((format!("{volume}/{} (in the trash)", row.names.join("/")), list));
        }
        Ok(true)
    })?;
    Ok(found)
}

/// `VOLUME/FOLDER/NAME`.
fn path_of(mut folder: InodeId, name: &str, folders: &Folders, roots: &BTreeMap<InodeId, String>) -> String {
    let mut names = vec![name.to_owned()];
    for _ in 0..crate::NodePath::DEPTH_LIMIT {
        if let Some(volume) = roots.get(&folder) {
            names.push(volume.clone());
            break;
        }
        let Some((above, name)) = folders.get(&folder) else {
            names.push("…".to_owned());
            break;
        };
        names.push(name.clone());
        folder = *above;
    }
    names.reverse();
    names.join("/")
}

/// The inode that the key of a row of [`tables::NODES`] or [`tables::CHUNKS`] begins with.
fn inode_of(key: &[u8]) -> Result<InodeId, KvError> {
    let number = key.get(1..).and_then(<[u8]>::first_chunk).map(|bytes| InodeId(u64::from_be_bytes(*bytes)));
    number.ok_or_else(|| KvError::Corrupt { table: tables::NODES.1, reason: "a key is too short".to_owned() })
}
