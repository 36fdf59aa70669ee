//! What is done with an entry, given what is in its place.

use shoal_backup::recovery::{Action, Entry, EntryKind, Existing, Skipped};

/// As [`shoal_backup::recovery::Plan`] decides, for one entry: here the disk is asked, not listed.
pub(super) fn action(entry: &Entry, there: Option<&Entry>, existing: Existing) -> Action {
    let Some(there) = there else { return Action::Create };
    match (entry.kind, there.kind) {
        (EntryKind::Special, EntryKind::Special) => Action::Skip(Skipped::Kept),
        _ if entry.is_same(there) => Action::Unchanged,
        (EntryKind::Folder, _) => Action::Skip(Skipped::NoFolder),
        (_, EntryKind::Folder) => Action::Skip(Skipped::FolderInTheWay),
        _ if existing == Existing::Keep => Action::Skip(Skipped::Kept),
        _ => Action::Overwrite,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_folder_is_replaced_and_none_replaces_a_file() {
        let entry = |kind, modified_ns| Entry {
            path: "/a".into(),
            kind,
            size_bytes: 1,
            modified_ns,
            content: None,
            rights: None,
        };
        let file = entry(EntryKind::File, 1);
        let folder = entry(EntryKind::Folder, 1);
        let later = entry(EntryKind::File, 2);
        for (wanted, there, existing, expected) in [
            (&file, None, Existing::Keep, Action::Create),
            (&file, Some(&file), Existing::Overwrite, Action::Unchanged),
            (&file, Some(&later), Existing::Overwrite, Action::Overwrite),
            (&file, Some(&later), Existing::Keep, Action::Skip(Skipped::Kept)),
            (&file, Some(&folder), Existing::Overwrite, Action::Skip(Skipped::FolderInTheWay)),
            (&folder, Some(&file), Existing::Overwrite, Action::Skip(Skipped::NoFolder)),
            (&folder, Some(&folder), Existing::Keep, Action::Unchanged),
        ] {
            assert_eq!(action(wanted, there, existing), expected, "{wanted:?} {there:?}");
        }
    }
}
