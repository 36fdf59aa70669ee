//! OPTIONS, and what the door can do.

use http::header::{ACCEPT_RANGES, ALLOW};
use http::{HeaderName, HeaderValue, Response};

use crate::body::Body;

/// Methods of files and folders.
pub(crate) const METHODS: &str =
    "OPTIONS, GET, HEAD, PUT, DELETE, MKCOL, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK";

/// What the door can do, the same everywhere: Windows and Office ask at `/` and believe it of all below. With
/// `MS-Author-Via`, Office opens files for writing.
pub(crate) fn options() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(METHODS));
    headers.insert(HeaderName::from_static("dav"), HeaderValue::from_static("1, 2, 3"));
    headers.insert(HeaderName::from_static("ms-author-via"), HeaderValue::from_static("DAV"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response
}
