//! Peerlets of this agent: which there are, installing and removing them.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use dci_proto::message::MessageType;
use shoal_ledger::UserRole;
use shoal_peerlets::registry::RegistryError;
use shoal_peerlets::{HostError, manifest::Manifest};

use super::super::Api;
use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::handlers::{Answer, Body as JsonBody};
use super::types::{AddPeerlet, AddedPeerlet, PeerletView, PeerletsOfAgent};
use crate::messages::PeerletError;

impl From<PeerletError> for Failure {
    fn from(error: PeerletError) -> Self {
        match &error {
            PeerletError::NoHost(_) | PeerletError::Host(HostError::Ended) => Self::unavailable(error.to_string()),
            PeerletError::Host(HostError::Registry(RegistryError::Unknown(_))) => Self::missing(error.to_string()),
            PeerletError::Shipped(_) | PeerletError::Host(HostError::Registry(RegistryError::Older { .. })) => {
                Self::conflict(error.to_string())
            }
            PeerletError::Host(_) => Self::bad(error.to_string()),
        }
    }
}

/// A peerlet as the API shows it.
pub(super) fn view(manifest: &Manifest) -> PeerletView {
    PeerletView {
        kind: manifest.kind.to_string(),
        version: manifest.version.to_string(),
        mode: format!("{:?}", manifest.mode).to_lowercase(),
        description: manifest.description.clone(),
        executes: manifest.rights.executes,
    }
}

pub(super) async fn own(State(api): State<Arc<Api>>, _caller: Caller) -> Answer<PeerletsOfAgent> {
    let messages = api.messages()?;
    let peerlets = messages.peerlets().manifests().iter().map(view).collect();
    let (agent, name) = (api.agent.agent, api.agent.name());
    Ok(Json(PeerletsOfAgent { agent, name, online: true, own: true, peerlets, faults: messages.peerlets().faults() }))
}

/// Whoever installs a program decides what runs on this computer.
pub(super) async fn add(
    State(api): State<Arc<Api>>,
    caller: Caller,
    JsonBody(wanted): JsonBody<AddPeerlet>,
) -> Answer<AddedPeerlet> {
    caller.needs(UserRole::Admin)?;
    let folder = PathBuf::from(&wanted.folder);
    if !folder.is_absolute() {
        return Err(Failure::bad("the folder is named by its whole path on the agent's computer"));
    }
    let added = api.messages()?.peerlets().add(&folder).await?;
    let replaced = added.replaced.map(|version| version.to_string());
    Ok(Json(AddedPeerlet { kind: added.kind.to_string(), version: added.version.to_string(), replaced }))
}

pub(super) async fn remove(State(api): State<Arc<Api>>, caller: Caller, Path(kind): Path<String>) -> Answer<()> {
    caller.needs(UserRole::Admin)?;
    let kind: MessageType = kind.parse()?;
    api.messages()?.peerlets().remove(&kind).await?;
    Ok(Json(()))
}
