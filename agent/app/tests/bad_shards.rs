//! Shards that an agent cannot mend where they are: told to everyone, rebuilt elsewhere or cut anew, and where too many are gone,
//! named. On real processes; a directory in the place of a shard's file stands for a sector that cannot be read or written.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shoal_testkit::{AgentOptions, AgentProcess, RandomBytes, free_port_base, start_pool, wait_until};

const MEBIBYTE: usize = 1024 * 1024;
/// How long something that comes about by itself may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// Exit code of a check that finds something short or lost.
const NOT_WHOLE: i32 = 13;

/// One pool at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pool that survives the loss of one of its three agents, with files of one stripe each, on all of them.
struct Pool {
    agents: Vec<AgentProcess>,
    files: BTreeMap<String, Vec<u8>>,
    folder: tempfile::TempDir,
}

impl Pool {
    fn new(files: u64) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let binary = Path::new(env!("CARGO_BIN_EXE_shoal"));
        let agents = start_pool(binary, folder.path(), free_port_base(100)?, 3, |_| Ok(()))?;
        done(&agents[0], &["policy", "set", "--survive", "1"])?;
        let mut pool = Self { agents, files: BTreeMap::new(), folder };
        for number in 0..files {
            pool.put(&format!("pool/file-{number}"), RandomBytes::new(number).take(3 * MEBIBYTE))?;
        }
        pool.wait_until_whole()?;
        Ok(pool)
    }

    fn put(&mut self, path: &str, bytes: Vec<u8>) -> Result<()> {
        self.agents[0].client().request("PUT", &format!("/{path}"), &[], &bytes)?.expect(&[201, 204])?;
        self.files.insert(path.to_owned(), bytes);
        Ok(())
    }

    /// One more agent.
    fn join(&mut self) -> Result<()> {
        let options = AgentOptions {
            data: self.folder.path().join("newcomer"),
            port: free_port_base(100)?,
            ticket: Some(self.agents[0].invite(&[])?),
            ..self.agents[0].options().clone()
        };
        self.agents.push(AgentProcess::start(options)?);
        Ok(())
    }

    /// Waits until every agent calls all stripes healthy.
    fn wait_until_whole(&self) -> Result<()> {
        for agent in &self.agents {
            wait_until("all stripes to be healthy", DEADLINE, || {
                let status = agent.json(&["status"])?;
                let (stripes, bad) = (&status["stripes"], status["bad_shards"].as_u64());
                Ok((stripes["healthy"] == stripes["total"] && bad == Some(0)).then_some(()))
            })?;
        }
        Ok(())
    }

    fn read_all(&self) -> Result<()> {
        for agent in &self.agents {
            for (path, bytes) in &self.files {
                let read = agent.client().request("GET", &format!("/{path}"), &[], b"")?.expect(&[200])?.body;
                ensure!(&read == bytes, "{path}");
            }
        }
        Ok(())
    }
}

fn done(agent: &AgentProcess, arguments: &[&str]) -> Result<()> {
    let output = agent.shoal(arguments)?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The files of the shards an agent has, by name.
fn shard_files(agent: &AgentProcess) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in fs::read_dir(agent.data().join("store-0").join("shards"))? {
        for file in fs::read_dir(folder?.path())? {
            files.push(file?.path());
        }
    }
    files.retain(|path| path.is_file());
    files.sort();
    Ok(files)
}

/// Has a shard become unreadable for good, and the agent come upon it.
fn break_a_shard(agent: &AgentProcess, name: &str) -> Result<PathBuf> {
    let path = shard_files(agent)?.pop().context("a shard")?;
    fs::remove_file(&path)?;
    fs::create_dir(&path)?;
    fs::write(path.join("in-the-way"), b"")?;
    let scrubbed = agent.shoal(&["scrub", "--wait", name])?;
    ensure!(!scrubbed.status.success(), "it cannot be mended: {}", String::from_utf8_lossy(&scrubbed.stdout));
    Ok(path)
}

/// What `pool check` reports and how it ends.
fn check(agent: &AgentProcess) -> Result<(Value, Option<i32>)> {
    let output = agent.shoal(&["pool", "check", "--json"])?;
    Ok((serde_json::from_slice(&output.stdout)?, output.status.code()))
}

fn node(status: &Value, name: &str) -> Result<Value> {
    let nodes = status["nodes"].as_array().context("no nodes")?;
    nodes.iter().find(|node| node["name"] == name).cloned().with_context(|| format!("no {name} in {status}"))
}

#[test]
fn a_shard_that_cannot_be_mended_where_it_is_counts_as_missing_and_is_rebuilt_on_another_agent() -> Result<()> {
    let _alone = alone();
    let mut pool = Pool::new(6)?;
    // With one agent taking nothing new there is no place for it yet, on two others or on all.
    done(&pool.agents[0], &["node", "pause", "agent-2"])?;
    break_a_shard(&pool.agents[1], "agent-1")?;
    let status = wait_until("the other agents to know", DEADLINE, || {
        let status = pool.agents[0].json(&["status"])?;
        Ok((status["bad_shards"] == 1 && status["stripes"]["endangered"] == 1).then_some(status))
    })?;
    let verdict = status["verdict"].as_str().context("no verdict")?;
    ensure!(
        verdict.starts_with("Endangered: one more loss would lose data. 1 shard was found missing or damaged"),
        "{verdict}"
    );
    let safe = pool.agents[0].shoal(&["node", "safe", "agent-0"])?;
    ensure!(
        safe.status.code() == Some(12),
        "the endangered stripe lies there: {}",
        String::from_utf8_lossy(&safe.stdout)
    );
    let (report, code) = check(&pool.agents[2])?;
    ensure!(report["short"] == 1 && report["lost"] == 0 && report["bad_shards"] == 1, "{report}");
    ensure!(
        report["short_files"].as_array().is_some_and(|files| files.len() == 1) && code == Some(NOT_WHOLE),
        "{report}"
    );

    pool.join()?;
    pool.wait_until_whole()?;
    let status = pool.agents[0].json(&["status"])?;
    let broken = node(&status, "agent-1")?;
    ensure!(broken["failing"] == false && broken["standing"].as_u64() >= Some(90), "one bad sector: {broken}");
    ensure!(shard_files(&pool.agents[1])?.len() == 5, "the others stay where they are");
    ensure!(shard_files(&pool.agents[3])?.len() == 1, "and the newcomer has the one");
    let (report, code) = check(&pool.agents[3])?;
    ensure!(report["whole"] == 6 && code == Some(0), "{report}");
    pool.read_all()
}

#[test]
fn where_every_agent_holds_a_shard_the_stripe_is_cut_anew() -> Result<()> {
    let _alone = alone();
    let pool = Pool::new(3)?;
    let path = break_a_shard(&pool.agents[1], "agent-1")?;
    wait_until("the stripe to be cut anew", DEADLINE, || {
        let whole: Vec<PathBuf> = shard_files(&pool.agents[1])?;
        let status = pool.agents[0].json(&["status"])?;
        let healthy = status["stripes"]["healthy"] == 3 && status["bad_shards"] == 0;
        Ok((whole.len() == 3 && healthy && !whole.contains(&path)).then_some(()))
    })?;
    pool.wait_until_whole()?;
    pool.read_all()
}

#[test]
fn a_stripe_that_lost_too_many_shards_is_told_as_lost_by_every_agent_and_healed_by_its_bytes() -> Result<()> {
    let _alone = alone();
    let mut pool = Pool::new(3)?;
    let path = shard_files(&pool.agents[1])?.pop().context("a shard")?;
    let stripe = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split(['-', '.', '_']).next());
    let stripe = stripe.context("a stripe")?.to_owned();
    for agent in &pool.agents[1..] {
        let same = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&stripe));
        fs::remove_file(shard_files(agent)?.into_iter().find(same).context("its shard")?)?;
    }
    // Nobody reads it, nobody scrubs: the check itself has the agents see to what is not there.
    let (report, code) = check(&pool.agents[0])?;
    ensure!(report["lost"] == 1 && report["missing_shards"] == 2 && report["taken_up"] == 2, "{report}");
    let lost = report["lost_files"][0].as_str().context("its file is named")?.to_owned();
    ensure!(pool.files.contains_key(&lost) && code == Some(NOT_WHOLE), "{report}");
    for agent in &pool.agents {
        wait_until("the loss to be told", DEADLINE, || {
            let status = agent.json(&["status"])?;
            let told =
                status["verdict"].as_str().is_some_and(|verdict| verdict.contains("Some data is lost: 1 stripe has"));
            Ok((told && status["stripes"]["damaged"] == 1 && status["bad_shards"] == 2).then_some(()))
        })?;
    }
    let bytes = pool.files[&lost].clone();
    pool.put(&lost, bytes)?;
    pool.wait_until_whole()?;
    let (report, code) = check(&pool.agents[0])?;
    ensure!(report["whole"] == 3 && code == Some(0), "{report}");
    pool.read_all()
}

#[test]
fn what_a_read_found_beyond_mending_is_told_at_once_by_every_agent_that_is_asked_to_check() -> Result<()> {
    let _alone = alone();
    let mut pool = Pool::new(3)?;
    let path = shard_files(&pool.agents[1])?.pop().context("a shard")?;
    let stripe = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split(['-', '.', '_']).next());
    let stripe = stripe.context("a stripe")?.to_owned();
    for agent in &pool.agents[1..] {
        let same = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&stripe));
        let path = shard_files(agent)?.into_iter().find(same).context("its shard")?;
        let mut bytes = fs::read(&path)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes)?;
    }
    let (reader, others) = (&pool.agents[0], &pool.agents[1..]);
    let mut lost = None;
    for path in pool.files.keys() {
        let read = reader.client().request("GET", &format!("/{path}"), &[], b"");
        if !read.is_ok_and(|response| response.status == 200) {
            lost = Some(path.clone());
        }
    }
    let lost = lost.context("one cannot be read")?;
    for agent in others.iter().chain([reader]) {
        let (report, code) = check(agent)?;
        ensure!(report["lost"] == 1 && report["lost_files"][0] == lost.as_str(), "{report}");
        ensure!(code == Some(NOT_WHOLE), "it ends with {code:?}");
    }
    let verdict = reader.json(&["status"])?["verdict"].to_string();
    ensure!(verdict.starts_with("\"Some data is lost"), "{verdict}");
    wait_until("the holders to name the file", DEADLINE, || {
        let told = String::from_utf8(reader.shoal(&["scrub", "--status"])?.stdout)?;
        Ok((told.matches(lost.as_str()).count() == 2 && !told.contains("Nothing was found")).then_some(()))
    })?;
    let safe: Value = serde_json::from_slice(&reader.shoal(&["node", "safe", "agent-0", "--json"])?.stdout)?;
    let said = safe["sentence"].as_str().context("no sentence")?;
    ensure!(said.contains("With or without it 1 stripe cannot be read"), "{safe}");
    ensure!(safe["unreadable"] == 0, "its going loses nothing more: {safe}");
    wait_until("the repair to say that nothing comes back by itself", DEADLINE, || {
        let told = String::from_utf8(reader.shoal(&["repair"])?.stdout)?;
        Ok(told.contains("too many shards are bad").then_some(()))
    })?;
    let bytes = pool.files[&lost].clone();
    pool.put(&lost, bytes)?;
    pool.wait_until_whole()?;
    for agent in &pool.agents {
        wait_until("nothing to be called damaged", DEADLINE, || {
            let status = agent.json(&["status"])?;
            Ok(status["verdict"].as_str().is_some_and(|verdict| verdict.starts_with("Healthy.")).then_some(()))
        })?;
    }
    pool.read_all()
}
