//! Who asks, and whether they may.
//!
//! Three ways in: the token that lies in this machine's data directory (the CLI), name and password with every request
//! (scripts, other machines' CLI), and a session cookie (the page). A request that rides on a cookie and changes
//! something must come from this very origin.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use base64::Engine as _;
use shoal_dav::Stranger;
use shoal_ledger::UserRole;

use super::Api;
use super::failure::Failure;
use super::serve::Remote;
use crate::auth::SignInError;

/// Name of the session cookie.
pub(super) const COOKIE: &str = "shoal_session";

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) user: String,
    pub(super) role: UserRole,
    /// Signed in with the token that lies on this computer.
    pub(super) local: bool,
}

impl Caller {
    /// Fails unless the caller may do what takes that role.
    pub(super) fn needs(&self, role: UserRole) -> Result<(), Failure> {
        if self.role >= role { Ok(()) } else { Err(Failure::forbidden(role)) }
    }
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Failure> {
        let caller = Self::of(parts, api).await?;
        if let Some(stranger) = parts.extensions.get::<Stranger>() {
            stranger.is_known();
        }
        Ok(caller)
    }
}

impl Caller {
    async fn of(parts: &Parts, api: &Api) -> Result<Self, Failure> {
        let remote = parts.extensions.get::<Remote>().map_or(IpAddr::from([0, 0, 0, 0]), |remote| remote.address.ip());
        if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
            let value = value.to_str().map_err(|_| Failure::sign_in("the Authorization header is garbled"))?;
            return from_authorization(api, value, remote).await;
        }
        let name = cookie(&parts.headers).ok_or_else(|| Failure::sign_in("sign in first"))?;
        if parts.method != Method::GET && parts.method != Method::HEAD && !same_origin(&parts.headers) {
            return Err(Failure::foreign_origin());
        }
        let session = api.sessions.lock().ok().and_then(|mut sessions| sessions.find(&name, api.now()));
        let session = session.ok_or_else(|| Failure::sign_in("the session has ended; sign in again"))?;
        // Rights are looked up anew: a user who was removed or demoted meanwhile has lost them.
        let user = api.user(&session.user)?.ok_or_else(|| Failure::sign_in("that user is no more"))?;
        Ok(Self { user: user.name, role: user.role, local: false })
    }
}

impl Api {
    /// Time since the agent started: what sessions are counted in.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn user(&self, name: &str) -> Result<Option<shoal_ledger::UserRecord>, Failure> {
        Ok(shoal_ledger::query::user(&*self.agent.ledger.view()?, name)?)
    }

    /// Checks name and password.
    pub(super) async fn check(&self, user: &str, password: &str, remote: IpAddr) -> Result<Caller, Failure> {
        match self.agent.credentials.sign_in(user, password, remote).await {
            Ok(record) => Ok(Caller { user: record.name, role: record.role, local: false }),
            Err(SignInError::Wrong) => Err(Failure::sign_in("user or password is wrong")),
            Err(SignInError::SlowDown(wait)) => Err(Failure::slow_down(wait)),
            Err(SignInError::Unavailable(reason)) => Err(Failure::unavailable(reason)),
        }
    }
}

async fn from_authorization(api: &Api, value: &str, remote: IpAddr) -> Result<Caller, Failure> {
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        return if api.agent.credentials.is_local_token(rest.trim()) {
            Ok(Caller { user: "local".into(), role: UserRole::Admin, local: true })
        } else {
            Err(Failure::sign_in("the token is not this agent's; was it started anew?"))
        };
    }
    let garbled = || Failure::sign_in("the Authorization header is garbled");
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(garbled());
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(rest.trim()).map_err(|_| garbled())?;
    let text = String::from_utf8(decoded).map_err(|_| garbled())?;
    let (user, password) = text.split_once(':').ok_or_else(garbled)?;
    api.check(user, password, remote).await
}

/// The session's name, if the browser sent one.
pub(super) fn cookie(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value.to_owned())
}

/// Whether a browser says that the request comes from a page of this very origin.
pub(super) fn same_origin(headers: &HeaderMap) -> bool {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST);
    match text(header::ORIGIN) {
        Some(origin) => origin.split_once("://").map(|(_, rest)| rest) == host && host.is_some(),
        None => headers.get("sec-fetch-site").is_some_and(|value| value == "same-origin"),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn only_a_page_of_this_origin_may_act() {
        let cases = [
            (&[("host", "a:1"), ("origin", "http://a:1")][..], true),
            (&[("host", "a:1"), ("origin", "http://a:2")][..], false),
            (&[("host", "a:1"), ("origin", "null")][..], false),
            (&[("host", "a:1"), ("sec-fetch-site", "same-origin")][..], true),
            (&[("host", "a:1"), ("sec-fetch-site", "cross-site")][..], false),
            (&[("host", "a:1")][..], false),
        ];
        for (pairs, expected) in cases {
            assert_eq!(same_origin(&headers(pairs)), expected, "{pairs:?}");
        }
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        assert_eq!(cookie(&headers(&[("cookie", "a=b; shoal_session=xyz; c=d")])).as_deref(), Some("xyz"));
        assert_eq!(cookie(&headers(&[("cookie", "shoal_sessions=xyz")])), None);
    }
}
