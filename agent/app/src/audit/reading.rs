//! Reading the audit log, newest first, page by page. Reads beside whoever writes: a line that is being written is not there yet.

use std::path::Path;

use dci_proto::message::MessageType;
use serde::{Deserialize, Serialize};

use super::AuditError;
use super::entry::AuditEntry;
use super::journal::{files, parse, read, whole_lines};

/// Entries of a page unless it asks for fewer or more.
const PAGE_USUAL: usize = 100;
/// Entries of a page, at most.
pub(super) const PAGE_LIMIT: usize = 1_000;
/// Bytes of their lines, about: the page ends with the entry that reaches it.
const PAGE_LIMIT_BYTES: usize = 1024 * 1024;

/// Which entries are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Only those before this place.
    pub before: Option<u64>,
    /// Only those before this time, in ms since 1970.
    pub before_ms: Option<u64>,
    /// How many, at most.
    pub limit: Option<usize>,
    /// Only what this user wanted.
    pub user: Option<String>,
    /// Only messages of this type.
    #[serde(rename = "type")]
    pub kind: Option<MessageType>,
}

/// Some entries.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuditPage {
    /// Newest first.
    pub entries: Vec<AuditEntry>,
    /// What `before` has to be for those that follow; missing: there are none.
    pub next: Option<u64>,
    /// Lines met on the way that cannot be read.
    pub damaged: u64,
}

pub(super) fn page(folder: &Path, query: &AuditQuery) -> Result<AuditPage, AuditError> {
    let (before, limit) = (query.before.unwrap_or(u64::MAX), query.limit.unwrap_or(PAGE_USUAL).clamp(1, PAGE_LIMIT));
    let (mut page, mut bytes) = (AuditPage { entries: Vec::new(), next: None, damaged: 0 }, 0);
    for (first, path) in files(folder)?.into_iter().rev() {
        if first >= before {
            continue;
        }
        for line in whole_lines(&read(&path)?).rev() {
            let Ok(entry) = parse(line, &path)? else {
                page.damaged += 1;
                continue;
            };
            if entry.place >= before || !query.wants(&entry) {
                continue;
            }
            if page.entries.len() == limit || bytes >= PAGE_LIMIT_BYTES {
                page.next = page.entries.last().map(|last| last.place);
                return Ok(page);
            }
            bytes += line.len();
            page.entries.push(entry);
        }
    }
    Ok(page)
}

impl AuditQuery {
    fn wants(&self, entry: &AuditEntry) -> bool {
        let user = self.user.is_none() || self.user == entry.user;
        let time = self.before_ms.is_none_or(|before_ms| entry.at_ms < before_ms);
        user && time && self.kind.as_ref().is_none_or(|kind| *kind == entry.kind)
    }
}

#[cfg(test)]
mod tests {
    use dci_proto::AgentId;

    use super::*;
    use crate::audit::entry::Act;
    use crate::audit::journal::Journal;

    #[test]
    fn a_page_is_bounded_in_bytes_too() {
        let folder = tempfile::tempdir().expect("folder");
        let from = AgentId([1; 32]);
        let mut journal = Journal::open(folder.path(), from).expect("opens");
        for _ in 0..PAGE_LIMIT {
            let act =
                Act { user: None, from, kind: "run".parse().expect("a type"), message: None, what: "é".repeat(2_000) };
            journal.refuse(act, "no".to_owned()).expect("noted");
        }
        let query = AuditQuery { limit: Some(PAGE_LIMIT), ..AuditQuery::default() };
        let first = page(folder.path(), &query).expect("reads");
        assert!((200..300).contains(&first.entries.len()), "{}", first.entries.len());
        let rest = page(folder.path(), &AuditQuery { before: first.next, ..query }).expect("reads");
        assert_eq!(rest.entries[0].place + 1, first.next.expect("more"));
    }

    #[test]
    fn pages_follow_one_another_and_show_what_is_asked_for() {
        let folder = tempfile::tempdir().expect("folder");
        let from = AgentId([1; 32]);
        let mut journal = Journal::open(folder.path(), from).expect("opens");
        for number in 0..25 {
            let user = Some(if number % 5 == 0 { "ana" } else { "bob" }.to_owned());
            let kind = if number % 2 == 0 { "run" } else { "install" }.parse().expect("a type");
            let act = Act { user, from, kind, message: None, what: number.to_string() };
            journal.refuse(act, "no".to_owned()).expect("noted");
        }
        let read = |query: &AuditQuery| {
            let page = page(folder.path(), query).expect("reads");
            (page.entries.iter().map(|entry| entry.what.clone()).collect::<Vec<_>>().join(" "), page.next)
        };
        let query = AuditQuery { limit: Some(10), ..AuditQuery::default() };
        assert_eq!(read(&query), ("24 23 22 21 20 19 18 17 16 15".to_owned(), Some(16)));
        assert_eq!(read(&AuditQuery { before: Some(6), ..query.clone() }), ("4 3 2 1 0".to_owned(), None));
        let ana = AuditQuery { user: Some("ana".to_owned()), ..query };
        assert_eq!(read(&ana), ("20 15 10 5 0".to_owned(), None));
        let runs = AuditQuery { kind: "run".parse().ok(), limit: Some(1), ..ana };
        assert_eq!(read(&runs), ("20".to_owned(), Some(21)));
        assert_eq!(read(&AuditQuery { before_ms: Some(1), ..AuditQuery::default() }), (String::new(), None));
    }
}
