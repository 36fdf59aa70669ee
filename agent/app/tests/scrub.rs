//! What is damaged on disk is found, told by the names of the files, and made anew: by a scrub, and by reading in passing.
//! On real processes, with real files flipped, cut short, swapped and deleted under them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shoal_testkit::{AgentOptions, AgentProcess, HttpClient, RandomBytes, free_port_base, start_pool, wait_until};

const MEBIBYTE: usize = 1024 * 1024;
/// How long something that comes about by itself may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// One pool at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pool(folder: &Path, count: u16) -> Result<Vec<AgentProcess>> {
    start_pool(Path::new(env!("CARGO_BIN_EXE_shoal")), folder, free_port_base(100)?, count, |_| Ok(()))
}

fn get(client: &mut HttpClient, path: &str) -> Result<Vec<u8>> {
    Ok(client.request("GET", path, &[], b"")?.expect(&[200])?.body)
}

/// The files of large shards an agent has, by name.
fn shard_files(agent: &AgentProcess) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in fs::read_dir(agent.data().join("store-0").join("shards"))? {
        for file in fs::read_dir(folder?.path())? {
            files.push(file?.path());
        }
    }
    files.sort();
    Ok(files)
}

fn flip_bit(path: &Path, at_byte: usize) -> Result<()> {
    let mut bytes = fs::read(path)?;
    *bytes.get_mut(at_byte).context("a byte there")? ^= 1;
    Ok(fs::write(path, bytes)?)
}

/// All findings of all agents: file names, what was wrong, agent, mended.
fn findings(overview: &Value) -> Vec<(Vec<String>, String, String, bool)> {
    let mut found = Vec::new();
    for agent in overview["agents"].as_array().into_iter().flatten() {
        for finding in agent["report"]["findings"].as_array().into_iter().flatten() {
            let names = finding["files"]["names"].as_array().into_iter().flatten();
            found.push((
                names.filter_map(|name| Some(name.as_str()?.to_owned())).collect(),
                finding["wrong"].as_str().unwrap_or_default().to_owned(),
                agent["name"].as_str().unwrap_or_default().to_owned(),
                finding["mended"].as_bool().unwrap_or_default(),
            ));
        }
    }
    found
}

#[test]
fn a_scrub_finds_names_and_mends_all_that_is_wrong_on_disk() -> Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir()?;
    let agents = pool(folder.path(), 3)?;
    let mut client = agents[0].client();
    client.request("MKCOL", "/pool/photos", &[], b"")?.expect(&[201])?;
    // One stripe each; on three agents that survive the loss of two, every agent has a shard of each.
    let mut files = BTreeMap::new();
    for number in 0..6 {
        let (path, bytes) = (format!("pool/photos/large-{number}"), RandomBytes::new(number).take(3 * MEBIBYTE));
        client.request("PUT", &format!("/{path}"), &[], &bytes)?.expect(&[201])?;
        files.insert(path, bytes);
    }
    let small = ("pool/small".to_owned(), RandomBytes::new(77).take(20_000));
    client.request("PUT", "/pool/small", &[], &small.1)?.expect(&[201])?;
    files.insert(small.0, small.1);
    let clean = agents[0].json(&["scrub", "--wait"])?;
    ensure!(findings(&clean).is_empty(), "nothing is wrong yet: {clean}");

    let victim = &agents[1];
    let before: Vec<(PathBuf, Vec<u8>)> =
        shard_files(victim)?.into_iter().map(|path| Ok((path.clone(), fs::read(path)?))).collect::<Result<_>>()?;
    ensure!(before.len() == 6, "{} shards", before.len());
    let path = |index: usize| &before[index].0;
    flip_bit(path(0), MEBIBYTE)?;
    fs::write(path(1), &before[1].1[..MEBIBYTE])?;
    fs::remove_file(path(2))?;
    fs::write(path(3), &before[4].1)?;
    fs::write(path(4), &before[3].1)?;
    let segment = victim.data().join("store-0").join("segments").join("00000001.seg");
    let length = usize::try_from(fs::metadata(&segment)?.len())?;
    flip_bit(&segment, length - 5_000)?;

    let overview = agents[2].json(&["scrub", "--wait"])?;
    let found = findings(&overview);
    let names: BTreeSet<String> = found.iter().flat_map(|(names, ..)| names.clone()).collect();
    ensure!(found.len() == 6 && names.len() == 6, "five large shards and a small one: {overview}");
    ensure!(names.iter().all(|name| files.contains_key(name)) && names.contains("pool/small"), "{names:?}");
    ensure!(found.iter().all(|(_, _, agent, mended)| agent == "agent-1" && *mended), "{overview}");
    let kinds: Vec<&str> = found.iter().map(|(_, wrong, ..)| wrong.as_str()).collect();
    ensure!(kinds.iter().filter(|kind| **kind == "missing").count() == 1, "{kinds:?}");
    ensure!(kinds.iter().filter(|kind| **kind == "damaged").count() == 5, "{kinds:?}");
    for (path, bytes) in &before {
        ensure!(&fs::read(path)? == bytes, "{} is byte for byte what it was", path.display());
    }
    let again = agents[0].json(&["scrub", "--wait", "agent-1"])?;
    let bad = &again["agents"][0]["report"]["found"];
    ensure!(bad.as_u64() == Some(0), "mended is mended: {again}");
    let status = agents[1].json(&["status"])?;
    ensure!(status["verdict"].as_str().is_some_and(|verdict| verdict.starts_with("Healthy")), "{status}");
    for agent in &agents {
        for (path, bytes) in &files {
            ensure!(&get(&mut agent.client(), &format!("/{path}"))? == bytes, "{path}");
        }
    }
    let told = String::from_utf8(agents[0].shoal(&["scrub", "--status"])?.stdout)?;
    ensure!(told.contains("pool/photos/large-") && told.contains("mended"), "{told}");
    Ok(())
}

#[test]
fn a_read_that_meets_a_bad_shard_has_it_mended_in_passing() -> Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir()?;
    let agents = pool(folder.path(), 3)?;
    let bytes = RandomBytes::new(5).take(3 * MEBIBYTE);
    agents[0].client().request("PUT", "/pool/file", &[], &bytes)?.expect(&[201])?;
    // Read at the victim itself, whose own disk is asked first.
    let victim = &agents[2];
    let path = shard_files(victim)?.pop().context("a shard")?;
    let whole = fs::read(&path)?;
    flip_bit(&path, MEBIBYTE)?;
    ensure!(get(&mut victim.client(), "/pool/file")? == bytes, "what is read is right");
    wait_until("the damaged shard to be mended", DEADLINE, || Ok((fs::read(&path)? == whole).then_some(())))?;
    wait_until("the verdict to be healthy again", DEADLINE, || {
        let status = victim.json(&["status"])?;
        Ok(status["verdict"].as_str().is_some_and(|verdict| verdict.starts_with("Healthy")).then_some(()))
    })
}

#[test]
fn an_agent_killed_in_the_midst_of_a_scrub_goes_on_from_where_it_was_and_misses_nothing() -> Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir()?;
    let mut agents = pool(folder.path(), 3)?;
    // Enough for several turns and several times it is kept how far it is.
    let mut client = agents[0].client();
    for number in 0..30 {
        let bytes = RandomBytes::new(number).take(4 * MEBIBYTE);
        client.request("PUT", &format!("/pool/file-{number}"), &[], &bytes)?.expect(&[201])?;
    }
    let victim = agents.pop().context("a third agent")?;
    let shards = shard_files(&victim)?;
    // The last ones in the order of reading: an agent that began its count anew and stopped short would miss them. One of
    // them may be of a put that was given up, which nothing counts on and no scrub reads.
    let last: Vec<(PathBuf, Vec<u8>)> =
        shards[shards.len() - 3..].iter().map(|path| Ok((path.clone(), fs::read(path)?))).collect::<Result<_>>()?;
    for (path, _) in &last {
        flip_bit(path, MEBIBYTE)?;
    }
    let file = victim.data().join("scrub.json");
    let read = |file: &Path| -> Result<u64> {
        let kept: Value = serde_json::from_slice(&fs::read(file)?)?;
        Ok(kept["scrub"]["round"]["shards"].as_u64().unwrap_or(0))
    };
    ensure!(victim.shoal(&["scrub", "agent-2"])?.status.success(), "it begins");
    wait_until("the scrub to have begun", DEADLINE, || Ok((read(&file)? > 0).then_some(())))?;
    let options = victim.kill()?;
    let before = read(&file)?;
    ensure!(before < shards.len() as u64, "it was killed in the midst of it: {before}");
    let victim = AgentProcess::start(options)?;
    let report = wait_until("the scrub to come to its end", DEADLINE, || {
        let overview = victim.json(&["scrub", "--status", "agent-2"])?;
        let report = overview["agents"][0]["report"].clone();
        Ok((report["under_way"] == false && report["unmended"] == 0).then_some(report))
    })?;
    ensure!(report["resumed"].as_u64() >= Some(1), "it went on, it did not begin anew: {report}");
    ensure!(report["bytes"].as_u64() >= report["total_bytes"].as_u64(), "every shard once: {report}");
    let mut mended = 0;
    for (path, whole) in &last {
        mended += u64::from(&fs::read(path)? == whole);
    }
    ensure!(mended >= 2 && report["found"].as_u64() == Some(mended), "{mended} of the last ones mended: {report}");
    Ok(())
}

#[test]
fn an_agent_without_a_ledger_finds_what_went_while_it_was_down_and_is_scrubbed_like_the_others() -> Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir()?;
    let agents = pool(folder.path(), 2)?;
    let options = AgentOptions {
        data: folder.path().join("keeper"),
        port: free_port_base(100)?,
        ticket: Some(agents[0].invite(&["--store-only"])?),
        ..agents[0].options().clone()
    };
    let keeper = AgentProcess::start(options)?;
    wait_until("all three to answer", DEADLINE, || {
        let status = agents[0].json(&["status"])?;
        let nodes = status["nodes"].as_array().context("nodes")?;
        Ok((nodes.len() == 3 && nodes.iter().all(|node| node["state"] == "up")).then_some(()))
    })?;
    let bytes = RandomBytes::new(5).take(3 * MEBIBYTE);
    agents[0].client().request("PUT", "/pool/file", &[], &bytes)?.expect(&[201])?;
    let path = wait_until("the keeper to have its shard", DEADLINE, || Ok(shard_files(&keeper)?.pop()))?;
    let whole = fs::read(&path)?;
    let options = keeper.kill()?;
    fs::remove_file(&path)?;
    let keeper = AgentProcess::start(options)?;
    wait_until("the missing shard to be made anew", DEADLINE, || {
        Ok(fs::read(&path).is_ok_and(|there| there == whole).then_some(()))
    })?;

    flip_bit(&path, MEBIBYTE)?;
    let overview = agents[0].json(&["scrub", "--wait", "keeper"])?;
    let found = findings(&overview);
    let damaged: Vec<_> = found.iter().filter(|(_, wrong, ..)| wrong == "damaged").collect();
    ensure!(damaged.len() == 1 && damaged[0].0 == ["pool/file"] && damaged[0].3, "{overview}");
    ensure!(fs::read(&path)? == whole, "mended");
    drop(keeper);
    Ok(())
}
