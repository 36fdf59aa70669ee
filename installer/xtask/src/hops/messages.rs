//! Messages along the row: over agents in between, as far as their hops go, and another way when a cable is pulled.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shoal_testkit::wait_until;

use super::row::Row;
use crate::netns::PASSWORD;
use crate::steps::workspace_root;

/// How long each step may take.
const STEP_DEADLINE: Duration = Duration::from_secs(60);
/// Messages whose way is timed.
const TIMED: usize = 20;

/// All that is promised of messages over hops.
pub(super) fn messages_find_their_way(row: &Row) -> Result<()> {
    let last = row.len() - 1;
    let peerlet = workspace_root().join("peerlets/examples/word-count").display().to_string();
    for number in 0..row.len() {
        row.json(number, &["peerlet", "add", &peerlet])?;
    }
    wait_for_neighbours(row, &[1, 2, 2, 1])?;

    let far = send(row, 0, &["--on", "d", "to the far end"])?;
    wait_for(row, 0, &far, &[("d", "handled")])?;
    row.json(0, &["group", "set", "ends", "a", "d"])?;
    let group = send(row, 1, &["--group", "ends", "to both ends"])?;
    wait_for(row, 1, &group, &[("a", "handled"), ("d", "handled")])?;
    let all = send(row, 0, &["--all", "to all"])?;
    wait_for(row, 0, &all, &[("a", "handled"), ("b", "handled"), ("c", "handled"), ("d", "handled")])?;
    println!("hops: one to the far end, one to a group of both ends, one to all: handled by whom they were for");

    // One hop gets to b. What goes further is dropped there, and a is told.
    let near = send(row, 0, &["--on", "b", "--ttl", "1", "one hop is enough"])?;
    wait_for(row, 0, &near, &[("b", "handled")])?;
    let short = send(row, 0, &["--on", "d", "--ttl", "1", "--expires", "20s", "one hop is not enough"])?;
    let state = wait_for(row, 0, &short, &[("d", "expired-on-the-way")])?;
    let why = state["recipients"][0]["why"].as_str().unwrap_or_default().to_owned();
    ensure!(why.starts_with("at b:"), "it should have been dropped at b, and is said to be: {why}");
    wait_for(row, 0, &short, &[("d", "expired")])?;
    for number in [2, last] {
        let log = row.json(number, &["log", "--direction", "received", "--text", "one hop is not enough"])?;
        ensure!(log["entries"] == Value::Array(Vec::new()), "it got to host {number} all the same: {log}");
    }
    println!("hops: one hop gets to b and not past it; {why}");
    for (to, hops) in [("b", 1), ("d", 3)] {
        println!(
            "hops: a message to {to} over {hops} hops, until its answer is back: {:.1} ms (median)",
            median_ms(row, to)?
        );
    }

    // A ring: the ends see each other. Then that cable is pulled.
    row.spare_cable(true)?;
    wait_for_neighbours(row, &[2, 2, 2, 2])?;
    let direct = send(row, 0, &["--on", "d", "--ttl", "1", "straight over"])?;
    wait_for(row, 0, &direct, &[("d", "handled")])?;
    row.spare_cable(false)?;
    let begin = Instant::now();
    let around = send(row, 0, &["--on", "d", "the other way round"])?;
    wait_for(row, 0, &around, &[("d", "handled")])?;
    println!(
        "hops: a cable of the ring was pulled; the next message came the other way round after {:.1} s",
        begin.elapsed().as_secs_f32()
    );
    Ok(())
}

/// Sends a message from a host; answers its id.
fn send(row: &Row, from: usize, arguments: &[&str]) -> Result<String> {
    let sent = row.json(from, &[&["send", "word-count"], arguments].concat())?;
    Ok(sent["messages"][0]["id"].as_str().context("no id")?.to_owned())
}

/// Waits until a message has these states; answers what is told of it.
fn wait_for(row: &Row, from: usize, id: &str, wanted: &[(&str, &str)]) -> Result<Value> {
    wait_until(&format!("message {id} to be {wanted:?}"), STEP_DEADLINE, || {
        let states = row.json(from, &["message", id])?;
        let of = |name: &str| {
            let recipients = states["recipients"].as_array()?;
            recipients.iter().find(|one| one["name"] == name)?["state"].as_str().map(str::to_owned)
        };
        let there = wanted.iter().all(|(name, state)| of(name).as_deref() == Some(*state));
        Ok(there.then_some(states))
    })
}

/// Waits until each agent hands messages to so many others.
fn wait_for_neighbours(row: &Row, wanted: &[usize]) -> Result<()> {
    for (number, count) in wanted.iter().enumerate() {
        wait_until(&format!("host {number} to have {count} neighbours"), STEP_DEADLINE, || {
            let user = format!("admin:{PASSWORD}");
            let metrics = row.host(number).run("curl", &["-sSf", "-u", &user, "http://127.0.0.1:4919/metrics"])?;
            let text = String::from_utf8_lossy(&metrics.stdout).into_owned();
            let line = format!("shoal_message_neighbours {count}");
            Ok(text.lines().any(|found| found == line).then_some(()))
        })?;
    }
    Ok(())
}

/// How long a message takes with its answer, asked one after the other over HTTP.
fn median_ms(row: &Row, to: &str) -> Result<f64> {
    let (user, url) = (format!("admin:{PASSWORD}"), "http://127.0.0.1:4919/api/v1/requests");
    let call = format!("{{\"type\":\"word-count\",\"to\":{{\"agents\":[\"{to}\"]}},\"text\":\"x\"}}");
    let mut took = Vec::new();
    for _ in 0..TIMED {
        let arguments = [
            "-sSf",
            "-o",
            "/dev/null",
            "-w",
            "%{time_total}",
            "-u",
            &user,
            "-H",
            "content-type: application/json",
            "-d",
            &call,
            url,
        ];
        let answer = row.host(0).run("curl", &arguments)?;
        took.push(String::from_utf8_lossy(&answer.stdout).trim().parse::<f64>().context("a time")? * 1e3);
    }
    took.sort_by(f64::total_cmp);
    Ok(took[took.len() / 2])
}
