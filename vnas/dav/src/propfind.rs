//! PROPFIND: listings, the most frequent request of file managers and the dearest.
//!
//! Rows come from the ledger in pages and are written as text straight into the answer; only what is asked for is
//! looked up, and locks once a folder. A listing longer than one page is written by a thread of its own while the
//! client reads.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Response, StatusCode};
use shoal_ledger::{Lock, Node, NodePath, PropertyName};
use shoal_volume::{DriveError, Space};
use tokio::sync::mpsc;
use unicode_normalization::UnicodeNormalization;

use crate::XML_ELEMENTS_LIMIT;
use crate::body::Body;
use crate::conditions;
use crate::context::{Place, Request, is_folder};
use crate::href::encode_name;
use crate::live::{Live, Subject, hangs_on_quota};
use crate::multistatus::{self, Ask, Wanted, write_resource};
use crate::refusal::Refusal;
use dci_proto::xml::{self, Element};

/// Nodes listed at a time; at a kilobyte each, what one listing holds in memory a few times over.
const PAGE_NODES: usize = 512;
/// Pages written ahead of the client.
const PAGES_AHEAD: usize = 2;
/// Bytes of an answer that must be whole before it is sent, at most.
const WHOLE_LIMIT_BYTES: usize = 32 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    Zero,
    One,
    Infinity,
}

/// Answers a PROPFIND.
pub(crate) async fn propfind(request: Arc<Request>, body: &[u8]) -> Result<Response<Body>, Refusal> {
    let depth = match request.header("depth").map(str::trim) {
        Some("0") => Depth::Zero,
        Some("1") => Depth::One,
        None => Depth::Infinity,
        Some(other) if other.eq_ignore_ascii_case("infinity") => Depth::Infinity,
        Some(_) => return Err(Refusal::bad_request("Depth is 0, 1 or infinity")),
    };
    let wanted = wanted(body)?;
    let node = request.node()?;
    if request.place != Place::Volumes && node.is_none() {
        return Err(Refusal::not_found());
    }
    conditions::check(&request, node.as_ref())?;
    let mut listing = Listing::new(Arc::clone(&request), wanted, depth);
    let mut out = String::from(multistatus::HEAD);
    let fail = |error: DriveError| request.refusal(&error);
    listing.begin(&mut out, node).map_err(fail)?;
    if depth == Depth::Infinity {
        return whole(listing, out).await;
    }
    if listing.page(&mut out).map_err(fail)? {
        out.push_str(multistatus::TAIL);
        return Ok(multistatus::response(Body::whole(out)));
    }
    Ok(multistatus::response(Body::stream(stream_pages(listing, out), None)))
}

fn wanted(body: &[u8]) -> Result<Wanted, Refusal> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Wanted::All(Vec::new()));
    }
    let root = xml::parse(body, XML_ELEMENTS_LIMIT)?;
    if !root.is_dav("propfind") {
        return Err(Refusal::bad_request("the body is no propfind"));
    }
    let asks = |element: &Element| -> Vec<Ask> {
        let name = |child: &Element| PropertyName { namespace: child.namespace.clone(), name: child.name.clone() };
        element.children.iter().map(name).map(|name| Ask { live: Live::named(&name), name }).collect()
    };
    if let Some(these) = root.dav_child("prop") {
        Ok(Wanted::These(asks(these)))
    } else if root.dav_child("propname").is_some() {
        Ok(Wanted::Names)
    } else if root.dav_child("allprop").is_some() {
        Ok(Wanted::All(root.dav_child("include").map(asks).unwrap_or_default()))
    } else {
        Err(Refusal::bad_request("the propfind asks for nothing"))
    }
}

/// A whole tree, or the refusal of RFC 4918 §9.1 when it is too large.
async fn whole(mut listing: Listing, mut out: String) -> Result<Response<Body>, Refusal> {
    let request = Arc::clone(&listing.request);
    let limit = request.config.infinity_limit_nodes;
    let written = tokio::task::spawn_blocking(move || {
        loop {
            if listing.page(&mut out)? {
                return Ok(Some(out));
            }
            if listing.listed > limit || out.len() > WHOLE_LIMIT_BYTES {
                return Ok(None);
            }
        }
    });
    match written.await {
        Ok(Ok(Some(mut out))) if out.len() <= WHOLE_LIMIT_BYTES => {
            out.push_str(multistatus::TAIL);
            Ok(multistatus::response(Body::whole(out)))
        }
        Ok(Ok(_)) => Err(Refusal::new(StatusCode::FORBIDDEN, "the tree is too large to list at once")
            .condition("propfind-finite-depth", Vec::new())),
        Ok(Err(error)) => Err(request.refusal(&error)),
        Err(_) => Err(Refusal::unavailable("the listing was broken off")),
    }
}

/// The rest of a listing, page by page; `first` is what is written already. Nobody reading stops the writer.
fn stream_pages(mut listing: Listing, first: String) -> crate::body::ByteStream {
    let (pages, read) = mpsc::channel::<io::Result<Bytes>>(PAGES_AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut out = first;
        loop {
            if pages.blocking_send(Ok(Bytes::from(std::mem::take(&mut out)))).is_err() {
                return;
            }
            match listing.page(&mut out) {
                Ok(false) => {}
                Ok(true) => {
                    out.push_str(multistatus::TAIL);
                    let _ = pages.blocking_send(Ok(Bytes::from(out)));
                    return;
                }
                Err(error) => {
                    let _ = pages.blocking_send(Err(io::Error::other(error)));
                    return;
                }
            }
        }
    });
    stream::unfold(read, |mut read| async move { read.recv().await.map(|page| (page, read)) }).boxed()
}

/// A folder whose nodes are still to be listed.
struct Folder {
    href: String,
    path: NodePath,
    node: Node,
    after: Option<String>,
    locks: Locks,
}

/// The locks that matter in one folder.
#[derive(Default)]
struct Locks {
    /// Those that cover everything in it.
    deep: Vec<Lock>,
    /// Those on nodes in it, by normalised name.
    on: HashMap<String, Vec<Lock>>,
}

struct Listing {
    request: Arc<Request>,
    wanted: Wanted,
    depth: Depth,
    space: Option<Space>,
    /// Folders to list, the next one last.
    pending: Vec<Folder>,
    listed: usize,
}

impl Listing {
    fn new(request: Arc<Request>, wanted: Wanted, depth: Depth) -> Self {
        Self { request, wanted, depth, space: None, pending: Vec::new(), listed: 0 }
    }

    /// Writes the resource asked about; at `/` the volumes too.
    fn begin(&mut self, out: &mut String, node: Option<Node>) -> Result<(), DriveError> {
        self.space = self.space_told()?;
        let request = Arc::clone(&self.request);
        let (Some(node), Place::Node(path) | Place::Trash(path)) = (node, &request.place) else {
            return self.begin_volumes(out);
        };
        let name = match path.is_root() && !request.is_in_trash() {
            true => request.url.names.first().cloned().unwrap_or_default(),
            false => node.name.clone(),
        };
        let href = request.url.encode(is_folder(&node));
        let locks = if self.tells_locks() { request.drive.locks(path, false)? } else { Vec::new() };
        self.write(out, &href, &name, &node, &locks.iter().collect::<Vec<_>>())?;
        if is_folder(&node) && self.depth != Depth::Zero {
            self.push(href, path.clone(), node)?;
        }
        Ok(())
    }

    fn begin_volumes(&mut self, out: &mut String) -> Result<(), DriveError> {
        let request = Arc::clone(&self.request);
        let subject = Subject {
            name: "/",
            node: None,
            locks: &[],
            space: self.space,
            volumes: &request.volumes,
            read_only: false,
        };
        write_resource(out, "/", &self.wanted, &subject, &[]);
        if self.depth == Depth::Zero {
            return Ok(());
        }
        for volume in &request.volumes {
            let path = NodePath::root(volume.id);
            let Some(node) = request.drive.node(&path)? else { continue };
            let mut href = String::from("/");
            encode_name(&mut href, &volume.name);
            href.push('/');
            let locks = if self.wanted.includes_locks() { request.drive.locks(&path, false)? } else { Vec::new() };
            self.write(out, &href, &volume.name, &node, &locks.iter().collect::<Vec<_>>())?;
            if self.depth == Depth::Infinity {
                self.push(href, path, node)?;
            }
        }
        Ok(())
    }

    fn space_told(&self) -> Result<Option<Space>, DriveError> {
        let asked = self.wanted.includes(&[Live::QuotaAvailable, Live::QuotaUsed]);
        if !asked || hangs_on_quota(self.request.header("user-agent").unwrap_or_default()) {
            return Ok(None);
        }
        let volume = match &self.request.place {
            Place::Node(path) | Place::Trash(path) => {
                self.request.volumes.iter().find(|volume| volume.id == path.volume)
            }
            Place::Volumes | Place::Nowhere => self.request.volumes.first(),
        };
        volume.map(|volume| self.request.drive.space(volume)).transpose()
    }

    fn push(&mut self, href: String, path: NodePath, node: Node) -> Result<(), DriveError> {
        let locks = if self.tells_locks() { self.locks_in(&path)? } else { Locks::default() };
        self.pending.push(Folder { href, path, node, after: None, locks });
        Ok(())
    }

    /// Whether locks are asked for, and there can be any.
    fn tells_locks(&self) -> bool {
        self.wanted.includes_locks() && !self.request.is_in_trash()
    }

    fn locks_in(&self, folder: &NodePath) -> Result<Locks, DriveError> {
        let mut locks = Locks::default();
        locks.deep.extend(self.request.drive.locks(folder, false)?.into_iter().filter(|lock| lock.deep));
        for lock in self.request.drive.locks(folder, true)? {
            if lock.path.names.len() == folder.names.len() + 1
                && let Some(name) = lock.path.name()
            {
                locks.on.entry(name.nfc().collect()).or_default().push(lock);
            }
        }
        Ok(locks)
    }

    /// Writes the next page; true when there is no other.
    fn page(&mut self, out: &mut String) -> Result<bool, DriveError> {
        let Some(mut folder) = self.pending.pop() else { return Ok(true) };
        let (nodes, next) = self.request.children(&folder.path, &folder.node, folder.after.as_deref(), PAGE_NODES)?;
        let more = next.is_some();
        folder.after = next;
        out.reserve(nodes.len() * 1024);
        let mut folders = Vec::new();
        for node in nodes {
            let mut href = folder.href.clone();
            encode_name(&mut href, &node.name);
            if is_folder(&node) {
                href.push('/');
            }
            let mut locks: Vec<&Lock> = folder.locks.deep.iter().collect();
            if !folder.locks.on.is_empty() {
                locks.extend(folder.locks.on.get(&node.name.nfc().collect::<String>()).into_iter().flatten());
            }
            self.write(out, &href, &node.name, &node, &locks)?;
            if self.depth == Depth::Infinity && is_folder(&node) {
                folders.push((href, folder.path.child(&node.name), node));
            }
        }
        if more {
            self.pending.push(folder);
        }
        for (href, path, node) in folders.into_iter().rev() {
            self.push(href, path, node)?;
        }
        Ok(self.pending.is_empty())
    }

    fn write(
        &mut self,
        out: &mut String,
        href: &str,
        name: &str,
        node: &Node,
        locks: &[&Lock],
    ) -> Result<(), DriveError> {
        self.listed += 1;
        let dead = if node.has_properties { self.request.drive.properties(node)? } else { Vec::new() };
        // RFC 4331 has quotas on folders; Windows asks for them of whatever it shows.
        let space = self.space.filter(|_| is_folder(node));
        let read_only = self.request.is_in_trash();
        let subject = Subject { name, node: Some(node), locks, space, volumes: &self.request.volumes, read_only };
        write_resource(out, href, &self.wanted, &subject, &dead);
        Ok(())
    }
}
