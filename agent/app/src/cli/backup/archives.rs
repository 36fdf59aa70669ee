//! `shoal archives`: the archives of a backup, and what is in them.

use std::ffi::OsString;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use shoal_backup::plan::PathBytes;
use shoal_backup::recovery::EntryKind;
use ureq::http::Method;

use super::local_time::local;
use super::which::{Choice, Whose};
use super::{LOOK_DEADLINE, count, paths, read};
use crate::api::backup::types::{
    ArchiveView, DiffRequest, DiffView, DifferenceView, EntryView, FilesPage, FilesRequest, FindRequest, FindView,
    Which,
};
use crate::cli::client::Client;
use crate::cli::print::{answer, bytes, harmless_lines, say, table};
use crate::cli::{AgentChoice, CliError};

#[derive(Args)]
pub(in crate::cli) struct ArchivesOptions {
    #[command(flatten)]
    whose: Whose,
    #[command(subcommand)]
    command: Option<ArchivesCommand>,
}

#[derive(Subcommand)]
enum ArchivesCommand {
    /// What is in a folder of an archive: permissions, owner and group by number, size, time and name of each.
    ///
    /// Example: shoal archives ls 2026-11-28 /home/ana
    Ls {
        /// The archive's number, `latest`, or a date: the last one made by then.
        #[arg(value_name = "N")]
        archive: Choice,
        /// The folder, or a file [default: the top].
        path: Option<OsString>,
    },
    /// What differs between two archives: content, permissions and owners.
    ///
    /// Example: shoal archives diff 11 latest
    Diff {
        /// The older archive: its number, `latest`, or a date.
        #[arg(value_name = "A")]
        older: Choice,
        /// The newer one.
        #[arg(value_name = "B")]
        newer: Choice,
    },
    /// Files and folders whose name or path is like a pattern, in all archives. Ends with code 1 if there is none.
    ///
    /// Example: shoal archives find '*.odt'
    Find {
        /// `*` and `?` within a name, `**` for folders.
        pattern: String,
    },
}

pub(in crate::cli) fn archives(agent: &AgentChoice, options: &ArchivesOptions, json: bool) -> Result<(), CliError> {
    let client = Client::open_for(agent, LOOK_DEADLINE)?;
    let which = options.whose.which()?;
    match &options.command {
        None => list(&client, &which, &options.whose, json),
        Some(ArchivesCommand::Ls { archive, path }) => {
            let archive = archive.resolve(&client, &which, json)?;
            ls(&client, which, archive, path.as_ref(), json)
        }
        Some(ArchivesCommand::Diff { older, newer }) => {
            let from = older.resolve(&client, &which, json)?;
            let to = newer.resolve(&client, &which, json)?;
            diff(&client, &DiffRequest { which, from, to }, json)
        }
        Some(ArchivesCommand::Find { pattern }) => {
            find(&client, &FindRequest { which, pattern: pattern.clone() }, json)
        }
    }
}

/// The column of the copies.
const PROTECTED_AT: usize = 7;

fn list(client: &Client, which: &Which, whose: &Whose, json: bool) -> Result<(), CliError> {
    let value: Value = client.call(Method::POST, "backup/archives", which)?;
    if json {
        return answer(&value);
    }
    let list: Vec<ArchiveView> = read(value)?;
    if list.is_empty() {
        say!("There is no archive yet.");
        return Ok(());
    }
    let mut heads = vec!["N", "MADE", "MODE", "COMPLETE", "FILES", "SIZE", "ADDED", "PROTECTED", "NAME"];
    let mut rows: Vec<_> = list.iter().map(archive_row).collect();
    // Of another PC's archives it is not known here.
    if list.iter().all(|archive| archive.copies.is_none()) {
        heads.remove(PROTECTED_AT);
        rows.iter_mut().for_each(|row| _ = row.remove(PROTECTED_AT));
    }
    table(&heads, rows.into_iter());
    let incomplete = list.iter().filter(|archive| !archive.is_complete && !archive.problems.is_empty());
    for archive in incomplete.take(1) {
        say!("\nArchive {} is not complete. {}", archive.number, problems(archive));
    }
    if let Some(newest) = list.iter().find(|archive| archive.number != 0) {
        let (number, option) = (newest.number, whose.option());
        say!(
            "\n`shoal archives ls {number}{option}` shows what is in one, `shoal restore {number} PATH{option}` brings it back."
        );
    }
    Ok(())
}

/// What an archive lacks, line by line.
fn problems(archive: &ArchiveView) -> String {
    // That it is incomplete is said already.
    let text = archive.problems.strip_prefix("Incomplete: ").unwrap_or(&archive.problems);
    harmless_lines(text)
}

fn archive_row(archive: &ArchiveView) -> Vec<String> {
    let number = match archive.number {
        0 => "-".to_owned(),
        number => number.to_string(),
    };
    let protected = match (archive.copies, archive.copies_wanted) {
        (Some(copies), Some(wanted)) if copies > wanted => {
            format!("{}, {wanted} wanted", if copies == 1 { "1 copy".to_owned() } else { format!("{copies} copies") })
        }
        (Some(copies), Some(wanted)) => format!("{copies} of {wanted}"),
        (Some(copies), None) => copies.to_string(),
        (None, _) => "?".to_owned(),
    };
    vec![
        number,
        local(archive.made_ms),
        archive.mode.map_or_else(|| "another program's".to_owned(), |mode| mode.to_string()),
        if archive.is_complete { "yes" } else { "no" }.to_owned(),
        archive.files.to_string(),
        bytes(archive.bytes),
        bytes(archive.added_bytes),
        protected,
        archive.id.get(..8).unwrap_or(&archive.id).to_owned(),
    ]
}

fn ls(client: &Client, which: Which, archive: u64, path: Option<&OsString>, json: bool) -> Result<(), CliError> {
    let folder = path.map(|path| paths::absolute(path)).transpose()?;
    let mut request = FilesRequest { which, archive, folder, after: None };
    let mut all = Vec::new();
    let mut seen: u64 = 0;
    // A folder may be larger than memory is cheap: people get page by page.
    loop {
        let page: FilesPage = client.call(Method::POST, "backup/files", &request)?;
        let last = page.entries.last().map(|entry| entry.path.clone());
        seen = seen.saturating_add(page.entries.len() as u64);
        if json {
            all.extend(page.entries);
        } else {
            page.entries.iter().for_each(|entry| say!("{}", entry_line(entry)));
        }
        if !page.more {
            break;
        }
        if last.is_none() || last == request.after {
            return Err(CliError::Failed("the agent says that there is more and does not give it".into()));
        }
        request.after = last;
    }
    if json {
        return answer(&json!({ "archive": archive, "entries": all }));
    }
    if seen == 0 {
        say!("Nothing is in there.");
    }
    Ok(())
}

/// Permissions, owner, size, time, path; folders with `/` at their end.
fn entry_line(entry: &EntryView) -> String {
    let size = if entry.kind == EntryKind::File { bytes(entry.size_bytes) } else { kind(entry.kind).to_owned() };
    let (mode, owner) = (mode(entry), owner(entry));
    let target = entry.link_target.as_ref().map(|target| format!(" -> {target}")).unwrap_or_default();
    format!("{mode}  {owner:<11}  {size:>8}  {}  {}{target}", local(entry.modified_ms), shown(&entry.path, entry.kind))
}

/// Permissions as `ls -l` shows them.
fn mode(entry: &EntryView) -> String {
    let what = match entry.kind {
        EntryKind::Folder => 'd',
        EntryKind::File => '-',
        EntryKind::Link => 'l',
        EntryKind::Special => match entry.special.as_deref() {
            Some("pipe") => 'p',
            Some("socket") => 's',
            Some("block device") => 'b',
            Some("character device") => 'c',
            _ => '?',
        },
    };
    let Some(bits) = entry.mode.as_deref().and_then(|mode| u32::from_str_radix(mode, 8).ok()) else {
        return format!("{what}?????????");
    };
    let mut text = String::from(what);
    // Set-user-id, set-group-id and sticky stand in the place of `x`.
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let may = |bit: u32| bits >> shift & bit != 0;
        text.push(if may(4) { 'r' } else { '-' });
        text.push(if may(2) { 'w' } else { '-' });
        text.push(match (bits & special != 0, may(1)) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// Owner and group by number: their names are those of the PC that the archive is of.
fn owner(entry: &EntryView) -> String {
    let number = |number: Option<u32>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    format!("{}:{}", number(entry.uid), number(entry.gid))
}

/// A difference, and what the rights were if they changed.
fn difference_line(difference: &DifferenceView) -> String {
    let DifferenceView { what, entry, before } = difference;
    let was =
        before.as_ref().filter(|before| (&before.mode, before.uid, before.gid) != (&entry.mode, entry.uid, entry.gid));
    let was = was.map(|before| format!("  (was {} {})", mode(before), owner(before))).unwrap_or_default();
    format!("{what:<8} {}{was}", entry_line(entry))
}

fn shown(path: &PathBytes, kind: EntryKind) -> String {
    let end = if kind == EntryKind::Folder && path.as_bytes() != b"/" { "/" } else { "" };
    format!("{path}{end}")
}

fn kind(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Folder => "folder",
        EntryKind::File => "file",
        EntryKind::Link => "link",
        EntryKind::Special => "special",
    }
}

fn diff(client: &Client, request: &DiffRequest, json: bool) -> Result<(), CliError> {
    let value: Value = client.call(Method::POST, "backup/diff", request)?;
    if json {
        return answer(&value);
    }
    let view: DiffView = read(value)?;
    tell_unread(&view.unread);
    if view.differences.is_empty() {
        say!("Nothing differs between archive {} and archive {}.", request.from, request.to);
        return Ok(());
    }
    for difference in &view.differences {
        say!("{}", difference_line(difference));
    }
    let of = |what: &str| view.differences.iter().filter(|difference| difference.what == what).count();
    let (added, removed, changed) = (of("added"), of("removed"), of("changed"));
    let so_far = if view.more { ", and more that is not shown" } else { "" };
    say!(
        "\nFrom archive {} to {}: {added} added, {removed} removed, {changed} changed{so_far}.",
        request.from,
        request.to
    );
    Ok(())
}

fn find(client: &Client, request: &FindRequest, json: bool) -> Result<(), CliError> {
    let value: Value = client.call(Method::POST, "backup/find", request)?;
    let page: FindView = read(value.clone())?;
    if json {
        answer(&value)?;
    } else {
        tell_unread(&page.unread);
    }
    if page.entries.is_empty() {
        return Err(CliError::Failed(format!("no archive has anything like {}", request.pattern)));
    }
    if json {
        return Ok(());
    }
    let row = |entry: &EntryView| {
        let size = if entry.kind == EntryKind::File { bytes(entry.size_bytes) } else { kind(entry.kind).to_owned() };
        vec![ranges(&entry.archives), size, local(entry.modified_ms), shown(&entry.path, entry.kind)]
    };
    table(&["ARCHIVES", "SIZE", "CHANGED", "PATH"], page.entries.iter().map(row));
    if page.more {
        say!("… and more than the {} shown: name it more closely.", count(page.entries.len() as u64, "one"));
    }
    Ok(())
}

/// What was not looked at may have what is missed.
fn tell_unread(unread: &[String]) {
    unread.iter().for_each(|sentence| eprintln!("cannot be read: {}", crate::cli::print::harmless(sentence)));
}

/// Numbers with runs of them drawn together: `1-3,5`.
fn ranges(numbers: &[u64]) -> String {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in sorted {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let run = |(first, last): &(u64, u64)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    runs.iter().map(run).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use shoal_backup::schedule::Mode;

    use super::*;

    #[test]
    fn an_archive_is_a_row() {
        let archive = ArchiveView {
            number: 12,
            id: "0123456789abcdef".into(),
            made_ms: 0,
            mode: Some(Mode::Snapshot),
            is_complete: false,
            problems: "/a: locked".into(),
            files: 7,
            bytes: 1_000,
            added_bytes: 10,
            copies: Some(1),
            copies_wanted: Some(2),
            roots: Vec::new(),
        };
        let row = archive_row(&archive);
        assert_eq!(
            (row[0].as_str(), &row[2..]),
            ("12", &["snapshot", "no", "7", "1.00 kB", "10 B", "1 of 2", "01234567"].map(String::from)[..])
        );
        let more = ArchiveView { copies: Some(3), ..archive.clone() };
        assert_eq!(archive_row(&more)[7], "3 copies, 2 wanted");
        let other = ArchiveView { number: 0, mode: None, copies: None, copies_wanted: None, ..archive };
        let row = archive_row(&other);
        assert_eq!((row[0].as_str(), row[2].as_str(), row[7].as_str()), ("-", "another program's", "?"));
    }

    fn entry(kind: EntryKind, path: &str, mode: &str) -> EntryView {
        EntryView {
            path: path.into(),
            kind,
            size_bytes: 1_500,
            modified_ms: 0,
            mode: Some(mode.into()),
            uid: Some(1_000),
            gid: Some(100),
            link_target: None,
            special: None,
            archives: vec![],
        }
    }

    #[test]
    fn entries_are_told_in_lines() {
        let line = |kind, path: &str| entry_line(&entry(kind, path, "0644"));
        assert!(line(EntryKind::File, "/a/b").starts_with("-rw-r--r--  1000:100      1.50 kB  "));
        assert!(line(EntryKind::Folder, "/a").ends_with("  /a/"));
        assert!(line(EntryKind::Folder, "/").ends_with("  /"));
        assert!(line(EntryKind::Link, "/l").starts_with("lrw-r--r--  1000:100         link  "));
        assert!(line(EntryKind::File, "/\u{202e}fdp.exe\n").ends_with("  /%E2%80%AEfdp.exe%0A"));
        let link = EntryView { link_target: Some("../b\n".into()), ..entry(EntryKind::Link, "/l", "0777") };
        assert!(entry_line(&link).ends_with("  /l -> ../b%0A"));
        let pipe = EntryView { special: Some("pipe".into()), ..entry(EntryKind::Special, "/p", "0600") };
        assert!(entry_line(&pipe).starts_with("prw-------  "));
        let unknown = EntryView { mode: None, uid: None, gid: None, ..entry(EntryKind::File, "/a", "") };
        assert!(entry_line(&unknown).starts_with("-?????????  ?:?  "));
    }

    #[test]
    fn permissions_are_shown_as_ls_does() {
        let shown = |bits: &str| mode(&entry(EntryKind::Folder, "/", bits));
        assert_eq!(shown("0755"), "drwxr-xr-x");
        assert_eq!((shown("1777"), shown("1770")), ("drwxrwxrwt".to_owned(), "drwxrwx--T".to_owned()));
        assert_eq!((shown("6755"), shown("6644")), ("drwsr-sr-x".to_owned(), "drwSr-Sr--".to_owned()));
        assert_eq!(shown("0000"), "d---------");
    }

    #[test]
    fn a_change_of_rights_says_what_they_were() {
        let difference = |mode: &str| DifferenceView {
            what: "changed".into(),
            entry: entry(EntryKind::File, "/a", "0600"),
            before: Some(entry(EntryKind::File, "/a", mode)),
        };
        assert!(difference_line(&difference("0644")).ends_with("  /a  (was -rw-r--r-- 1000:100)"));
        let content = difference_line(&difference("0600"));
        assert!(content.starts_with("changed  -rw-------") && content.ends_with("  /a"), "{content}");
    }

    #[test]
    fn archives_that_follow_each_other_are_drawn_together() {
        assert_eq!(ranges(&[5, 1, 2, 3, 3, 9, 8]), "1-3,5,8-9");
        assert_eq!(ranges(&[]), "");
        assert_eq!(ranges(&[u64::MAX]), u64::MAX.to_string());
    }
}
