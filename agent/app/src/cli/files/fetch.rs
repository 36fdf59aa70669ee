//! Copying out what came: into a file beside the wanted one, checked, and only then under its name.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::Serialize;
use shoal_file_exchange::RelativePath;

use super::follow::Line;
use super::{GetOptions, find};
use crate::api::files::types::{EntriesView, EntryOfTransfer, TransferView};
use crate::cli::client::Client;
use crate::cli::print::{answer, bytes, say};
use crate::cli::{AgentChoice, CliError};

/// What a name has in front and behind while it is not all there.
const PART_SUFFIX: &str = ".shoal-part";
/// Bytes of a name that is cut so that the suffix fits.
const NAME_BYTES: usize = 200;
/// Bytes copied at once.
const COPY_BYTES: usize = 256 * 1024;
/// Tries without any byte before it is given up, and the pause between.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// What was done.
#[derive(Debug, Serialize)]
struct Got {
    transfer: String,
    files: Vec<PathBuf>,
    /// Those that were there already, the same.
    there_before: Vec<PathBuf>,
    bytes: u64,
}

/// A file that is to be had.
struct Wanted {
    entry: EntryOfTransfer,
    target: PathBuf,
}

pub(super) fn get(agent: &AgentChoice, options: &GetOptions, json: bool) -> Result<(), CliError> {
    let mut client = Client::open(agent)?;
    let transfer = find(&client, &options.transfer)?;
    match client.get(&format!("files/{transfer}"))? {
        TransferView::Incoming(one) if one.state == "done" => {}
        TransferView::Incoming(one) => {
            let why = one.why.map(|why| format!(": {why}")).unwrap_or_default();
            return Err(CliError::Refused(format!("it is not all there: {}{why}", one.state)));
        }
        TransferView::Outgoing(_) => return Err(CliError::Refused("that is sent from here; it did not come".into())),
    }
    let view: EntriesView = client.get(&format!("files/{transfer}/entries"))?;
    let (folders, wanted) = plan(view.entries, &options.to)?;
    let mut got = Got { transfer: transfer.clone(), files: Vec::new(), there_before: Vec::new(), bytes: 0 };
    let mut missing = Vec::new();
    // All is looked at before anything is changed.
    for one in wanted {
        match fs::symlink_metadata(&one.target) {
            Err(error) if error.kind() == ErrorKind::NotFound => missing.push(one),
            Err(error) => return Err(cannot("look at", &one.target, &error)),
            Ok(found) if found.is_file() && is_same(&one) => got.there_before.push(one.target),
            Ok(found) if found.is_dir() => {
                return Err(CliError::Refused(format!("{} is a folder", one.target.display())));
            }
            Ok(_) if options.force => missing.push(one),
            Ok(_) => {
                let target = one.target.display();
                return Err(CliError::Refused(format!("{target} is there and differs; --force replaces it")));
            }
        }
    }
    for folder in &folders {
        fs::create_dir_all(folder).map_err(|error| cannot("make", folder, &error))?;
    }
    let total: u64 = missing.iter().map(|one| one.entry.size_bytes).sum();
    let mut line = Line::new();
    for one in missing {
        let before = got.bytes;
        let mut copy = Copy { agent, client: &mut client, transfer: &transfer, one: &one };
        copy.run(options.force, |there| {
            line.show(&format!("copying {}: {} of {}", one.entry.path, bytes(before + there), bytes(total)));
        })?;
        got.bytes += one.entry.size_bytes;
        got.files.push(one.target);
    }
    line.clear();
    if json {
        return answer(&got);
    }
    let same =
        if got.there_before.is_empty() { String::new() } else { format!(", {} were there", got.there_before.len()) };
    let files = super::size(got.files.len() as u64, got.bytes);
    say!("{files}, in {}{same}.", options.to.display());
    Ok(())
}

/// Which folders and files are wanted, and where. Names are checked here too: this is somebody's home.
fn plan(entries: Vec<EntryOfTransfer>, to: &Path) -> Result<(Vec<PathBuf>, Vec<Wanted>), CliError> {
    let (mut folders, mut wanted) = (vec![to.to_owned()], Vec::new());
    for entry in entries {
        let path: RelativePath = entry.path.parse().map_err(|error| CliError::Failed(format!("{error}")))?;
        let target = path.names().fold(to.to_owned(), |folder, name| folder.join(name));
        if entry.folder {
            folders.push(target);
            continue;
        }
        folders.extend(target.parent().map(Path::to_owned));
        wanted.push(Wanted { entry, target });
    }
    folders.sort();
    folders.dedup();
    Ok((folders, wanted))
}

/// Whether the file that is there is the one that is wanted.
fn is_same(one: &Wanted) -> bool {
    let length = fs::metadata(&one.target).map(|found| found.len()).ok();
    length == Some(one.entry.size_bytes) && hash_of(&one.target).is_ok_and(|hash| hash == one.entry.hash)
}

fn hash_of(path: &Path) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> CliError {
    CliError::Failed(format!("cannot {what} {}: {error}", path.display()))
}

/// One file on its way out.
struct Copy<'a> {
    agent: &'a AgentChoice,
    client: &'a mut Client,
    transfer: &'a str,
    one: &'a Wanted,
}

impl Copy<'_> {
    fn run(&mut self, force: bool, mut progress: impl FnMut(u64)) -> Result<(), CliError> {
        let (entry, target) = (&self.one.entry, &self.one.target);
        let part = self.part();
        let failed = |error: std::io::Error| cannot("write", &part, &error);
        let mut silent = 0;
        loop {
            let mut file = OpenOptions::new().create(true).append(true).open(&part).map_err(failed)?;
            let there = file.metadata().map_err(failed)?.len();
            if there > entry.size_bytes {
                file.set_len(0).map_err(failed)?;
                continue;
            }
            if there == entry.size_bytes {
                if hash_of(&part).map_err(failed)? == entry.hash {
                    break;
                }
                // What was there before is of something else.
                file.set_len(0).map_err(failed)?;
                silent += 1;
            }
            let came = self.more(&mut file, &mut progress);
            let now = file.metadata().map_err(failed)?.len();
            silent = if now > there { 0 } else { silent + 1 };
            if let Err(error) = came
                && silent > TRIES
            {
                return Err(error);
            }
            if silent > 0 {
                std::thread::sleep(PAUSE);
                if let Ok(client) = Client::open(self.agent) {
                    *self.client = client;
                }
            }
        }
        let file = File::options().write(true).open(&part).map_err(failed)?;
        if let Some(time) = entry.modified_ms.and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms))) {
            file.set_modified(time).map_err(failed)?;
        }
        if entry.executable {
            let mode = file.metadata().map_err(failed)?.permissions().mode();
            // Whoever may read it may run it.
            file.set_permissions(fs::Permissions::from_mode(mode | (mode & 0o444) >> 2)).map_err(failed)?;
        }
        file.sync_all().map_err(failed)?;
        put_in_place(&part, target, force)
    }

    fn more(&self, file: &mut File, progress: &mut impl FnMut(u64)) -> Result<(), CliError> {
        let mut there = file.metadata().map_err(|error| CliError::Failed(error.to_string()))?.len();
        let path = format!("files/{}/content/{}", self.transfer, self.one.entry.number);
        let mut body = self.client.open_from(&path, there)?;
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            let read =
                body.read(&mut buffer).map_err(|error| CliError::Failed(format!("reading from the agent: {error}")))?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
            file.write_all(bytes).map_err(|error| cannot("write", &self.one.target, &error))?;
            there += read as u64;
            progress(there);
        }
    }

    /// Beside the wanted file, by the hash of what it will be, so that what was begun for another is not gone on with.
    fn part(&self) -> PathBuf {
        let name = self.one.target.file_name().unwrap_or_default().to_string_lossy();
        let mut end = name.len().min(NAME_BYTES);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        let hash = self.one.entry.hash.get(..8).unwrap_or_default();
        self.one.target.with_file_name(format!(".{}.{hash}{PART_SUFFIX}", name.get(..end).unwrap_or_default()))
    }
}

/// Never over another file, not even one made a moment ago, unless that is wanted.
fn put_in_place(part: &Path, target: &Path, force: bool) -> Result<(), CliError> {
    if force {
        return fs::rename(part, target).map_err(|error| cannot("replace", target, &error));
    }
    match renameat_with(CWD, part, CWD, target, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::EXIST) => {
            Err(CliError::Refused(format!("{} is there meanwhile; --force replaces it", target.display())))
        }
        // File systems that cannot do it in one step.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !target.exists() => {
            fs::rename(part, target).map_err(|error| cannot("make", target, &error))
        }
        Err(error) => Err(cannot("make", target, &error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_replaced_unasked() {
        let folder = tempfile::tempdir().expect("a folder");
        let (part, target) = (folder.path().join("part"), folder.path().join("target"));
        fs::write(&part, "new").expect("written");
        fs::write(&target, "old").expect("written");
        assert!(put_in_place(&part, &target, false).is_err());
        assert_eq!(fs::read(&target).expect("read"), b"old");
        put_in_place(&part, &target, true).expect("replaced");
        assert_eq!(fs::read(&target).expect("read"), b"new");
    }

    #[test]
    fn an_agent_that_lies_about_names_leads_nowhere() {
        let entry = |path: &str| EntryOfTransfer {
            number: 0,
            path: path.to_owned(),
            folder: false,
            size_bytes: 0,
            hash: String::new(),
            modified_ms: None,
            executable: false,
            there_bytes: 0,
        };
        assert!(plan(vec![entry("a/b")], Path::new("/x")).is_ok());
        for bad in ["../a", "/etc/passwd", "a/../../b"] {
            assert!(plan(vec![entry(bad)], Path::new("/x")).is_err(), "{bad}");
        }
    }
}
