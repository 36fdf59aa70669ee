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
    busy_permille: Option<u16>,
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
    Ok(answer.agents.into_iter().map(as_flows_have_it).collect())
}

fn as_flows_have_it(view: AgentView) -> Agent {
    let AgentView { agent: id, name, online, busy_permille, peerlets } = view;
    let offers: BTreeSet<String> = peerlets.into_iter().map(|peerlet| peerlet.kind).collect();
    // Every agent offers something; one that is said to offer nothing has not told yet.
    let offers = (!offers.is_empty()).then_some(offers);
    Agent { id, name, online, offers, busy_permille }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::messages::types::{PeerletView, PeerletsOfAgent};

    #[test]
    fn an_agent_is_as_busy_as_the_api_says() {
        let peerlet = PeerletView {
            kind: "run".into(),
            version: "1.0.0".into(),
            mode: "oneshot".into(),
            description: String::new(),
            executes: true,
        };
        let told = PeerletsOfAgent {
            agent: dci_proto::AgentId([1; 32]),
            name: "a".into(),
            online: true,
            own: false,
            busy_permille: Some(250),
            version: None,
            peerlets: vec![peerlet],
            left_out: 0,
            faults: Vec::new(),
        };
        let read = |told: &PeerletsOfAgent| {
            let json = serde_json::to_value(told).expect("JSON");
            as_flows_have_it(serde_json::from_value(json).expect("as it was told"))
        };
        let agent = read(&told);
        assert_eq!((agent.name.as_str(), agent.online, agent.busy_permille), ("a", true, Some(250)));
        assert_eq!(agent.offers, Some(BTreeSet::from(["run".to_owned()])));
        let silent = read(&PeerletsOfAgent { busy_permille: None, peerlets: Vec::new(), ..told });
        assert_eq!((silent.busy_permille, silent.offers), (None, None));
    }
}
