//! The trash of a volume, read-only under [`TRASH_FOLDER`] in its root: listed and read as other folders are, copied out
//! of, and otherwise left alone. It is found by its name and not listed: who copies, mirrors or clears a whole drive
//! does not mean the trash.

use http::{Response, StatusCode};
use shoal_ledger::{Node, NodePath, VolumeRecord};
use shoal_volume::{Drive, DriveError, TRASH_FOLDER};

use crate::body::Body;
use crate::conditions;
use crate::context::{Place, Request, is_folder};
use crate::href::{UrlPath, volume_named};
use crate::library;
use crate::refusal::Refusal;

impl Request {
    /// The place a decoded URL path points to, the trash included.
    pub(crate) fn place_of(drive: &Drive, volumes: &[VolumeRecord], url: &UrlPath) -> Result<Place, Refusal> {
        if let [volume, folder, names @ ..] = url.names.as_slice()
            && folder == TRASH_FOLDER
            && let Some(volume) = volume_named(volumes, volume)
        {
            let real = drive.node(&NodePath::root(volume.id).child(TRASH_FOLDER));
            if real.map_err(|error| Refusal::of_drive(&error, "", volumes))?.is_none() {
                // What a version is called can be longer than a name may be.
                return Ok(Place::Trash(NodePath { volume: volume.id, names: names.to_vec() }));
            }
        }
        Self::locate(volumes, url)
    }

    /// About `limit` of what a folder shows after `after`, and what to go on after if there may be more.
    pub(crate) fn children(
        &self,
        path: &NodePath,
        folder: &Node,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Node>, Option<String>), DriveError> {
        if self.is_in_trash() {
            return self.drive.trash_children(path, after, limit);
        }
        let nodes = self.drive.children(folder, after, limit)?;
        let last = nodes.last().filter(|_| nodes.len() == limit).map(|node| node.name.clone());
        Ok((nodes, last))
    }

    /// Whether the request is about the trash.
    pub(crate) fn is_in_trash(&self) -> bool {
        matches!(self.place, Place::Trash(_))
    }
}

/// Why nothing is changed in the trash.
pub(crate) fn read_only() -> Refusal {
    Refusal::new(
        StatusCode::FORBIDDEN,
        "the trash is read-only: copy a file out of it, or use `shoal trash restore` or `shoal trash empty`",
    )
}

/// COPY of a version to where it shall be a file again.
pub(crate) async fn copy_out(request: &Request, from: &NodePath) -> Result<Response<Body>, Refusal> {
    let node = request.node()?.ok_or_else(Refusal::not_found)?;
    if is_folder(&node) {
        let reason =
            "the trash gives out files one by one: copy those, or use `shoal trash restore` for a whole folder";
        return Err(Refusal::new(StatusCode::FORBIDDEN, reason));
    }
    let submitted = conditions::check(request, Some(&node))?;
    let overwrite = library::overwrites(request)?;
    let Place::Node(to) = Request::locate(&request.volumes, &library::destination(request)?)? else {
        return Err(Refusal::new(StatusCode::CONFLICT, "there is no such volume"));
    };
    let copied = request.drive.copy_from_trash(from, &to, overwrite, request.guard(submitted)).await;
    let created = copied.map_err(|error| request.refusal(&error))?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = if created { StatusCode::CREATED } else { StatusCode::NO_CONTENT };
    Ok(response)
}
