//! What bad input and bad luck get, tried on real processes: full pools, agents that come back, used tickets, ports and
//! directories that cannot be had. Each gets one clear answer, and nothing else is touched.

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use shoal_testkit::{
    AgentOptions, AgentProcess, HttpClient, RandomBytes, free_port_base, start_pool, wait_until, wait_until_settled,
};

const MEBIBYTE: usize = 1024 * 1024;
/// How long something that comes about by itself may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// One pool at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_shoal"))
}

fn pool(folder: &Path, count: u16) -> Result<Vec<AgentProcess>> {
    start_pool(binary(), folder, free_port_base(100)?, count, |_| Ok(()))
}

fn options(data: PathBuf, port: u16) -> AgentOptions {
    AgentOptions { binary: binary().to_owned(), data, port, ticket: None, arguments: Vec::new() }
}

fn status_of(client: &mut HttpClient, method: &str, path: &str, body: &[u8]) -> Result<u16> {
    Ok(client.request(method, path, &[], body)?.status)
}

fn get(client: &mut HttpClient, path: &str) -> Result<Vec<u8>> {
    Ok(client.request("GET", path, &[], b"")?.expect(&[200])?.body)
}

fn used_bytes(agent: &AgentProcess) -> Result<u64> {
    let status = agent.json(&["status"])?;
    let nodes = status["nodes"].as_array().context("nodes")?;
    Ok(nodes.iter().filter_map(|node| node["used_bytes"].as_u64()).sum())
}

#[test]
fn a_full_pool_answers_507_keeps_the_old_file_and_has_room_again_after_deletes() -> Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir()?;
    let agents = start_pool(binary(), folder.path(), free_port_base(100)?, 3, |options| {
        // What the trash lets go of leaves the disks at once, in this pool.
        fs::create_dir_all(&options.data)?;
        fs::write(options.data.join("agent.toml"), "version = 1\ngarbage_grace_s = 0\n")?;
        options.arguments = vec!["--cap".into(), (40 * MEBIBYTE).to_string()];
        Ok(())
    })?;
    let mut client = agents[0].client();
    let old = RandomBytes::new(1).take(6 * MEBIBYTE);
    client.request("PUT", "/pool/old", &[], &old)?.expect(&[201])?;

    // Three whole copies of everything on three agents of 40 MiB: what is full is full after some six of these.
    let mut stored = Vec::new();
    let refused = loop {
        let (name, body) =
            (format!("/pool/more-{}", stored.len()), RandomBytes::new(2 + stored.len() as u64).take(6 * MEBIBYTE));
        match status_of(&mut client, "PUT", &name, &body)? {
            201 => stored.push((name, body)),
            507 => break name,
            other => anyhow::bail!("{name} was answered {other}"),
        }
        ensure!(stored.len() < 7, "120 MiB of disk took {} MiB three times", 6 * (stored.len() + 1));
    };
    ensure!(!stored.is_empty(), "nothing fitted");
    ensure!(status_of(&mut client, "GET", &refused, b"")? == 404, "what was refused is not there");
    let replaced = status_of(&mut client, "PUT", "/pool/old", &RandomBytes::new(99).take(12 * MEBIBYTE))?;
    ensure!(replaced == 507, "replacing by what does not fit was answered {replaced}");
    for agent in &agents {
        let mut other = agent.client();
        ensure!(get(&mut other, "/pool/old")? == old, "the old file stays");
        for (name, body) in &stored {
            ensure!(&get(&mut other, name)? == body, "{name} stays");
        }
    }
    // What goes into the ledger needs no room in the stores.
    client.request("PUT", "/pool/note", &[], b"full, but writable")?.expect(&[201])?;

    // Nothing half-written stays behind: the stores hold what the files need.
    let needed = 3 * 6 * MEBIBYTE as u64 * (1 + stored.len() as u64);
    wait_until("what was refused to leave the disks", DEADLINE, || {
        Ok((used_bytes(&agents[0])? < needed + 3 * MEBIBYTE as u64).then_some(()))
    })?;
    for (name, _) in &stored {
        client.request("DELETE", name, &[], b"")?.expect(&[204])?;
    }
    // What was deleted stays in the trash as long as there is room, and makes room when a write finds none.
    let again = RandomBytes::new(200).take(12 * MEBIBYTE);
    wait_until("the trash to make room", DEADLINE, || match status_of(&mut client, "PUT", "/pool/old", &again)? {
        204 => Ok(Some(())),
        507 => Ok(None),
        other => anyhow::bail!("/pool/old was answered {other}"),
    })?;
    let needed = 3 * 40 * MEBIBYTE as u64 * 9 / 10;
    wait_until("a tenth of the pool to be free", DEADLINE, || Ok((used_bytes(&agents[0])? < needed).then_some(())))?;
    ensure!(get(&mut agents[1].client(), "/pool/old")? == again, "there is room again");
    Ok(())
}

#[test]
fn an_agent_killed_and_started_again_rejoins_and_serves_what_was_written_meanwhile() -> Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir()?;
    let mut agents = pool(folder.path(), 3)?;
    let (before, meanwhile) = (RandomBytes::new(1).take(MEBIBYTE), RandomBytes::new(2).take(5 * MEBIBYTE));
    agents[2].client().request("PUT", "/pool/before", &[], &before)?.expect(&[201])?;
    let killed = agents.pop().context("a third agent")?.kill()?;
    agents[0].client().request("PUT", "/pool/meanwhile", &[], &meanwhile)?.expect(&[201])?;
    agents.push(AgentProcess::start(killed)?);
    for agent in &agents {
        wait_until_settled(agent, 3)?;
    }
    let mut client = agents[2].client();
    ensure!(get(&mut client, "/pool/before")? == before, "what it had");
    ensure!(get(&mut client, "/pool/meanwhile")? == meanwhile, "what was written without it");
    client.request("PUT", "/pool/after", &[], &before)?.expect(&[201])?;
    ensure!(get(&mut agents[0].client(), "/pool/after")? == before, "what it writes");
    Ok(())
}

#[test]
fn a_store_only_agent_holds_shards_and_has_neither_drive_nor_key() -> Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir()?;
    let port = free_port_base(100)?;
    let agents = start_pool(binary(), folder.path(), port, 2, |_| Ok(()))?;
    let ticket = agents[0].invite(&["--store-only"])?;
    let mut options = options(folder.path().join("store-only"), port + 50);
    options.ticket = Some(ticket);
    let store = AgentProcess::start(options)?;
    wait_until("the newcomer to be heard", DEADLINE, || {
        let nodes = agents[0].json(&["nodes"])?;
        let up = nodes["nodes"].as_array().map_or(0, |nodes| nodes.iter().filter(|node| node["state"] == "up").count());
        Ok((up == 3).then_some(()))
    })?;
    let body = RandomBytes::new(3).take(5 * MEBIBYTE);
    agents[1].client().request("PUT", "/pool/file", &[], &body)?.expect(&[201])?;
    // Survive 2 on three agents: each has a copy, this one too.
    wait_until("shards to be held by it", DEADLINE, || {
        let status = agents[0].json(&["status"])?;
        let nodes = status["nodes"].as_array().context("nodes")?;
        let own = nodes.iter().find(|node| node["name"] == "store-only").context("the newcomer")?;
        Ok((own["used_bytes"].as_u64() >= Some(body.len() as u64)).then_some(()))
    })?;
    ensure!(!store.data().join("pool.key").exists(), "it has the pool's key");
    ensure!(TcpStream::connect(store.dav_address()).is_err(), "it serves a drive");
    let nodes = agents[0].json(&["nodes"])?;
    let nodes = nodes["nodes"].as_array().context("nodes")?;
    let own = nodes.iter().find(|node| node["name"] == "store-only").context("the newcomer")?;
    ensure!(own["roles"] == serde_json::json!(["store"]) && own["voter"] == false, "{own}");
    let plain = &body[..64];
    for (path, bytes) in files(store.data())? {
        ensure!(!bytes.windows(64).any(|window| window == plain), "{} holds plain text", path.display());
    }
    Ok(())
}

#[test]
fn tickets_used_expired_or_of_another_pool_get_a_sentence_and_touch_nothing() -> Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir()?;
    let port = free_port_base(100)?;
    let mut agents = start_pool(binary(), folder.path(), port, 1, |_| Ok(()))?;
    let mut newcomer = options(folder.path().join("newcomer"), port + 50);

    let answer = agents[0].api().request(
        "POST",
        "/api/v1/invite",
        &[("Content-Type", "application/json")],
        b"{\"expires_s\":1}",
    )?;
    let answer: serde_json::Value = serde_json::from_slice(&answer.expect(&[200])?.body)?;
    let expires_ms = answer["expires_ms"].as_u64().context("when it expires")?;
    wait_until("the ticket to expire", DEADLINE, || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        Ok((now.as_millis() > u128::from(expires_ms)).then_some(()))
    })?;
    newcomer.ticket = answer["ticket"].as_str().map(str::to_owned);
    let expired = newcomer.refused()?;
    says(&expired, 9, "ticket")?;

    let ticket = agents[0].invite(&[])?;
    let mut second = options(folder.path().join("second"), port + 20);
    second.ticket = Some(ticket.clone());
    agents.push(AgentProcess::start(second)?);
    newcomer.ticket = Some(ticket.clone());
    let used = newcomer.refused()?;
    says(&used, 9, "ticket")?;
    ensure!(used.stderr == expired.stderr, "which of the two it was is not told");

    newcomer.ticket = Some(format!("{}x", &ticket[..ticket.len() - 5]));
    says(&newcomer.refused()?, 9, "not a ticket")?;
    for secret in ["membership.json", "pool.key"] {
        ensure!(!newcomer.data.join(secret).exists(), "a refused agent has {secret}");
    }
    ensure!(agents[0].json(&["nodes"])?["nodes"].as_array().map(Vec::len) == Some(2), "nobody else became a member");

    // An agent of this pool is invited elsewhere.
    let elsewhere = start_pool(binary(), &folder.path().join("elsewhere"), port + 70, 1, |options| {
        fs::create_dir_all(options.data.parent().context("a parent")?).context("making it")
    })?;
    let mut taken = agents.pop().context("the second agent")?.kill()?;
    let before = files(&taken.data)?;
    taken.ticket = Some(elsewhere[0].invite(&[])?);
    says(&taken.refused()?, 6, "belongs to the pool")?;
    untouched(&taken.data, &before)?;

    // And a good ticket is taken after all that.
    newcomer.ticket = Some(agents[0].invite(&[])?);
    AgentProcess::start(newcomer).map(drop)
}

#[test]
fn what_cannot_be_started_says_why_and_touches_nothing() -> Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir()?;
    let port = free_port_base(100)?;

    let fresh = folder.path().join("fresh");
    for offset in 0..4 {
        let taken = TcpListener::bind(("127.0.0.1", port + offset))?;
        says(&options(fresh.clone(), port).refused()?, 7, &format!("cannot listen on 127.0.0.1:{}", port + offset))?;
        ensure!(!fresh.exists(), "a directory was made for an agent that cannot run");
        drop(taken);
    }

    let file = folder.path().join("a-file");
    fs::write(&file, "precious")?;
    let newer = folder.path().join("newer");
    fs::create_dir(&newer)?;
    fs::write(newer.join("agent.toml"), "version = 99\nfrobnicate = true\n")?;
    let foreign = folder.path().join("foreign");
    fs::create_dir(&foreign)?;
    fs::write(foreign.join("thesis.odt"), "precious")?;
    let mistaken = folder.path().join("mistaken");
    fs::create_dir(&mistaken)?;
    fs::write(mistaken.join("agent.toml"), "version = 1\nnmae = \"office\"\n")?;
    let unreadable = folder.path().join("unreadable");
    fs::create_dir_all(unreadable.join("key"))?;
    // An agent has run there: its lock is there already.
    fs::write(unreadable.join("agent.lock"), "")?;
    fs::write(unreadable.join("agent.toml"), "version = 1\n")?;
    let before = files(folder.path())?;
    for (data, code, sentence) in [
        (file.clone(), 6, "a-file"),
        (file.join("below"), 6, "a-file/below"),
        (newer, 8, "written by a newer version of Shoal"),
        (foreign, 6, "has other things in it"),
        (mistaken, 2, "nmae"),
        (unreadable, 6, "cannot read"),
    ] {
        says(&options(data, port).refused()?, code, sentence)?;
    }
    untouched(folder.path(), &before)?;

    let first = AgentProcess::start(options(folder.path().join("first"), port))?;
    says(&options(first.data().to_owned(), port + 50).refused()?, 6, "another agent is running on")?;
    // One sentence at the same ports too: it is the directory that matters.
    says(&options(first.data().to_owned(), port).refused()?, 6, "another agent is running on")?;
    ensure!(first.json(&["status"])?["quorum"] == true, "the first goes on");
    Ok(())
}

#[test]
fn a_lock_taken_at_one_door_holds_at_the_others_and_is_over_when_its_time_is() -> Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir()?;
    let agents = pool(folder.path(), 3)?;
    let (mut here, mut there) = (agents[0].client(), agents[1].client());
    here.request("PUT", "/pool/file", &[], b"old")?.expect(&[201])?;
    let token = lock(&mut here, "Second-600")?;
    let write = |client: &mut HttpClient, path: &str| status_of(client, "PUT", path, b"new");
    ensure!(write(&mut there, "/pool/file")? == 423, "written at another door past a lock");
    ensure!(status_of(&mut there, "DELETE", "/pool/file", b"")? == 423, "deleted at another door past a lock");
    let again = there.request("LOCK", "/pool/file", &[], LOCK_BODY)?;
    ensure!(again.status == 423, "locked twice: {}", again.status);
    let with_token = format!("(<{token}>)");
    there.request("PUT", "/pool/file", &[("If", &with_token)], b"by its holder")?.expect(&[204])?;
    ensure!(get(&mut here, "/pool/file")? == b"by its holder", "the holder writes at any door");
    there.request("UNLOCK", "/pool/file", &[("Lock-Token", &format!("<{token}>"))], b"")?.expect(&[204])?;
    ensure!(write(&mut here, "/pool/file")? == 204, "given back at one door, free at the other");

    lock(&mut there, "Second-2")?;
    ensure!(write(&mut here, "/pool/file")? == 423, "locked anew");
    wait_until("the lock to expire", Duration::from_secs(6), || {
        Ok((write(&mut here, "/pool/file")? == 204).then_some(()))
    })
}

const LOCK_BODY: &[u8] =
    b"<?xml version=\"1.0\"?><D:lockinfo xmlns:D=\"DAV:\"><D:lockscope><D:exclusive/></D:lockscope>\
    <D:locktype><D:write/></D:locktype><D:owner>ana</D:owner></D:lockinfo>";

fn lock(client: &mut HttpClient, timeout: &str) -> Result<String> {
    let headers = [("Timeout", timeout), ("Depth", "0"), ("Content-Type", "application/xml")];
    let response = client.request("LOCK", "/pool/file", &headers, LOCK_BODY)?.expect(&[200])?;
    let token = response.header("lock-token").context("no lock token")?;
    Ok(token.trim_matches(['<', '>']).to_owned())
}

/// It ended with this code and one sentence with these words on standard error, and nothing on standard output.
fn says(output: &Output, code: i32, words: &str) -> Result<()> {
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(code), "{} instead of {code}: {error}", output.status);
    let sentences: Vec<&str> = error.lines().filter(|line| line.starts_with("shoal: ")).collect();
    ensure!(sentences.len() == 1 && sentences[0].contains(words), "not one sentence with {words:?}: {error}");
    ensure!(output.stdout.is_empty(), "on standard output: {}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

fn untouched(folder: &Path, before: &BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    let after = files(folder)?;
    let differs = |path: &&PathBuf| before.get(*path) != after.get(*path);
    let touched: Vec<&PathBuf> = before.keys().chain(after.keys()).filter(differs).collect();
    ensure!(touched.is_empty(), "touched: {touched:?}");
    Ok(())
}

/// Every file below a folder with what is in it.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.insert(path.clone(), Vec::new());
            found.extend(files(&path)?);
        } else if path.is_file() {
            // The socket of a running agent is none.
            found.insert(path.clone(), fs::read(&path)?);
        }
    }
    Ok(found)
}
