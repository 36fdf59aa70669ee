//! An entry of an archive: a file or folder with all that is needed to make it again.

use std::fmt;

use rustic_core::DataId;
use rustic_core::repofile::{Node, NodeType};
use shoal_backup::plan::PathBytes;
use shoal_backup::recovery::{self, ContentHash, EntryKind, Rights};
use shoal_backup::sha256;

/// A piece of a file's content, named by the SHA-256 of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId(pub(crate) DataId);

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_hex().as_str())
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A file, with the pieces of its content in order.
    File(Box<[ContentId]>),
    /// A symbolic link, with what it points to.
    Link(Box<[u8]>),
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
    /// A device for blocks, with its number.
    BlockDevice(u64),
    /// A device for characters, with its number.
    CharacterDevice(u64),
}

/// A file or folder in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it was: absolute, in bytes.
    pub path: PathBytes,
    /// What it is.
    pub kind: Kind,
    /// Of a file, when it was looked at.
    pub size_bytes: u64,
    /// When it was changed, ns since 1970.
    pub modified_ns: i64,
    /// Permissions, with set-user-id, set-group-id and sticky: twelve bits.
    pub mode: u32,
    /// Its owner's number.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
    /// Device and inode, if it has more names than this.
    pub same_as: Option<(u64, u64)>,
    /// Extended attributes, access lists among them.
    pub attributes: Vec<(String, Vec<u8>)>,
}

impl Entry {
    /// What stands in a tree of the repository at this path.
    pub(crate) fn from_node(path: Vec<u8>, node: Node) -> Self {
        let meta = node.meta;
        let kind = match node.node_type {
            NodeType::File => Kind::File(node.content.unwrap_or_default().into_iter().map(ContentId).collect()),
            NodeType::Dir => Kind::Folder,
            NodeType::Symlink { linktarget, linktarget_raw } => {
                Kind::Link(linktarget_raw.unwrap_or_else(|| linktarget.into_bytes()).into())
            }
            NodeType::Dev { device } => Kind::BlockDevice(device),
            NodeType::Chardev { device } => Kind::CharacterDevice(device),
            NodeType::Fifo => Kind::Pipe,
            NodeType::Socket => Kind::Socket,
        };
        let modified = meta.mtime.map_or(0, |time| time.as_nanosecond());
        let attributes = meta.extended_attributes.into_iter();
        Self {
            path: PathBytes::new(&path),
            size_bytes: if matches!(kind, Kind::File(_)) { meta.size } else { 0 },
            kind,
            modified_ns: i64::try_from(modified).unwrap_or(if modified < 0 { i64::MIN } else { i64::MAX }),
            mode: crate::walk::mode_from_go(meta.mode.unwrap_or(0o600)),
            uid: meta.uid.unwrap_or(0),
            gid: meta.gid.unwrap_or(0),
            same_as: (meta.links > 1).then_some((meta.device_id, meta.inode)),
            attributes: attributes.map(|attribute| (attribute.name, attribute.value.unwrap_or_default())).collect(),
        }
    }

    /// As recovery sees it.
    #[must_use]
    pub fn as_listed(&self) -> recovery::Entry {
        let content = match &self.kind {
            Kind::File(pieces) => {
                let names: Vec<_> = pieces.iter().map(|piece| piece.0.to_hex()).collect();
                Some(sha256(&names.iter().map(|name| name.as_str().as_bytes()).collect::<Vec<_>>()))
            }
            Kind::Link(target) => Some(sha256(&[target])),
            _ => None,
        };
        recovery::Entry {
            path: self.path.clone(),
            kind: self.kind.as_listed(),
            size_bytes: self.size_bytes,
            modified_ns: self.modified_ns,
            content: content.map(ContentHash),
            rights: Some(Rights { mode: self.mode, uid: self.uid, gid: self.gid }),
        }
    }
}

impl Kind {
    pub(crate) fn as_listed(&self) -> EntryKind {
        match self {
            Self::Folder => EntryKind::Folder,
            Self::File(_) => EntryKind::File,
            Self::Link(_) => EntryKind::Link,
            Self::Pipe | Self::Socket | Self::BlockDevice(_) | Self::CharacterDevice(_) => EntryKind::Special,
        }
    }
}
