//! What versions in the trash are called: `report (2026-11-21 15.04.05, deleted).txt`.

use shoal_ledger::{TrashEntry, TrashReason};

/// Bytes after a name's last dot that count as its extension, at most; the version is told before it.
const EXTENSION_LIMIT_BYTES: usize = 16;
/// A stamp, digits as zeros.
const STAMP_FORM: &str = "0000-00-00 00.00.00, ";
/// Bytes a version's name has at most where its file's has no more, and UTF-16 units it has in any case: what Linux, Windows and
/// macOS allow.
const SHOWN_LIMIT: usize = 255;
/// Stands where a name was cut.
const CUT: char = '\u{2026}';
/// Tags a name is looked through for, at most.
const TAGS_LIMIT: usize = 8;

/// The names of the versions of one path, in their order; those of one second are numbered.
pub(crate) fn names(versions: &[TrashEntry]) -> Vec<String> {
    let tags: Vec<String> = versions.iter().map(tag).collect();
    let named = |(index, version): (usize, &TrashEntry)| {
        let tag = tags.get(index).map_or("", String::as_str);
        let before = tags.iter().take(index).filter(|other| *other == tag).count();
        let number = if before > 0 { format!(" #{}", before + 1) } else { String::new() };
        let (stem, extension) = split(&version.node.name);
        let rest = format!(" ({tag}{number}){extension}");
        format!("{}{rest}", cut(&version.node.name, stem, &rest))
    };
    versions.iter().enumerate().map(named).collect()
}

/// Names a version of this name can be of: the name without what looks like a version's tag.
pub(crate) fn originals(name: &str) -> Vec<String> {
    let tagged = |(start, _): (usize, &str)| {
        let inner = name.get(start + 2..)?;
        let end = inner.find(')')?;
        let digits = inner.get(..STAMP_FORM.len())?.chars();
        let form = digits.zip(STAMP_FORM.chars());
        let fits = end >= STAMP_FORM.len()
            && form.into_iter().all(|(is, form)| if form == '0' { is.is_ascii_digit() } else { is == form });
        fits.then(|| format!("{}{}", &name[..start], &inner[end + 1..]))
    };
    name.rmatch_indices(" (").filter_map(tagged).take(TAGS_LIMIT).collect()
}

/// As much of a stem as leaves room for the rest of its version's name: what is longer than names may be cannot be opened. A cut
/// one ends with a mark and a checksum of the whole name, so that names that begin alike stay apart.
fn cut(name: &str, stem: &str, rest: &str) -> String {
    let limit_bytes = name.len().max(SHOWN_LIMIT);
    let fits = |stem: &str| {
        stem.len() + rest.len() <= limit_bytes && stem.encode_utf16().chain(rest.encode_utf16()).count() <= SHOWN_LIMIT
    };
    if fits(stem) {
        return stem.to_owned();
    }
    // FNV-1a.
    let sum = name.bytes().fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let ends = stem.char_indices().map(|(at, _)| at).rev();
    let shorter = ends.map(|at| format!("{}{CUT}{sum:08x}", &stem[..at])).find(|shorter| fits(shorter));
    shorter.unwrap_or_else(|| format!("{CUT}{sum:08x}"))
}

/// What a name begins with of which this was left; `None` unless it was cut.
pub(crate) fn beginning(cut: &str) -> Option<&str> {
    cut.rsplit_once(CUT).map(|(beginning, _)| beginning)
}

fn tag(version: &TrashEntry) -> String {
    let reason = match version.reason {
        TrashReason::Deleted => "deleted",
        TrashReason::Overwritten => "overwritten",
    };
    format!("{}, {reason}", stamp(version.since_ms))
}

/// A name before its extension, and the extension with its dot.
fn split(name: &str) -> (&str, &str) {
    let hidden = name.len() - name.trim_start_matches('.').len();
    match name.rfind('.') {
        Some(dot) if dot > hidden && name.len() - dot <= EXTENSION_LIMIT_BYTES => name.split_at(dot),
        _ => (name, ""),
    }
}

/// A time in ms since 1970 UTC, to the second.
fn stamp(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years counted from March, so that the day that leap years add comes last: Howard Hinnant's civil_from_days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}.{minute:02}.{second:02}")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use dci_proto::{InodeId, VolumeId};
    use proptest::prelude::*;
    use shoal_ledger::{Node, NodeContent, NodeKind, NodePath};

    use super::*;

    fn version(name: &str, since_ms: u64, reason: TrashReason) -> TrashEntry {
        let node = Node {
            inode: InodeId(1),
            name: name.to_owned(),
            kind: NodeKind::File,
            size_bytes: 1,
            modified_ms: 0,
            created_ms: 0,
            version: 1,
            content: Some(NodeContent::Inline(Bytes::from_static(b"x"))),
            sha1: None,
            media_type: None,
            has_properties: false,
        };
        let path = NodePath { volume: VolumeId(1), names: vec![name.to_owned()] };
        TrashEntry { id: 1, path, node, since_ms, user: "ana".to_owned(), reason }
    }

    #[test]
    fn a_version_says_when_and_why_before_its_extension() {
        let at_ms = 1_795_273_445_999;
        for (name, expected) in [
            ("report.txt", "report (2026-11-21 15.04.05, deleted).txt"),
            ("archive.tar.gz", "archive.tar (2026-11-21 15.04.05, deleted).gz"),
            (".profile", ".profile (2026-11-21 15.04.05, deleted)"),
            ("..hidden", "..hidden (2026-11-21 15.04.05, deleted)"),
            (".config.toml", ".config (2026-11-21 15.04.05, deleted).toml"),
            ("Makefile", "Makefile (2026-11-21 15.04.05, deleted)"),
            ("no.extension is this long", "no.extension is this long (2026-11-21 15.04.05, deleted)"),
        ] {
            assert_eq!(names(&[version(name, at_ms, TrashReason::Deleted)]), [expected]);
            assert!(originals(expected).contains(&name.to_owned()), "{expected}");
        }
        for (ms, expected) in [(0, "1970-01-01 00.00.00"), (951_782_400_000, "2000-02-29 00.00.00")] {
            assert_eq!(stamp(ms), expected);
        }
    }

    #[test]
    fn versions_of_one_second_are_numbered() {
        let versions = [10, 20, 1_000, 30].map(|ms| version("f", ms, TrashReason::Overwritten));
        let names = names(&versions);
        assert_eq!(names[0], "f (1970-01-01 00.00.00, overwritten)");
        assert_eq!(names[1], "f (1970-01-01 00.00.00, overwritten #2)");
        assert_eq!(names[2], "f (1970-01-01 00.00.01, overwritten)");
        assert_eq!(names[3], "f (1970-01-01 00.00.00, overwritten #3)");
    }

    #[test]
    fn a_long_name_is_cut_so_that_its_versions_can_be_opened() {
        let bytes = |count: usize| "n".repeat(count);
        for name in [bytes(255) + ".txt", bytes(240), bytes(765), "\u{6f22}".repeat(255)] {
            let shown = names(&[version(&name, 0, TrashReason::Overwritten)]).remove(0);
            assert!(
                shown.len() <= name.len().max(SHOWN_LIMIT) && shown.encode_utf16().count() <= SHOWN_LIMIT,
                "{shown}"
            );
            let found = originals(&shown);
            let begins = |cut: &String| beginning(cut).is_some_and(|beginning| name.starts_with(beginning));
            assert!(found.iter().any(begins), "{shown}");
        }
        let alike = ["a", "b"].map(|end| names(&[version(&(bytes(250) + end), 0, TrashReason::Deleted)]).remove(0));
        assert_ne!(alike[0], alike[1]);
    }

    proptest! {
        #[test]
        fn every_version_is_found_by_its_name(name in "[^/\0]{1,30}", ms in 0..4_000_000_000_000_u64) {
            let named = names(&[version(&name, ms, TrashReason::Deleted)]).remove(0);
            prop_assert!(originals(&named).contains(&name), "{:?} of {:?}", named, name);
        }
    }
}
