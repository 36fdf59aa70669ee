//! Files that only their owner can read, made and replaced so that a crash leaves the old one or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::AgentError;

/// Mode of every secret file: its owner reads and writes, nobody else anything.
const SECRET_MODE: u32 = 0o600;
/// Bytes of a file read at once here, at most; keys and settings are far smaller.
const FILE_LIMIT_BYTES: u64 = 1024 * 1024;

/// Makes a file; fails if one is there. Durable when it returns.
///
/// # Errors
/// If it is there already or cannot be written.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), AgentError> {
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(SECRET_MODE).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        sync_folder(path)
    };
    write().map_err(|error| AgentError::directory("make", path, &error))
}

/// Makes a file or replaces it in one step. Durable when it returns.
///
/// # Errors
/// If it cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), AgentError> {
    let temporary = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(SECRET_MODE).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_folder(path)
    };
    write().map_err(|error| AgentError::directory("write", path, &error))
}

/// Reads a file; `None` if it is not there.
///
/// # Errors
/// If it cannot be read or is absurdly large.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, AgentError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(AgentError::directory("read", path, &error)),
    };
    let mut bytes = Vec::new();
    let read = file.take(FILE_LIMIT_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| AgentError::directory("read", path, &error))?;
    if bytes.len() as u64 > FILE_LIMIT_BYTES {
        return Err(AgentError::Damaged { path: path.to_owned(), reason: "it is too large".into() });
    }
    Ok(Some(bytes))
}

/// Makes the name of a file durable.
pub(crate) fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_made_once_replaced_whole_and_read_by_its_owner_only() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("secret");
        assert!(read(&path).expect("absent").is_none());
        create(&path, b"one").expect("made");
        assert!(create(&path, b"two").is_err(), "made twice");
        replace(&path, b"three").expect("replaced");
        assert_eq!(read(&path).expect("read").as_deref(), Some(&b"three"[..]));
        let mode = fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, SECRET_MODE);
    }
}
