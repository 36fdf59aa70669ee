//! An agent that was removed from its pool while it was away, on real processes: it learns it, says so, keeps its shards, and
//! joins again with a ticket.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use shoal_testkit::{AgentProcess, RandomBytes, free_port_base, start_pool, wait_until, wait_until_settled};

/// How long something that comes about by itself may take.
const DEADLINE: Duration = Duration::from_secs(60);

fn log_of(agent: &AgentProcess) -> String {
    fs::read_to_string(agent.data().with_extension("log")).unwrap_or_default()
}

fn shard_files(data: &Path) -> usize {
    let mut folders = vec![data.join("store-0")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                _ => files += 1,
            }
        }
    }
    files
}

#[test]
fn an_agent_removed_while_it_was_away_learns_it_keeps_its_shards_and_joins_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let port = free_port_base(100)?;
    let mut agents = start_pool(Path::new(env!("CARGO_BIN_EXE_shoal")), folder.path(), port, 3, |_| Ok(()))?;
    let body = RandomBytes::new(1).take(3_000_000);
    agents[0].client().request("PUT", "/pool/file", &[], &body)?.expect(&[201])?;
    let away = agents.pop().context("a third agent")?.kill()?;
    let removed = agents[0].shoal(&["node", "remove", "agent-2", "--force", "--yes"])?;
    ensure!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    let shards = shard_files(&away.data);

    let back = AgentProcess::start(away)?;
    wait_until("the agent to say that it was removed", DEADLINE, || {
        let status = back.shoal(&["status"])?;
        let said = String::from_utf8_lossy(&status.stderr).into_owned();
        Ok(said.contains("was removed from the pool").then_some(()))
    })?;
    ensure!(log_of(&back).matches("was removed from the pool").count() == 1, "told once: {}", log_of(&back));
    let put = back.client().request("PUT", "/pool/new", &[], b"no");
    ensure!(put.is_err(), "its drive is shut");
    ensure!(shard_files(back.data()) >= shards && shards > 0, "its shards stay");
    let nodes = agents[0].json(&["nodes"])?;
    ensure!(nodes["nodes"].as_array().map(Vec::len) == Some(2), "{nodes}");

    // A start later it still knows, though it asks nobody.
    let stopped = back.kill()?;
    let again = AgentProcess::start(stopped)?;
    let said = String::from_utf8_lossy(&again.shoal(&["status"])?.stderr).into_owned();
    ensure!(said.contains("shoal join TICKET"), "what to do is told: {said}");

    let mut joining = again.kill()?;
    joining.ticket = Some(agents[0].invite(&[])?);
    let joined = AgentProcess::start(joining)?;
    wait_until_settled(&joined, 3)?;
    let read = joined.client().request("GET", "/pool/file", &[], b"")?.expect(&[200])?.body;
    ensure!(read == body, "the file reads back differently");
    joined.client().request("PUT", "/pool/again", &[], b"a member again")?.expect(&[201])?;
    Ok(())
}
