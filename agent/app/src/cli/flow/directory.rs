//! Who is there, from the agent's API.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use shoal_flow::{Agent, Directory};

use super::super::CliError;
use super::super::client::Client;
use crate::api::types::{NodeList, NodeView};

#[derive(Deserialize)]
struct Answer {
    agents: Vec<AgentView>,
}

#[derive(Deserialize)]
struct AgentView {
    agent: String,
    name: String,
    online: bool,
    #[serde(default)]
    peerlets: Vec<PeerletView>,
}

#[derive(Deserialize)]
struct PeerletView {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct GroupView {
    name: String,
    agents: Vec<MemberView>,
}

#[derive(Deserialize)]
struct MemberView {
    agent: String,
}

/// All agents and groups of the pool.
pub(super) fn directory(client: &Client) -> Result<Directory, CliError> {
    let groups: Vec<GroupView> = client.get("groups")?;
    let group = |view: GroupView| (view.name, view.agents.into_iter().map(|member| member.agent).collect());
    Ok(Directory { agents: agents(client)?, groups: BTreeMap::from_iter(groups.into_iter().map(group)) })
}

fn agents(client: &Client) -> Result<Vec<Agent>, CliError> {
    let answer: Answer = match client.get("peerlets") {
        // An agent of an earlier version knows who is there, not who offers what.
        Err(CliError::Api { status: 404 | 405, .. }) => return members(client),
        answer => answer?,
    };
    let agent = |view: AgentView| {
        let offers: BTreeSet<String> = view.peerlets.into_iter().map(|peerlet| peerlet.kind).collect();
        // Every agent offers something; one that is said to offer nothing has not told yet.
        let offers = (!offers.is_empty()).then_some(offers);
        Agent { id: view.agent, name: view.name, online: view.online, offers, busy_permille: None }
    };
    Ok(answer.agents.into_iter().map(agent).collect())
}

fn members(client: &Client) -> Result<Vec<Agent>, CliError> {
    let list: NodeList = client.get("nodes")?;
    let answers = |state: &str| !matches!(state, "suspect" | "absent");
    let agent = |node: NodeView| {
        let online = answers(&node.state);
        Agent { id: node.id.to_string(), name: node.name, online, offers: None, busy_permille: None }
    };
    Ok(list.nodes.into_iter().map(agent).collect())
}
