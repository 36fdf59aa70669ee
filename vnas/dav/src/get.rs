//! GET and HEAD.
//!
//! The first bytes are waited for before the head goes out, so that a file that cannot be read is an honest 503, and
//! small answers leave in one piece. An error later breaks the connection: a short body must never look whole.

use std::io;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    LAST_MODIFIED,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use shoal_ledger::Node;
use shoal_volume::FileReader;

use crate::body::{Body, ByteStream};
use crate::conditions;
use crate::context::{Place, Request, etag, is_folder};
use crate::folder_page;
use crate::media_type;
use crate::ranges::{self, Wanted};
use crate::refusal::Refusal;
use crate::times::http_date;

/// Answers up to this size are gathered and leave in one piece.
const GATHERED_BYTES: u64 = 64 * 1024;

/// Answers a GET or HEAD.
pub(crate) async fn get(request: &Request) -> Result<Response<Body>, Refusal> {
    let node = request.node()?;
    let node = match (node, &request.place) {
        (Some(node), _) => node,
        (None, Place::Volumes) => return folder_page::volumes(request),
        (None, _) => return Err(Refusal::not_found()),
    };
    if is_folder(&node) {
        conditions::check(request, Some(&node))?;
        return folder_page::folder(request, &node);
    }
    if request.url.slash {
        return Err(Refusal::not_found());
    }
    conditions::check(request, Some(&node))?;
    let wanted = match request.header("range") {
        Some(header) if request.method == Method::GET && conditions::range_applies(request, &node) => {
            ranges::parse(header, node.size_bytes)
        }
        _ => Wanted::Whole,
    };
    let mut response = match wanted {
        Wanted::Unsatisfiable => return Err(unsatisfiable(&node)),
        _ if request.method == Method::HEAD => head(&node),
        Wanted::Whole => body_of(request, &node, 0..node.size_bytes).await?,
        Wanted::Parts(parts) => partial(request, &node, parts).await?,
    };
    describe(response.headers_mut(), &node);
    Ok(response)
}

fn head(node: &Node) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(node.size_bytes));
    response
}

fn unsatisfiable(node: &Node) -> Refusal {
    let refusal = Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "the file does not have those bytes");
    match HeaderValue::from_str(&format!("bytes */{}", node.size_bytes)) {
        Ok(value) => refusal.with(CONTENT_RANGE, value),
        Err(_) => refusal,
    }
}

/// What a file is. What users store must not act in a browser: it is opened in a sandbox that allows nothing.
fn describe(headers: &mut HeaderMap, node: &Node) {
    let mut insert = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.entry(name).or_insert(value);
        }
    };
    insert(CONTENT_TYPE, &media_type::of(node));
    insert(ETAG, &etag(node).unwrap_or_default());
    insert(LAST_MODIFIED, &http_date(node.modified_ms));
    insert(ACCEPT_RANGES, "bytes");
    insert(CACHE_CONTROL, "private, no-cache");
    insert(CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'");
    if let Some(sha1) = node.sha1 {
        let digits: String = sha1.iter().map(|byte| format!("{byte:02x}")).collect();
        insert(HeaderName::from_static("oc-checksum"), &format!("SHA1:{digits}"));
    }
}

async fn body_of(request: &Request, node: &Node, range: Range<u64>) -> Result<Response<Body>, Refusal> {
    let length_bytes = range.end - range.start;
    if length_bytes == 0 {
        return Ok(Response::new(Body::empty()));
    }
    let reader = request.drive.open(node).map_err(|error| request.refusal(&error))?;
    let mut bytes = reader.read(range);
    let first = match bytes.next().await {
        Some(Ok(first)) => first,
        Some(Err(error)) => return Err(request.refusal(&error)),
        None => return Err(Refusal::unavailable("the file cannot be read")),
    };
    if first.len() as u64 == length_bytes {
        return Ok(Response::new(Body::whole(first)));
    }
    if length_bytes <= GATHERED_BYTES {
        let mut gathered = BytesMut::with_capacity(usize::try_from(length_bytes).unwrap_or_default());
        gathered.extend_from_slice(&first);
        while let Some(next) = bytes.next().await {
            gathered.extend_from_slice(&next.map_err(|error| request.refusal(&error))?);
        }
        if gathered.len() as u64 != length_bytes {
            return Err(Refusal::unavailable("the file cannot be read"));
        }
        return Ok(Response::new(Body::whole(gathered.freeze())));
    }
    let all = stream::once(async { Ok(first) }).chain(bytes.map(|next| next.map_err(io::Error::other)));
    Ok(Response::new(Body::stream(all.boxed(), Some(length_bytes))))
}

async fn partial(request: &Request, node: &Node, parts: Vec<Range<u64>>) -> Result<Response<Body>, Refusal> {
    let mut response = match parts.as_slice() {
        [only] => {
            let mut response = body_of(request, node, only.clone()).await?;
            if let Ok(value) = HeaderValue::from_str(&content_range(only, node)) {
                response.headers_mut().insert(CONTENT_RANGE, value);
            }
            response
        }
        _ => multipart(request, node, parts)?,
    };
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    Ok(response)
}

fn content_range(range: &Range<u64>, node: &Node) -> String {
    format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), node.size_bytes)
}

/// Several ranges. The boundary is drawn anew for every answer, so that no file can hold it on purpose.
fn multipart(request: &Request, node: &Node, parts: Vec<Range<u64>>) -> Result<Response<Body>, Refusal> {
    let reader = request.drive.open(node).map_err(|error| request.refusal(&error))?;
    let boundary = format!("{:032x}", rand::random::<u128>());
    let media_type = media_type::of(node);
    let heads = parts.iter().map(|part| {
        let range = content_range(part, node);
        format!("\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: {range}\r\n\r\n")
    });
    let pieces: Vec<(String, Range<u64>)> = heads.zip(parts.iter().cloned()).collect();
    let tail = format!("\r\n--{boundary}--\r\n");
    let length_bytes = pieces.iter().map(|(head, part)| head.len() as u64 + (part.end - part.start)).sum::<u64>();
    let length_bytes = length_bytes + tail.len() as u64;
    let bytes = stream::iter(pieces)
        .flat_map(move |(head, part)| piece(head, &reader, part))
        .chain(stream::once(async { Ok(Bytes::from(tail)) }))
        .boxed();
    let mut response = Response::new(Body::stream(bytes, Some(length_bytes)));
    if let Ok(value) = HeaderValue::from_str(&format!("multipart/byteranges; boundary={boundary}")) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    Ok(response)
}

fn piece(head: String, reader: &FileReader, part: Range<u64>) -> ByteStream {
    let reader = reader.clone();
    let head = stream::once(async { Ok(Bytes::from(head)) });
    // Opened only when its turn comes.
    let bytes = stream::once(async move { reader.read(part) }).flatten();
    head.chain(bytes.map(|next| next.map_err(io::Error::other))).boxed()
}
