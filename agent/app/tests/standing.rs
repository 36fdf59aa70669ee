//! What agents tell of themselves, between processes: a disk about to fail, a machine that hung.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use shoal_testkit::{AgentOptions, AgentProcess, free_port_base, start_pool, wait_until, wait_until_settled};

/// How long something that comes about by itself may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// An agent stopped for this long notices that it was away.
const HANG: Duration = Duration::from_secs(13);

fn pool(folder: &Path, prepare: impl FnMut(&mut AgentOptions) -> Result<()>) -> Result<Vec<AgentProcess>> {
    let agents = start_pool(Path::new(env!("CARGO_BIN_EXE_shoal")), folder, free_port_base(100)?, 2, prepare)?;
    wait_until_settled(&agents[0], 2)?;
    Ok(agents)
}

/// A program that answers as `smartctl` does for a disk that fails.
fn failing_disk(folder: &Path) -> Result<PathBuf> {
    let (text, program) = (folder.join("smartctl.text"), folder.join("smartctl"));
    let answer = r#"{"smartctl":{"exit_status":24},"smart_status":{"passed":false}}"#;
    fs::write(&text, format!("#!/bin/sh\necho '{answer}'\nexit 24\n"))?;
    // By another process: a program that this one has open for writing, in any thread's fork, cannot be started.
    let installed = Command::new("install").args(["-m", "755"]).args([&text, &program]).status()?;
    ensure!(installed.success(), "install: {installed}");
    Ok(program)
}

fn node<'a>(status: &'a Value, name: &str) -> Result<&'a Value> {
    let nodes = status["nodes"].as_array().context("no nodes")?;
    nodes.iter().find(|node| node["name"] == name).context("no such node")
}

/// What a metric shows, without labels.
fn metric(agent: &AgentProcess, name: &str) -> Result<f64> {
    let page = agent.api().request("GET", "/metrics", &[], b"")?.expect(&[200])?;
    let page = String::from_utf8(page.body)?;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no {name} in {page}"))?.parse()?)
}

#[test]
fn an_agent_whose_disk_says_failed_is_shown_as_failing_with_the_reason_by_every_agent() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = failing_disk(folder.path())?;
    let agents = pool(folder.path(), |options| {
        let smart = match options.data.ends_with("agent-1") {
            true => format!("program = {:?}\ndevices = [\"/dev/old\"]", program.display().to_string()),
            false => "program = \"\"".to_owned(),
        };
        fs::create_dir_all(&options.data)?;
        Ok(fs::write(options.data.join("agent.toml"), format!("version = 1\n[smart]\n{smart}\n"))?)
    })?;
    let reason = "disk /dev/old: its self-test (SMART) says FAILED";
    for agent in &agents {
        let status = wait_until("the failing disk to be told", DEADLINE, || {
            let status = agent.json(&["status"])?;
            Ok((node(&status, "agent-1")?["failing"] == true).then_some(status))
        })?;
        let failing = node(&status, "agent-1")?;
        assert_eq!((&failing["reasons"], &failing["standing"]), (&serde_json::json!([reason]), &serde_json::json!(10)));
        let well = node(&status, "agent-0")?;
        assert_eq!((&well["failing"], &well["standing"]), (&Value::Bool(false), &serde_json::json!(100)));
        let verdict = status["verdict"].as_str().context("no verdict")?;
        assert!(verdict.starts_with(&format!("Warning: agent-1 is likely to fail ({reason}).")), "{verdict}");
    }
    let nodes = String::from_utf8(agents[0].shoal(&["nodes"])?.stdout)?;
    assert!(nodes.contains("up, failing") && nodes.contains(&format!("agent-1: {reason}")), "{nodes}");
    Ok(())
}

#[test]
fn an_agent_that_hung_says_so_and_blames_nobody() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let agents = pool(folder.path(), |_| Ok(()))?;
    let hung = &agents[1];
    assert_eq!(metric(hung, "shoal_sleeps_total")?.to_bits(), 0f64.to_bits());
    let pid = i32::try_from(hung.pid()).ok().and_then(Pid::from_raw).context("a process id")?;
    kill_process(pid, Signal::STOP)?;
    let begin = Instant::now();
    wait_until("the agent to be missed", DEADLINE, || {
        let missed = node(&agents[0].json(&["status"])?, "agent-1")?["state"] == "suspect";
        Ok((missed && begin.elapsed() >= HANG).then_some(()))
    })?;
    kill_process(pid, Signal::CONT)?;
    wait_until("the agent to notice that it hung", DEADLINE, || {
        Ok((metric(hung, "shoal_sleeps_total")? >= 1.0).then_some(()))
    })?;
    assert_eq!(metric(hung, "shoal_suspicions_total")?.to_bits(), 0f64.to_bits());
    assert_eq!(node(&hung.json(&["status"])?, "agent-0")?["state"], "up");
    wait_until("the agent to be counted again", DEADLINE, || {
        Ok((node(&agents[0].json(&["status"])?, "agent-1")?["state"] == "up").then_some(()))
    })
}
