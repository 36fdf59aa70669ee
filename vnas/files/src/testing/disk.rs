//! A disk as a crash may find it: what is durable, and what was done since and may be lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::recording::Operation;

/// What the disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What happens to that which was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All of it is lost: the power went.
    Everything,
    /// Nothing is lost: only the process died.
    Nothing,
    /// Bytes are lost, names are kept.
    Bytes,
    /// Names are lost, bytes are kept.
    Names,
    /// The last write is cut in the middle, all else is kept.
    Torn,
    /// Each sector and each name is lost or kept as this seed has it.
    Mixed(u64),
}

/// Files and directories, by names relative to the root.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    files: BTreeMap<u64, FileState>,
    directories: BTreeMap<PathBuf, DirectoryState>,
}

/// What a crash leaves: directories have no bytes. Files come with the number they had in the recording.
pub(super) type Image = BTreeMap<PathBuf, Option<(u64, Vec<u8>)>>;

/// Numbers of files by what tells them from others: device and inode.
pub(super) type Known = BTreeMap<(u64, u64), u64>;

#[derive(Debug, Clone, Default)]
struct FileState {
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Debug, Clone)]
enum Pending {
    Write(u64, Arc<Vec<u8>>),
    SetLength(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    File(u64),
    Directory,
}

#[derive(Debug, Clone, Default)]
struct DirectoryState {
    durable: BTreeMap<String, Node>,
    pending: Vec<NameChange>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Link(String, Node),
    Unlink(String),
    Rename(String, String),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, Node>) {
        match self {
            Self::Link(name, node) => {
                names.insert(name.clone(), *node);
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

impl FileState {
    fn left(&self, loss: Loss, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let last = self.pending.len().saturating_sub(1);
        for (at, pending) in self.pending.iter().enumerate() {
            match (loss, pending) {
                (Loss::Everything | Loss::Bytes, _) => {}
                (Loss::Torn, Pending::Write(offset, written)) if at == last => {
                    write(&mut bytes, *offset, &written[..written.len() / 2]);
                }
                (Loss::Mixed(_), Pending::Write(offset, written)) => mix(&mut bytes, *offset, written, random),
                (Loss::Mixed(_), Pending::SetLength(_)) if random.coin() => {}
                (_, pending) => pending.apply(&mut bytes),
            }
        }
        bytes
    }
}

impl Pending {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, written) => write(bytes, *offset, written),
            Self::SetLength(length) => bytes.resize(*length as usize, 0),
        }
    }
}

fn write(bytes: &mut Vec<u8>, offset: u64, written: &[u8]) {
    let end = offset as usize + written.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset as usize..end].copy_from_slice(written);
}

/// Writes some sectors of it. One that is lost at the end leaves the file shorter, one before that leaves zeros.
fn mix(bytes: &mut Vec<u8>, offset: u64, written: &[u8], random: &mut Random) {
    let mut at = 0;
    while at < written.len() {
        let position = offset as usize + at;
        let length = (SECTOR_BYTES - position % SECTOR_BYTES).min(written.len() - at);
        if random.coin() {
            write(bytes, position as u64, &written[at..at + length]);
        }
        at += length;
    }
}

impl DirectoryState {
    /// The names as whoever looks now sees them.
    fn now(&self) -> BTreeMap<String, Node> {
        let mut names = self.durable.clone();
        self.pending.iter().for_each(|change| change.apply(&mut names));
        names
    }

    fn left(&self, loss: Loss, random: &mut Random) -> BTreeMap<String, Node> {
        let mut names = self.durable.clone();
        for change in &self.pending {
            let kept = match loss {
                Loss::Everything | Loss::Names => false,
                Loss::Nothing | Loss::Bytes | Loss::Torn => true,
                Loss::Mixed(_) => random.coin(),
            };
            if kept {
                change.apply(&mut names);
            }
        }
        names
    }
}

impl Disk {
    /// A disk on which all of `root` is durable. Answers the files' numbers by their device and inode.
    pub(super) fn of_directory(root: &Path) -> std::io::Result<(Self, Known)> {
        let mut disk = Self::default();
        let mut known = BTreeMap::new();
        disk.take_in(root, Path::new(""), &mut known)?;
        Ok((disk, known))
    }

    fn take_in(&mut self, root: &Path, at: &Path, known: &mut Known) -> std::io::Result<()> {
        let mut names = BTreeMap::new();
        for entry in std::fs::read_dir(root.join(at))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                self.take_in(root, &at.join(&name), known)?;
                names.insert(name, Node::Directory);
            } else {
                let number = self.files.len() as u64;
                let state = FileState { durable: std::fs::read(entry.path())?, pending: Vec::new() };
                self.files.insert(number, state);
                known.insert(super::recording::identity(&entry.metadata()?), number);
                names.insert(name, Node::File(number));
            }
        }
        self.directories.insert(at.to_owned(), DirectoryState { durable: names, pending: Vec::new() });
        Ok(())
    }

    pub(super) fn next_file(&self) -> u64 {
        self.files.keys().next_back().map_or(0, |last| last + 1)
    }

    fn names(&mut self, path: &Path) -> (&mut DirectoryState, String) {
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (self.directories.entry(directory).or_default(), name)
    }

    /// What an operation does, not yet durable.
    pub(super) fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Create { path, file } => {
                self.files.insert(*file, FileState::default());
                let (directory, name) = self.names(path);
                directory.pending.push(NameChange::Link(name, Node::File(*file)));
            }
            Operation::CreateDirectory { path } => {
                self.directories.entry(path.clone()).or_default();
                let (directory, name) = self.names(path);
                directory.pending.push(NameChange::Link(name, Node::Directory));
            }
            Operation::Write { file, offset, bytes } => {
                let state = self.files.entry(*file).or_default();
                state.pending.push(Pending::Write(*offset, Arc::clone(bytes)));
            }
            Operation::SetLength { file, length } => {
                self.files.entry(*file).or_default().pending.push(Pending::SetLength(*length));
            }
            Operation::Sync { file } => {
                let state = self.files.entry(*file).or_default();
                for pending in std::mem::take(&mut state.pending) {
                    pending.apply(&mut state.durable);
                }
            }
            Operation::SyncDirectory { path } => {
                let state = self.directories.entry(path.clone()).or_default();
                for change in std::mem::take(&mut state.pending) {
                    change.apply(&mut state.durable);
                }
            }
            Operation::Rename { from, to } if from.parent() == to.parent() => {
                let to = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let (directory, from) = self.names(from);
                directory.pending.push(NameChange::Rename(from, to));
            }
            // Into another directory: each of the two may be lost without the other.
            Operation::Rename { from, to } => {
                let (directory, from) = self.names(from);
                let node = directory.now().get(&from).copied();
                directory.pending.push(NameChange::Unlink(from));
                let (directory, to) = self.names(to);
                directory.pending.extend(node.map(|node| NameChange::Link(to, node)));
            }
            Operation::Remove { path } => {
                let (directory, name) = self.names(path);
                directory.pending.push(NameChange::Unlink(name));
            }
            Operation::Mark(_) => {}
        }
    }

    /// What a crash now leaves.
    pub(super) fn image(&self, loss: Loss) -> Image {
        let mut random = Random(match loss {
            Loss::Mixed(seed) => seed,
            _ => 0,
        });
        let mut image = Image::new();
        self.collect(Path::new(""), loss, &mut random, &mut image);
        image
    }

    fn collect(&self, at: &Path, loss: Loss, random: &mut Random, image: &mut Image) {
        let Some(directory) = self.directories.get(at) else { return };
        for (name, node) in directory.left(loss, random) {
            let path = at.join(name);
            match node {
                Node::File(number) => {
                    let bytes = self.files.get(&number).map(|file| file.left(loss, random)).unwrap_or_default();
                    image.insert(path, Some((number, bytes)));
                }
                Node::Directory => {
                    image.insert(path.clone(), None);
                    self.collect(&path, loss, random, image);
                }
            }
        }
    }
}

/// The same numbers for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn coin(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) & 1 == 1
    }
}
