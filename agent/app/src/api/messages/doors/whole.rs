//! A request's body, whole: never more bytes, and never for longer, than it may take.

use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use futures::StreamExt as _;

use super::super::super::failure::Failure;

/// How long a body may take to come.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// Reads XML of so many bytes, at most.
pub(super) async fn xml(request: Request, limit_bytes: usize) -> Result<Vec<u8>, Failure> {
    if !is_xml(request.headers()) {
        let reason = "the body is XML in UTF-8: Content-Type: application/xml or text/xml";
        return Err(Failure::with(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason));
    }
    let told = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if told.is_some_and(|bytes| bytes > limit_bytes as u64) {
        return Err(too_large(limit_bytes));
    }
    let read = async {
        let mut pieces = request.into_body().into_data_stream();
        let mut body = Vec::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| Failure::bad("the body ended before it was whole"))?;
            if body.len() + piece.len() > limit_bytes {
                return Err(too_large(limit_bytes));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    };
    let late = || {
        let reason = format!("the body was not whole after {} seconds", BODY_DEADLINE.as_secs());
        Failure::with(StatusCode::REQUEST_TIMEOUT, reason)
    };
    tokio::time::timeout(BODY_DEADLINE, read).await.map_err(|_| late())?
}

fn too_large(limit_bytes: usize) -> Failure {
    let reason =
        format!("the body has more than the {limit_bytes} bytes that are taken; larger things travel as files");
    Failure::with(StatusCode::PAYLOAD_TOO_LARGE, reason)
}

fn is_xml(headers: &HeaderMap) -> bool {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    let charset = parameters.split(';').filter_map(|one| one.split_once('=')).find_map(|(name, value)| {
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    });
    ["application/xml", "text/xml"].iter().any(|kind| essence.trim().eq_ignore_ascii_case(kind))
        && charset.is_none_or(|charset| charset == "utf-8" || charset == "us-ascii")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_xml_in_utf_8_is_taken() {
        for (value, expected) in [
            ("application/xml", true),
            ("text/xml; charset=\"UTF-8\"; action=\"x\"", true),
            ("Text/XML;charset=utf-8", true),
            ("text/xml; charset=iso-8859-1", false),
            ("application/json", false),
            ("application/soap+xml", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(is_xml(&headers), expected, "{value}");
        }
    }
}
