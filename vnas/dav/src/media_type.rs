//! What kind of file it is.

use shoal_ledger::Node;

/// Sent when nothing better is known.
pub(crate) const UNKNOWN: &str = "application/octet-stream";
/// Bytes of a stored media type, at most.
const LIMIT_BYTES: usize = 255;

/// The media type of a file: what its writer said, else a guess by its name.
pub(crate) fn of(node: &Node) -> String {
    if let Some(stored) = &node.media_type {
        return stored.clone();
    }
    mime_guess::from_path(&node.name).first_raw().unwrap_or(UNKNOWN).to_owned()
}

/// The media type worth keeping of what a client sent; many send a default that says nothing.
pub(crate) fn worth_keeping(sent: &str) -> Option<String> {
    let sent = sent.trim();
    let essence = sent.split(';').next().unwrap_or_default().trim();
    let says_nothing = [UNKNOWN, "application/x-www-form-urlencoded", "text/plain"].contains(&essence);
    let (kind, subkind) = essence.split_once('/')?;
    let token = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
    };
    let well_formed = token(kind) && token(subkind) && sent.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    (!says_nothing && well_formed && sent.len() <= LIMIT_BYTES).then(|| sent.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_media_types_that_say_something_are_kept() {
        assert_eq!(worth_keeping("image/png"), Some("image/png".to_owned()));
        assert_eq!(worth_keeping("text/html; charset=utf-8"), Some("text/html; charset=utf-8".to_owned()));
        for sent in ["", "x", "/", "application/octet-stream", "text/plain", "a b/c", "image/png\u{7f}"] {
            assert_eq!(worth_keeping(sent), None, "{sent}");
        }
    }
}
