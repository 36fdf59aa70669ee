//! Answers that are not what the client hoped for: the one place where errors become statuses.

use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use shoal_ledger::{NodePathError, Rejection, VolumeRecord};
use shoal_volume::DriveError;

use crate::body::Body;
use crate::href::{BadHref, href_of};
use dci_proto::xml::{BadXml, escape};

/// When a client may try again what the pool cannot do right now.
const RETRY_AFTER_S: u64 = 2;

/// An answer that is no success: a status, a sentence, perhaps a condition of WebDAV's that does not hold.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    reason: String,
    /// The element of RFC 4918 §16 that says what does not hold, and the URL paths it is about.
    condition: Option<(&'static str, Vec<String>)>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), condition: None, headers: Vec::new() }
    }

    pub(crate) fn bad_request(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "nothing is there")
    }

    pub(crate) fn precondition(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, reason)
    }

    pub(crate) fn method_not_allowed(reason: impl Into<String>, allow: &'static str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, reason).with(ALLOW, HeaderValue::from_static(allow))
    }

    /// Try again soon.
    pub(crate) fn unavailable(reason: impl Into<String>) -> Self {
        Self::retry(StatusCode::SERVICE_UNAVAILABLE, reason, Duration::from_secs(RETRY_AFTER_S))
    }

    /// Try again after a while.
    pub(crate) fn retry(status: StatusCode, reason: impl Into<String>, after: Duration) -> Self {
        let after_s = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        Self::new(status, reason).with(RETRY_AFTER, HeaderValue::from(after_s.max(1)))
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn condition(mut self, element: &'static str, hrefs: Vec<String>) -> Self {
        self.condition = Some((element, hrefs));
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    /// What went wrong in the drive, as an answer to a request with this method.
    pub(crate) fn of_drive(error: &DriveError, method: &str, volumes: &[VolumeRecord]) -> Self {
        let reason = error.to_string();
        match error {
            DriveError::Rejected(rejection) => Self::of_rejection(rejection, method, volumes),
            DriveError::NoQuorum(_) | DriveError::Unavailable(_) | DriveError::Peer(_) | DriveError::Interrupted(_) => {
                Self::unavailable(reason)
            }
            DriveError::Full | DriveError::NoRoomHere(_) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, reason).condition("quota-not-exceeded", Vec::new())
            }
            DriveError::Incomplete { .. } | DriveError::ChecksumMismatch { .. } => Self::bad_request(reason),
            DriveError::Damaged(_) | DriveError::Kv(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, reason),
        }
    }

    fn of_rejection(rejection: &Rejection, method: &str, volumes: &[VolumeRecord]) -> Self {
        let reason = rejection.to_string();
        let status = match rejection {
            Rejection::NotFound(_) => StatusCode::NOT_FOUND,
            Rejection::ParentMissing(_) | Rejection::NotAFolder(_) | Rejection::NotEmpty(_) => StatusCode::CONFLICT,
            Rejection::Exists(_) if method == "MKCOL" => StatusCode::METHOD_NOT_ALLOWED,
            Rejection::Exists(_) if method == "MOVE" || method == "COPY" => StatusCode::PRECONDITION_FAILED,
            Rejection::Exists(_) => StatusCode::CONFLICT,
            Rejection::IsAFolder(_) => StatusCode::METHOD_NOT_ALLOWED,
            Rejection::IntoItself(_) => StatusCode::FORBIDDEN,
            Rejection::PreconditionFailed(_) => StatusCode::PRECONDITION_FAILED,
            Rejection::Locked(lock) => {
                let element = if method == "LOCK" { "no-conflicting-lock" } else { "lock-token-submitted" };
                let href = href_of(volumes, &lock.path, false);
                return Self::new(StatusCode::LOCKED, reason).condition(element, vec![href]);
            }
            Rejection::NoSuchLock if method == "LOCK" => StatusCode::PRECONDITION_FAILED,
            Rejection::NoSuchLock => {
                let element = "lock-token-matches-request-uri";
                return Self::new(StatusCode::CONFLICT, reason).condition(element, Vec::new());
            }
            Rejection::TooMany(_) => StatusCode::INSUFFICIENT_STORAGE,
            Rejection::MissingContent(_) | Rejection::TooLate | Rejection::HoldersGone(_) => {
                return Self::unavailable(reason);
            }
            Rejection::Path(NodePathError::NameTooLong | NodePathError::TooDeep) => StatusCode::URI_TOO_LONG,
            Rejection::Path(NodePathError::BadName(_)) => StatusCode::BAD_REQUEST,
            Rejection::Invalid(_) => StatusCode::FORBIDDEN,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, reason)
    }

    pub(crate) fn response(self) -> Response<Body> {
        let (media_type, body) = match &self.condition {
            None => ("text/plain; charset=utf-8", format!("{}\n", self.reason)),
            Some((element, hrefs)) => {
                let mut xml =
                    format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:error xmlns:D=\"DAV:\"><D:{element}>");
                for href in hrefs {
                    xml.push_str("<D:href>");
                    escape(&mut xml, href);
                    xml.push_str("</D:href>");
                }
                xml.push_str(&format!("</D:{element}></D:error>"));
                ("application/xml; charset=utf-8", xml)
            }
        };
        let bodiless = self.status == StatusCode::NOT_MODIFIED;
        let mut response = Response::new(if bodiless { Body::empty() } else { Body::whole(body) });
        *response.status_mut() = self.status;
        if !bodiless {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        }
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<BadXml> for Refusal {
    fn from(bad: BadXml) -> Self {
        Self::bad_request(bad.0)
    }
}

impl From<BadHref> for Refusal {
    fn from(bad: BadHref) -> Self {
        match bad {
            BadHref::Malformed => Self::bad_request("the URL is malformed"),
            BadHref::TooLong => Self::new(StatusCode::URI_TOO_LONG, "the URL is too long"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_of(error: DriveError, method: &str) -> u16 {
        Refusal::of_drive(&error, method, &[]).status().as_u16()
    }

    #[test]
    fn each_error_has_its_status() {
        let name = || "x".to_owned();
        for (rejection, method, status) in [
            (Rejection::NotFound(name()), "GET", 404),
            (Rejection::ParentMissing(name()), "PUT", 409),
            (Rejection::Exists(name()), "MKCOL", 405),
            (Rejection::Exists(name()), "MOVE", 412),
            (Rejection::IntoItself(name()), "COPY", 403),
            (Rejection::PreconditionFailed(name()), "PUT", 412),
            (Rejection::NoSuchLock, "UNLOCK", 409),
            (Rejection::NoSuchLock, "LOCK", 412),
            (Rejection::TooMany(name()), "LOCK", 507),
            (Rejection::Path(NodePathError::NameTooLong), "PUT", 414),
        ] {
            assert_eq!(status_of(DriveError::Rejected(rejection.clone()), method), status, "{rejection:?} {method}");
        }
        assert_eq!(status_of(DriveError::Full, "PUT"), 507);
        assert_eq!(status_of(DriveError::NoRoomHere(String::new()), "PUT"), 507);
        assert_eq!(status_of(DriveError::Incomplete { announced_bytes: 2, received_bytes: 1 }, "PUT"), 400);
    }

    #[test]
    fn what_is_not_possible_now_says_when_to_try_again() {
        let response = Refusal::of_drive(&DriveError::NoQuorum(String::new()), "PUT", &[]).response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
    }
}
