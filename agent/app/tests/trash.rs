//! The trash on real processes: what is overwritten and deleted comes back, whichever agent is asked and whichever was
//! away, by CLI and through the drive.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shoal_testkit::{
    AgentProcess, HttpClient, RandomBytes, free_port_base, start_pool, wait_until, wait_until_settled,
};

/// How long something that comes about by itself may take.
const DEADLINE: Duration = Duration::from_secs(30);
const MEBIBYTE: usize = 1024 * 1024;

fn get(client: &mut HttpClient, path: &str) -> Result<Vec<u8>> {
    Ok(client.request("GET", path, &[], b"")?.expect(&[200])?.body)
}

fn entries(agent: &AgentProcess, arguments: &[&str]) -> Result<Vec<Value>> {
    let list = agent.json(&[&["trash", "list"], arguments].concat())?;
    list["entries"].as_array().cloned().context("entries")
}

#[test]
fn two_versions_of_one_path_both_come_back_after_an_agent_was_away() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let binary = Path::new(env!("CARGO_BIN_EXE_shoal"));
    let mut agents = start_pool(binary, folder.path(), free_port_base(100)?, 3, |_| Ok(()))?;
    let mut client = agents[0].client();
    let (first, second) = (RandomBytes::new(1).take(5 * MEBIBYTE), RandomBytes::new(2).take(3 * MEBIBYTE));
    client.request("MKCOL", "/pool/docs", &[], b"")?.expect(&[201])?;
    client.request("PUT", "/pool/docs/report.bin", &[], &first)?.expect(&[201])?;
    client.request("PUT", "/pool/docs/report.bin", &[], &second)?.expect(&[204])?;
    client.request("PUT", "/pool/docs/note.txt", &[], b"a short note")?.expect(&[201])?;
    client.request("DELETE", "/pool/docs", &[], b"")?.expect(&[204])?;

    let away = agents.pop().context("a third agent")?.kill()?;
    agents.push(AgentProcess::start(away)?);
    for agent in &agents {
        wait_until_settled(agent, 3)?;
    }
    let versions = entries(&agents[2], &["pool", "/docs/report.bin"])?;
    let told: Vec<_> =
        versions.iter().map(|version| (&version["bytes"], &version["reason"], &version["user"])).collect();
    let expected = [(5 * MEBIBYTE, "overwritten"), (3 * MEBIBYTE, "deleted")]
        .map(|(bytes, reason)| (Value::from(bytes), Value::from(reason), Value::from("admin")));
    ensure!(told == expected.each_ref().map(|(bytes, reason, user)| (bytes, reason, user)), "{versions:?}");
    let volumes = agents[1].json(&["volume", "list"])?;
    ensure!(volumes[0]["files"] == 0 && volumes[0]["trash_files"] == 3, "{volumes}");

    // The newest by its path, the older one by its number, elsewhere.
    let restored = agents[1].json(&["trash", "restore", "/docs/report.bin"])?;
    ensure!(restored["restored"][0] == "/docs/report.bin", "{restored}");
    let oldest = versions[0]["id"].to_string();
    agents[2].json(&["trash", "restore", &oldest, "--to", "/back/older.bin"])?;
    let mut other = agents[2].client();
    ensure!(get(&mut other, "/pool/docs/report.bin")? == second, "the newest version, byte for byte");
    ensure!(get(&mut other, "/pool/back/older.bin")? == first, "the older one, byte for byte");

    // What stands there stays unless said otherwise, and a whole folder comes back.
    client.request("PUT", "/pool/docs/note.txt", &[], b"another")?.expect(&[201])?;
    let refused = agents[0].shoal(&["trash", "restore", "/docs/note.txt"])?;
    ensure!(refused.status.code() == Some(5), "{refused:?}");
    ensure!(String::from_utf8_lossy(&refused.stderr).contains("exists already"), "{refused:?}");
    agents[0].json(&["trash", "restore", "/docs", "--overwrite"])?;
    ensure!(get(&mut client, "/pool/docs/note.txt")? == b"a short note", "the folder's file is back");

    // What it replaced is in the trash in turn, and the drive shows it there.
    let listing = client.request("PROPFIND", "/pool/.trash/docs", &[("Depth", "1")], b"")?.expect(&[207])?;
    let listing = String::from_utf8(listing.body)?;
    let name = listing.split("/pool/.trash/docs/").find(|part| part.starts_with("note")).context("the version")?;
    let name = name.split('<').next().context("a name")?;
    ensure!(get(&mut other, &format!("/pool/.trash/docs/{name}"))? == b"another", "read through the drive");

    let unsure = agents[0].shoal(&["trash", "empty"])?;
    ensure!(unsure.status.code() == Some(2), "{unsure:?}");
    let emptied = agents[0].json(&["trash", "empty", "pool", "--yes"])?;
    ensure!(emptied["files"] == 1, "{emptied}");
    wait_until("every agent to know", DEADLINE, || Ok(entries(&agents[2], &[])?.is_empty().then_some(())))
}
