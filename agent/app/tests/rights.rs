//! Groups, types and rights on a real agent: an admin changes them by CLI and API, everyone sees them, and what was done to rights is
//! in the audit log, also after a crash.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use shoal_testkit::{AgentProcess, HttpClient, free_port_base, start_pool};

/// How long one request may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

fn one_agent(folder: &Path) -> Result<AgentProcess> {
    let binary = Path::new(env!("CARGO_BIN_EXE_shoal"));
    start_pool(binary, folder, free_port_base(100)?, 1, |_| Ok(()))?.pop().context("an agent")
}

/// Adds a user; returns the way to the API as them.
fn user(agent: &AgentProcess, name: &str, role: &str) -> Result<HttpClient> {
    let added = agent.json(&["user", "add", name, "--role", role])?;
    let password = added["password"].as_str().context("a password")?;
    let api = SocketAddr::from(([127, 0, 0, 1], agent.options().port + 1));
    Ok(HttpClient::new(api, name, password, ANSWER_DEADLINE))
}

fn refused(output: &Output, code: i32, saying: &str) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(code) && said.contains(saying), "{output:?}");
    Ok(())
}

/// What the audit log says, oldest first: user, what, decision.
fn audited(agent: &AgentProcess, arguments: &[&str]) -> Result<Vec<(String, String, String)>> {
    let page = agent.json(&[&["audit"], arguments].concat())?;
    ensure!(page["damaged"] == 0, "{page}");
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let entries = page["entries"].as_array().context("entries")?.iter().rev();
    Ok(entries.map(|entry| (text(entry, "user"), text(entry, "what"), text(entry, "decision"))).collect())
}

#[test]
fn a_right_is_given_for_a_time_seen_taken_back_and_audited() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let agent = one_agent(folder.path())?;
    ensure!(agent.json(&["right", "list"])? == json!([]));
    refused(&agent.shoal(&["right", "grant", "ana", "run"])?, 5, "user ana is not there")?;
    let _ana = user(&agent, "ana", "operator")?;

    let given = agent.json(&["right", "grant", "ana", "run", "--for", "8h"])?;
    let lasts_ms =
        given["expires_ms"].as_u64().context("an end")? - given["granted_ms"].as_u64().context("a beginning")?;
    ensure!((28_790_000..=28_800_000).contains(&lasts_ms), "{given}");
    let list = agent.json(&["right", "list"])?;
    ensure!(list[0]["user"] == "ana" && list[0]["type"] == "run" && list[0]["ended"] == false, "{list}");
    let without_end = agent.json(&["right", "grant", "ana", "run"])?;
    ensure!(without_end["expires_ms"].is_null(), "{without_end}");
    for (arguments, code, saying) in [
        (&["right", "grant", "ana", "run", "--for", "0"][..], 2, "1 to"),
        (&["right", "grant", "ana", "run", "--for", "soon"], 2, "a length of time"),
        (&["right", "grant", "ana", "No Type"], 2, "is no message type"),
        (&["right", "revoke", "ana", "install"], 5, "is not there"),
    ] {
        refused(&agent.shoal(arguments)?, code, saying)?;
    }
    agent.json(&["right", "revoke", "ana", "run"])?;
    ensure!(agent.json(&["right", "list"])? == json!([]));

    let agent = AgentProcess::start(agent.kill()?)?;
    let told = audited(&agent, &["--type", "shoal.right"])?;
    let line = |what: &str, decision: &str| ("local".to_owned(), what.to_owned(), decision.to_owned());
    let first = "grant ana the right to run, until it is taken back";
    let timed = "grant ana the right to run, for 28800 s";
    let (never, back) = ("take back the right of ana to install", "take back the right of ana to run");
    let expected = [
        line(first, "begun"),
        line(first, "refused"),
        line(timed, "begun"),
        line(timed, "handled"),
        line(first, "begun"),
        line(first, "handled"),
        line(never, "begun"),
        line(never, "refused"),
        line(back, "begun"),
        line(back, "handled"),
    ];
    ensure!(told == expected, "{told:#?}");
    ensure!(audited(&agent, &["--by", "ana"])?.is_empty());
    ensure!(audited(&agent, &["--limit", "1"])? == expected[9..], "the newest");
    let table = String::from_utf8(agent.shoal(&["audit", "--limit", "2"])?.stdout)?;
    ensure!(table.contains("ended with status 0 (begun in 9)") && table.contains("--before 9"), "{table}");
    Ok(())
}

#[test]
fn a_right_that_does_nothing_is_given_with_a_warning() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let agent = one_agent(folder.path())?;
    let (_ana, _vera) = (user(&agent, "ana", "operator")?, user(&agent, "vera", "viewer")?);
    let given = agent.json(&["right", "grant", "ana", "run"])?;
    ensure!(given.get("warnings").is_none(), "{given}");
    for (user, kind, saying) in [
        ("ana", "word-cuont", "no agent offers messages of type word-cuont; `shoal peerlets`"),
        ("vera", "run", "vera has the role viewer, and messages of type run take the role "),
    ] {
        let given = agent.json(&["right", "grant", user, kind])?;
        let warning = given["warnings"][0].as_str().unwrap_or_default();
        ensure!(warning.contains(saying) && given["warnings"][1].is_null(), "{given}");
        let told = agent.shoal(&["right", "grant", user, kind])?;
        let said = String::from_utf8_lossy(&told.stderr);
        ensure!(told.status.success() && said.contains(&format!("warning: {warning}")), "{told:?}");
    }
    Ok(())
}

#[test]
fn whoever_is_signed_in_sees_and_only_an_admin_changes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let agent = one_agent(folder.path())?;
    let mut vera = user(&agent, "vera", "viewer")?;
    let mut otto = user(&agent, "otto", "operator")?;
    for path in ["rights", "groups", "types"] {
        vera.request("GET", &format!("/api/v1/{path}"), &[], b"")?.expect(&[200])?;
    }
    let json = [("Content-Type", "application/json")];
    for (method, path, body) in [
        ("PUT", "rights", r#"{"user":"otto","type":"run"}"#),
        ("DELETE", "rights/otto/run", ""),
        ("PUT", "groups/lab", r#"{"agents":["agent-0"]}"#),
        ("DELETE", "groups/lab", ""),
        ("PUT", "types/chat", r#"{"role":"viewer"}"#),
        ("DELETE", "types/chat", ""),
        ("GET", "audit", ""),
    ] {
        otto.request(method, &format!("/api/v1/{path}"), &json, body.as_bytes())?.expect(&[403])?;
        // What is wrong with what they want is not for who may not want it.
        otto.request(method, &format!("/api/v1/{path}"), &json, br#"{"wrong":1}"#)?.expect(&[403])?;
    }
    let mut nobody = HttpClient::new(
        SocketAddr::from(([127, 0, 0, 1], agent.options().port + 1)),
        "nobody",
        "guess",
        ANSWER_DEADLINE,
    );
    nobody.request("GET", "/api/v1/rights", &[], b"")?.expect(&[401])?;
    ensure!(audited(&agent, &[])?.is_empty(), "nothing was done to any right");
    Ok(())
}

#[test]
fn groups_and_types_are_set_seen_and_reset() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let agent = one_agent(folder.path())?;
    let group = agent.json(&["group", "set", "lab", "agent-0", "agent-0"])?;
    ensure!(group["agents"].as_array().map(Vec::len) == Some(1) && group["agents"][0]["name"] == "agent-0", "{group}");
    refused(&agent.shoal(&["group", "set", "lab", "stranger"])?, 5, "no agent \"stranger\"")?;
    refused(&agent.shoal(&["group", "set", "The Lab", "agent-0"])?, 2, "is no group")?;
    let list = agent.json(&["group", "list"])?;
    ensure!(list[0]["name"] == "lab", "{list}");
    agent.json(&["group", "remove", "lab"])?;
    refused(&agent.shoal(&["group", "remove", "lab"])?, 5, "group lab is not there")?;

    agent.json(&["type", "set", "chat", "--role", "viewer", "--right"])?;
    ensure!(agent.json(&["type", "list"])? == json!([{ "type": "chat", "role": "viewer", "right": true }]));
    refused(&agent.shoal(&["type", "set", "chat", "--role", "king"])?, 2, "viewer, user, operator or admin")?;
    refused(&agent.shoal(&["type", "set", "shoal.receipt", "--role", "user"])?, 5, "the agents' own")?;
    agent.json(&["type", "reset", "chat"])?;
    ensure!(agent.json(&["type", "list"])? == json!([]));
    Ok(())
}
