//! An agent is emptied while the drive is in use, certified and removed; two more die and the volume becomes whole without
//! them. All of it by the commands people type, on real processes.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use shoal_testkit::{AgentProcess, HttpClient, RandomBytes, free_port_base, start_pool, wait_until};

/// How long something that comes about by itself may take; the machines of the tests are slow and shared.
const DEADLINE: Duration = Duration::from_secs(120);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// Files of every kind: in the ledger, whole copies, striped over several chunks.
const SIZES: [usize; 4] = [1_000, 40_000, 1_500_000, 6_000_000];

fn content(number: usize) -> Vec<u8> {
    RandomBytes::new(number as u64).take(SIZES[number % SIZES.len()])
}

fn put(client: &mut HttpClient, number: usize) -> Result<()> {
    client.request("PUT", &format!("/pool/file-{number}"), &[], &content(number))?.expect(&[201])?;
    Ok(())
}

fn check_all(agent: &AgentProcess, count: usize) -> Result<()> {
    let mut client = agent.client();
    for number in 0..count {
        let body = client.request("GET", &format!("/pool/file-{number}"), &[], b"")?.expect(&[200])?.body;
        ensure!(body == content(number), "file-{number} has other bytes than were written");
    }
    Ok(())
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn verdict(agent: &AgentProcess) -> Result<String> {
    Ok(agent.json(&["status"])?["verdict"].as_str().context("a verdict")?.to_owned())
}

/// Writes until told to stop; returns how many files there are then.
fn write_on(agent: &AgentProcess, first: usize, stop: &AtomicBool) -> Result<usize> {
    let mut client = agent.client();
    let mut next = first;
    while !stop.load(Ordering::Relaxed) {
        put(&mut client, next)?;
        next += 1;
    }
    Ok(next)
}

#[test]
fn an_agent_is_emptied_under_load_and_two_more_are_done_without() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let binary = Path::new(env!("CARGO_BIN_EXE_shoal"));
    let mut agents = start_pool(binary, folder.path(), free_port_base(100)?, 6, |_| Ok(()))?;
    let mut client = agents[0].client();
    (0..12).try_for_each(|number| put(&mut client, number))?;

    only_what_is_named_changes(&agents[1])?;
    a_plan_moves_nothing_and_removal_waits_for_the_drain(&agents[1])?;
    let count = drained_under_load(&agents[0], &agents[1])?;
    removed_with_its_certificate(&agents[2])?;
    agents.pop().context("the sixth agent")?.kill()?;
    check_all(&agents[1], count)?;

    two_die_and_are_done_without(&mut agents)?;
    for agent in &agents {
        check_all(agent, count)?;
    }
    Ok(())
}

fn only_what_is_named_changes(agent: &AgentProcess) -> Result<()> {
    let before = agent.json(&["policy", "show"])?;
    let after = agent.json(&["policy", "set", "--restripe-after", "2 min", "--trash-keep", "0"])?;
    ensure!(after["restripe_after_s"] == 120 && after["trash_keep_s"] == 0, "{after}");
    for kept in ["survive", "absent_after_s", "scrub_period_s"] {
        ensure!(after[kept] == before[kept], "{kept}: {before} became {after}");
    }
    ensure!(code(&agent.shoal(&["policy", "set"])?) == Some(2), "nothing to set is wrong usage");
    Ok(())
}

fn a_plan_moves_nothing_and_removal_waits_for_the_drain(agent: &AgentProcess) -> Result<()> {
    let plan = agent.json(&["node", "drain", "agent-5", "--plan"])?;
    let shards = plan["shards"].as_u64().context("shards")?;
    ensure!(shards > 0 && plan["moves"]["stripes"].as_u64() == Some(shards), "each shard is of another stripe: {plan}");
    ensure!(plan["stuck"]["stripes"] == 0 && plan["takers"] == 5, "{plan}");
    let safe = agent.shoal(&["node", "safe", "agent-5"])?;
    ensure!(code(&safe) == Some(0) && said(&safe).starts_with("agent-5 can be switched off"), "{}", said(&safe));
    let refused = agent.shoal(&["node", "remove", "agent-5"])?;
    ensure!(code(&refused) == Some(5) && said(&refused).contains("shoal node drain"), "{}", said(&refused));
    let asks = agent.shoal(&["node", "remove", "agent-5", "--force"])?;
    ensure!(code(&asks) == Some(5) && said(&asks).contains("counted on"), "{}", said(&asks));
    let none = agent.shoal(&["node", "certificate", "agent-5"])?;
    ensure!(code(&none) == Some(5), "{}", said(&none));
    let nodes = agent.json(&["nodes"])?;
    let nodes = nodes["nodes"].as_array().context("nodes")?;
    ensure!(nodes.len() == 6 && nodes.iter().all(|node| node["state"] == "up"), "nothing has changed: {nodes:?}");
    Ok(())
}

/// Returns how many files there are then.
fn drained_under_load(writes_at: &AgentProcess, asked: &AgentProcess) -> Result<usize> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_on(writes_at, 12, &stop));
        let drained = asked.json(&["node", "drain", "agent-5", "--wait"]);
        stop.store(true, Ordering::Relaxed);
        let count = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        let drained = drained?;
        ensure!(drained["drain"]["emptied"] == true && drained["drain"]["percent"] == 100, "{drained}");
        ensure!(count > 12, "something was written meanwhile");
        Ok(count)
    })
}

fn removed_with_its_certificate(agent: &AgentProcess) -> Result<()> {
    let certificate = agent.json(&["node", "certificate", "agent-5"])?;
    ensure!(certificate["genuine"] == true && certificate["empty_now"] == true, "{certificate}");
    let safe = agent.json(&["node", "safe", "agent-5"])?;
    ensure!(safe["safe"] == true && safe["unreadable"] == 0, "{safe}");
    let removed = agent.shoal(&["node", "remove", "agent-5"])?;
    ensure!(removed.status.success(), "{}", said(&removed));
    Ok(())
}

fn two_die_and_are_done_without(agents: &mut Vec<AgentProcess>) -> Result<()> {
    agents.pop().context("the fifth agent")?.kill()?;
    agents.pop().context("the fourth agent")?.kill()?;
    let asked = &agents[0];
    // The policy waits half an hour for them: what is at risk is told, and what would be without one more.
    let at_risk = wait_until("the status to tell what is at risk", DEADLINE, || {
        let verdict = verdict(asked)?;
        Ok((verdict.starts_with("Endangered:") && verdict.contains("made anew once")).then_some(verdict))
    })?;
    ensure!(at_risk.contains("(agent-3, agent-4)") && at_risk.contains("30 minutes"), "{at_risk}");
    let stays = asked.shoal(&["node", "safe", "agent-2"])?;
    ensure!(code(&stays) == Some(12) && said(&stays).contains("agent-2 must stay on"), "{}", said(&stays));

    asked.json(&["policy", "set", "--absent-after", "2s"])?;
    let (begin, mut told) = (Instant::now(), BTreeSet::new());
    loop {
        let now = verdict(asked)?;
        if now.starts_with("Healthy without 2 agents that do not answer (agent-3, agent-4).") {
            break;
        }
        told.insert(now);
        ensure!(begin.elapsed() < DEADLINE, "the volume did not become whole without two agents: {told:#?}");
        std::thread::sleep(LOOK);
    }
    ensure!(told.iter().any(|told| told.contains("Rebuilding ")), "it never said what it did: {told:#?}");
    let repair = asked.json(&["repair"])?;
    ensure!(repair["stripes"]["total"] == repair["stripes"]["healthy"], "{repair}");
    let recuts: f64 = agents.iter().map(|agent| counter(agent, "shoal_keeping_recuts_total")).sum::<Result<f64>>()?;
    ensure!(recuts > 0.0, "stripes were cut for the agents that are left");
    Ok(())
}

fn counter(agent: &AgentProcess, name: &str) -> Result<f64> {
    let page = agent.api().request("GET", "/metrics", &[], b"")?.expect(&[200])?.body;
    let text = String::from_utf8(page)?;
    let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).with_context(|| format!("no {name}"))?;
    Ok(line.rsplit(' ').next().context("a value")?.parse()?)
}
