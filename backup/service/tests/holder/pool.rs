//! An owner that has its catalogue and objects in memory, holders over real folders, and a pool that connects them.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "each test uses a part; a failing test says what failed"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::AgentId;
use shoal_backup::aging::GRACE_MS;
use shoal_backup::catalogue::{Catalogue, Op, Tail};
use shoal_backup::peers::MachineId;
use shoal_backup::peersync::ship;
use shoal_backup::{ArchiveId, Object, ObjectKind, ObjectName};
use shoal_backup_service::call::{
    Answer, Ask, CallError, No, PIECE_LIMIT_BYTES, Reply, Standing, entries_to_bytes, names_from_bytes, names_to_bytes,
};
use shoal_backup_service::holder::{CopyStatus, Holder, HolderParts, ShareSettings};
use shoal_backup_service::network::{Answers, Network};
use shoal_backup_service::testing::{Hub, TestMachine, TestSigner, TestVerifier};

pub(crate) const OWNER: AgentId = AgentId([100; 32]);
pub(crate) const SHARE_BYTES: u64 = 1 << 30;
const PATIENCE: Duration = Duration::from_secs(10);

/// Does something that may hang if the holder is wrong: then it fails, and the threads that hang are left behind.
pub(crate) fn within<T>(deadline: Duration, work: impl Future<Output = T>) -> T {
    struct Threads(Option<tokio::runtime::Runtime>);
    impl Drop for Threads {
        fn drop(&mut self) {
            self.0.take().into_iter().for_each(tokio::runtime::Runtime::shutdown_background);
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let threads = Threads(Some(runtime));
    let done = threads.0.as_ref().unwrap().block_on(async { tokio::time::timeout(deadline, work).await });
    done.unwrap_or_else(|_| panic!("it hangs: not done after {deadline:?}"))
}

/// Bytes that follow from a number.
pub(crate) fn noise(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect::<Vec<u8>>().into()
}

/// An owner.
pub(crate) struct Owner {
    pub(crate) state: Mutex<OwnerState>,
}

pub(crate) struct OwnerState {
    pub(crate) catalogue: Catalogue,
    pub(crate) objects: BTreeMap<ObjectName, Bytes>,
    /// What it was told of.
    pub(crate) damaged: Vec<(AgentId, ObjectName)>,
    pub(crate) suspects: Vec<(AgentId, AgentId, ObjectName)>,
    seed: u64,
}

impl Owner {
    pub(crate) fn new() -> Arc<Self> {
        let state = OwnerState {
            catalogue: Catalogue::new(OWNER),
            objects: BTreeMap::new(),
            damaged: Vec::new(),
            suspects: Vec::new(),
            seed: 1,
        };
        let owner = Arc::new(Self { state: Mutex::new(state) });
        owner.add(ObjectKind::Config, 0, 155);
        owner.add(ObjectKind::Key, 0, 450);
        owner
    }

    pub(crate) fn state(&self) -> std::sync::MutexGuard<'_, OwnerState> {
        self.state.lock().unwrap()
    }

    /// A new object in the catalogue.
    pub(crate) fn add(&self, kind: ObjectKind, archive: u64, length: usize) -> Object {
        let mut state = self.state();
        state.seed += 1;
        let bytes = noise(state.seed, length);
        let object =
            Object { name: ObjectName::of(&bytes), kind, size_bytes: length as u64, archive: ArchiveId(archive) };
        state.objects.insert(object.name, bytes);
        state.catalogue.append(&TestSigner(OWNER), 0, Op::Add(object)).unwrap();
        object
    }

    /// An archive of so many packs; its objects, the snapshot last.
    pub(crate) fn archive(&self, number: u64, packs: usize, pack_bytes: usize) -> Vec<Object> {
        let mut objects: Vec<Object> = (0..packs).map(|_| self.add(ObjectKind::Pack, number, pack_bytes)).collect();
        objects.push(self.add(ObjectKind::Index, number, 900));
        objects.push(self.add(ObjectKind::Snapshot, number, 300));
        objects
    }

    pub(crate) fn delete(&self, name: ObjectName) {
        self.state().catalogue.append(&TestSigner(OWNER), 0, Op::Delete(name)).unwrap();
    }

    pub(crate) fn bytes(&self, name: &ObjectName) -> Bytes {
        self.state().objects[name].clone()
    }

    pub(crate) fn all(&self) -> Vec<Object> {
        self.state().catalogue.state().iter().map(|(_, object)| *object).collect()
    }
}

#[async_trait]
impl Answers for Owner {
    async fn answer(&self, from: AgentId, ask: Ask, body: Bytes) -> Reply {
        let mut state = self.state();
        match ask {
            Ask::Tail { after, .. } => {
                let Tail { base, entries, more } = state.catalogue.tail(after);
                let base = base.map(|base| (base.state().sequence(), base.to_bytes().len() as u64));
                Ok((Answer::Tail { base, more }, entries_to_bytes(&entries)))
            }
            Ask::BasePiece { offset, .. } => {
                let bytes = state.catalogue.base().unwrap().to_bytes();
                let end = bytes.len().min(offset as usize + 1_000);
                Ok((Answer::Done, bytes[offset as usize..end].to_vec().into()))
            }
            Ask::Which { .. } => {
                let mut names = names_from_bytes(&body).unwrap();
                names.retain(|name| state.objects.contains_key(name));
                Ok((Answer::Done, names_to_bytes(&names)))
            }
            Ask::Get { name, offset, length, .. } => match state.objects.get(&name) {
                Some(bytes) => {
                    let end = bytes.len().min(offset as usize + length as usize);
                    Ok((Answer::Done, bytes.slice(offset as usize..end)))
                }
                None => Err(CallError::no(No::NotFound, "it is gone")),
            },
            Ask::Ship { after, .. } => {
                let has = |object: &Object| state.objects.contains_key(&object.name);
                let objects = ship(state.catalogue.state(), after, PIECE_LIMIT_BYTES.into(), has);
                let body: Vec<u8> = objects.iter().flat_map(|object| state.objects[&object.name].to_vec()).collect();
                Ok((
                    Answer::Shipped(objects.iter().map(|object| (object.name, object.size_bytes)).collect()),
                    body.into(),
                ))
            }
            Ask::Damaged { name } => {
                state.damaged.push((from, name));
                Ok((Answer::Done, Bytes::new()))
            }
            Ask::Suspect { agent, name } => {
                state.suspects.push((from, agent, name));
                Ok((Answer::Done, Bytes::new()))
            }
            _ => Err(CallError::no(No::Refused, "an owner does not do that")),
        }
    }
}

/// A computer that holds copies.
pub(crate) struct Pc {
    pub(crate) id: AgentId,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) holder: Arc<Holder>,
    pub(crate) answers: Arc<dyn Answers>,
}

impl Pc {
    /// The folder of the copy.
    pub(crate) fn copy_folder(&self) -> PathBuf {
        self.folder.path().join("held").join(OWNER.to_string())
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.copy_folder().join("repo")
    }

    /// Where an object lies.
    pub(crate) fn path(&self, object: &Object) -> PathBuf {
        let folder = self.repository().join(object.kind.folder());
        let name = object.name.to_string();
        match object.kind {
            ObjectKind::Config => folder,
            ObjectKind::Pack => folder.join(&name[..2]).join(name),
            _ => folder.join(name),
        }
    }

    /// Bytes that count as taken, and the same found by going through the folder.
    pub(crate) fn used_and_recounted_bytes(&self) -> (u64, u64) {
        let mut folders = vec![self.repository()];
        let mut recounted_bytes = std::fs::metadata(self.copy_folder().join("catalogue")).map_or(0, |it| it.len());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.metadata().unwrap() {
                    found if found.is_dir() => folders.push(entry.path()),
                    found => recounted_bytes += found.len(),
                }
            }
        }
        (self.holder.status().share.used_bytes, recounted_bytes)
    }

    pub(crate) fn status(&self) -> CopyStatus {
        self.holder.status().copies.into_iter().find(|copy| copy.owner == OWNER).expect("it holds a copy")
    }
}

/// A pool of an owner and three holders.
pub(crate) struct Pool {
    pub(crate) hub: Hub,
    pub(crate) machine: Arc<TestMachine>,
    pub(crate) owner: Arc<Owner>,
    pub(crate) pcs: Vec<Pc>,
    network: Arc<dyn Network>,
    _answers: Arc<dyn Answers>,
}

pub(crate) fn share(limit_bytes: u64, reserve_bytes: u64) -> ShareSettings {
    ShareSettings { limit_bytes, reserve_bytes, machine: MachineId([7; 16]) }
}

impl Pool {
    pub(crate) fn new() -> Self {
        let (hub, owner) = (Hub::default(), Owner::new());
        let answers: Arc<dyn Answers> = owner.clone();
        hub.join(OWNER, &answers);
        let network = hub.seen_by(OWNER);
        let mut pool = Self { hub, machine: Arc::default(), owner, pcs: Vec::new(), network, _answers: answers };
        (1..=3).for_each(|number| pool.add_pc(number, share(SHARE_BYTES, 0)));
        pool
    }

    pub(crate) fn add_pc(&mut self, number: u8, share: ShareSettings) {
        let folder = tempfile::tempdir().unwrap();
        let id = AgentId([number; 32]);
        let (holder, answers) = self.open(id, &folder, share);
        self.pcs.push(Pc { id, folder, holder, answers });
    }

    fn open(&self, id: AgentId, folder: &tempfile::TempDir, share: ShareSettings) -> (Arc<Holder>, Arc<dyn Answers>) {
        let parts = HolderParts {
            folder: folder.path().join("held"),
            network: self.hub.seen_by(id),
            machine: self.machine.clone(),
            verifier: Arc::new(TestVerifier),
            share,
            grace_ms: GRACE_MS,
        };
        let holder = Arc::new(Holder::open(parts).unwrap());
        let answers: Arc<dyn Answers> = holder.clone();
        self.hub.join(id, &answers);
        (holder, answers)
    }

    /// A holder is ended and begun again on its folder.
    pub(crate) fn restart(&mut self, at: usize) {
        self.restart_with(at, share(SHARE_BYTES, 0));
    }

    pub(crate) fn restart_with(&mut self, at: usize, share: ShareSettings) {
        let (holder, answers) = self.open(self.pcs[at].id, &self.pcs[at].folder, share);
        (self.pcs[at].holder, self.pcs[at].answers) = (holder, answers);
    }

    /// Asks a holder, in the name of the owner.
    pub(crate) async fn ask(&self, at: usize, ask: Ask, body: Bytes) -> Reply {
        self.network.call(self.pcs[at].id, ask, body, PATIENCE).await
    }

    /// Asks a holder, as somebody else.
    pub(crate) async fn ask_as(&self, number: u8, at: usize, ask: Ask, body: Bytes) -> Reply {
        self.hub.seen_by(AgentId([number; 32])).call(self.pcs[at].id, ask, body, PATIENCE).await
    }

    pub(crate) async fn standing(&self, at: usize) -> Standing {
        match self.ask(at, Ask::Standing { owner: OWNER }, Bytes::new()).await {
            Ok((Answer::Standing(standing), _)) => standing,
            other => panic!("{other:?}"),
        }
    }

    /// Has a holder begin, and sends it the catalogue.
    pub(crate) async fn send_catalogue(&self, at: usize) {
        self.ask(at, Ask::Hold, Bytes::new()).await.unwrap();
        loop {
            let standing = self.standing(at).await;
            let tail = self.owner.state().catalogue.tail(standing.sequence);
            if tail.entries.is_empty() && tail.base.is_none() {
                return;
            }
            if let Some(base) = tail.base {
                let (bytes, mut offset) = (Bytes::from(base.to_bytes()), 0);
                while offset < bytes.len() {
                    let piece = bytes.slice(offset..bytes.len().min(offset + 700));
                    let ask = Ask::Base { owner: OWNER, offset: offset as u64, size_bytes: bytes.len() as u64 };
                    offset += piece.len();
                    self.ask(at, ask, piece).await.unwrap();
                }
            }
            self.ask(at, Ask::Entries { owner: OWNER }, entries_to_bytes(&tail.entries)).await.unwrap();
        }
    }

    /// Sends an object, in pieces of so many bytes.
    pub(crate) async fn put(&self, at: usize, object: &Object, piece_bytes: usize) -> Reply {
        let bytes = self.owner.bytes(&object.name);
        let mut offset = 0;
        loop {
            let piece = bytes.slice(offset..bytes.len().min(offset + piece_bytes));
            let reply = self.ask(at, Ask::Put { name: object.name, offset: offset as u64 }, piece).await;
            match reply {
                Ok((Answer::Kept { have_bytes, stored: false }, _)) => {
                    assert!(have_bytes as usize > offset, "it does not go on");
                    offset = have_bytes as usize;
                }
                other => return other,
            }
        }
    }

    /// Sends everything that a holder lacks, in the order of the kinds.
    pub(crate) async fn send_all(&self, at: usize) {
        self.send_catalogue(at).await;
        let mut objects = self.owner.all();
        objects.sort_by_key(|object| (object.kind, object.archive.0 > 0));
        for object in objects {
            let reply = self.put(at, &object, 64 * 1024).await;
            assert_eq!(reply, Ok((Answer::Kept { have_bytes: object.size_bytes, stored: true }, Bytes::new())));
        }
        assert_eq!(self.pcs[at].status().lacking, 0);
    }

    /// What is there is exactly what the owner has.
    pub(crate) fn assert_whole(&self, at: usize) {
        let pc = &self.pcs[at];
        for object in self.owner.all() {
            let bytes = std::fs::read(pc.path(&object)).unwrap_or_else(|error| panic!("{object:?}: {error}"));
            assert_eq!(bytes, self.owner.bytes(&object.name), "{object:?}");
        }
        assert_eq!((pc.status().lacking, pc.status().lacking_bytes), (0, 0));
        assert_eq!(std::fs::read_dir(pc.copy_folder().join("incoming")).unwrap().count(), 0, "nothing is left over");
    }

    /// All names that a holder says it holds.
    pub(crate) async fn held(&self, at: usize) -> Vec<ObjectName> {
        let (_, body) = self.ask(at, Ask::Held { owner: OWNER, after: None }, Bytes::new()).await.unwrap();
        names_from_bytes(&body).unwrap()
    }
}

/// Which no it was.
pub(crate) fn no(reply: Reply) -> No {
    match reply {
        Err(CallError::No { no, .. }) => no,
        other => panic!("a no was expected: {other:?}"),
    }
}
