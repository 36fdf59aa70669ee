//! One owner's catalogue on disk: `catalogue`, entries one after the other, and `catalogue.base`, the base they follow.
//!
//! Entries are appended and made durable. A new base is written beside the old one and takes its place by a rename; then the
//! entries that it covers go. A crash in between leaves entries that the base covers: they are passed over, and written away
//! when the file is opened next.
//!
//! When it is opened everything is checked as if it came from a stranger, signatures included. What does not follow from
//! there on is cut off: after a crash that is what was being appended, which nobody was told of. It may also be damage, of
//! entries that others know: so an owner from whose file something was cut takes its own tail from its holders before it
//! appends, or it would fork.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dci_proto::AgentId;
use shoal_backup::catalogue::{BASE_LIMIT_BYTES, Base, Catalogue, ENTRY_BYTES, Entry, TAIL_LIMIT, Tail, Verifier};

use super::{FilesError, replace};

/// The file, opened for appending.
#[derive(Debug)]
pub struct CatalogueFile {
    folder: PathBuf,
    file: File,
    length: u64,
    /// A write failed: what the disk has is not known.
    unsure: bool,
}

/// A catalogue as the disk has it.
#[derive(Debug)]
pub struct Opened {
    /// For appending.
    pub file: CatalogueFile,
    /// What is in it.
    pub catalogue: Catalogue,
    /// Bytes that were cut off because they did not follow. Not 0: see the module.
    pub cut_bytes: u64,
}

impl CatalogueFile {
    /// Opens the catalogue of an owner in a folder, which must be there; an empty one if there is none.
    ///
    /// # Errors
    /// The files cannot be read or written. What is damaged in them is no error: it is cut off.
    pub fn open(folder: &Path, owner: AgentId, verifier: &dyn Verifier) -> Result<Opened, FilesError> {
        let mut catalogue = Catalogue::new(owner);
        let mut cut_bytes = open_base(folder, &mut catalogue, verifier)?;
        let path = folder.join("catalogue");
        let open = || {
            let file =
                shoal_files::create(&path, OpenOptions::new().create(true).truncate(false).read(true).write(true))?;
            let length = file.metadata()?.len();
            Ok((file, length))
        };
        let (file, found_bytes) = open().map_err(FilesError::io("open", &path))?;
        // An earlier process may have ended in the middle of writing: what is read here must not go any more.
        shoal_files::sync(&file).map_err(FilesError::io("make durable", &path))?;
        shoal_files::sync_directory(folder).map_err(FilesError::io("make durable", folder))?;
        let begins = catalogue.state().sequence();
        let (good_bytes, has_dead) =
            read_entries(&file, begins, &mut catalogue, verifier).map_err(FilesError::io("read", &path))?;
        let mut file = Self { folder: folder.to_owned(), file, length: good_bytes, unsure: false };
        if good_bytes < found_bytes {
            cut_bytes += found_bytes - good_bytes;
            file.cut(good_bytes)?;
        }
        if has_dead {
            file.rewrite(&catalogue)?;
        }
        Ok(Opened { file, catalogue, cut_bytes })
    }

    /// Bytes of entries in the file.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Appends entries, which follow those that are there. They are durable when this returns.
    ///
    /// # Errors
    /// The disk is full: nothing was appended. It is broken: nobody knows what it has, and [`FilesError::Unsure`] is all that
    /// comes from then on. Either way a catalogue in memory that has them already must be opened again.
    pub fn append<'a>(&mut self, entries: impl IntoIterator<Item = &'a Entry>) -> Result<(), FilesError> {
        self.check()?;
        let bytes: Vec<u8> = entries.into_iter().flat_map(Entry::to_bytes).collect();
        if bytes.is_empty() {
            return Ok(());
        }
        self.unsure = true;
        let path = self.path();
        if let Err(error) = shoal_files::write_at(&self.file, self.length, &mut [IoSlice::new(&bytes)]) {
            self.cut(self.length)?;
            self.unsure = false;
            return Err(FilesError::io("write", &path)(error));
        }
        shoal_files::sync(&self.file).map_err(FilesError::io("make durable", &path))?;
        self.length += bytes.len() as u64;
        self.unsure = false;
        Ok(())
    }

    /// Puts a catalogue with a new base in the place of what is there.
    ///
    /// # Errors
    /// As [`Self::append`]; the old catalogue is there then, or the new one.
    pub fn replace_base(&mut self, catalogue: &Catalogue) -> Result<(), FilesError> {
        self.check()?;
        self.unsure = true;
        if let Some(base) = catalogue.base() {
            replace(&self.folder.join("catalogue.base"), &base.to_bytes())?;
        }
        self.rewrite(catalogue)?;
        self.unsure = false;
        Ok(())
    }

    /// A piece of the base's bytes, as they are on disk.
    ///
    /// # Errors
    /// There is no base, or it cannot be read.
    pub fn base_piece(&self, offset: u64, length: usize) -> Result<Bytes, FilesError> {
        let path = self.folder.join("catalogue.base");
        let read = || {
            let file = File::open(&path)?;
            let left = usize::try_from(file.metadata()?.len().saturating_sub(offset)).unwrap_or(usize::MAX);
            let mut bytes = vec![0; left.min(length)];
            file.read_exact_at(&mut bytes, offset)?;
            Ok(bytes.into())
        };
        read().map_err(FilesError::io("read", &path))
    }

    fn path(&self) -> PathBuf {
        self.folder.join("catalogue")
    }

    fn check(&self) -> Result<(), FilesError> {
        if self.unsure { Err(FilesError::Unsure { path: self.path() }) } else { Ok(()) }
    }

    fn cut(&mut self, length: u64) -> Result<(), FilesError> {
        let cut = shoal_files::set_length(&self.file, length).and_then(|()| shoal_files::sync(&self.file));
        cut.map_err(FilesError::io("cut", &self.path()))
    }

    fn rewrite(&mut self, catalogue: &Catalogue) -> Result<(), FilesError> {
        let path = self.path();
        let bytes: Vec<u8> = catalogue.entries().flat_map(Entry::to_bytes).collect();
        replace(&path, &bytes)?;
        let open = OpenOptions::new().read(true).write(true).open(&path);
        self.file = open.map_err(FilesError::io("open", &path))?;
        self.length = bytes.len() as u64;
        Ok(())
    }
}

/// Takes in the base; how many bytes of it were damaged and are set aside.
fn open_base(folder: &Path, catalogue: &mut Catalogue, verifier: &dyn Verifier) -> Result<u64, FilesError> {
    let path = folder.join("catalogue.base");
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        file => file.map_err(FilesError::io("open", &path))?,
    };
    let mut bytes = Vec::new();
    let limit = BASE_LIMIT_BYTES as u64 + 1;
    file.take(limit).read_to_end(&mut bytes).map_err(FilesError::io("read", &path))?;
    let taken = Base::from_bytes(&bytes)
        .and_then(|base| catalogue.take_in(&Tail { base: Some(base), entries: Vec::new(), more: false }, verifier));
    match taken {
        Ok(_) => Ok(0),
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "the base of a catalogue is damaged and is set aside");
            fs::rename(&path, folder.join("catalogue.base.damaged")).map_err(FilesError::io("rename", &path))?;
            Ok(bytes.len() as u64)
        }
    }
}

/// Takes in entries; how many bytes of the file were good, and whether the base covers some of them.
fn read_entries(
    file: &File,
    begins: u64,
    catalogue: &mut Catalogue,
    verifier: &dyn Verifier,
) -> io::Result<(u64, bool)> {
    let (mut good_bytes, mut has_dead) = (0, false);
    let mut bytes = vec![0; TAIL_LIMIT * ENTRY_BYTES];
    loop {
        let read = read_up_to(file, &mut bytes, good_bytes)?;
        let parsed = bytes[..read].chunks_exact(ENTRY_BYTES).map_while(|bytes| Entry::from_bytes(bytes).ok());
        let mut entries: VecDeque<Entry> = parsed.collect();
        let whole = entries.len() * ENTRY_BYTES == read && !entries.is_empty();
        has_dead |= entries.front().is_some_and(|entry| entry.sequence <= begins);
        let tail = |entries| Tail { base: None, entries, more: false };
        let count = entries.len();
        let all: Vec<Entry> = entries.iter().cloned().collect();
        if whole && catalogue.take_in(&tail(all), verifier).is_ok() {
            good_bytes += (count * ENTRY_BYTES) as u64;
            continue;
        }
        // Something in it does not follow: as far as it does.
        while let Some(entry) = entries.pop_front() {
            if catalogue.take_in(&tail(vec![entry]), verifier).is_err() {
                break;
            }
            good_bytes += ENTRY_BYTES as u64;
        }
        return Ok((good_bytes, has_dead));
    }
}

fn read_up_to(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
