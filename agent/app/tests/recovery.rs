//! A pool that lost its voters for good, recovered with `shoal pool recover` on real processes: from a learner's ledger and
//! from an encrypted copy. What was written is read back equal, and who comes back from before neither splits the
//! pool nor loses its shards.

#[allow(dead_code, reason = "each test file uses its part")]
mod harness;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shoal_testkit::{AgentOptions, AgentProcess, RandomBytes, free_port_base, wait_until};

/// How long something that comes about by itself may take.
const DEADLINE: Duration = Duration::from_secs(60);

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_shoal"))
}

/// Runs `shoal pool recover` on the data directory of an agent.
fn recover(data: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary());
    command.args(["pool", "recover", "--json", "--data"]).arg(data).args(arguments).stdin(Stdio::null());
    Ok(command.output()?)
}

fn recovered(data: &Path, arguments: &[&str]) -> Result<Value> {
    let output = recover(data, arguments)?;
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Waits until an agent sees so many answer and changes can be agreed on.
/// What `pool check` reports, however it ends.
fn checked(agent: &AgentProcess) -> Result<Value> {
    let output = agent.shoal(&["pool", "check", "--json"])?;
    serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn wait_until_up(agent: &AgentProcess, count: usize) -> Result<()> {
    wait_until("the pool to go on", DEADLINE, || {
        let Ok(status) = agent.json(&["status"]) else { return Ok(None) };
        let up = status["nodes"].as_array().map_or(0, |nodes| nodes.iter().filter(|n| n["state"] == "up").count());
        Ok((up == count && status["quorum"] == true).then_some(()))
    })
}

/// Waits until an agent serves a file as it was written.
fn wait_until_served(agent: &AgentProcess, path: &str, body: &[u8]) -> Result<()> {
    wait_until("an agent to serve what was written", DEADLINE, || {
        let Ok(answer) = agent.client().request("GET", path, &[], b"") else { return Ok(None) };
        ensure!(answer.status != 200 || answer.body == body, "{path} reads back differently");
        Ok((answer.status == 200).then_some(()))
    })
    .with_context(|| format!("{path} through {}", agent.data().display()))
}

/// Voters are the agents 0 to 2; the last of them and the agents 3 to 5 hold no vote or no shards, so that all voters can
/// be lost with no more than two stores.
fn roles(index: u16) -> &'static str {
    match index {
        0 | 1 => "store = true\nmount = true\nvote = true",
        2 => "store = false\nmount = true\nvote = true",
        _ => "store = true\nmount = true\nvote = false",
    }
}

#[test]
fn a_pool_without_voters_goes_on_from_a_learner_and_an_old_voter_that_returns_joins_anew() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut agents = Vec::new();
    let port = free_port_base(100)?;
    // One by one: the pool as the testkit waits for it would have all agents vote.
    for number in 0..6u16 {
        let ticket = agents.first().map(|first: &AgentProcess| first.invite(&[])).transpose()?;
        let mut options = AgentOptions {
            binary: binary().to_owned(),
            data: folder.path().join(format!("agent-{number}")),
            port: port + 10 * number,
            ticket,
            arguments: Vec::new(),
        };
        fs::create_dir_all(&options.data)?;
        fs::write(options.data.join("agent.toml"), format!("version = 1\n[roles]\n{}\n", roles(number)))?;
        options.arguments = ["--cap", "500000000", "--reserve", "0"].map(str::to_owned).to_vec();
        agents.push(AgentProcess::start(options)?);
    }
    wait_until("three to vote and six to answer", DEADLINE, || {
        let nodes = agents[5].json(&["nodes"])?;
        let nodes = nodes["nodes"].as_array().context("nodes")?;
        let voters = nodes.iter().filter(|node| node["voter"] == true).count();
        Ok((voters == 3 && nodes.iter().filter(|node| node["state"] == "up").count() == 6).then_some(()))
    })?;
    let files: Vec<(String, Vec<u8>)> = (0..12u64)
        .map(|number| {
            let length = if number % 3 == 0 { 900 } else { 3_000_000 };
            (format!("/pool/file-{number}"), RandomBytes::new(number).take(length))
        })
        .collect();
    for (path, body) in &files {
        agents[1].client().request("PUT", path, &[], body)?.expect(&[201])?;
    }
    for (path, body) in &files {
        wait_until_served(&agents[3], path, body)?;
    }
    let refused = recover(agents[3].data(), &["--yes"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && said.contains("stop it first"), "on an agent that runs: {said}");

    // The voters are gone: two for good, one comes back later. The learners run on and can change nothing.
    let [zero, one, two]: [AgentProcess; 3] = agents.drain(..3).collect::<Vec<_>>().try_into().ok().context("three")?;
    let learner = agents.remove(0).kill()?;
    let talks = recover(&learner.data, &[])?;
    let said = String::from_utf8_lossy(&talks.stderr).into_owned();
    ensure!(talks.status.code() == Some(5) && said.contains("--force"), "while the voters are there: {said}");
    for gone in [zero, two] {
        fs::remove_dir_all(gone.kill()?.data)?;
    }
    let returning = one.kill()?;
    let plan = recovered(&learner.data, &[])?;
    ensure!(plan["done"] == false && !learner.data.join("ledger.swap").exists(), "not without being told: {plan}");
    ensure!(plan["voters"].as_array().is_some_and(|voters| voters.len() == 3), "who voted is named: {plan}");
    let report = recovered(&learner.data, &["--yes"])?;
    ensure!(report["done"] == true && report["generation"] == 1 && report["from"]["kind"] == "ledger", "{report}");
    ensure!(learner.data.join("ledger.before-recovery-1").is_dir(), "the old ledger is kept");
    let mut going_on = vec![AgentProcess::start(learner)?];
    going_on.append(&mut agents);
    for agent in &going_on {
        wait_until_up(agent, 3)?;
        for (path, body) in &files {
            wait_until_served(agent, path, body)?;
        }
    }
    let after = RandomBytes::new(99).take(2_000_000);
    going_on[1].client().request("PUT", "/pool/after", &[], &after)?.expect(&[201])?;
    wait_until_served(&going_on[2], "/pool/after", &after)?;
    let check = checked(&going_on[0])?;
    ensure!(check["lost"] == 0 && check["missing_shards"] == 0 && check["fresh"] == true, "{check}");
    ensure!(check["short"].as_u64() > Some(0) && check["silent"].as_array().map(Vec::len) == Some(2), "{check}");

    // Who returns has a ledger of before; it joins with an empty one and its shards count again.
    let returned = AgentProcess::start(returning)?;
    wait_until_up(&going_on[0], 4)?;
    wait_until_served(&returned, "/pool/after", &after)?;
    for (path, body) in &files {
        wait_until_served(&returned, path, body)?;
    }
    ensure!(returned.data().join("ledger.before-recovery-1").is_dir(), "its old ledger is kept");
    wait_until("all to agree on who leads", DEADLINE, || {
        let leaders = going_on.iter().chain([&returned]).map(|agent| {
            let nodes = agent.json(&["nodes"])?;
            let nodes = nodes["nodes"].as_array().cloned().unwrap_or_default();
            Ok(nodes.into_iter().filter(|node| node["leader"] == true).map(|node| node["id"].to_string()).collect())
        });
        let leaders: Vec<Vec<String>> = leaders.collect::<Result<_>>()?;
        Ok((leaders[0].len() == 1 && leaders.iter().all(|leader| *leader == leaders[0])).then_some(()))
    })?;
    returned.client().request("PUT", "/pool/by-the-returned", &[], &after)?.expect(&[201])?;
    wait_until_served(&going_on[0], "/pool/by-the-returned", &after)?;
    let check = checked(&returned)?;
    ensure!(check["lost"] == 0 && check["missing_shards"] == 0, "its shards are there: {check}");
    ensure!(check["silent"].as_array().is_some_and(|silent| silent.len() == 1), "{check}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_of_which_only_shards_and_an_encrypted_copy_are_left_goes_on_from_the_copy() {
    use harness::{Folder, cut_off, invite, noise, read, same_place, wait_for, write};
    use shoal::start::{Entry, start};

    let folder = Folder::new();
    let mut agents = Vec::new();
    for index in 0..3 {
        let name = format!("agent-{index}");
        let mut config = folder.config(&name);
        config.timing.copy_interval = Duration::from_millis(500);
        let entry = match agents.first() {
            None => Entry::Usual,
            Some(first) => Entry::Ticket(invite(shoal::run::Agent::context(first)).await),
        };
        agents.push(start(config, entry).await.expect("starts").agent);
    }
    let context = agents[2].context().clone();
    wait_for("all to answer", async || {
        context.status().await.is_ok_and(|status| status.nodes.iter().filter(|node| node.state.answers()).count() == 3)
    })
    .await;
    let bytes = noise(1, 3_000_000);
    write(&context, "file", &bytes).await.expect("written");
    let shelf = context.data().join("ledger-copies");
    let newest = || {
        let entries = fs::read_dir(&shelf).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".copy")?.parse::<u64>().ok()).max()
    };
    // This agent may not have applied yet what it was acknowledged.
    shoal_ledger::LedgerClient::barrier(&*context.ledger).await.expect("a read point");
    let written_at = shoal_ledger::query::position(&*context.ledger.view().expect("a view")).expect("read");
    wait_for("a copy that has the file", async || newest() >= Some(written_at)).await;

    let config = same_place(&context);
    drop(context);
    for agent in agents.drain(..) {
        cut_off(agent).await;
    }
    fs::remove_dir_all(config.data.join("ledger")).expect("its ledger is gone");
    let nothing = recover(&config.data, &["--from", "ledger", "--yes"]).expect("runs");
    assert_eq!(nothing.status.code(), Some(5), "{}", String::from_utf8_lossy(&nothing.stderr));
    let report = recovered(&config.data, &["--from", "copy", "--yes"]).expect("recovered");
    assert_eq!((&report["done"], &report["from"]["kind"]), (&Value::Bool(true), &Value::from("copy")), "{report}");
    let again = start(config, Entry::Usual).await.expect("starts").agent;
    wait_for("it to lead itself", async || again.context().quorum().agrees).await;
    assert_eq!(read(again.context(), "file").await.expect("read"), bytes);
    write(again.context(), "more", &noise(2, 100_000)).await.expect("writing goes on");
    again.stop().await;
}
