//! The owner with real archives of real files, a pool in memory, and real holders.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test says what failed")]

mod age;
mod copies;
mod drills;
mod losses;
mod room;
mod runs;
mod setting_up;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::AgentId;
use shoal_archive::{Engine, Repository, Restore, Watch};
use shoal_backup::aging::GRACE_MS;
use shoal_backup::peers::MachineId;
use shoal_backup::plan::{PathBytes, Plan};
use shoal_backup::recovery::Existing;
use shoal_backup::schedule::Mode;
use shoal_backup::{ObjectName, Zone};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Kit, Owner, OwnerParts, OwnerStatus, Pace};
use crate::call::{Ask, CallError, Reply};
use crate::holder::{Holder, HolderParts, ShareSettings};
use crate::network::{Answers, Machine, Member, Network};
use crate::testing::{Hub, TestMachine, TestSigner, TestVerifier};

/// Whatever a test waits for comes within this time.
const DEADLINE: Duration = Duration::from_secs(60);
/// Every so often it is looked for; on the test's clock more time passes.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const PASSES_MS: u64 = 200;
/// When the tests begin, ms since 1970.
const BEGIN_MS: u64 = 1_767_225_600_000;
const ROOM_BYTES: u64 = 1 << 30;
/// So much stays free where the owner is.
const RESERVE_BYTES: u64 = 1 << 20;

fn agent(number: u8) -> AgentId {
    AgentId([number; 32])
}

/// The pool as the owner sees it, with members that left it taken out.
struct Without {
    network: Arc<dyn Network>,
    left: Arc<Mutex<BTreeSet<AgentId>>>,
}

#[async_trait]
impl Network for Without {
    fn own(&self) -> AgentId {
        self.network.own()
    }

    fn members(&self) -> Vec<Member> {
        let left = self.left.lock().unwrap();
        self.network.members().into_iter().filter(|member| !left.contains(&member.agent)).collect()
    }

    async fn call(&self, to: AgentId, ask: Ask, body: Bytes, patience: Duration) -> Reply {
        self.network.call(to, ask, body, patience).await
    }
}

/// The owner's agent, which is there or not.
struct OwnerAgent(Mutex<Option<Arc<Owner>>>);

#[async_trait]
impl Answers for OwnerAgent {
    async fn answer(&self, from: AgentId, ask: Ask, body: Bytes) -> Reply {
        let owner = self.0.lock().unwrap().clone();
        match owner {
            Some(owner) => owner.answer(from, ask, body).await,
            None => Err(CallError::Unreachable("it is off".into())),
        }
    }
}

/// An owner, its files, and others that hold copies.
struct Pool {
    dir: tempfile::TempDir,
    hub: Hub,
    machine: Arc<TestMachine>,
    left: Arc<Mutex<BTreeSet<AgentId>>>,
    agent: Arc<OwnerAgent>,
    holders: Vec<(AgentId, Holder, Arc<dyn Answers>)>,
    running: Option<(CancellationToken, JoinHandle<()>)>,
    choose_every_ms: u64,
    _agent: Arc<dyn Answers>,
}

impl Pool {
    /// An owner, agent 1, and so many holders with room, agents 2 and more.
    fn new(holders: u8) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        let hub = Hub::default();
        let owner_agent = Arc::new(OwnerAgent(Mutex::default()));
        let answers: Arc<dyn Answers> = owner_agent.clone();
        hub.join(agent(1), &answers);
        let machine = Arc::new(TestMachine::default());
        machine.pass(BEGIN_MS);
        let mut pool = Self {
            dir,
            hub,
            machine,
            left: Arc::default(),
            agent: owner_agent,
            holders: Vec::new(),
            running: None,
            choose_every_ms: 60_000,
            _agent: answers,
        };
        (0..holders).for_each(|index| pool.join(index + 2, ROOM_BYTES));
        pool.start();
        pool
    }

    /// Another agent, which gives so much.
    fn join(&mut self, number: u8, limit_bytes: u64) {
        let parts = HolderParts {
            folder: self.dir.path().join(format!("holder-{number}")),
            network: self.hub.seen_by(agent(number)),
            machine: Arc::clone(&self.machine) as Arc<dyn Machine>,
            verifier: Arc::new(TestVerifier),
            share: ShareSettings { limit_bytes, reserve_bytes: 0, machine: MachineId([number; 16]) },
            grace_ms: GRACE_MS,
        };
        let holder = Holder::open(parts).unwrap();
        let answers: Arc<dyn Answers> = Arc::new(holder.clone());
        self.hub.join(agent(number), &answers);
        self.holders.push((agent(number), holder, answers));
    }

    /// An agent gives more, or less, from now on.
    fn gives(&mut self, number: u8, limit_bytes: u64) {
        self.holders.retain(|(known, ..)| *known != agent(number));
        self.join(number, limit_bytes);
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("data/backup/own")
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn parts(&self) -> OwnerParts {
        OwnerParts {
            folder: self.folder(),
            data: self.dir.path().join("data"),
            network: Arc::new(Without { network: self.hub.seen_by(agent(1)), left: Arc::clone(&self.left) }),
            machine: Arc::clone(&self.machine) as Arc<dyn Machine>,
            signer: Arc::new(TestSigner(agent(1))),
            verifier: Arc::new(TestVerifier),
            machine_id: MachineId([1; 16]),
            site: None,
            host: "pc-1".into(),
            reserve_bytes: RESERVE_BYTES,
            pace: Pace {
                tick: Duration::from_millis(20),
                patience: Duration::from_secs(5),
                settle: Duration::from_millis(100),
                choose_every_ms: self.choose_every_ms,
                room_every_ms: 10_000,
                report_every_ms: 60 * 60_000,
                challenge_every_ms: 1_000,
            },
        }
    }

    fn start(&mut self) {
        let owner = Owner::open(self.parts()).unwrap();
        *self.agent.0.lock().unwrap() = Some(Arc::clone(&owner));
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(owner.run(shutdown.clone()));
        self.running = Some((shutdown, task));
    }

    async fn stop(&mut self) {
        let (shutdown, task) = self.running.take().unwrap();
        shutdown.cancel();
        tokio::time::timeout(DEADLINE, task).await.expect("it ends").unwrap();
        *self.agent.0.lock().unwrap() = None;
    }

    async fn restart(&mut self) {
        self.stop().await;
        self.start();
    }

    /// From now on peers are chosen when something happens, never because time passed.
    async fn choose_by_events(&mut self) {
        self.choose_every_ms = u64::MAX;
        self.restart().await;
    }

    fn owner(&self) -> Arc<Owner> {
        self.agent.0.lock().unwrap().clone().unwrap()
    }

    fn holder(&self, number: u8) -> &Holder {
        &self.holders.iter().find(|(known, ..)| *known == agent(number)).unwrap().1
    }

    /// Everything in the home folder, when its owner asks for it, on two other PCs.
    fn plan(&self) -> Plan {
        let mut plan = self.owner().propose(vec![PathBytes::new(self.home().as_os_str().as_bytes())]);
        plan.rules.clear();
        plan.limits.cpu_percent = 100;
        plan.drill_days = 0;
        plan
    }

    async fn init(&self) -> Kit {
        self.owner().init(self.plan()).await.unwrap()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.home().join(name), bytes).unwrap();
    }

    fn status(&self) -> OwnerStatus {
        self.owner().status()
    }

    /// Waits until something is so; time passes meanwhile.
    async fn until(&self, what: &str, is_so: impl Fn(&OwnerStatus) -> bool) -> OwnerStatus {
        let begun = Instant::now();
        loop {
            let status = self.status();
            if is_so(&status) {
                return status;
            }
            assert!(begun.elapsed() < DEADLINE, "{what} did not come: {status:#?}");
            self.machine.pass(PASSES_MS);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Makes an archive; waits until it is on two other PCs.
    async fn back_up(&self) -> OwnerStatus {
        let before = self.status().newest.and_then(|newest| newest.number);
        self.owner().ask_run(Mode::Snapshot).unwrap();
        self.until("a protected archive", |status| {
            let newest = status.newest.as_ref();
            status.run.is_none() && newest.is_some_and(|it| it.number > before && it.copies >= it.copies_wanted)
        })
        .await
    }

    /// Who holds copies, by the owner's word.
    fn peers(&self) -> BTreeSet<u8> {
        self.status().peers.iter().map(|peer| peer.agent.0[0]).collect()
    }

    /// Restores the newest archive from a repository; what is in the home folder then.
    fn restored(&self, repository: &Path, passphrase: &str) -> Vec<(String, Vec<u8>)> {
        let engine = Engine::open(repository, passphrase).unwrap();
        assert!(engine.check(true).unwrap().is_sound());
        let newest: ObjectName = engine.archives().unwrap().last().unwrap().name;
        let target = tempfile::tempdir_in(self.dir.path()).unwrap();
        let what = Restore {
            archives: vec![newest],
            target: target.path().to_owned(),
            ticked: Vec::new(),
            existing: Existing::Overwrite,
        };
        what.run(&engine, &Watch::silent()).unwrap();
        files_in(&target.path().join(self.home().strip_prefix("/").unwrap()))
    }

    fn files(&self) -> Vec<(String, Vec<u8>)> {
        files_in(&self.home())
    }
}

fn files_in(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let mut files: Vec<_> = entries.map(|path| (name(&path), fs::read(&path).unwrap())).collect();
    files.sort();
    files
}

/// Bytes that do not compress, the same each time.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let hash = |block: u64| shoal_backup::sha256(&[&seed.to_be_bytes(), &block.to_be_bytes()]);
    (0..).flat_map(hash).take(length).collect()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target)
        } else {
            _ = fs::copy(entry.path(), target).unwrap()
        }
    }
}
