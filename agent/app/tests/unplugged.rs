//! An agent that goes on running while its store is not where it was: its disk was unplugged, or its folder moved away. What it
//! holds cannot be had, so it counts as away, though the agent answers. On real processes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shoal_testkit::{AgentProcess, RandomBytes, free_port_base, start_pool, wait_until};

const MEBIBYTE: usize = 1024 * 1024;
/// How long something that comes about by itself may take.
const DEADLINE: Duration = Duration::from_secs(60);
const FILES: u64 = 6;

fn status(agent: &AgentProcess) -> Result<Value> {
    agent.json(&["status"])
}

fn state_of(status: &Value, name: &str) -> Result<String> {
    let nodes = status["nodes"].as_array().context("no nodes")?;
    let node = nodes.iter().find(|node| node["name"] == name).with_context(|| format!("no {name} in {status}"))?;
    Ok(node["state"].as_str().unwrap_or_default().to_owned())
}

fn read_all(agent: &AgentProcess) -> Result<()> {
    for number in 0..FILES {
        let read = agent.client().request("GET", &format!("/pool/file-{number}"), &[], b"")?.expect(&[200])?.body;
        ensure!(read == RandomBytes::new(number).take(3 * MEBIBYTE), "file-{number}");
    }
    Ok(())
}

#[test]
fn a_store_that_is_not_there_counts_as_away_though_its_agent_answers_and_as_back_once_it_is() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let binary = Path::new(env!("CARGO_BIN_EXE_shoal"));
    let agents = start_pool(binary, folder.path(), free_port_base(100)?, 4, |_| Ok(()))?;
    agents[0].json(&["policy", "set", "--survive", "1", "--absent-after", "20s"])?;
    for number in 0..FILES {
        let bytes = RandomBytes::new(number).take(3 * MEBIBYTE);
        agents[0].client().request("PUT", &format!("/pool/file-{number}"), &[], &bytes)?.expect(&[201])?;
    }
    let (store, away) = (agents[1].data().join("store-0"), agents[1].data().join("away"));
    fs::rename(&store, &away)?;

    // Every agent says so within seconds, itself among them, and that its shards are missing.
    for agent in &agents {
        let told = wait_until("everyone to know that the store is not there", DEADLINE, || {
            let status = status(agent)?;
            let known = state_of(&status, "agent-1")? == "unplugged"
                && status["stripes"]["healthy"] != status["stripes"]["total"];
            Ok(known.then_some(status))
        })?;
        let verdict = told["verdict"].as_str().unwrap_or_default();
        ensure!(verdict.contains("agent-1 answers without its store"), "{verdict}");
        ensure!(!verdict.starts_with("Healthy"), "{verdict}");
    }
    read_all(&agents[1])?;

    // After the patience what it held is made anew elsewhere.
    wait_until("all stripes to be healthy without it", DEADLINE, || {
        let status = status(&agents[0])?;
        Ok((status["stripes"]["healthy"] == status["stripes"]["total"]).then_some(()))
    })?;
    let told = status(&agents[0])?;
    let verdict = told["verdict"].as_str().unwrap_or_default();
    ensure!(verdict.starts_with("Healthy without a store that is not there (on agent-1)"), "{verdict}");
    read_all(&agents[0])?;

    // Plugged in again it counts at once, and can be lost like any other.
    fs::rename(&away, &store)?;
    wait_until("the store to count again", DEADLINE, || {
        let status = status(&agents[0])?;
        Ok((state_of(&status, "agent-1")? == "up").then_some(()))
    })?;
    read_all(&agents[1])
}
