//! The audit logs of all agents, read at one of them: in the order of their times, for admins only, and with the names of those that
//! did not answer.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shoal_testkit::{AgentProcess, HttpClient, free_port_base, start_pool, wait_until};

/// How long one request may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// How long something that comes about by itself may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// Of each entry: at which agent, what, how it went; in the order told.
fn told(page: &Value) -> Vec<(String, String, String)> {
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let entries = page["entries"].as_array().into_iter().flatten();
    entries.map(|entry| (text(entry, "agent"), text(entry, "what"), text(entry, "decision"))).collect()
}

fn names(agents: &Value) -> Vec<&str> {
    agents.as_array().into_iter().flatten().filter_map(|agent| agent["name"].as_str()).collect()
}

/// Adds a user; returns the way to an agent's API as them.
fn user(agent: &AgentProcess, name: &str, role: &str) -> Result<HttpClient> {
    let added = agent.json(&["user", "add", name, "--role", role])?;
    let password = added["password"].as_str().context("a password")?;
    let api = SocketAddr::from(([127, 0, 0, 1], agent.options().port + 1));
    Ok(HttpClient::new(api, name, password, ANSWER_DEADLINE))
}

#[test]
fn an_admin_sees_what_was_done_at_all_agents_and_who_did_not_answer() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut agents =
        start_pool(Path::new(env!("CARGO_BIN_EXE_shoal")), folder.path(), free_port_base(20)?, 2, |_| Ok(()))?;
    let mut otto = user(&agents[0], "otto", "operator")?;
    let mut ada = user(&agents[0], "ada", "admin")?;
    // In turn at one and at the other.
    agents[0].json(&["right", "grant", "otto", "run"])?;
    agents[1].json(&["right", "grant", "otto", "install"])?;
    agents[0].json(&["right", "revoke", "otto", "run"])?;
    let nodes = agents[0].json(&["nodes"])?;
    let id = |name: &str| -> Result<String> {
        let mut nodes = nodes["nodes"].as_array().context("nodes")?.iter();
        let node = nodes.find(|node| node["name"] == name).context("a node")?;
        Ok(node["id"].as_str().context("an id")?.to_owned())
    };
    let (first, second) = (id("agent-0")?, id("agent-1")?);
    let (run, install) = (
        "grant otto the right to run, until it is taken back",
        "grant otto the right to install, until it is taken back",
    );
    let back = "take back the right of otto to run";
    let line = |agent: &String, what: &str, decision: &str| (agent.clone(), what.to_owned(), decision.to_owned());
    let expected = [
        line(&first, back, "handled"),
        line(&first, back, "begun"),
        line(&second, install, "handled"),
        line(&second, install, "begun"),
        line(&first, run, "handled"),
        line(&first, run, "begun"),
    ];
    for agent in &agents {
        let all = agent.json(&["audit", "--all"])?;
        ensure!(told(&all) == expected, "{all:#}");
        ensure!(names(&all["agents"]) == ["agent-0", "agent-1"] && names(&all["silent"]).is_empty(), "{all:#}");
    }
    ensure!(told(&agents[0].json(&["audit"])?).iter().all(|(agent, ..)| *agent == first), "its own only");
    // Page by page, by the API as well.
    let mut paged = Vec::new();
    let mut path = "/api/v1/audit/all?limit=2".to_owned();
    loop {
        let answer = ada.request("GET", &path, &[], b"")?;
        ensure!(answer.status == 200, "{answer:?}");
        let page: Value = serde_json::from_slice(&answer.body)?;
        paged.extend(told(&page));
        let Some(before_ms) = page["next_before_ms"].as_u64() else { break };
        path = format!("/api/v1/audit/all?limit=2&before_ms={before_ms}");
    }
    ensure!(paged == expected, "{paged:#?}");
    let table = String::from_utf8(agents[0].shoal(&["audit", "--all", "--limit", "3"])?.stdout)?;
    ensure!(table.contains("AGENT") && table.contains("agent-1  ") && table.contains("--limit"), "{table}");

    // Only for admins; and who is only said to be one where the question comes from is none where it is asked.
    otto.request("GET", "/api/v1/audit/all", &[], b"")?.expect(&[403])?;
    let as_otto = agents[0].json(&["audit", "--all", "--user", "otto"])?;
    ensure!(names(&as_otto["silent"]) == ["agent-1"], "{as_otto:#}");
    ensure!(as_otto["silent"][0]["why"].as_str().is_some_and(|why| why.contains("admin")), "{as_otto:#}");
    ensure!(told(&as_otto).iter().all(|(agent, ..)| *agent == first), "{as_otto:#}");

    // Who is away is named, and holds nothing up.
    agents.pop().context("an agent")?.kill()?;
    let alone = wait_until("the agent that is away to be named", DEADLINE, || {
        let all = agents[0].json(&["audit", "--all"])?;
        Ok((names(&all["silent"]) == ["agent-1"]).then_some(all))
    })?;
    ensure!(told(&alone).len() == 4 && names(&alone["agents"]) == ["agent-0"], "{alone:#}");
    let table = String::from_utf8(agents[0].shoal(&["audit", "--all"])?.stdout)?;
    ensure!(table.contains("agent-1 did not answer"), "{table}");
    Ok(())
}
