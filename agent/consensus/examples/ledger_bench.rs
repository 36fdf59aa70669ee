//! The ledger under load: files created, listed, renamed; commits a second, CPU time, resident memory.
//!
//! `cargo xtask bench ledger`, or `cargo run --release -p shoal-consensus --example ledger_bench -- --files 1000000`.
//! All members run in this one process on one disk, joined by calls instead of sockets; with `--members 1` the memory is
//! that of one agent's ledger.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::{AgentId, PoolId, VolumeId};
use shoal_consensus::{Consensus, ConsensusConfig, ConsensusTransport};
use shoal_ledger::{
    AgentRecord, AgentRoles, AgentState, Command, FileContent, Guard, LedgerClient, NodePath, VolumePolicy, query,
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Files in one folder.
const FOLDER_FILES: usize = 10_000;
/// Submissions under way at a time.
const IN_FLIGHT: usize = 512;

/// Members by id, reached by a call.
#[derive(Clone, Default)]
struct Wires(Arc<Mutex<BTreeMap<AgentId, Consensus>>>);

struct Wire {
    wires: Wires,
    from: AgentId,
}

#[async_trait]
impl ConsensusTransport for Wire {
    async fn call(&self, to: AgentId, message: Bytes, timeout: Duration) -> Result<Bytes, String> {
        let member = self.wires.0.lock().unwrap_or_else(PoisonError::into_inner).get(&to).cloned();
        let member = member.ok_or("it is not there")?;
        tokio::time::timeout(timeout, member.handle(self.from, message)).await.map_err(|error| error.to_string())
    }
}

fn argument(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn agent(number: usize) -> AgentRecord {
    AgentRecord {
        id: AgentId([number as u8 + 1; 32]),
        name: format!("agent-{number}"),
        control_addresses: Vec::new(),
        data_addresses: Vec::new(),
        roles: AgentRoles::default(),
        state: AgentState::Active,
        site: String::new(),
        capacity_bytes: 1 << 40,
        version: String::new(),
        joined_ms: 0,
    }
}

/// Processor seconds and resident bytes of this process so far.
fn usage() -> (f64, f64) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident =
        status.lines().find(|line| line.starts_with("VmRSS:")).and_then(|line| line.split_whitespace().nth(1));
    let kib = resident.and_then(|value| value.parse::<f64>().ok()).unwrap_or(0.0);
    ((ticks(11) + ticks(12)) / 100.0, kib * 1024.0 / 1e6)
}

fn told(what: &str, count: usize, begin: Instant, cpu_before_s: f64) {
    let (cpu_s, resident_mb) = usage();
    let wall_s = begin.elapsed().as_secs_f64();
    println!(
        "{what:<28} {count:>8} in {wall_s:>7.1} s  {:>8.0}/s  {:>6.3} CPU-ms each  {resident_mb:>6.0} MB resident",
        count as f64 / wall_s,
        (cpu_s - cpu_before_s) * 1e3 / count as f64,
    );
}

/// Submits `count` commands, [`IN_FLIGHT`] at a time.
async fn many(
    what: &str,
    ledger: &Consensus,
    count: usize,
    command: impl Fn(usize) -> Command + Send + Sync + 'static,
) -> Result<(), Failure> {
    let (begin, (cpu_before_s, _)) = (Instant::now(), usage());
    let (next, command) = (Arc::new(AtomicUsize::new(0)), Arc::new(command));
    let workers: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (next, command, ledger) = (next.clone(), command.clone(), ledger.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return Ok::<(), Failure>(());
                    }
                    ledger.submit(command(number)).await?;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await??;
    }
    told(what, count, begin, cpu_before_s);
    Ok(())
}

fn path(folder: usize, name: String) -> Result<NodePath, shoal_ledger::NodePathError> {
    NodePath::new(VolumeId(1), vec![format!("folder-{folder:04}"), name])
}

fn file(number: usize, prefix: &str) -> NodePath {
    // The names are well formed: they are made here.
    path(number / FOLDER_FILES, format!("{prefix}-{number:08}")).unwrap_or_else(|_| NodePath::root(VolumeId(1)))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let (files, members) = (argument("--files", 1_000_000), argument("--members", 3));
    let folder = tempfile::tempdir()?;
    let wires = Wires::default();
    let mut all = Vec::new();
    for number in 0..members {
        let id = agent(number).id;
        let config = ConsensusConfig::new(id, folder.path().join(format!("{number}")));
        let consensus = Consensus::start(config, Arc::new(Wire { wires: wires.clone(), from: id })).await?;
        wires.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, consensus.clone());
        all.push(consensus);
    }
    let ledger = all.first().ok_or("no members")?.clone();
    ledger.initialize().await?;
    let id = PoolId([1; 16]);
    ledger.submit(Command::CreatePool { id, name: "bench".into(), survive: 2, first: agent(0) }).await?;
    for number in 1..members {
        ledger.add_learner(agent(number).id).await?;
    }
    ledger.set_voters((0..members).map(|number| agent(number).id).collect()).await?;
    ledger.submit(Command::CreateVolume { name: "pool".into(), policy: VolumePolicy::default() }).await?;
    println!("{members} members in one process, {files} files, {IN_FLIGHT} submissions under way");

    many("folders", &ledger, files.div_ceil(FOLDER_FILES), |number| Command::MakeFolder {
        path: NodePath { volume: VolumeId(1), names: vec![format!("folder-{number:04}")] },
        guard: Guard::default(),
        modified_ms: None,
    })
    .await?;
    many("files created (100 B)", &ledger, files, |number| Command::CommitFile {
        path: file(number, "file"),
        guard: Guard::default(),
        content: FileContent::Inline(Bytes::from(vec![number as u8; 100])),
        size_bytes: 100,
        modified_ms: None,
        sha1: None,
        media_type: None,
    })
    .await?;

    let (begin, (cpu_before_s, _)) = (Instant::now(), usage());
    let mut listed = 0;
    ledger.barrier().await?;
    let view = ledger.view()?;
    for number in 0..files.div_ceil(FOLDER_FILES) {
        let node = query::node(&*view, &NodePath { volume: VolumeId(1), names: vec![format!("folder-{number:04}")] })?;
        query::children(&*view, node.ok_or("the folder is gone")?.inode, None, &mut |_| {
            listed += 1;
            true
        })?;
    }
    drop(view);
    assert_eq!(listed, files, "every file is listed once");
    told("files listed", files, begin, cpu_before_s);

    many("files renamed", &ledger, files, |number| Command::Rename {
        from: file(number, "file"),
        to: file(number, "moved"),
        overwrite: false,
        guard: Guard::default(),
    })
    .await?;
    for consensus in &all {
        consensus.shutdown().await;
    }
    Ok(())
}
