//! On disk: the catalogue of an owner, and objects in the layout of restic. The owner's own and those of holders alike.
//!
//! ```text
//! catalogue  one owner's catalogue: entries appended, a base that takes the place of old ones
//! objects    a restic repository's files, known by their hash; what is on its way lies beside it in `incoming/`
//! hashing    files read through for their hash
//! ```
//!
//! Everything here blocks: it is called on threads made for that. What a function has done is durable when it returns,
//! bytes of objects that are still on their way aside.

mod catalogue;
mod hashing;
mod objects;

use std::io;
use std::path::{Path, PathBuf};

use shoal_backup::ObjectName;
use shoal_backup::catalogue::CatalogueError;

pub use catalogue::{CatalogueFile, Opened};
pub use hashing::{HASH_PIECE_BYTES, Hasher};
pub use objects::Objects;
pub use shoal_archive::StoredObject;

/// Why something could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// What the system said.
    #[error("could not {what} {}: {error}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The disk is full.
    #[error("the disk has no room for {}", path.display())]
    Full {
        /// What was being written.
        path: PathBuf,
    },
    /// There is no such object.
    #[error("object {0} is not there")]
    NotFound(ObjectName),
    /// Bytes are not those that the name says. They were thrown away.
    #[error("the bytes that came for object {0} are not its own")]
    WrongHash(ObjectName),
    /// A piece does not follow what is there.
    #[error("{have_bytes} bytes are there: send from there on")]
    OutOfOrder {
        /// So many are there.
        have_bytes: u64,
    },
    /// Entries or a base are not what they should be.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// An earlier write failed in a way that leaves open what the disk has.
    #[error("an earlier write to {} failed: it must be opened again before more is written", path.display())]
    Unsure {
        /// What it was written to.
        path: PathBuf,
    },
}

impl FilesError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Io { what, path, error },
        }
    }

    /// Whether the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    /// Whether there is nothing of that name.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::NotFound(_) => true,
            Self::Io { error, .. } => error.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }
}

/// Makes a folder and those above it, where they are missing, durably.
pub(crate) fn make_folder(path: &Path) -> Result<(), FilesError> {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.is_dir()).collect();
    shoal_files::create_directories(path).map_err(FilesError::io("make", path))?;
    for made in missing.into_iter().rev() {
        let above = made.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        shoal_files::sync_directory(above).map_err(FilesError::io("make durable", above))?;
    }
    Ok(())
}

/// A write that replaces a whole file: the old one or the new one is there, whatever happens.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FilesError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    let written = (|| {
        let options = std::fs::OpenOptions::new().create(true).truncate(true).write(true).to_owned();
        let file = shoal_files::create(&unfinished, &options)?;
        shoal_files::write_at(&file, 0, &mut [io::IoSlice::new(bytes)])?;
        shoal_files::sync(&file)?;
        shoal_files::rename(&unfinished, path)
    })();
    if let Err(error) = written {
        let _ = shoal_files::remove(&unfinished);
        return Err(FilesError::io("write", path)(error));
    }
    shoal_files::sync_directory(folder).map_err(FilesError::io("make durable", folder))
}
