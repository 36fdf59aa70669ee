//! The files of the audit log: lines appended and synced, one file after the other, the oldest dropped.
//!
//! A file is named after the place of its first line, so that what is looked for is found without reading all. A line counts when its
//! line feed is there: what a crash leaves without one was never acknowledged, and is cut off at the next start.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use dci_proto::{AgentId, MessageId};

use super::AuditError;
use super::entry::{Act, AuditEntry, Decision, ENTRY_VERSION, Ending};
use crate::secret_file::sync_folder;
use crate::ticket::now_ms;

/// Bytes of one file, about.
pub(super) const FILE_LIMIT_BYTES: u64 = 4 * 1024 * 1024;
/// Files kept: with [`FILE_LIMIT_BYTES`] some 150,000 entries.
pub(super) const FILES_LIMIT: usize = 16;
/// Acts under way at once: more than programs an agent runs.
pub(super) const OPEN_LIMIT: usize = 4_096;
/// What the files' names end with.
const EXTENSION: &str = "jsonl";
/// Only their owner.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// What is said of an act that was under way when the agent ended.
const CUT_SHORT: &str = "the agent ended before it knew";

/// The log, for writing.
pub(super) struct Journal {
    folder: PathBuf,
    agent: AgentId,
    path: PathBuf,
    file: File,
    /// Bytes of whole, synced lines in the file.
    length: u64,
    /// Whether nothing else is in the file.
    sound: bool,
    next: u64,
    open: BTreeMap<u64, Act>,
    file_limit_bytes: u64,
}

impl Journal {
    pub(super) fn open(folder: &Path, agent: AgentId) -> Result<Self, AuditError> {
        Self::open_with(folder, agent, FILE_LIMIT_BYTES)
    }

    fn open_with(folder: &Path, agent: AgentId, file_limit_bytes: u64) -> Result<Self, AuditError> {
        let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder);
        made.map_err(|error| disk(folder, error))?;
        let (mut next, mut open) = (1, BTreeMap::new());
        let files = files(folder)?;
        for (first, path) in &files {
            next = next.max(*first);
            for line in whole_lines(&read(path)?) {
                let Ok(entry) = parse(line, path)? else { continue };
                next = next.max(entry.place.saturating_add(1));
                match (&entry.decision, entry.of) {
                    (Decision::Begun, _) => drop(open.insert(entry.place, entry.act())),
                    (_, Some(of)) => drop(open.remove(&of)),
                    _ => {}
                }
            }
        }
        let path = files.last().map_or_else(|| name(folder, next), |(_, path)| path.clone());
        let (file, length) = begin_file(&path)?;
        let mut journal =
            Self { folder: folder.to_owned(), agent, path, file, length, sound: false, next, open, file_limit_bytes };
        journal.make_sound()?;
        let cut_short: Vec<u64> = journal.open.keys().copied().collect();
        for place in cut_short {
            let unknown = Ending::Unknown { why: CUT_SHORT.to_owned() };
            if let Err(error) = journal.end(place, unknown) {
                // A full disk keeps no agent from starting; the next start tries again.
                tracing::warn!(%error, "how an earlier act ended cannot be noted now");
                break;
            }
        }
        Ok(journal)
    }

    /// Notes that an act begins; answers its place.
    pub(super) fn begin(&mut self, act: Act) -> Result<u64, AuditError> {
        if self.open.len() >= OPEN_LIMIT {
            return Err(AuditError::TooMany(self.open.len()));
        }
        let place = self.append(&act, None, Decision::Begun)?;
        self.open.insert(place, act);
        Ok(place)
    }

    /// Notes how an act ended. One that has ended already stays as it is.
    pub(super) fn end(&mut self, place: u64, ending: Ending) -> Result<(), AuditError> {
        let Some(act) = self.open.get(&place).cloned() else { return Ok(()) };
        self.append(&act, Some(place), ending.into())?;
        self.open.remove(&place);
        Ok(())
    }

    pub(super) fn refuse(&mut self, act: Act, why: String) -> Result<(), AuditError> {
        self.append(&act, None, Decision::Refused { why }).map(drop)
    }

    /// The act a message told to do, if it is under way.
    pub(super) fn under_way(&self, from: AgentId, message: MessageId) -> Option<u64> {
        let mut open = self.open.iter();
        open.find(|(_, act)| act.from == from && act.message == Some(message)).map(|(place, _)| *place)
    }

    fn append(&mut self, act: &Act, of: Option<u64>, decision: Decision) -> Result<u64, AuditError> {
        let place = self.next;
        let entry = AuditEntry::new(place, now_ms(), self.agent, act, of, decision);
        let mut line = serde_json::to_vec(&entry).map_err(|error| AuditError::Entry(error.to_string()))?;
        line.push(b'\n');
        self.make_sound()?;
        if self.length > 0 && self.length + line.len() as u64 > self.file_limit_bytes {
            self.next_file()?;
        }
        self.sound = false;
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        written.map_err(|error| disk(&self.path, error))?;
        self.sound = true;
        self.length += line.len() as u64;
        self.next += 1;
        Ok(place)
    }

    /// Cuts off what was written and not acknowledged.
    fn make_sound(&mut self) -> Result<(), AuditError> {
        if self.sound {
            return Ok(());
        }
        let cut = self.file.set_len(self.length).and_then(|()| self.file.sync_data());
        cut.map_err(|error| disk(&self.path, error))?;
        self.sound = true;
        Ok(())
    }

    fn next_file(&mut self) -> Result<(), AuditError> {
        let path = name(&self.folder, self.next);
        (self.file, self.length) = begin_file(&path)?;
        self.path = path;
        let files = files(&self.folder)?;
        for (_, path) in files.iter().take(files.len().saturating_sub(FILES_LIMIT)) {
            if let Err(error) = fs::remove_file(path) {
                tracing::warn!(path = %path.display(), %error, "an old file of the audit log cannot be removed");
            }
        }
        Ok(())
    }
}

/// Opens a file, made if need be, its name durable; answers how many bytes of whole lines are in it.
fn begin_file(path: &Path) -> Result<(File, u64), AuditError> {
    let begin = || -> io::Result<(File, u64)> {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(FILE_MODE).open(path)?;
        sync_folder(path)?;
        let bytes = fs::read(path)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            tracing::warn!(path = %path.display(), bytes = bytes.len() - whole, "the audit log's last line was cut short; it is taken off");
        }
        Ok((file, whole as u64))
    };
    begin().map_err(|error| disk(path, error))
}

/// The files by the place of their first line, oldest first.
pub(super) fn files(folder: &Path) -> Result<Vec<(u64, PathBuf)>, AuditError> {
    let list = || -> io::Result<Vec<(u64, PathBuf)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let ours = path.extension().is_some_and(|extension| extension == EXTENSION);
            let first = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()).filter(|_| ours);
            files.extend(first.map(|first| (first, path)));
        }
        files.sort_unstable();
        Ok(files)
    };
    list().map_err(|error| disk(folder, error))
}

fn name(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.{EXTENSION}"))
}

/// A file's bytes; none if it was dropped meanwhile.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, AuditError> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|error| disk(path, error)),
    }
}

/// Lines that have an end.
pub(super) fn whole_lines(bytes: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    bytes.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// The entry of a line; [`Damaged`] where the line is none.
pub(super) fn parse(line: &[u8], path: &Path) -> Result<Result<AuditEntry, Damaged>, AuditError> {
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    let Ok(Version { version }) = serde_json::from_slice(line) else { return Ok(Err(Damaged)) };
    if version > ENTRY_VERSION {
        return Err(AuditError::Newer { path: path.to_owned(), found: version });
    }
    Ok(serde_json::from_slice(line).map_err(|_| Damaged))
}

/// A line that is no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged;

fn disk(path: &Path, error: io::Error) -> AuditError {
    AuditError::Disk { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::reading::{AuditQuery, page};

    const HERE: AgentId = AgentId([9; 32]);

    pub(super) fn act(what: &str, number: u8) -> Act {
        let kind = "run".parse().expect("a type");
        let (user, from) = (Some("ana".to_owned()), AgentId([1; 32]));
        Act { user, from, kind, message: Some(MessageId([number; 16])), what: what.to_owned() }
    }

    fn told(folder: &Path) -> Vec<(String, Decision)> {
        let page = page(folder, &AuditQuery { limit: Some(1_000), ..AuditQuery::default() }).expect("reads");
        assert_eq!(page.damaged, 0);
        page.entries.into_iter().rev().map(|entry| (entry.what, entry.decision)).collect()
    }

    #[test]
    fn an_act_that_was_cut_short_is_told_as_unknown_once() {
        let folder = tempfile::tempdir().expect("folder");
        let mut journal = Journal::open(folder.path(), HERE).expect("opens");
        let done = journal.begin(act("uptime", 1)).expect("noted");
        journal.begin(act("reboot", 2)).expect("noted");
        journal.end(done, Ending::Handled { status: 3 }).expect("noted");
        journal.end(done, Ending::Handled { status: 0 }).expect("no error, and not noted again");
        assert!(journal.under_way(AgentId([1; 32]), MessageId([2; 16])).is_some());
        assert!(journal.under_way(HERE, MessageId([2; 16])).is_none(), "an id is one agent's");
        for _ in 0..2 {
            drop(Journal::open(folder.path(), HERE).expect("opens"));
        }
        let unknown = Decision::Unknown { why: CUT_SHORT.to_owned() };
        let expected = [
            ("uptime", Decision::Begun),
            ("reboot", Decision::Begun),
            ("uptime", Decision::Handled { status: 3 }),
            ("reboot", unknown),
        ];
        assert_eq!(told(folder.path()), expected.map(|(what, decision)| (what.to_owned(), decision)));
    }

    #[test]
    fn wherever_a_crash_cuts_the_file_what_was_acknowledged_is_there_and_it_goes_on() {
        let folder = tempfile::tempdir().expect("folder");
        let mut journal = Journal::open(folder.path(), HERE).expect("opens");
        for number in 0..2 {
            journal.refuse(act(&format!("é{number}"), number), "no".to_owned()).expect("noted");
        }
        let path = journal.path.clone();
        let bytes = fs::read(&path).expect("bytes");
        drop(journal);
        let second = bytes.iter().position(|byte| *byte == b'\n').expect("a line");
        for length in (0..bytes.len()).filter(|length| *length < 3 || *length >= second) {
            let tails = [&[][..], &[0; 7], b"{\"version\":1,"];
            let tail = tails.get(length % tails.len()).expect("one of them");
            let left = bytes.get(..length).expect("shorter");
            fs::write(&path, [left, tail].concat()).expect("written");
            let whole = left.iter().filter(|byte| **byte == b'\n').count();
            let mut journal = Journal::open(folder.path(), HERE).expect("opens");
            journal.refuse(act("after", 9), "no".to_owned()).expect("noted");
            let told = told(folder.path());
            assert_eq!(told.len(), whole + 1, "cut at {length}");
            assert_eq!(told.last().map(|(what, _)| what.as_str()), Some("after"));
        }
    }

    #[test]
    fn a_damaged_line_is_counted_and_hides_no_other() {
        let folder = tempfile::tempdir().expect("folder");
        let mut journal = Journal::open(folder.path(), HERE).expect("opens");
        for number in 0..3 {
            journal.refuse(act("x", number), "no".to_owned()).expect("noted");
        }
        let mut bytes = fs::read(&journal.path).expect("bytes");
        let second = bytes.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
        bytes[second] = b'#';
        fs::write(&journal.path, &bytes).expect("written");
        let mut again = Journal::open(folder.path(), HERE).expect("opens");
        let place = again.begin(act("y", 4)).expect("noted");
        assert_eq!(place, 4, "places are not used twice");
        let page = page(folder.path(), &AuditQuery::default()).expect("reads");
        assert_eq!((page.entries.len(), page.damaged), (3, 1));
    }

    #[test]
    fn files_are_bounded_in_size_and_number_and_open_acts_outlive_neither_too_soon() {
        let folder = tempfile::tempdir().expect("folder");
        let mut journal = Journal::open_with(folder.path(), HERE, 2_000).expect("opens");
        for number in 0..1_000u32 {
            journal.refuse(act(&format!("act {number}"), 0), "no".to_owned()).expect("noted");
        }
        let files = files(folder.path()).expect("lists");
        assert_eq!(files.len(), FILES_LIMIT);
        assert!(files.iter().all(|(_, path)| fs::metadata(path).expect("there").len() <= 2_000));
        assert_eq!(told(folder.path()).last().map(|(what, _)| what.as_str()), Some("act 999"));
        assert!(files.iter().all(|(first, path)| {
            whole_lines(&fs::read(path).expect("bytes")).next().is_some_and(|line| {
                parse(line, path).expect("of this version").is_ok_and(|entry| entry.place == *first)
            })
        }));
    }

    #[test]
    fn a_newer_log_is_left_alone() {
        let folder = tempfile::tempdir().expect("folder");
        let path = name(folder.path(), 1);
        fs::write(&path, "{\"version\":2,\"news\":true}\n").expect("written");
        assert!(matches!(Journal::open(folder.path(), HERE), Err(AuditError::Newer { found: 2, .. })));
        assert_eq!(fs::read(&path).expect("bytes").len(), 26);
    }

    #[test]
    fn a_full_house_takes_no_more_acts() {
        let folder = tempfile::tempdir().expect("folder");
        let mut journal = Journal::open(folder.path(), HERE).expect("opens");
        for place in 0..OPEN_LIMIT as u64 {
            journal.open.insert(u64::MAX - place, act("x", 1));
        }
        assert!(matches!(journal.begin(act("x", 1)), Err(AuditError::TooMany(_))));
    }
}
