//! Peerlets: which agent has which, installing and removing those of this agent.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use dci_proto::AgentId;
use dci_proto::directory::{Offer, PeerletOffer};
use dci_proto::message::MessageType;
use shoal_ledger::UserRole;
use shoal_peerlets::registry::RegistryError;
use shoal_peerlets::{HostError, manifest::Manifest};

use super::super::Api;
use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::handlers::{Answer, Wish};
use super::types::{AddPeerlet, AddedPeerlet, PeerletDirectory, PeerletView, PeerletsOfAgent};
use super::views::{Names, name_of};
use crate::messages::{Listed, PeerletError};

impl From<PeerletError> for Failure {
    fn from(error: PeerletError) -> Self {
        match &error {
            PeerletError::NoHost(_) | PeerletError::Host(HostError::Ended) => Self::later(error.to_string()),
            PeerletError::Host(HostError::Registry(RegistryError::Unknown(_))) => Self::missing(error.to_string()),
            PeerletError::Shipped(_)
            | PeerletError::TakenByShipped(_)
            | PeerletError::Host(HostError::Registry(RegistryError::Older { .. })) => Self::conflict(error.to_string()),
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

/// What all agents of the pool offer, as far as this one knows, in order of their names.
pub(super) async fn all(State(api): State<Arc<Api>>, _caller: Caller) -> Answer<PeerletDirectory> {
    let messages = api.messages()?.clone();
    let listed = tokio::task::spawn_blocking(move || messages.directory()).await;
    let listed = listed.map_err(|error| Failure::broken(error.to_string()))?;
    let names = api.names();
    let own = api.agent.agent;
    let mut agents: Vec<PeerletsOfAgent> = listed.into_iter().map(|one| listed_view(&names, own, one)).collect();
    agents.sort_by(|one, other| (&one.name, one.agent).cmp(&(&other.name, other.agent)));
    Ok(Json(PeerletDirectory { agents }))
}

fn listed_view(names: &Names, own: AgentId, listed: Listed) -> PeerletsOfAgent {
    let Listed { agent, online, busy_permille, offer } = listed;
    let peerlet = |peerlet: &PeerletOffer| PeerletView {
        kind: peerlet.kind.to_string(),
        version: peerlet.version.clone(),
        mode: peerlet.mode.to_string(),
        description: peerlet.description.clone(),
        executes: peerlet.executes,
    };
    PeerletsOfAgent {
        agent,
        name: name_of(names, agent),
        online,
        own: agent == own,
        busy_permille,
        version: offer.as_ref().map(|offer| offer.agent_version().to_owned()),
        peerlets: offer.iter().flat_map(Offer::peerlets).map(peerlet).collect(),
        left_out: offer.as_ref().map_or(0, Offer::left_out),
        faults: Vec::new(),
    }
}

pub(super) async fn own(State(api): State<Arc<Api>>, _caller: Caller) -> Answer<PeerletsOfAgent> {
    let messages = api.messages()?;
    let peerlets = messages.peerlets().manifests().iter().map(view).collect();
    let (agent, name) = (api.agent.agent, api.agent.name());
    Ok(Json(PeerletsOfAgent {
        agent,
        name,
        online: true,
        own: true,
        busy_permille: api.agent.health.busy_permille_of(agent),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        peerlets,
        left_out: 0,
        faults: messages.peerlets().faults(),
    }))
}

/// Whoever installs a program decides what runs on this computer.
pub(super) async fn add(State(api): State<Arc<Api>>, caller: Caller, wanted: Wish<AddPeerlet>) -> Answer<AddedPeerlet> {
    let wanted = wanted.from(&caller, UserRole::Admin)?;
    let folder = PathBuf::from(&wanted.folder);
    if !folder.is_absolute() {
        return Err(Failure::bad("the folder is named by its whole path on the agent's computer"));
    }
    let messages = api.messages()?;
    let added = messages.peerlets().add(&folder).await?;
    messages.look_at_peerlets();
    let replaced = added.replaced.map(|version| version.to_string());
    Ok(Json(AddedPeerlet { kind: added.kind.to_string(), version: added.version.to_string(), replaced }))
}

pub(super) async fn remove(State(api): State<Arc<Api>>, caller: Caller, Path(kind): Path<String>) -> Answer<()> {
    caller.needs(UserRole::Admin)?;
    let kind: MessageType = kind.parse()?;
    let messages = api.messages()?;
    messages.peerlets().remove(&kind).await?;
    messages.look_at_peerlets();
    Ok(Json(()))
}
