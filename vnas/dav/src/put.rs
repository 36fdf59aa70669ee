//! PUT: a file appears wholly or not at all.
//!
//! Bytes go from the connection to the drive as they come, uncopied. Only the commit at the end makes them a file; a
//! client that goes away, a body shorter or longer than announced, a wrong checksum leave what was there before.

use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use shoal_volume::{FileWriter, NewFile};

use crate::body::Body;
use crate::conditions;
use crate::context::{Request, etag, is_folder};
use crate::media_type;
use crate::options;
use crate::refusal::Refusal;
use crate::times::{http_date, parse_oc_mtime};

/// Answers a PUT.
pub(crate) async fn put(request: &Request, body: &mut Incoming) -> Result<Response<Body>, Refusal> {
    if request.headers.contains_key(CONTENT_RANGE) {
        // RFC 9110 §14.4: a server that does not do partial PUT must refuse it, lest the part become the file.
        return Err(Refusal::bad_request("a part of a file cannot be put"));
    }
    let path = request.path_to_change()?;
    let node = request.node()?;
    if path.is_root() || request.url.slash || node.as_ref().is_some_and(is_folder) {
        return Err(Refusal::method_not_allowed("a folder cannot be put", options::METHODS));
    }
    let submitted = conditions::check(request, node.as_ref())?;
    let file = new_file(request)?;
    let modified = file.modified_ms;
    let fail = |error| request.refusal(&error);
    let mut writer = request.drive.create(path, file, request.guard(submitted)).await.map_err(fail)?;
    take(request, body, &mut writer).await?;
    let (node, created) = writer.commit().await.map_err(fail)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = if created { StatusCode::CREATED } else { StatusCode::NO_CONTENT };
    let headers = response.headers_mut();
    if modified.is_some() {
        headers.insert(HeaderName::from_static("x-oc-mtime"), HeaderValue::from_static("accepted"));
    }
    if let Some(value) = etag(&node).and_then(|tag| HeaderValue::from_str(&tag).ok()) {
        headers.insert(HeaderName::from_static("oc-etag"), value.clone());
        headers.insert(ETAG, value);
    }
    if let Ok(value) = HeaderValue::from_str(&http_date(node.modified_ms)) {
        headers.insert(LAST_MODIFIED, value);
    }
    Ok(response)
}

fn new_file(request: &Request) -> Result<NewFile, Refusal> {
    let modified_ms = match request.header("x-oc-mtime") {
        None => None,
        Some(text) => Some(parse_oc_mtime(text).ok_or_else(|| Refusal::bad_request("X-OC-Mtime is no time"))?),
    };
    // Finder sends chunked and says the size apart.
    let announced = request.header(CONTENT_LENGTH.as_str()).or_else(|| request.header("x-expected-entity-length"));
    let checksum = request.header("oc-checksum");
    Ok(NewFile {
        size_bytes: announced.and_then(|text| text.trim().parse().ok()),
        modified_ms,
        media_type: request.header(CONTENT_TYPE.as_str()).and_then(media_type::worth_keeping),
        // Who speaks of times or checksums as ownCloud's clients do will ask for the checksum later.
        want_sha1: checksum.is_some() || modified_ms.is_some(),
        expected_sha1: checksum.map(expected_sha1).transpose()?.flatten(),
    })
}

/// `SHA1:…` in hexadecimal; other algorithms are not checked.
fn expected_sha1(header: &str) -> Result<Option<[u8; 20]>, Refusal> {
    let Some((algorithm, digits)) = header.trim().split_once(':') else {
        return Err(Refusal::bad_request("OC-Checksum is malformed"));
    };
    if !algorithm.eq_ignore_ascii_case("sha1") {
        return Ok(None);
    }
    let malformed = || Refusal::bad_request("OC-Checksum is malformed");
    let digits: Vec<u32> =
        digits.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>().ok_or_else(malformed)?;
    if digits.len() != 40 {
        return Err(malformed());
    }
    let mut sha1 = [0; 20];
    for (byte, pair) in sha1.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (pair[0] * 16 + pair[1]) as u8;
    }
    Ok(Some(sha1))
}

async fn take(request: &Request, body: &mut Incoming, writer: &mut FileWriter) -> Result<(), Refusal> {
    while let Some(frame) = next_frame(body, request.config.stall_timeout).await? {
        let Ok(bytes) = frame.into_data() else { continue };
        request.stats.received(bytes.len());
        writer.write(bytes).await.map_err(|error| request.refusal(&error))?;
    }
    Ok(())
}

/// The next piece of a body; `None` at its end.
pub(crate) async fn next_frame(
    body: &mut Incoming,
    patience: Duration,
) -> Result<Option<http_body::Frame<bytes::Bytes>>, Refusal> {
    match tokio::time::timeout(patience, body.frame()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(frame))) => Ok(Some(frame)),
        Ok(Some(Err(_))) => Err(Refusal::bad_request("the body was broken off")),
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not come")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_read_or_refused() {
        let digits = "00ff".repeat(10);
        let sha1 = expected_sha1(&format!("SHA1:{digits}")).expect("a checksum").expect("of SHA-1");
        assert_eq!(sha1[..4], [0, 255, 0, 255]);
        assert!(matches!(expected_sha1("MD5:00"), Ok(None)));
        for bad in
            ["", "SHA1", "SHA1:", "SHA1:00", &format!("SHA1:{}", "zz".repeat(20)), &format!("SHA1:{}", "é".repeat(20))]
        {
            assert!(expected_sha1(bad).is_err(), "{bad}");
        }
    }
}
