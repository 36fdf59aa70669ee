//! What lies under the paths that are to be sent: files and folders, by the names they are sent under. What is neither is left
//! out and told.

use std::fs::{self, Metadata};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use shoal_file_exchange::ENTRIES_LIMIT;

use crate::api::files::types::NewEntry;
use crate::cli::CliError;

/// What is to be sent.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) entries: Vec<NewEntry>,
    /// Where each entry lies.
    pub(super) places: Vec<PathBuf>,
    /// What is left out, and why.
    pub(super) left_out: Vec<String>,
}

impl Collected {
    pub(super) fn of(paths: &[PathBuf]) -> Result<Self, CliError> {
        let mut all = Self::default();
        for path in paths {
            // `.` and `..` have names too.
            let whole = fs::canonicalize(path).map_err(|error| cannot("find", path, &error))?;
            let name = whole.file_name().ok_or_else(|| CliError::Usage(format!("{} has no name", path.display())))?;
            let name = text(Path::new(name))?;
            // A link that is named is meant to be followed; one that is found is not.
            all.add(&whole, name)?;
        }
        if all.entries.is_empty() {
            return Err(CliError::Usage("there is no file and no folder among that".into()));
        }
        Ok(all)
    }

    fn add(&mut self, place: &Path, path: String) -> Result<(), CliError> {
        let found = fs::symlink_metadata(place).map_err(|error| cannot("read", place, &error))?;
        let kind = found.file_type();
        if kind.is_symlink() || !(kind.is_file() || kind.is_dir()) {
            let what = if kind.is_symlink() { "a symbolic link" } else { "no file" };
            self.left_out.push(format!("{}: {what}", place.display()));
            return Ok(());
        }
        if self.entries.len() >= ENTRIES_LIMIT {
            return Err(CliError::Usage(format!(
                "at most {ENTRIES_LIMIT} files and folders are sent at once; send an archive"
            )));
        }
        self.entries.push(entry(&found, path.clone()));
        self.places.push(place.to_owned());
        if kind.is_dir() {
            let listed = fs::read_dir(place).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let mut inner = listed.map_err(|error| cannot("list", place, &error))?;
            inner.sort_by_key(fs::DirEntry::file_name);
            for one in inner {
                let name = text(Path::new(&one.file_name()))?;
                self.add(&one.path(), format!("{path}/{name}"))?;
            }
        }
        Ok(())
    }
}

fn entry(found: &Metadata, path: String) -> NewEntry {
    if found.is_dir() {
        return NewEntry { path, folder: true, size_bytes: 0, modified_ms: None, executable: false };
    }
    let modified = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    NewEntry {
        path,
        folder: false,
        size_bytes: found.len(),
        modified_ms: modified.and_then(|since| u64::try_from(since.as_millis()).ok()),
        executable: found.permissions().mode() & 0o100 != 0,
    }
}

fn text(name: &Path) -> Result<String, CliError> {
    let text = name.to_str().map(str::to_owned);
    text.ok_or_else(|| CliError::Usage(format!("the name {} is not UTF-8; rename it first", name.display())))
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> CliError {
    CliError::Failed(format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_with_what_is_in_them_and_links_are_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let top = folder.path().join("photos");
        fs::create_dir_all(top.join("empty")).expect("made");
        fs::write(top.join("b.txt"), "12345").expect("written");
        fs::write(top.join("a.sh"), "").expect("written");
        fs::set_permissions(top.join("a.sh"), fs::Permissions::from_mode(0o755)).expect("set");
        std::os::unix::fs::symlink("/etc/passwd", top.join("link")).expect("linked");
        let collected = Collected::of(std::slice::from_ref(&top)).expect("collected");
        let seen: Vec<_> = collected
            .entries
            .iter()
            .map(|entry| (entry.path.as_str(), entry.folder, entry.size_bytes, entry.executable))
            .collect();
        let expected = [
            ("photos", true, 0, false),
            ("photos/a.sh", false, 0, true),
            ("photos/b.txt", false, 5, false),
            ("photos/empty", true, 0, false),
        ];
        assert_eq!(seen, expected);
        assert_eq!(collected.left_out.len(), 1);
        assert!(collected.left_out[0].ends_with("link: a symbolic link"), "{:?}", collected.left_out);
    }
}
