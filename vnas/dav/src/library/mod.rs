//! The door to dav-server, which answers MKCOL, DELETE, COPY, MOVE, LOCK and UNLOCK.
//!
//! It gets a request of its own, made here: conditions have been checked, its URL and destination are decoded, checked
//! and encoded anew, and of the headers only those it needs and reads right are passed on (its `If` parser indexes past
//! the end of a header that is not closed, and takes a malformed condition for none). Its file system and lock system
//! ([`filesystem`], [`locks`]) work on one [`Errand`], made for the request, which knows the request's guard and keeps
//! what the drive answered: where dav-server would flatten that into a status, the drive's answer stands.
//!
//! dav-server walks trees node by node; the drive removes, copies and moves a tree in one step. So folders show no
//! nodes to it, and what it does to clear a destination does nothing.

mod errand;
mod filesystem;
mod locks;

use std::sync::Arc;

use bytes::Bytes;
use dav_server::{DavHandler, body::Body as LibraryBody};
use futures::StreamExt;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use shoal_ledger::Node;

use crate::XML_ELEMENTS_LIMIT;
use crate::body::Body;
use crate::conditions;
use crate::context::{Place, Request, is_folder};
use crate::href::UrlPath;
use crate::lock_refresh;
use crate::refusal::Refusal;
use crate::trash;
use dci_proto::xml;
use errand::{Errand, Job};
use filesystem::ErrandFiles;
use locks::ErrandLocks;

/// Answers a request through dav-server.
pub(crate) async fn answer(request: &Arc<Request>, body: Bytes) -> Result<Response<Body>, Refusal> {
    if let (Place::Trash(from), "COPY") = (&request.place, request.method.as_str()) {
        return trash::copy_out(request, from).await;
    }
    let node = request.node()?;
    let job = job(request, node.as_ref(), &body)?;
    let submitted = conditions::check(request, node.as_ref())?;
    let inner = inner_request(request, node.as_ref(), &job, body)?;
    let errand = Arc::new(Errand::new(Arc::clone(request), job, request.guard(submitted)));
    let handler = DavHandler::builder()
        .filesystem(Box::new(ErrandFiles))
        .locksystem(Box::new(ErrandLocks::new(Arc::clone(&errand))))
        .build_handler();
    let response = handler.handle_guarded(inner, request.user.clone(), Arc::clone(&errand)).await;
    match errand.take_failure() {
        Some(error) => Err(request.refusal(&error)),
        None => Ok(ours(response)),
    }
}

/// What is to be done, checked as far as dav-server does not.
fn job(request: &Request, node: Option<&Node>, body: &[u8]) -> Result<Job, Refusal> {
    let folder = node.is_some_and(is_folder);
    let depth = request.header("depth").map(str::trim);
    let deep = depth.is_none_or(|depth| depth.eq_ignore_ascii_case("infinity"));
    match request.method.as_str() {
        "MKCOL" => {
            if matches!(request.place, Place::Volumes) || node.is_some() {
                return Err(Refusal::method_not_allowed("something is there already", crate::options::METHODS));
            }
            Ok(Job::MakeFolder)
        }
        "DELETE" | "MOVE" if folder && !deep => Err(Refusal::bad_request("Depth of a folder is infinity here")),
        "DELETE" => Ok(Job::Remove),
        "COPY" if !deep && depth != Some("0") => Err(Refusal::bad_request("Depth is 0 or infinity")),
        "COPY" | "MOVE" => {
            let overwrite = overwrites(request)?;
            let to = destination(request)?;
            Ok(Job::Transfer { to, overwrite, deep: deep || !folder, keep_source: request.method.as_str() == "COPY" })
        }
        "LOCK" => {
            let root = xml::parse(body, XML_ELEMENTS_LIMIT)?;
            let owner = root.dav_child("owner").map(|owner| owner.standalone(body)).unwrap_or_default();
            let timeout_s = lock_refresh::timeout_s(request.header("timeout"), &request.config);
            Ok(Job::Lock { owner_xml: owner.into(), timeout_s })
        }
        _ => Ok(Job::Unlock),
    }
}

/// Whether a COPY or MOVE may replace what stands at its destination.
pub(crate) fn overwrites(request: &Request) -> Result<bool, Refusal> {
    match request.header("overwrite").map(str::trim) {
        None | Some("T" | "t") => Ok(true),
        Some("F" | "f") => Ok(false),
        Some(_) => Err(Refusal::bad_request("Overwrite is T or F")),
    }
}

/// Where a COPY or MOVE goes; in a volume, and not the volume itself or its trash.
pub(crate) fn destination(request: &Request) -> Result<UrlPath, Refusal> {
    let text = request.header("destination").ok_or_else(|| Refusal::bad_request("there is no Destination"))?;
    let url = request.own_url(text.trim())?;
    match Request::place_of(&request.drive, &request.volumes, &url)? {
        Place::Node(path) if !path.is_root() => Ok(url),
        Place::Trash(_) => Err(trash::read_only()),
        Place::Nowhere if url.names.len() > 1 => Err(Refusal::new(StatusCode::CONFLICT, "there is no such volume")),
        _ => Err(Refusal::new(StatusCode::FORBIDDEN, "volumes are not made or replaced from here")),
    }
}

/// The request dav-server gets to see.
fn inner_request(
    request: &Request,
    node: Option<&Node>,
    job: &Job,
    body: Bytes,
) -> Result<http::Request<Full<Bytes>>, Refusal> {
    let path = request.path_to_change()?;
    if path.is_root() && !matches!(job, Job::Lock { .. } | Job::Unlock) {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "a volume is not changed from here"));
    }
    let url = request.url.encode(node.is_some_and(is_folder));
    let mut inner = http::Request::builder().method(request.method.clone()).uri(url);
    match job {
        Job::Transfer { to, overwrite, deep, .. } => {
            let depth = if *deep { "infinity" } else { "0" };
            inner =
                inner.header("destination", to.encode(false)).header("overwrite", if *overwrite { "T" } else { "F" });
            inner = inner.header("depth", depth);
        }
        Job::Lock { .. } => {
            let depth = request.headers.get("depth").cloned();
            inner = inner.header("depth", depth.unwrap_or(HeaderValue::from_static("infinity")));
        }
        Job::Unlock => {
            if let Some(token) = request.headers.get("lock-token") {
                inner = inner.header("lock-token", token);
            }
        }
        Job::MakeFolder | Job::Remove => {}
    }
    inner.body(Full::new(body)).map_err(|_| Refusal::bad_request("the request is malformed"))
}

fn ours(response: Response<LibraryBody>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    // dav-server says 0 for its errors only; the right length comes with the body.
    parts.headers.remove(http::header::CONTENT_LENGTH);
    let body = match body.inner {
        dav_server::body::BodyType::Bytes(bytes) => Body::whole(bytes.unwrap_or_default()),
        dav_server::body::BodyType::Empty => Body::empty(),
        dav_server::body::BodyType::AsyncStream(bytes) => Body::stream(bytes.boxed(), None),
    };
    Response::from_parts(parts, body)
}
