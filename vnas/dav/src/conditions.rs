//! Conditional requests: RFC 9110 §13 and the `If` header of RFC 4918.
//!
//! Checked early against the local copy, and handed on to the ledger ([`Submitted`]), which checks again in the step
//! that changes something.

use http::{HeaderValue, Method, StatusCode, header};
use shoal_ledger::{Expect, Node};

use crate::context::{Place, Request, etag};
use crate::if_header::{self, List, State};
use crate::refusal::Refusal;
use crate::times::{http_date, parse_http_date, seconds};

/// What a request submits for the ledger to check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Submitted {
    /// Lock tokens.
    pub(crate) tokens: Vec<String>,
    /// What must hold of the resource.
    pub(crate) expect: Option<Expect>,
}

/// Checks the conditions of a request about `node`.
///
/// # Errors
/// 304 or 412 when one does not hold, 400 when the `If` header is malformed.
pub(crate) fn check(request: &Request, node: Option<&Node>) -> Result<Submitted, Refusal> {
    let mut submitted = Submitted::default();
    let failed = || Refusal::precondition("a condition of the request does not hold");
    let tag = node.and_then(etag);
    let version = node.map(|node| Expect::Version { inode: node.inode, version: node.version });
    if let Some(wanted) = tags(request, header::IF_MATCH) {
        match wanted {
            Tags::Any if node.is_some() => submitted.expect = Some(Expect::Present),
            Tags::These(these) if tag.as_ref().is_some_and(|tag| these.contains(tag)) => submitted.expect = version,
            _ => return Err(failed()),
        }
    } else if let Some(since_s) = date(request, header::IF_UNMODIFIED_SINCE) {
        if node.is_none_or(|node| seconds(node.modified_ms) > since_s) {
            return Err(failed());
        }
        submitted.expect = version;
    }
    let reads = request.method == Method::GET || request.method == Method::HEAD;
    if let Some(unwanted) = tags(request, header::IF_NONE_MATCH) {
        let matches = match &unwanted {
            Tags::Any => node.is_some(),
            Tags::These(these) => tag.as_ref().is_some_and(|tag| these.iter().any(|one| same_weakly(one, tag))),
        };
        match (matches, node) {
            (true, Some(node)) if reads => return Err(not_modified(node)),
            (true, _) => return Err(failed()),
            (false, _) if unwanted == Tags::Any => submitted.expect = Some(Expect::Absent),
            (false, _) => {}
        }
    } else if let (true, Some(node), Some(since_s)) = (reads, node, date(request, header::IF_MODIFIED_SINCE))
        && seconds(node.modified_ms) <= since_s
    {
        return Err(not_modified(node));
    }
    check_if(request, &mut submitted)?;
    Ok(submitted)
}

fn not_modified(node: &Node) -> Refusal {
    let mut refusal = Refusal::new(StatusCode::NOT_MODIFIED, "the client has it");
    if let Some(value) = etag(node).and_then(|tag| HeaderValue::from_str(&tag).ok()) {
        refusal = refusal.with(header::ETAG, value);
    }
    match HeaderValue::from_str(&http_date(node.modified_ms)) {
        Ok(value) => refusal.with(header::LAST_MODIFIED, value),
        Err(_) => refusal,
    }
}

fn check_if(request: &Request, submitted: &mut Submitted) -> Result<(), Refusal> {
    let mut values = request.headers.get_all("if").iter();
    let Some(value) = values.next() else { return Ok(()) };
    let malformed = || Refusal::bad_request("the If header is malformed");
    if values.next().is_some() {
        return Err(malformed());
    }
    let lists = value.to_str().ok().and_then(if_header::parse).ok_or_else(malformed)?;
    let mut holds = false;
    for list in &lists {
        for condition in &list.conditions {
            if let State::Token(token) = &condition.state {
                submitted.tokens.push(token.clone());
            }
        }
        if !holds {
            holds = list_holds(request, list, submitted)?;
        }
    }
    if holds { Ok(()) } else { Err(Refusal::precondition("no list of the If header holds")) }
}

fn list_holds(request: &Request, list: &List, submitted: &mut Submitted) -> Result<bool, Refusal> {
    let place = match &list.tag {
        None => Some(request.place.clone()),
        // A resource that cannot be here has no lock and no ETag.
        Some(tag) => request.own_url(tag).and_then(|url| Request::locate(&request.volumes, &url)).ok(),
    };
    let Some(Place::Node(path)) = place else { return Ok(list.conditions.iter().all(|condition| condition.not)) };
    let refuse = |error| request.refusal(&error);
    let mut locks = None;
    let mut expect = None;
    for condition in &list.conditions {
        let holds = match &condition.state {
            State::Token(token) => {
                if locks.is_none() {
                    locks = Some(request.drive.locks(&path, false).map_err(refuse)?);
                }
                locks.iter().flatten().any(|lock| lock.token == *token)
            }
            State::Etag(wanted) => {
                let node = request.drive.node(&path).map_err(refuse)?;
                let matches = node.as_ref().and_then(etag).is_some_and(|tag| tag == *wanted);
                if let (true, None, Some(node)) = (matches && !condition.not, &list.tag, &node) {
                    expect = Some(Expect::Version { inode: node.inode, version: node.version });
                }
                matches
            }
        };
        if holds == condition.not {
            return Ok(false);
        }
    }
    submitted.expect = submitted.expect.or(expect);
    Ok(true)
}

#[derive(Debug, PartialEq, Eq)]
enum Tags {
    Any,
    These(Vec<String>),
}

/// The ETags of a header; `None` if it is not there.
fn tags(request: &Request, name: header::HeaderName) -> Option<Tags> {
    let mut values = request.headers.get_all(name).iter().peekable();
    values.peek()?;
    let mut these = Vec::new();
    for value in values {
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Some(Tags::Any);
        }
        these.extend(split_tags(text));
    }
    Some(Tags::These(these))
}

/// Splits at the commas outside quotes.
fn split_tags(text: &str) -> Vec<String> {
    let mut quoted = false;
    let parts = text.split(|character| {
        quoted ^= character == '"';
        character == ',' && !quoted
    });
    parts.map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn same_weakly(one: &str, other: &str) -> bool {
    one.strip_prefix("W/").unwrap_or(one) == other.strip_prefix("W/").unwrap_or(other)
}

fn date(request: &Request, name: header::HeaderName) -> Option<i64> {
    parse_http_date(request.headers.get(name)?.to_str().ok()?)
}

/// Whether a range may be given: `If-Range` names the version there is (RFC 9110 §13.1.5), or is not there.
pub(crate) fn range_applies(request: &Request, node: &Node) -> bool {
    match request.header("if-range") {
        None => !request.headers.contains_key("if-range"),
        Some(value) if value.trim_start().starts_with('"') => etag(node).is_some_and(|tag| tag == value.trim()),
        Some(value) => parse_http_date(value).is_some_and(|date_s| seconds(node.modified_ms) == date_s),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_etags_is_split_outside_quotes() {
        assert_eq!(split_tags(r#""a,b" , W/"c",,d"#), [r#""a,b""#, r#"W/"c""#, "d"]);
        assert!(same_weakly(r#"W/"c""#, r#""c""#));
        assert!(!same_weakly(r#""b""#, r#""c""#));
    }
}
