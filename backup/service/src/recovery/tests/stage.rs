//! An owner with a real repository, PCs with copies of it, and a PC that restores: all in one pool in memory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::AgentId;
use shoal_archive::{BackUp, Engine, Repository, Watch};
use shoal_backup::catalogue::{Catalogue, Op};
use shoal_backup::plan::{PathBytes, Plan};
use shoal_backup::schedule::Mode;
use shoal_backup::{ArchiveId, Object, ObjectKind, ObjectName};

use super::super::*;
use crate::call::{HeldFor, Standing, entries_to_bytes};
use crate::files::Objects;
use crate::testing::{Hub, TestMachine, TestSigner, TestVerifier};

pub(super) const PASSPHRASE: &str = "a-passphrase-for-tests";
pub(super) const OWNER: AgentId = AgentId([90; 32]);
/// Nothing here takes longer, unless it never ends.
const DEADLINE: Duration = Duration::from_secs(60);

pub(super) fn agent(number: u8) -> AgentId {
    AgentId([number; 32])
}

pub(super) fn path_bytes(path: &Path) -> PathBytes {
    PathBytes::new(path.as_os_str().as_bytes())
}

/// Bytes that do not compress, the same each time.
pub(super) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// All files and folders below, with what is in them.
pub(super) fn tree(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let is_folder = path.symlink_metadata().unwrap().is_dir();
            let content = (!is_folder).then(|| fs::read(&path).unwrap_or_default());
            all.insert(path.strip_prefix(root).unwrap().to_owned(), content);
            if is_folder {
                folders.push(path);
            }
        }
    }
    all
}

/// The owner.
pub(super) struct Owner {
    pub(super) dir: tempfile::TempDir,
    pub(super) engine: Arc<Engine>,
    pub(super) catalogue: Catalogue,
    pub(super) made: u64,
}

impl Owner {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        let engine = Engine::init(&dir.path().join("own/repo"), PASSPHRASE, "pc").unwrap();
        Self { dir, engine: Arc::new(engine), catalogue: Catalogue::new(OWNER), made: 0 }
    }

    pub(super) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// A path of the home folder, as archives name it.
    pub(super) fn path(&self, below: &str) -> PathBytes {
        path_bytes(&self.home().join(below))
    }

    pub(super) fn write(&self, below: &str, bytes: &[u8]) {
        let path = self.home().join(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Makes an archive, and says so in the catalogue.
    pub(super) fn back_up(&mut self) -> ObjectName {
        self.made += 1;
        let number = ArchiveId(self.made);
        let what = BackUp {
            plan: Arc::new(Plan { roots: vec![path_bytes(&self.home())], ..Plan::default() }),
            host: "pc".to_owned(),
            number,
            mode: Mode::Delta,
            parent: None,
            reread: false,
            only_changes: false,
        };
        let made = self.engine.back_up(&what, &Arc::new(Watch::silent())).unwrap();
        let mut objects = self.engine.objects().unwrap();
        objects.sort_by_key(|object| object.kind);
        for object in objects {
            let archive = if object.kind < ObjectKind::Pack { ArchiveId(0) } else { number };
            let object = Object { name: object.name, kind: object.kind, size_bytes: object.size_bytes, archive };
            if self.catalogue.state().get(&object.name).is_none() {
                self.catalogue.append(&TestSigner(OWNER), self.made, Op::Add(object)).unwrap();
            }
        }
        made.archive.name
    }

    /// Packs with contents of files.
    pub(super) fn data_packs(&self) -> Vec<Object> {
        let packs = self.catalogue.state().iter().map(|(_, object)| *object);
        packs.filter(|object| object.kind == ObjectKind::Pack && object.size_bytes > 1 << 20).collect()
    }

    /// Where the home folder is below a target.
    pub(super) fn below(&self, target: &Path) -> PathBuf {
        target.join(self.home().strip_prefix("/").unwrap())
    }
}

/// A holder that answers from the owner's own folder, as it was when it was made.
pub(super) struct Copy {
    objects: Objects,
    catalogue: Catalogue,
}

#[async_trait]
impl Answers for Copy {
    async fn answer(&self, _from: AgentId, ask: Ask, _body: Bytes) -> Reply {
        let standing = Standing {
            sequence: self.catalogue.state().sequence(),
            holds: true,
            held_bytes: self.catalogue.state().size_bytes(),
            ..Standing::default()
        };
        match ask {
            Ask::Standing { owner } if owner == OWNER => Ok((Answer::Standing(standing), Bytes::new())),
            Ask::Standing { .. } => Ok((Answer::Standing(Standing::default()), Bytes::new())),
            Ask::Owners => {
                let held = vec![HeldFor { owner: OWNER, standing, archives: 2 }];
                Ok((Answer::Done, postcard::to_allocvec(&held).unwrap().into()))
            }
            Ask::Tail { owner, after } if owner == OWNER => {
                let tail = self.catalogue.tail(after);
                let base = tail.base.map(|base| (base.state().sequence(), base.to_bytes().len() as u64));
                Ok((Answer::Tail { base, more: tail.more }, entries_to_bytes(&tail.entries)))
            }
            Ask::Get { owner, name, offset, length } if owner == OWNER => {
                let read = self.objects.read(&name, offset, length as usize);
                let read = read.map_err(|error| CallError::no(No::NotFound, error.to_string()))?;
                Ok((Answer::Done, read))
            }
            _ => Err(CallError::no(No::NotFound, "that is not here")),
        }
    }
}

/// The pool.
pub(super) struct Stage {
    pub(super) hub: Hub,
    pub(super) dir: tempfile::TempDir,
    pub(super) recovery: Arc<Recovery>,
    pub(super) liars: Arc<Mutex<Vec<Liar>>>,
    pub(super) machine: Arc<TestMachine>,
    answers: Vec<Arc<dyn Answers>>,
}

/// The PC that restores.
pub(super) const RESTORER: u8 = 50;

impl Stage {
    /// `holders` have copies; the first is the nearest.
    pub(super) fn new(owner: &Owner, holders: &[u8]) -> Self {
        Self::as_seen_by(agent(RESTORER), owner, holders, &[], None)
    }

    pub(super) fn as_seen_by(
        own: AgentId,
        owner: &Owner,
        holders: &[u8],
        holds_for: &'static [AgentId],
        engine: Option<Arc<Engine>>,
    ) -> Self {
        let hub = Hub::default();
        let mut answers = Vec::new();
        for number in holders {
            let copy = Copy { objects: Objects::open(owner.engine.folder()), catalogue: owner.catalogue.clone() };
            let copy: Arc<dyn Answers> = Arc::new(copy);
            hub.join(agent(*number), &copy);
            answers.push(copy);
        }
        let dir = tempfile::tempdir().unwrap();
        let machine = Arc::new(TestMachine::default());
        let liars: Arc<Mutex<Vec<Liar>>> = Arc::default();
        let told = Arc::clone(&liars);
        let recovery = Recovery::open(RecoveryParts {
            folder: dir.path().join("recover"),
            network: hub.seen_by(own),
            verifier: Arc::new(TestVerifier),
            machine: machine.clone(),
            own: Arc::new(move || engine.clone()),
            local: None,
            holds_copy_of: Arc::new(|owner| holds_for.contains(&owner)),
            tell_liar: Arc::new(move |liar| told.lock().unwrap().push(liar)),
            patience: Patience {
                small: Duration::from_secs(5),
                piece: Duration::from_secs(20),
                stall: Duration::from_millis(200),
                rest: Duration::from_millis(5),
                fresh: Duration::ZERO,
            },
        })
        .unwrap();
        let recovering: Arc<dyn Answers> = recovery.clone();
        hub.join(own, &recovering);
        Self { hub, dir, recovery, liars, machine, answers }
    }

    /// A holder has what the owner has made by now.
    pub(super) fn renew(&mut self, owner: &Owner, holder: u8) {
        let copy = Copy { objects: Objects::open(owner.engine.folder()), catalogue: owner.catalogue.clone() };
        let copy: Arc<dyn Answers> = Arc::new(copy);
        self.hub.join(agent(holder), &copy);
        self.answers.push(copy);
    }

    pub(super) fn target(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Restores, and waits for the end.
    pub(super) async fn restore(&self, request: &RestoreRequest) -> RestoreView {
        let id = self.recovery.restore(request).await.unwrap();
        self.ended(id).await
    }

    pub(super) async fn ended(&self, id: u64) -> RestoreView {
        self.wait_for("the end of a restore", || self.recovery.restored(id).unwrap().state.has_ended()).await;
        self.recovery.restored(id).unwrap()
    }

    pub(super) async fn wait_for(&self, what: &str, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < DEADLINE, "waited for {what} in vain: {:#?}", self.recovery.restores());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Pieces that were asked for: of whom, of which object, from where, how many bytes.
    pub(super) fn gets(&self) -> Vec<(AgentId, ObjectName, u64, u64)> {
        let calls = self.hub.calls().into_iter();
        let got = calls.filter_map(|(_, to, ask)| match ask {
            Ask::Get { name, offset, length, .. } => Some((to, name, offset, u64::from(length))),
            _ => None,
        });
        got.collect()
    }

    /// What is fetched now.
    pub(super) fn fetched(&self) -> Vec<PathBuf> {
        let below = fs::read_dir(self.dir.path().join("recover")).unwrap();
        below.map(|entry| entry.unwrap().path()).collect()
    }
}

pub(super) fn kit() -> Which {
    Which::kit(OWNER, PASSPHRASE)
}

/// A door that is closed until somebody opens it.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Gate {
    pub(super) fn open(&self) {
        self.state.lock().unwrap().0 = true;
        self.changed.notify_all();
    }

    pub(super) fn waiting(&self) -> usize {
        self.state.lock().unwrap().1
    }

    pub(super) fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.1 += 1;
        while !state.0 {
            let (woken, timeout) = self.changed.wait_timeout(state, DEADLINE).unwrap();
            assert!(!timeout.timed_out(), "nobody opened the gate");
            state = woken;
        }
    }
}
