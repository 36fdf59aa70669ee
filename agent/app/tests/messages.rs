//! Messages between real agents: sent, answered by programs that know nothing of it, kept while a recipient is away, logged
//! and said again (D1, D3, D4, D5, D13).

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failing test says what failed")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use shoal_testkit::{AgentProcess, free_port_base, start_pool, wait_until};

const DEADLINE: Duration = Duration::from_secs(60);

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../peerlets/examples").join(name)
}

fn pool(folder: &Path, count: u16) -> Vec<AgentProcess> {
    let port = free_port_base(10 * count).expect("ports");
    start_pool(Path::new(env!("CARGO_BIN_EXE_shoal")), folder, port, count, |_| Ok(())).expect("a pool")
}

fn name_of(agent: &AgentProcess) -> String {
    let own = agent.json(&["peerlet", "list"]).expect("its peerlets");
    own["name"].as_str().expect("a name").to_owned()
}

/// The states of a message by name of the recipient.
fn states(agent: &AgentProcess, id: &str) -> Result<Vec<(String, String)>> {
    let states = agent.json(&["message", id])?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let each = states["recipients"].as_array().cloned().unwrap_or_default();
    Ok(each.iter().map(|state| (text(&state["name"]), text(&state["state"]))).collect())
}

fn wait_for_states(agent: &AgentProcess, id: &str, wanted: &str, count: usize) -> Vec<(String, String)> {
    wait_until(&format!("{id} to be {wanted} at {count}"), DEADLINE, || {
        let states = states(agent, id)?;
        Ok((states.iter().filter(|state| state.1 == wanted).count() == count).then_some(states))
    })
    .expect("the states")
}

fn id_of(sent: &Value) -> String {
    sent["messages"][0]["id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_message_starts_a_program_on_another_agent_and_its_answer_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let agents = pool(folder.path(), 2);
    agents[1].json(&["peerlet", "add", example("word-count").to_str().unwrap()]).expect("installed");
    let there = name_of(&agents[1]);
    let sent = agents[0].json(&["send", "word-count", "--on", &there, "one two three"]).expect("sent");
    wait_for_states(&agents[0], &id_of(&sent), "handled", 1);
    let log = agents[0].json(&["log", "--type", "word-count", "--direction", "received"]).expect("a log");
    let reply = &log["entries"][0];
    assert_eq!(reply["in_reply_to"], sent["messages"][0]["id"]);
    assert!(reply["text"].as_str().unwrap().split_whitespace().eq(["0", "3", "13"]), "{reply}");
    // What is not installed is refused with a sentence.
    let here = name_of(&agents[0]);
    let sent = agents[1].json(&["send", "word-count", "--on", &here, "x"]).expect("sent");
    wait_for_states(&agents[1], &id_of(&sent), "refused", 1);
}

#[test]
fn an_agent_that_was_away_gets_what_waits_for_it_once_and_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut agents = pool(folder.path(), 2);
    agents[1].json(&["peerlet", "add", example("word-count").to_str().unwrap()]).expect("installed");
    let there = name_of(&agents[1]);
    let options = agents.remove(1).kill().expect("killed");
    let session = "01234567-89ab-4cde-8f01-23456789abcd";
    let texts: Vec<String> = (0..20).map(|number| format!("text {number}")).collect();
    let ids: Vec<String> = texts
        .iter()
        .map(|text| {
            let sent = agents[0].json(&["send", "word-count", "--on", &there, "--session", session, text]);
            id_of(&sent.expect("sent"))
        })
        .collect();
    assert_eq!(states(&agents[0], &ids[0]).expect("states"), [(there.clone(), "waiting".to_owned())]);
    let back = AgentProcess::start(options).expect("it comes back");
    for id in &ids {
        wait_for_states(&agents[0], id, "handled", 1);
    }
    let log = back.json(&["log", "--type", "word-count", "--direction", "received"]).expect("a log");
    let came: Vec<&str> =
        log["entries"].as_array().unwrap().iter().rev().map(|entry| entry["text"].as_str().unwrap()).collect();
    assert_eq!(came, texts);
}

#[test]
fn a_message_to_all_reaches_everyone_and_who_joins_later_and_is_said_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let agents = pool(folder.path(), 3);
    for agent in &agents {
        agent.json(&["peerlet", "add", example("word-count").to_str().unwrap()]).expect("installed");
    }
    let sent = agents[1].json(&["send", "word-count", "--all", "to all of you"]).expect("sent");
    let states = wait_for_states(&agents[1], &id_of(&sent), "handled", 3);
    assert_eq!(states.len(), 3, "{states:?}");
    let log = agents[1].json(&["log", "--direction", "sent", "--text", "all of you"]).expect("a log");
    let place = log["entries"][0]["place"].as_u64().expect("a place").to_string();
    let there = name_of(&agents[2]);
    let again = agents[1].json(&["replay", &place, "--on", &there]).expect("said again");
    wait_for_states(&agents[1], &id_of(&again), "handled", 1);
    let log = agents[2].json(&["log", "--direction", "received", "--text", "all of you"]).expect("a log");
    assert_eq!(log["entries"].as_array().unwrap().len(), 2);
    assert_eq!(log["entries"][0]["replay_of"], sent["messages"][0]["id"]);
}
