//! A folder in a browser: a plain list, nothing in it that could act.

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderValue, Response};
use shoal_ledger::Node;

use crate::body::Body;
use crate::context::{Place, Request, is_folder};
use crate::href::encode_name;
use crate::refusal::Refusal;
use crate::times::rfc3339;
use dci_proto::xml::escape;

/// Nodes shown, at most; nobody reads more, and clients list folders by PROPFIND.
const NODES_LIMIT: usize = 5000;

/// The list of volumes.
pub(crate) fn volumes(request: &Request) -> Result<Response<Body>, Refusal> {
    let mut html = begin("Volumes");
    for volume in &request.volumes {
        row(&mut html, "/", &volume.name, true, None, volume.created_ms.try_into().unwrap_or(i64::MAX));
    }
    Ok(page(html))
}

/// What is in a folder.
pub(crate) fn folder(request: &Request, node: &Node) -> Result<Response<Body>, Refusal> {
    let fail = |error| request.refusal(&error);
    let nodes = match &request.place {
        Place::Node(path) | Place::Trash(path) => request.children(path, node, None, NODES_LIMIT + 1).map_err(fail)?.0,
        Place::Volumes | Place::Nowhere => Vec::new(),
    };
    let mut html = begin(&format!("/{}", request.url.names.join("/")));
    let base = request.url.encode(true);
    let parent = base.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent);
    html.push_str(&format!("<tr><td><a href=\"{parent}/\">..</a></td><td></td><td></td></tr>\n"));
    for node in nodes.iter().take(NODES_LIMIT) {
        row(&mut html, &base, &node.name, is_folder(node), Some(node.size_bytes), node.modified_ms);
    }
    if nodes.len() > NODES_LIMIT {
        html.push_str("<tr><td>… and more</td><td></td><td></td></tr>\n");
    }
    Ok(page(html))
}

fn begin(title: &str) -> String {
    let mut html = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>",
    );
    escape(&mut html, title);
    html.push_str("</title></head><body><h1>");
    escape(&mut html, title);
    html.push_str("</h1><table>\n<tr><th>Name</th><th>Bytes</th><th>Changed (UTC)</th></tr>\n");
    html
}

fn row(html: &mut String, base: &str, name: &str, folder: bool, size_bytes: Option<u64>, modified_ms: i64) {
    let slash = if folder { "/" } else { "" };
    html.push_str("<tr><td><a href=\"");
    html.push_str(base);
    encode_name(html, name);
    html.push_str(slash);
    html.push_str("\">");
    escape(html, name);
    html.push_str(slash);
    html.push_str("</a></td><td>");
    if let (Some(size_bytes), false) = (size_bytes, folder) {
        html.push_str(&size_bytes.to_string());
    }
    html.push_str("</td><td>");
    html.push_str(&rfc3339(modified_ms));
    html.push_str("</td></tr>\n");
}

fn page(mut html: String) -> Response<Body> {
    html.push_str("</table></body></html>\n");
    let mut response = Response::new(Body::whole(html));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    response
}
