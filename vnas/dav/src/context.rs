//! A request that has been let in: who asks, about what, and what may be said of the answer's freshness.

use std::sync::Arc;

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode};
use shoal_ledger::{Guard, Node, NodeKind, NodePath, VolumeRecord};
use shoal_volume::{Drive, DriveError};

use crate::DoorConfig;
use crate::DoorStats;
use crate::href::{UrlPath, volume_named};
use crate::refusal::Refusal;
use crate::trash;

/// Where a URL points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The list of volumes.
    Volumes,
    /// A volume or something in it, there or not.
    Node(NodePath),
    /// In the trash of a volume, there or not: names below its folder.
    Trash(NodePath),
    /// In a volume there is not.
    Nowhere,
}

/// A request that has been let in.
pub(crate) struct Request {
    pub(crate) drive: Drive,
    pub(crate) config: Arc<DoorConfig>,
    pub(crate) stats: Arc<DoorStats>,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) url: UrlPath,
    pub(crate) place: Place,
    pub(crate) volumes: Vec<VolumeRecord>,
    pub(crate) user: String,
}

impl Request {
    /// The place a decoded URL path points to, the trash left aside.
    pub(crate) fn locate(volumes: &[VolumeRecord], url: &UrlPath) -> Result<Place, Refusal> {
        let Some((volume, names)) = url.names.split_first() else { return Ok(Place::Volumes) };
        let Some(volume) = volume_named(volumes, volume) else { return Ok(Place::Nowhere) };
        let path = NodePath::new(volume.id, names.to_vec());
        path.map(Place::Node).map_err(|error| Refusal::of_drive(&DriveError::Rejected(error.into()), "", volumes))
    }

    /// What went wrong in the drive, as an answer.
    pub(crate) fn refusal(&self, error: &DriveError) -> Refusal {
        Refusal::of_drive(error, self.method.as_str(), &self.volumes)
    }

    /// A header's value, where it is there and text. Some clients do not encode what is not ASCII.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.headers.get(name)?.as_bytes()).ok()
    }

    /// What stands at the request's URL; nothing at the list of volumes.
    pub(crate) fn node(&self) -> Result<Option<Node>, Refusal> {
        match &self.place {
            Place::Node(path) => self.drive.node(path).map_err(|error| self.refusal(&error)),
            Place::Trash(path) => self.drive.trash_node(path).map_err(|error| self.refusal(&error)),
            Place::Volumes | Place::Nowhere => Ok(None),
        }
    }

    /// The path to change something at. The list of volumes is not changed here, nor are volumes.
    pub(crate) fn path_to_change(&self) -> Result<&NodePath, Refusal> {
        match &self.place {
            Place::Node(path) => Ok(path),
            Place::Trash(_) => Err(trash::read_only()),
            Place::Volumes => Err(Refusal::new(StatusCode::FORBIDDEN, "volumes are not changed from here")),
            Place::Nowhere if self.url.names.len() == 1 => {
                Err(Refusal::new(StatusCode::FORBIDDEN, "volumes are not made from here"))
            }
            Place::Nowhere => Err(Refusal::new(StatusCode::CONFLICT, "there is no such volume")),
        }
    }

    /// The guard under which to change something.
    pub(crate) fn guard(&self, submitted: crate::conditions::Submitted) -> Guard {
        Guard { user: self.user.clone(), tokens: submitted.tokens, expect: submitted.expect }
    }

    /// A URL of this very server, from a header: a path, or a whole URL whose host is the one the client speaks to.
    /// Scheme and port may differ, as they do behind a proxy.
    pub(crate) fn own_url(&self, text: &str) -> Result<UrlPath, Refusal> {
        if text.starts_with('/') {
            let path = text.split(['?', '#']).next().unwrap_or_default();
            return Ok(UrlPath::parse(path)?);
        }
        let malformed = || Refusal::bad_request("a URL in a header is malformed");
        let (scheme, rest) = text.split_once("://").ok_or_else(malformed)?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(malformed());
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host =
            |authority: &str| authority.parse().map(|authority: Authority| authority.host().to_ascii_lowercase());
        let wanted = host(authority).map_err(|_| malformed())?;
        if self.header(HOST.as_str()).and_then(|own| host(own).ok()) != Some(wanted) {
            return Err(Refusal::new(StatusCode::BAD_GATEWAY, "the destination is on another server"));
        }
        let path = path.split(['?', '#']).next().unwrap_or_default();
        Ok(UrlPath::parse(if path.is_empty() { "/" } else { path })?)
    }
}

/// Whether a node is a folder.
pub(crate) fn is_folder(node: &Node) -> bool {
    node.kind == NodeKind::Folder
}

/// The strong ETag of a file. A folder has none: what is in it changes without it.
pub(crate) fn etag(node: &Node) -> Option<String> {
    (!is_folder(node)).then(|| format!("\"{:x}-{:x}\"", node.inode.0, node.version))
}
