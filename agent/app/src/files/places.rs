//! Where files lie in `DATA/files`:
//!
//! | place | holds |
//! |---|---|
//! | `out/ID/transfer.json`, `draft.json` | what is known of it; the files that are still being handed in |
//! | `out/ID/manifest`, `out/ID/content/N` | all its files by name; their bytes by number, so that names matter to nobody here |
//! | `in/ID/transfer.json`, `manifest` | what is known of it; its files by name |
//! | `in/ID/parts/N` | bytes of a file that is not there as a whole |
//! | `in/ID/content/…` | files that are, under their names |

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use shoal_file_exchange::{Manifest, RelativePath, TransferId};

use super::FilesError;

/// What is known of a transfer.
pub(super) const RECORD_FILE: &str = "transfer.json";
/// What is to be sent, until it is all there.
pub(super) const DRAFT_FILE: &str = "draft.json";
const MANIFEST_FILE: &str = "manifest";
const CONTENT: &str = "content";
const PARTS: &str = "parts";

pub(super) fn out_folder(files: &Path) -> PathBuf {
    files.join("out")
}

pub(super) fn in_folder(files: &Path) -> PathBuf {
    files.join("in")
}

/// The folder of one transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place(PathBuf);

impl Place {
    pub(super) fn out(files: &Path, transfer: TransferId) -> Self {
        Self(out_folder(files).join(transfer.to_string()))
    }

    pub(super) fn incoming(files: &Path, transfer: TransferId) -> Self {
        Self(in_folder(files).join(transfer.to_string()))
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0
    }

    pub(super) fn record(&self) -> PathBuf {
        self.0.join(RECORD_FILE)
    }

    pub(super) fn draft(&self) -> PathBuf {
        self.0.join(DRAFT_FILE)
    }

    pub(super) fn manifest(&self) -> PathBuf {
        self.0.join(MANIFEST_FILE)
    }

    /// Where whole files lie.
    pub(crate) fn content(&self) -> PathBuf {
        self.0.join(CONTENT)
    }

    /// A file to be sent.
    pub(super) fn numbered(&self, number: u32) -> PathBuf {
        self.0.join(CONTENT).join(number.to_string())
    }

    /// A file that came.
    pub(crate) fn named(&self, path: &RelativePath) -> PathBuf {
        path.names().fold(self.content(), |folder, name| folder.join(name))
    }

    pub(super) fn parts(&self) -> PathBuf {
        self.0.join(PARTS)
    }

    /// What there is of a file that is coming.
    pub(super) fn part(&self, number: u32) -> PathBuf {
        self.0.join(PARTS).join(number.to_string())
    }

    /// Makes it with all that is in it.
    pub(super) fn make(&self) -> Result<(), FilesError> {
        make_folder(&self.0)?;
        make_folder(&self.content())
    }

    /// Reads which files there are.
    pub(super) fn read_manifest(&self) -> Result<Manifest, FilesError> {
        let path = self.manifest();
        let text = fs::read_to_string(&path);
        let text = text.map_err(|error| FilesError::disk(format!("cannot read {}", path.display()), &error))?;
        Ok(Manifest::of_lines(&text)?)
    }

    /// Notes which files there are; durable when it returns.
    pub(super) fn write_manifest(&self, lines: &str) -> Result<(), FilesError> {
        Ok(crate::secret_file::replace(&self.manifest(), lines.as_bytes())?)
    }

    /// Lets go of the bytes; what is known of it stays.
    pub(super) fn drop_content(&self) -> Result<(), FilesError> {
        remove(&self.content())?;
        remove(&self.parts())
    }

    /// Lets go of all of it.
    pub(super) fn drop_all(&self) -> Result<(), FilesError> {
        remove(&self.0)
    }
}

pub(super) fn make_folder(path: &Path) -> Result<(), FilesError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| FilesError::disk(format!("cannot make {}", path.display()), &error))
}

fn remove(path: &Path) -> Result<(), FilesError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FilesError::disk(format!("cannot remove {}", path.display()), &error))
        }
        _ => Ok(()),
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> Result<(), FilesError> {
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(|error| FilesError::disk(format!("cannot sync {}", path.display()), &error))
}

/// The transfers in a folder, by their names; what is not named like one is left alone.
pub(super) fn transfers_in(folder: &Path) -> Result<Vec<TransferId>, FilesError> {
    let listed = fs::read_dir(folder);
    let listed = listed.map_err(|error| FilesError::disk(format!("cannot list {}", folder.display()), &error))?;
    let names = listed.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}

/// Does something that may wait for the disk.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FilesError> + Send + 'static,
) -> Result<T, FilesError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| FilesError::Disk { what: "working on files".to_owned(), reason: error.to_string() })?
}
