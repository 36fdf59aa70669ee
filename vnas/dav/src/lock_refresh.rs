//! LOCK without a body: a lock lives longer. And how long locks live.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};

use crate::DoorConfig;
use crate::body::Body;
use crate::conditions;
use crate::context::Request;
use crate::live::write_lock;
use crate::refusal::Refusal;

/// Lets the lock live longer whose token the `If` header submits (RFC 4918 §9.10.2).
pub(crate) async fn refresh(request: &Request) -> Result<Response<Body>, Refusal> {
    let path = request.path_to_change()?;
    let submitted = conditions::check(request, request.node()?.as_ref())?;
    let fail = |error| request.refusal(&error);
    let locks = request.drive.locks(path, false).map_err(fail)?;
    let Some(lock) = locks.iter().find(|lock| submitted.tokens.contains(&lock.token)) else {
        return Err(if submitted.tokens.is_empty() {
            Refusal::bad_request("a lock is taken with a body or refreshed with an If header")
        } else {
            Refusal::precondition("there is no such lock").condition("lock-token-matches-request-uri", Vec::new())
        });
    };
    let timeout_s = timeout_s(request.header("timeout"), &request.config);
    let lock = request.drive.refresh_lock(&lock.token, path, &request.user, timeout_s).await.map_err(fail)?;
    let mut xml =
        String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:prop xmlns:D=\"DAV:\"><D:lockdiscovery>");
    write_lock(&mut xml, &lock, &request.volumes);
    xml.push_str("</D:lockdiscovery></D:prop>\n");
    let mut response = Response::new(Body::whole(xml));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml; charset=utf-8"));
    Ok(response)
}

/// The seconds to grant: what the client wants first and makes sense, cut to the limit (RFC 4918 §10.7).
pub(crate) fn timeout_s(header: Option<&str>, config: &DoorConfig) -> u32 {
    let wishes = header.unwrap_or_default().split(',').map(str::trim);
    let mut wish = wishes.filter_map(|wish| match wish.strip_prefix("Second-") {
        Some(seconds) => seconds.parse::<u64>().ok(),
        None => wish.eq_ignore_ascii_case("infinite").then_some(u64::MAX),
    });
    let seconds = wish.next().unwrap_or(u64::from(config.lock_timeout_default_s));
    u32::try_from(seconds).unwrap_or(u32::MAX).clamp(1, config.lock_timeout_limit_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_what_is_asked_for_up_to_the_limit() {
        let config = DoorConfig::default();
        for (header, granted) in [
            (None, 600),
            (Some("Second-2"), 2),
            (Some("Infinite, Second-4100000000"), 3600),
            (Some("Second-99999999999999999999, Second-30"), 30),
            (Some("soon"), 600),
            (Some("Second-0"), 1),
        ] {
            assert_eq!(timeout_s(header, &config), granted, "{header:?}");
        }
    }
}
