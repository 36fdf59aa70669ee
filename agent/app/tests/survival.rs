//! Real processes through bad luck: agents killed, hung, all of them gone at once (V5, V9, invariants 1 and 2).
//!
//! Each test runs a demo of six agents and reaches it as users do, over HTTP.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use shoal_testkit::{DemoOptions, DemoPool, HttpClient, HttpResponse, RandomBytes, free_port_base, wait_until};

/// How long one request may take before the test calls it hung.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// How long a load goes on at each step of a test.
const STEP_DEADLINE: Duration = Duration::from_secs(60);

/// One pool at a time: six agents are enough for the machine that runs the tests.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(directory: &Path) -> Result<DemoPool> {
    DemoPool::start(options(directory, free_port_base(100)?))
}

fn options(directory: &Path, dav_port: u16) -> DemoOptions {
    DemoOptions {
        binary: PathBuf::from(env!("CARGO_BIN_EXE_shoal")),
        agents: 6,
        directory: directory.to_path_buf(),
        dav_port,
    }
}

/// The bytes a file of a number must have; sizes from nothing to several chunks.
fn content(number: usize) -> Vec<u8> {
    const SIZES: [usize; 6] = [0, 1_000, 40_000, 300_000, 2_000_000, 9_000_000];
    RandomBytes::new(number as u64).take(SIZES[number % SIZES.len()])
}

fn put(client: &mut HttpClient, number: usize) -> Result<()> {
    let body = content(number);
    client.request("PUT", &format!("/pool/file-{number}"), &[], &body)?.expect(&[201, 204]).map(drop)
}

fn check(client: &mut HttpClient, number: usize) -> Result<()> {
    let response = client.request("GET", &format!("/pool/file-{number}"), &[], b"")?.expect(&[200])?;
    ensure!(response.body == content(number), "file-{number} has other bytes than were written");
    Ok(())
}

/// Writers and readers on two doors until told to stop; every request must succeed and every byte compare.
struct Load {
    stop: AtomicBool,
    next: AtomicUsize,
    written: AtomicUsize,
    read: AtomicUsize,
    /// What each request of this phase took.
    took: Mutex<Vec<Duration>>,
}

impl Load {
    fn new() -> Self {
        Self {
            stop: AtomicBool::new(false),
            next: AtomicUsize::new(0),
            written: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
            took: Mutex::new(Vec::new()),
        }
    }

    fn run(&self, pool: &DemoPool, door: usize) -> Result<()> {
        let mut client = pool.client(door, ANSWER_DEADLINE)?;
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            self.timed(|| put(&mut client, number))?;
            self.written.fetch_add(1, Ordering::Relaxed);
            self.timed(|| check(&mut client, number))?;
            self.read.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn timed(&self, request: impl FnOnce() -> Result<()>) -> Result<()> {
        let begin = Instant::now();
        let result = request();
        let took = begin.elapsed();
        self.took.lock().unwrap_or_else(PoisonError::into_inner).push(took);
        result.with_context(|| format!("after {} ms", took.as_millis()))
    }

    /// Waits until this many more files have been written and read back.
    fn proceed(&self, files: usize) -> Result<()> {
        let goal = self.read.load(Ordering::Relaxed) + files;
        wait_until("the load to go on", STEP_DEADLINE, || {
            Ok((self.stop.load(Ordering::Relaxed) || self.read.load(Ordering::Relaxed) >= goal).then_some(()))
        })
    }

    /// Ends a phase of the load, says how long its requests took, and returns what the longest took.
    fn longest(&self, phase: &str) -> Duration {
        let mut took = std::mem::take(&mut *self.took.lock().unwrap_or_else(PoisonError::into_inner));
        took.sort_unstable();
        let at = |percent: usize| took.get(took.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default();
        println!("{phase}: {} requests, median {:?}, p95 {:?}, longest {:?}", took.len(), at(50), at(95), at(100));
        at(100)
    }
}

/// Runs `during` while two clients on each of two doors write and read; fails if any of their requests failed.
fn under_load(pool: &DemoPool, doors: [usize; 2], during: impl FnOnce(&Load) -> Result<()>) -> Result<Load> {
    let load = Load::new();
    std::thread::scope(|scope| {
        let client = |door: usize| {
            let load = &load;
            scope.spawn(move || {
                let result = load.run(pool, door);
                // One failure ends the test at once.
                load.stop.fetch_or(result.is_err(), Ordering::Relaxed);
                result.with_context(|| format!("a client of agent {door}"))
            })
        };
        let clients: Vec<_> = doors.iter().flat_map(|door| [client(*door), client(*door)]).collect();
        let outcome = during(&load);
        load.stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        outcome
    })?;
    Ok(load)
}

/// V5: uploads and downloads run while two of six agents get `kill -9`; every request succeeds, every byte compares.
#[test]
fn two_of_six_agents_killed_fail_no_request() -> Result<()> {
    let _alone = alone();
    let directory = tempfile::tempdir()?;
    let pool = start(directory.path())?;
    let (followers, _) = followers(&pool)?;
    let load = under_load(&pool, [followers[0], followers[1]], |load| {
        load.proceed(12)?;
        let usual = load.longest("six agents");
        pool.kill(followers[3])?;
        load.proceed(12)?;
        no_stall(usual, load.longest("one killed"), FOLLOWER_STALL)?;
        pool.kill(followers[4])?;
        load.proceed(24)?;
        no_stall(usual, load.longest("two killed"), FOLLOWER_STALL)
    })?;
    let mut client = pool.client(followers[2], ANSWER_DEADLINE)?;
    for number in 0..load.written.load(Ordering::Relaxed) {
        check(&mut client, number).context("read through another door afterwards")?;
    }
    Ok(())
}

/// V5: the agent that leads the ledger is killed under load; every request succeeds.
#[test]
fn the_leader_killed_fails_no_request() -> Result<()> {
    let _alone = alone();
    let directory = tempfile::tempdir()?;
    let pool = start(directory.path())?;
    let (followers, leader) = followers(&pool)?;
    under_load(&pool, [followers[0], followers[2]], |load| {
        load.proceed(12)?;
        let usual = load.longest("six agents");
        pool.kill(leader)?;
        load.proceed(24)?;
        no_stall(usual, load.longest("the leader killed"), LEADER_STALL)
    })?;
    Ok(())
}

/// What a stall may add to the slowest usual request: twice what is promised, since the machine that runs the tests is
/// small and busy. The benchmarks hold the promise itself.
const FOLLOWER_STALL: Duration = Duration::from_secs(2);
const LEADER_STALL: Duration = Duration::from_secs(6);

fn no_stall(usual: Duration, longest: Duration, limit: Duration) -> Result<()> {
    ensure!(longest <= usual + limit, "a request took {longest:?}; before, the longest took {usual:?}");
    Ok(())
}

/// The agents that do not lead the ledger, and the one that does.
fn followers(pool: &DemoPool) -> Result<(Vec<usize>, usize)> {
    let leaders = agents_where(pool, "leader", true)?;
    let leader = *leaders.first().context("nobody leads")?;
    Ok(((1..6).map(|offset| (leader + offset) % 6).collect(), leader))
}

/// The agents of which `shoal nodes --json` says so.
fn agents_where(pool: &DemoPool, key: &str, value: bool) -> Result<Vec<usize>> {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_shoal"))
        .args(["nodes", "--json", "--data"])
        .arg(&pool.agent(0).data)
        .output()?;
    let nodes: serde_json::Value = serde_json::from_slice(&output.stdout).context("nodes --json")?;
    let nodes = nodes["nodes"].as_array().context("a list of nodes")?;
    let ids = nodes.iter().filter(|node| node[key] == value).filter_map(|node| node["id"].as_str());
    ids.map(|id| pool.info().agents.iter().position(|agent| agent.id == id).context("no agent of the demo")).collect()
}

/// A peer that hangs (SIGSTOP) fails nobody's request, and wakes up again as a member.
#[test]
fn a_hung_agent_fails_no_request() -> Result<()> {
    let _alone = alone();
    let directory = tempfile::tempdir()?;
    let pool = start(directory.path())?;
    let (followers, _) = followers(&pool)?;
    hang(&pool, followers[0], [followers[1], followers[2]], FOLLOWER_STALL)
}

/// The same when it is the one that leads the ledger: another takes over.
#[test]
fn a_hung_leader_fails_no_request() -> Result<()> {
    let _alone = alone();
    let directory = tempfile::tempdir()?;
    let pool = start(directory.path())?;
    let (followers, leader) = followers(&pool)?;
    hang(&pool, leader, [followers[0], followers[2]], LEADER_STALL)
}

fn hang(pool: &DemoPool, hung: usize, doors: [usize; 2], stall: Duration) -> Result<()> {
    under_load(pool, doors, |load| {
        load.proceed(12)?;
        let usual = load.longest("six agents");
        pool.signal(hung, Signal::STOP)?;
        let result = load.proceed(24);
        let longest = load.longest("one hung");
        pool.signal(hung, Signal::CONT)?;
        result.and_then(|()| no_stall(usual, longest, stall))?;
        load.proceed(6)?;
        load.longest("it woke up");
        Ok(())
    })?;
    wait_until("the agent that hung to be up again", STEP_DEADLINE, || {
        Ok((answering(pool, doors[0])? == 6).then_some(()))
    })
}

/// How many agents answer, as one of them sees it.
fn answering(pool: &DemoPool, door: usize) -> Result<usize> {
    let status = pool.status(door)?;
    let nodes = status["nodes"].as_array().context("nodes")?;
    Ok(nodes.iter().filter(|node| node["state"] == "up").count())
}

/// A third agent gone of six, all three of them voters: what cannot be read is refused with a prompt and clear 503, what
/// can be is served, nothing is written, and status says so.
#[test]
fn with_three_of_six_gone_nothing_false_is_served() -> Result<()> {
    let _alone = alone();
    let directory = tempfile::tempdir()?;
    let pool = start(directory.path())?;
    let mut client = pool.client(0, ANSWER_DEADLINE)?;
    for number in 0..12 {
        put(&mut client, number)?;
    }
    let gone: Vec<usize> =
        agents_where(&pool, "voter", true)?.into_iter().filter(|index| *index != 0).take(3).collect();
    let left: Vec<usize> = (0..6).filter(|index| !gone.contains(index)).collect();
    for index in &gone {
        pool.kill(*index)?;
    }
    // Before anybody has noticed, an election might still help: what is asked now waits for that, and no longer.
    let begin = Instant::now();
    let unnoticed = client.request("GET", "/pool/file-5", &[], b"")?;
    let took = begin.elapsed();
    println!("GET /pool/file-5: {} after {took:?}, before the three were noticed", unnoticed.status);
    ensure!(unnoticed.status == 503, "a file in need of four shards of which three are left: {}", unnoticed.status);
    ensure!(took <= LEADER_STALL, "it was refused only after {took:?}");
    for door in &left {
        wait_until("the three to be noticed", STEP_DEADLINE, || {
            Ok((answering(&pool, *door)? == 3 && pool.status(*door)?["quorum"] == false).then_some(()))
        })?;
    }
    let verdict = pool.status(left[0])?["verdict"].to_string();
    ensure!(verdict.contains("No changes are possible") && verdict.contains("Reading goes on"), "{verdict}");
    for number in 0..12 {
        let mut other = pool.client(left[number % 3], ANSWER_DEADLINE)?;
        let path = format!("/pool/file-{number}");
        let (response, took) = promptly(&mut other, "GET", &path)?;
        // Empty and inline files lie in the ledger, which every agent holds; of the others up to 64 KiB one of three
        // copies may be left; a third of a stripe that was cut in four is not enough.
        let expected: &[u16] = match content(number).len() {
            0..=2048 => &[200],
            2049..=65_536 => &[200, 503],
            _ => &[503],
        };
        ensure!(expected.contains(&response.status), "status {} for {path} after {took:?}", response.status);
        match response.status {
            200 => ensure!(response.body == content(number), "{path} has other bytes than were written"),
            _ => ensure!(response.header("retry-after").is_some(), "a 503 says when to try again"),
        }
    }
    for (method, path) in [("PUT", "/pool/refused"), ("DELETE", "/pool/file-1"), ("MKCOL", "/pool/folder")] {
        let (refused, took) = promptly(&mut client, method, path)?;
        ensure!(refused.status == 503, "{method} without a quorum answered {} after {took:?}", refused.status);
        ensure!(refused.header("retry-after").is_some(), "a 503 says when to try again");
    }
    Ok(())
}

/// The same with enough voters left to agree: what three of six cannot give is refused, writing goes on.
#[test]
fn with_three_of_six_gone_and_a_quorum_left_writing_goes_on() -> Result<()> {
    let _alone = alone();
    let directory = tempfile::tempdir()?;
    let pool = start(directory.path())?;
    let mut gone = agents_where(&pool, "voter", false)?;
    ensure!(gone.len() == 1, "five of six vote, not {}", 6 - gone.len());
    let followers = followers(&pool)?.0;
    gone.extend(followers.into_iter().filter(|index| !gone.contains(index)).take(2).collect::<Vec<_>>());
    let left: Vec<usize> = (0..6).filter(|index| !gone.contains(index)).collect();
    let mut client = pool.client(left[0], ANSWER_DEADLINE)?;
    for number in 0..6 {
        put(&mut client, number)?;
    }
    for index in &gone {
        pool.kill(*index)?;
    }
    wait_until("the three to be noticed", STEP_DEADLINE, || Ok((answering(&pool, left[0])? == 3).then_some(())))?;
    let status = pool.status(left[0])?;
    ensure!(status["quorum"] == true && status["stripes"]["lost"].as_u64() > Some(0), "{status}");
    for number in 6..12 {
        put(&mut client, number)?;
        check(&mut pool.client(left[1], ANSWER_DEADLINE)?, number)?;
    }
    for number in [3, 4, 5] {
        let (refused, took) = promptly(&mut client, "GET", &format!("/pool/file-{number}"))?;
        ensure!(refused.status == 503, "file-{number} was answered {} after {took:?}", refused.status);
        ensure!(refused.header("retry-after").is_some(), "a 503 says when to try again");
    }
    Ok(())
}

/// A request whose answer, whatever it is, must come soon: a second is promised, the tests' machine is given two.
fn promptly(client: &mut HttpClient, method: &str, path: &str) -> Result<(HttpResponse, Duration)> {
    let begin = Instant::now();
    let response = client.request(method, path, &[], b"")?;
    let took = begin.elapsed();
    println!("{method} {path}: {} after {took:?}", response.status);
    ensure!(took <= Duration::from_secs(2), "{method} {path}: {} only after {took:?}", response.status);
    Ok((response, took))
}

/// Invariant 1 and 2: all agents get `kill -9` mid-upload and are restarted: all that was acknowledged is there, and no
/// file is torn.
#[test]
fn all_agents_killed_at_once_lose_nothing_acknowledged() -> Result<()> {
    let _alone = alone();
    let directory = tempfile::tempdir()?;
    let port = free_port_base(100)?;
    let pool = DemoPool::start(options(directory.path(), port))?;
    let acknowledged = Mutex::new(BTreeMap::new());
    let clients: Vec<HttpClient> = (0..4).map(|door| pool.client(door, ANSWER_DEADLINE)).collect::<Result<_>>()?;
    std::thread::scope(|scope| {
        for (door, mut client) in clients.into_iter().enumerate() {
            let acknowledged = &acknowledged;
            scope.spawn(move || {
                // Each client overwrites its own few files again and again until the pool dies under it.
                for round in 0_usize.. {
                    let (name, number) = (format!("/pool/mine-{door}-{}", round % 3), door * 100_000 + round);
                    let body = content(number);
                    match client.request("PUT", &name, &[], &body).and_then(|response| response.expect(&[201, 204])) {
                        Ok(_) => acknowledged.lock().map(|mut map| map.insert(name, number)).is_ok(),
                        Err(_) => break,
                    };
                }
            });
        }
        let result = wait_until("40 uploads to be acknowledged", STEP_DEADLINE, || {
            let rounds = |map: &BTreeMap<String, usize>| map.values().map(|number| number % 100_000).sum::<usize>();
            Ok((acknowledged.lock().map_or(0, |map| rounds(&map)) >= 40).then_some(()))
        });
        pool.kill_all();
        result
    })?;
    let pool = DemoPool::start(options(directory.path(), port))?;
    let acknowledged = acknowledged.into_inner().map_err(|_| anyhow::anyhow!("a client panicked"))?;
    ensure!(!acknowledged.is_empty(), "nothing was acknowledged");
    let mut client = pool.client(5, ANSWER_DEADLINE)?;
    for (name, number) in acknowledged {
        let response = client.request("GET", &name, &[], b"")?.expect(&[200])?;
        // The next upload of that name, three rounds on, may have been committed when the lights went out.
        let whole = [number, number + 3].into_iter().any(|version| response.body == content(version));
        ensure!(whole, "{name} is torn: {} bytes after upload {number} was acknowledged", response.body.len());
    }
    pool.stop()
}

/// The same command on the same folder resumes with the data, after Ctrl-C.
#[test]
fn a_demo_stopped_and_started_again_has_its_files() -> Result<()> {
    let _alone = alone();
    let directory = tempfile::tempdir()?;
    let port = free_port_base(100)?;
    let pool = DemoPool::start(options(directory.path(), port))?;
    let password = pool.info().password.clone();
    let mut client = pool.client(0, ANSWER_DEADLINE)?;
    for number in 0..6 {
        put(&mut client, number)?;
    }
    pool.stop()?;
    let pool = DemoPool::start(options(directory.path(), port))?;
    ensure!(pool.info().password == password, "the password has changed");
    let mut client = pool.client(2, ANSWER_DEADLINE)?;
    for number in 0..6 {
        check(&mut client, number)?;
    }
    pool.stop()
}
