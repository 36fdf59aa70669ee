//! Noting what is done to the files under one directory, in the order in which it is done.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, Known};
use crate::Change;

/// One operation. Paths are relative to the recorded directory; files are numbered, since names change.
#[derive(Debug, Clone)]
pub enum Operation {
    /// An empty file was made.
    Create {
        /// Its name.
        path: PathBuf,
        /// Its number.
        file: u64,
    },
    /// A directory was made.
    CreateDirectory {
        /// Its name.
        path: PathBuf,
    },
    /// Bytes were written.
    Write {
        /// To which file.
        file: u64,
        /// Where in it.
        offset: u64,
        /// The bytes.
        bytes: Arc<Vec<u8>>,
    },
    /// A file was cut off or extended.
    SetLength {
        /// Which.
        file: u64,
        /// Its length now.
        length: u64,
    },
    /// A file's bytes were made durable.
    Sync {
        /// Which.
        file: u64,
    },
    /// The names in a directory were made durable.
    SyncDirectory {
        /// Which.
        path: PathBuf,
    },
    /// A file got another name.
    Rename {
        /// The old.
        from: PathBuf,
        /// The new.
        to: PathBuf,
    },
    /// A file was removed.
    Remove {
        /// Its name.
        path: PathBuf,
    },
    /// The test said how far it is.
    Mark(u64),
}

/// What was done, from what on.
#[derive(Debug, Clone)]
pub struct Trace {
    pub(super) base: Disk,
    /// In their order.
    pub operations: Vec<Operation>,
}

impl Trace {
    /// The disk at the end.
    #[must_use]
    pub fn end(&self) -> Disk {
        let mut disk = self.base.clone();
        self.operations.iter().for_each(|operation| disk.apply(operation));
        disk
    }

    /// The trace of a program that leaves some operations out: a planted fault.
    #[must_use]
    pub fn without(mut self, left_out: impl Fn(&Operation) -> bool) -> Self {
        self.operations.retain(|operation| !left_out(operation));
        self
    }

    /// Numbers of the files that ever had a name which is as wanted.
    #[must_use]
    pub fn files_named(&self, wanted: impl Fn(&Path) -> bool) -> Vec<u64> {
        let mut files: Vec<u64> = Vec::new();
        let mut names: BTreeMap<PathBuf, u64> = BTreeMap::new();
        for operation in &self.operations {
            let (path, file) = match operation {
                Operation::Create { path, file } => (path.clone(), Some(*file)),
                Operation::Rename { from, to } => (to.clone(), names.remove(from)),
                _ => continue,
            };
            let Some(file) = file else { continue };
            if wanted(&path) {
                files.push(file);
            }
            names.insert(path, file);
        }
        files
    }
}

struct Active {
    root: PathBuf,
    /// Numbers of the files there are, by device and inode.
    known: Known,
    next_file: u64,
    operations: Vec<Operation>,
    /// The next sync of a directory is to fail.
    fails_directory_sync: bool,
}

static RECORDINGS: Mutex<Vec<Active>> = Mutex::new(Vec::new());
/// So that who records nothing waits for nobody.
static RECORDING: AtomicUsize = AtomicUsize::new(0);

fn recordings() -> MutexGuard<'static, Vec<Active>> {
    RECORDINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A recording that runs; ends when dropped.
pub struct Recording {
    root: PathBuf,
    base: Disk,
}

impl Recording {
    /// Records what is done under `root` from now on; what is there is taken to be durable.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn start(root: &Path) -> io::Result<Self> {
        let (base, known) = Disk::of_directory(root)?;
        Self::begin(root, base, known)
    }

    /// Goes on where a process died: `root` holds all that `disk` does, part of which is not durable.
    pub(super) fn resume(root: &Path, disk: Disk, known: Known) -> io::Result<Self> {
        Self::begin(root, disk, known)
    }

    fn begin(root: &Path, base: Disk, known: Known) -> io::Result<Self> {
        let root = root.canonicalize()?;
        let next_file = base.next_file();
        let (at, operations) = (root.clone(), Vec::new());
        recordings().push(Active { root: at, known, next_file, operations, fails_directory_sync: false });
        RECORDING.fetch_add(1, Ordering::SeqCst);
        Ok(Self { root, base })
    }

    /// Notes how far the test is.
    pub fn mark(&self, number: u64) {
        self.with(|active| active.operations.push(Operation::Mark(number)));
    }

    /// Has the next sync of a directory fail, as a disk may; what was done before it stays as it is.
    pub fn fail_next_directory_sync(&self) {
        self.with(|active| active.fails_directory_sync = true);
    }

    fn with<T>(&self, work: impl FnOnce(&mut Active) -> T) -> Option<T> {
        recordings().iter_mut().find(|active| active.root == self.root).map(work)
    }

    /// What was done so far. The recording ends.
    #[must_use]
    pub fn stop(self) -> Trace {
        let operations = self.with(|active| std::mem::take(&mut active.operations)).unwrap_or_default();
        Trace { base: self.base.clone(), operations }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        recordings().retain(|active| active.root != self.root);
        RECORDING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What tells a file from every other on this machine.
#[cfg(unix)]
pub(super) fn identity(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

/// Windows tells no such number in a stable way: nothing is recorded there.
#[cfg(not(unix))]
pub(super) fn identity(_metadata: &Metadata) -> (u64, u64) {
    (0, 0)
}

impl Active {
    fn relative(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.root).ok().map(Path::to_owned)
    }

    fn number(&self, file: &File) -> Option<u64> {
        self.known.get(&identity(&file.metadata().ok()?)).copied()
    }

    /// The operation, if it is done under this directory.
    fn operation(&self, change: &Change<'_>) -> Option<Operation> {
        Some(match change {
            Change::Write { file, offset, slices } => {
                let file = self.number(file)?;
                let bytes = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
                Operation::Write { file, offset: *offset, bytes: Arc::new(bytes) }
            }
            Change::SetLength { file, length } => Operation::SetLength { file: self.number(file)?, length: *length },
            Change::Sync { file } => Operation::Sync { file: self.number(file)? },
            Change::Rename { from, to } => Operation::Rename { from: self.relative(from)?, to: self.relative(to)? },
            Change::Remove { path } => Operation::Remove { path: self.relative(path)? },
            Change::CreateDirectory { path } => Operation::CreateDirectory { path: self.relative(path)? },
            Change::SyncDirectory { path } => Operation::SyncDirectory { path: self.relative(path)? },
        })
    }
}

/// Makes a change and notes it.
pub(crate) fn changed(change: &Change<'_>, make: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    if RECORDING.load(Ordering::SeqCst) == 0 {
        return make();
    }
    // Held meanwhile, so that the order noted is the order in which things were done.
    let mut recordings = recordings();
    let noted = recordings.iter().enumerate().find_map(|(at, active)| Some((at, active.operation(change)?)));
    if let Some((at, Operation::SyncDirectory { .. })) = noted
        && std::mem::take(&mut recordings[at].fails_directory_sync)
    {
        return Err(io::Error::other("the test has this sync fail"));
    }
    make()?;
    if let Some((at, operation)) = noted {
        recordings[at].operations.push(operation);
    }
    Ok(())
}

/// Opens a file that may be made or emptied by that, and notes which.
pub(crate) fn created(path: &Path, open: impl FnOnce() -> io::Result<File>) -> io::Result<File> {
    if RECORDING.load(Ordering::SeqCst) == 0 {
        return open();
    }
    let mut recordings = recordings();
    let Some((active, relative)) = recordings.iter_mut().find_map(|active| {
        let relative = active.relative(path)?;
        Some((active, relative))
    }) else {
        return open();
    };
    let before = std::fs::metadata(path).ok();
    let file = open()?;
    let after = file.metadata()?;
    match before {
        Some(before) => {
            if let Some(number) = active.number(&file)
                && after.len() < before.len()
            {
                active.operations.push(Operation::SetLength { file: number, length: after.len() });
            }
        }
        None => {
            let number = active.next_file;
            active.next_file += 1;
            active.known.insert(identity(&after), number);
            active.operations.push(Operation::Create { path: relative, file: number });
        }
    }
    Ok(file)
}
