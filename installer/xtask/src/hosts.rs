//! `cargo xtask hosts`: two agents on two hosts (network namespaces joined by a cable) find each other by mDNS and by asking
//! an address range, join, and share a file (D12). Needs root and `ip`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;
use shoal_testkit::wait_until;

use crate::netns::{Host, Options, ensure_possible};

/// How long each step may take.
const STEP_DEADLINE: Duration = Duration::from_secs(60);
/// How long asking all of a /24 may take.
const RANGE_DEADLINE: Duration = Duration::from_secs(8);
/// The network both hosts are in.
const RANGE: &str = "10.77.0.0/24";

pub(crate) fn run(options: &Options) -> Result<()> {
    ensure_possible()?;
    let binary = options.binary()?;
    let folder = tempfile::tempdir()?;
    let (a, b) = (Host::make('a', folder.path())?, Host::make('b', folder.path())?);
    let address_a = Ipv4Addr::new(10, 77, 0, 1);
    a.cable("cable", address_a, &b, Ipv4Addr::new(10, 77, 0, 2))?;
    for host in [&a, &b] {
        // Multicast goes where everything goes.
        host.run("ip", &["route", "add", "default", "dev", "cable"])?;
    }

    let _agent_a = a.start(&binary, &["up", "--name", "first"])?;
    wait_until("the first agent to be up", STEP_DEADLINE, || a.shoal(&binary, &["status"]).map(|_| Some(())))?;
    let address = wait_until("the second host to discover the first", STEP_DEADLINE, || {
        Ok(discovered(&b.json(&binary, &["discover", "--seconds", "2"])?, IpAddr::V4(address_a)))
    })?;
    println!("discovered: the first agent at {address}");
    ask_range(&b, &binary, &address)?;
    refuse_range(&Host::make('c', folder.path())?, &binary)?;

    let _agent_b = b.start(&binary, &["join", &address, "--name", "second"])?;
    let fingerprint = wait_until("the second agent to ask", STEP_DEADLINE, || {
        let nodes = a.json(&binary, &["nodes"])?;
        Ok(nodes["waiting"][0]["fingerprint"].as_str().map(str::to_owned))
    })?;
    a.shoal(&binary, &["node", "approve", &fingerprint])?;
    println!("approved: {fingerprint}");
    wait_until("both agents to be up", STEP_DEADLINE, || Ok((b.agents_up(&binary)? == 2).then_some(())))?;

    let file = folder.path().join("file");
    std::fs::write(&file, shoal_testkit::RandomBytes::new(1).take(9_000_000))?;
    a.put("pool/file", &file)?;
    let read = b.get("pool/file")?;
    ensure!(read == std::fs::read(&file)?, "the second host reads other bytes than the first wrote");
    println!("hosts: discovered by mDNS, joined, shared a file of {} bytes", read.len());
    Ok(())
}

/// The second host asks the whole network and finds the first agent, in seconds.
fn ask_range(host: &Host, binary: &Path, expected: &str) -> Result<()> {
    let begin = Instant::now();
    let found = host.json(binary, &["discover", RANGE])?;
    let took = begin.elapsed();
    let count = found.as_array().map(Vec::len);
    ensure!(count == Some(1) && found[0]["data_addresses"][0] == expected, "not found in {RANGE}: {found}");
    ensure!(took < RANGE_DEADLINE, "asking {RANGE} took {took:?}");
    println!("discovered by address: {RANGE} in {:.1} s", took.as_secs_f32());
    Ok(())
}

/// A host that is not in that network does not ask it unless told to.
fn refuse_range(host: &Host, binary: &Path) -> Result<()> {
    let output = host.command(binary).args(["discover", RANGE]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(5) && said.contains("--anywhere"), "{}: {said}", output.status);
    Ok(())
}

/// The data-channel address, on that host, that was announced.
fn discovered(answer: &Value, host: IpAddr) -> Option<String> {
    let host = host.to_string();
    answer.as_array()?.iter().find_map(|found| {
        let addresses = found["data_addresses"].as_array()?;
        addresses.iter().filter_map(Value::as_str).find(|text| text.starts_with(&format!("{host}:"))).map(str::to_owned)
    })
}
