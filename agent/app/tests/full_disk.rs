//! The owner's disk filled to the brim under a running agent, on a small file system of its own. Needs root to mount it;
//! says so and passes where it is not root.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use shoal_testkit::{AgentProcess, RandomBytes, SmallDisk, free_port_base, start_pool, wait_until, wait_until_settled};

/// How long something that comes about by itself may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// Bytes written to the disk at a time when it is filled.
const FILL_BYTES: usize = 256 * 1024;
/// Bytes left free at first: less than a ledger wants to see, enough for it to go on.
const LEFT_BYTES: u64 = 6 * 1024 * 1024;

/// Fills a disk until little is free, and again whenever there is more, while a condition holds.
fn fill_while(disk: &SmallDisk, goes_on: impl Fn() -> bool) -> Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(disk.filler())?;
    let piece = vec![7u8; FILL_BYTES];
    wait_until("the ballast to be given up", DEADLINE, || {
        while goes_on() && disk.free_bytes()? > LEFT_BYTES {
            file.write_all(&piece)?;
        }
        Ok((!goes_on()).then_some(()))
    })
}

/// Writes files through an agent until told to stop; returns those that were acknowledged.
fn write_on(agent: &AgentProcess, stop: &AtomicBool) -> Result<Vec<(String, Vec<u8>)>> {
    let mut client = agent.client();
    let mut acknowledged = Vec::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        // Small ones go into the ledger itself.
        let length = if number % 10 == 0 { 200_000 } else { 2_000 };
        let (path, body) = (format!("/pool/file-{number}"), RandomBytes::new(number).take(length));
        let answer = client.request("PUT", &path, &[], &body);
        if answer.is_ok_and(|answer| answer.status == 201) {
            acknowledged.push((path, body));
        }
    }
    Ok(acknowledged)
}

fn verdict(agent: &AgentProcess) -> Result<String> {
    Ok(agent.json(&["status"])?["verdict"].as_str().context("a verdict")?.to_owned())
}

#[test]
fn an_agent_whose_disk_is_filled_to_the_brim_lives_loses_nothing_and_comes_back_by_itself() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(disk) = SmallDisk::mount(folder.path().join("small"), 160 * 1024 * 1024)? else {
        eprintln!("skipped: only root may mount the small disk this test fills");
        return Ok(());
    };
    let mut agents =
        start_pool(Path::new(env!("CARGO_BIN_EXE_shoal")), folder.path(), free_port_base(100)?, 3, |options| {
            if options.data.ends_with("agent-2") {
                options.data = disk.path().join("agent-2");
            }
            options.arguments = ["--reserve", "0", "--cap", "50000000"].map(str::to_owned).to_vec();
            Ok(())
        })?;
    let mut full = agents.pop().context("the agent on the small disk")?;
    let stop = AtomicBool::new(false);
    let acknowledged = std::thread::scope(|scope| {
        let load = scope.spawn(|| write_on(&agents[0], &stop));
        let meanwhile = fill_and_free(&mut full, &disk);
        stop.store(true, Ordering::Relaxed);
        let acknowledged = load.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
        meanwhile.map(|()| acknowledged)
    })?;
    ensure!(acknowledged.len() > 5, "only {} files were written", acknowledged.len());
    let mut client = full.client();
    for (path, body) in &acknowledged {
        let read = client.request("GET", path, &[], b"")?.expect(&[200])?.body;
        ensure!(&read == body, "{path} was acknowledged and reads back differently");
    }
    client.request("PUT", "/pool/after", &[], b"there is room again")?.expect(&[201])?;
    Ok(())
}

fn fill_and_free(agent: &mut AgentProcess, disk: &SmallDisk) -> Result<()> {
    let ballast = agent.data().join("ledger").join("ballast");
    ensure!(fs::metadata(&ballast)?.len() > 0, "room is set aside");
    fill_while(disk, || ballast.exists())?;
    wait_until("the agent to say that its disk is full", DEADLINE, || {
        Ok(verdict(agent)?.starts_with("Here: the disk under this agent's ledger is full").then_some(()))
    })?;
    let refused = agent.client().request("PUT", "/pool/refused", &[], b"new")?;
    ensure!(refused.status == 507, "a new file was answered {}", refused.status);
    let reason = String::from_utf8_lossy(&refused.body).into_owned();
    ensure!(reason.contains("quota-not-exceeded"), "{reason}");

    // The owner takes what the ballast gave, and goes on taking it.
    wait_until("the ledger to find no room at all", DEADLINE, || {
        disk.fill()?;
        let health = agent.api().request("GET", "/healthz", &[], b"");
        Ok(health.is_err().then_some(()))
    })?;
    ensure!(agent.runs()?, "the process must live on");
    fs::remove_file(disk.filler())?;
    wait_until_settled(agent, 3)?;
    ensure!(agent.runs()?, "it is the same process");
    wait_until("room to be set aside again", DEADLINE, || Ok((!verdict(agent)?.starts_with("Here:")).then_some(())))?;
    ensure!(ballast.exists(), "the ballast is back");
    Ok(())
}
