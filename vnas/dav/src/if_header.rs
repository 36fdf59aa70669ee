//! The `If` header of RFC 4918 §10.4.

/// Lists of one header, at most. Real clients send one for each lock they hold.
const LISTS_LIMIT: usize = 64;
/// Conditions of one list, at most.
const CONDITIONS_LIMIT: usize = 64;

/// What must be so for a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// It is locked with this token.
    Token(String),
    /// It has this ETag, quotes included.
    Etag(String),
}

/// One condition: a state, or its absence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) not: bool,
    pub(crate) state: State,
}

/// Conditions that must all hold; one list of a header that does is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List {
    /// The URL it is about; `None` for the one of the request.
    pub(crate) tag: Option<String>,
    pub(crate) conditions: Vec<Condition>,
}

/// Reads a header; `None` if it is malformed.
pub(crate) fn parse(header: &str) -> Option<Vec<List>> {
    let mut lists = Vec::new();
    let mut tag = None;
    let mut rest = header.trim();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('<') {
            // A tag goes for all lists up to the next tag, and needs one at least.
            let (url, after) = after.split_once('>')?;
            tag = Some(url.to_owned());
            rest = after.trim_start();
        }
        let (conditions, after) = list(rest.strip_prefix('(')?)?;
        lists.push(List { tag: tag.clone(), conditions });
        if lists.len() > LISTS_LIMIT {
            return None;
        }
        rest = after.trim_start();
    }
    (!lists.is_empty()).then_some(lists)
}

fn list(mut rest: &str) -> Option<(Vec<Condition>, &str)> {
    let mut conditions = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix(')') {
            return (!conditions.is_empty()).then_some((conditions, after));
        }
        let not = rest.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("not"));
        rest = if not { rest[3..].trim_start() } else { rest };
        let (state, after) = if let Some(after) = rest.strip_prefix('<') {
            let (token, after) = after.split_once('>')?;
            (State::Token(token.to_owned()), after)
        } else {
            etag(rest.strip_prefix('[')?)?
        };
        conditions.push(Condition { not, state });
        if conditions.len() > CONDITIONS_LIMIT {
            return None;
        }
        rest = after;
    }
}

/// `"…"]`, perhaps weak; a `]` within the quotes is part of it.
fn etag(rest: &str) -> Option<(State, &str)> {
    let open = rest.find('"')?;
    if !matches!(rest[..open].trim(), "" | "W/") {
        return None;
    }
    let close = open + 1 + rest[open + 1..].find('"')?;
    let after = rest[close + 1..].trim_start().strip_prefix(']')?;
    Some((State::Etag(rest[..=close].trim().to_owned()), after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(not: bool, text: &str) -> Condition {
        Condition { not, state: State::Token(text.to_owned()) }
    }

    fn etag(text: &str) -> Condition {
        Condition { not: false, state: State::Etag(text.to_owned()) }
    }

    #[test]
    fn lists_are_read_with_their_tags() {
        let lists = parse(r#"(<urn:a> ["x]y"]) (Not <DAV:no-lock>)"#).expect("a header");
        assert_eq!(lists[0].conditions, [token(false, "urn:a"), etag("\"x]y\"")]);
        assert_eq!(lists[1].conditions, [token(true, "DAV:no-lock")]);
        let lists = parse(r#"<http://h/a> (<urn:a>)(<urn:b>) </c/>([W/"w"])"#).expect("a header");
        let tags: Vec<_> = lists.iter().map(|list| list.tag.as_deref()).collect();
        assert_eq!(tags, [Some("http://h/a"), Some("http://h/a"), Some("/c/")]);
        assert_eq!(lists[2].conditions, [etag("W/\"w\"")]);
    }

    #[test]
    fn malformed_headers_are_none() {
        for bad in ["", "(", "(((", "()", "<a>", "(<a", "(<a>", "([\"a)", "([a])", "(a)", "x", "(<a>) x", "(Not)"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse(&"(<a:b>)".repeat(65)), None);
        assert_eq!(parse(&format!("({})", "<a:b>".repeat(65))), None);
    }

    proptest! {
        #[test]
        fn no_header_is_too_strange(header in "[(<a:\\[\"\\]>) NotW/é]{0,40}") {
            let _ = parse(&header);
        }
    }
}
