//! The `Range` header (RFC 9110 §14).

use std::ops::Range;

/// Ranges asked for at a time, at most; with more the whole file is sent.
const ASKED_LIMIT: usize = 256;
/// Ranges answered at a time, at most, after those that overlap or nearly touch are joined.
const ANSWERED_LIMIT: usize = 32;
/// Ranges with less than this between them are joined: what a part's head costs.
const GAP_BYTES: u64 = 128;

/// Which bytes a request wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of them.
    Whole,
    /// These: ordered, within the file, apart from each other, one at least.
    Parts(Vec<Range<u64>>),
    /// None that the file has.
    Unsatisfiable,
}

/// What a header wants of a file of this size. A malformed header is no header; overlapping ranges are joined, so that
/// nobody is sent more than the file.
pub(crate) fn parse(header: &str, size_bytes: u64) -> Wanted {
    let Some(specs) = header.trim().strip_prefix("bytes=") else { return Wanted::Whole };
    let specs: Vec<&str> = specs.split(',').map(str::trim).filter(|spec| !spec.is_empty()).collect();
    if specs.is_empty() || specs.len() > ASKED_LIMIT {
        return Wanted::Whole;
    }
    let mut parts = Vec::new();
    for spec in specs {
        let Some(part) = one(spec, size_bytes) else { return Wanted::Whole };
        parts.extend(part);
    }
    parts.sort_by_key(|part| part.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for part in parts {
        match joined.last_mut() {
            Some(last) if part.start <= last.end => {
                last.end = last.end.max(part.end);
            }
            _ => joined.push(part),
        }
    }
    if joined.len() > 2 {
        joined = join_near(joined);
    }
    match joined.len() {
        0 => Wanted::Unsatisfiable,
        many if many > ANSWERED_LIMIT => Wanted::Whole,
        _ => Wanted::Parts(joined),
    }
}

/// Many small ranges: those nearly touching cost less together.
fn join_near(parts: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::new();
    for part in parts {
        match joined.last_mut() {
            Some(last) if part.start <= last.end.saturating_add(GAP_BYTES) => last.end = last.end.max(part.end),
            _ => joined.push(part),
        }
    }
    joined
}

/// One range: `None` if malformed, `Some(None)` if the file ends before it.
#[expect(clippy::option_option, reason = "malformed and unsatisfiable are different things")]
fn one(spec: &str, size_bytes: u64) -> Option<Option<Range<u64>>> {
    let (first, last) = spec.split_once('-')?;
    let number = |text: &str| -> Option<u64> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number too large to hold is larger than any file.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let range = if first.is_empty() {
        size_bytes.saturating_sub(number(last)?)..size_bytes
    } else {
        let first = number(first)?;
        let last = if last.is_empty() { u64::MAX } else { number(last)? };
        if last < first {
            return None;
        }
        first..last.saturating_add(1).min(size_bytes)
    };
    Some((range.start < range.end).then_some(range))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one part is a list of one")]
    fn ranges_are_cut_to_the_file() {
        for (header, parts) in [
            ("bytes=0-99", vec![0..100]),
            ("bytes=100-", vec![100..1000]),
            ("bytes=-100", vec![900..1000]),
            ("bytes=999-999", vec![999..1000]),
            ("bytes=0-99999999999999999999999", vec![0..1000]),
            ("bytes=-5000", vec![0..1000]),
            ("bytes=500-509, 0-9", vec![0..10, 500..510]),
            ("bytes=0-9,5-20,2000-", vec![0..21]),
        ] {
            assert_eq!(parse(header, 1000), Wanted::Parts(parts), "{header}");
        }
    }

    #[test]
    fn malformed_is_whole_and_beyond_the_end_is_unsatisfiable() {
        for header in ["", "bytes=", "bytes=abc", "bytes=5-2", "lines=1-2", "bytes=--5", "bytes=-", "bytes=0-1,x"] {
            assert_eq!(parse(header, 1000), Wanted::Whole, "{header}");
        }
        for header in ["bytes=1000-", "bytes=-0", "bytes=5000-6000"] {
            assert_eq!(parse(header, 1000), Wanted::Unsatisfiable, "{header}");
        }
        assert_eq!(parse("bytes=0-9", 0), Wanted::Unsatisfiable);
    }

    #[test]
    fn too_many_ranges_are_the_whole_file() {
        let many = |count: u64, step: u64| {
            let specs: Vec<String> = (0..count).map(|number| format!("{}-{}", number * step, number * step)).collect();
            parse(&format!("bytes={}", specs.join(",")), u64::MAX)
        };
        assert_eq!(many(1300, 1), Wanted::Whole);
        assert_eq!(many(33, 1000), Wanted::Whole);
        assert!(matches!(many(32, 1000), Wanted::Parts(parts) if parts.len() == 32));
    }

    proptest! {
        #[test]
        fn no_byte_is_sent_twice(specs in prop::collection::vec((0u64..2000, 0u64..2000), 1..40), size in 0u64..1500) {
            let header = specs.iter().map(|(from, more)| format!("{from}-{}", from + more)).collect::<Vec<_>>().join(",");
            if let Wanted::Parts(parts) = parse(&format!("bytes={header}"), size) {
                prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= size));
                prop_assert!(parts.windows(2).all(|pair| pair[0].end < pair[1].start));
            }
        }
    }
}
