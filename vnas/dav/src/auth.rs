//! Who is asking: HTTP Basic, checked by the agent.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// A user who has proved to be it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The user's name.
    pub name: String,
    /// Whether they may change anything.
    pub may_write: bool,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthFailure {
    /// No such user, or not their password; which of the two is not told.
    Wrong,
    /// Too many failures lately: not looked at before this time has passed.
    SlowDown(Duration),
}

/// Checks passwords.
///
/// To be correct, an implementation must take about as long for a user there is not as for a wrong password, and be
/// cheap for credentials it has lately found right: it is asked for every request.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// Checks a user's password.
    async fn authenticate(&self, user: &str, password: &str, remote: IpAddr) -> Result<Principal, AuthFailure>;
}

/// What a client sent to prove who it is. Never logged.
#[derive(PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Some clients leave the padding out.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The credentials of a request; `None` when there are none that make sense. Exactly one `Authorization: Basic`.
pub(crate) fn credentials(headers: &HeaderMap) -> Option<Credentials> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let encoded = encoded.trim();
    let bytes = STANDARD.decode(encoded).or_else(|_| LENIENT.decode(encoded)).ok()?;
    let (user, password) = match String::from_utf8(bytes) {
        Ok(text) => split(&text)?,
        // Windows before 10 sends Latin-1 whatever the challenge says.
        Err(error) => split(&error.into_bytes().iter().map(|byte| char::from(*byte)).collect::<String>())?,
    };
    Some(Credentials { user, password })
}

fn split(text: &str) -> Option<(String, String)> {
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().expect("a header value"));
        credentials(&headers).map(|found| (found.user, found.password))
    }

    #[test]
    fn basic_credentials_are_read_and_everything_else_is_none() {
        let basic = |bytes: &[u8]| format!("Basic {}", STANDARD.encode(bytes));
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(of(&basic(b"ana:secret")), pair("ana", "secret"));
        assert_eq!(of(&basic("ana:gr\u{fc}n:x".as_bytes())), pair("ana", "gr\u{fc}n:x"));
        assert_eq!(of(&basic(b"ana:gr\xfcn")), pair("ana", "gr\u{fc}n"));
        assert_eq!(of(basic(b"ana:1").trim_end_matches('=')), pair("ana", "1"));
        for bad in ["Basic", "Basic !!!!", "Foo bar", "Digest username=\"ana\"", &basic(b"no colon")] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn credentials_never_show_in_debug_output() {
        let secret = Credentials { user: "ana".to_owned(), password: "secret".to_owned() };
        assert_eq!(format!("{secret:?}"), "Credentials(…)");
    }
}
