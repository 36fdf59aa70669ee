//! A ledger with a pool and a volume, and short ways to say commands.

use bytes::Bytes;
use dci_proto::{AgentId, CommandId, ContentId, PoolId, ShardHash, StripeId, VolumeId};
use shoal_ledger::{
    AgentRecord, AgentRoles, AgentState, Batch, CHUNK_BYTES, ChunkRef, Command, FileContent, Guard, LockRequest,
    LockScope, MemoryKv, NewStripe, Node, NodePath, Outcome, Rejection, ShardPlace, StripeRecord, Submission,
    TrashEntry, VolumePolicy, apply, query, validate,
};

pub(crate) type Answer = Result<Outcome, Rejection>;

pub(crate) const START_MS: u64 = 1_000_000;

/// An agent's ledger, all to itself.
#[derive(Clone)]
pub(crate) struct Ledger {
    pub(crate) kv: MemoryKv,
    pub(crate) time_ms: u64,
    pub(crate) position: u64,
}

impl Ledger {
    pub(crate) fn empty() -> Self {
        Self { kv: MemoryKv::default(), time_ms: START_MS, position: 0 }
    }

    /// With a pool of the three members that stripes lie on, and one volume.
    pub(crate) fn new() -> Self {
        let mut ledger = Self::alone();
        for number in 2..=3 {
            ledger.ok(Command::RequestJoin { agent: agent(number) });
            ledger.ok(Command::ApproveJoin { agent: AgentId([number; 32]) });
        }
        ledger
    }

    /// With a pool of one member and one volume.
    pub(crate) fn alone() -> Self {
        let mut ledger = Self::empty();
        ledger.ok(create_pool(agent(1)));
        ledger.ok(Command::CreateVolume { name: "pool".to_owned(), policy: VolumePolicy::default() });
        ledger
    }

    /// Has one command applied, twice, and every invariant checked: the second time must change nothing, nor must a
    /// rejection but for the books on what was answered.
    pub(crate) fn answer(&mut self, command: Command) -> Answer {
        self.position += 1;
        let before = self.kv.clone();
        let batch = batch(self.position, self.time_ms, command);
        let result = apply(&mut self.kv, self.position, &batch).expect("memory does not fail").remove(0);
        validate(&self.kv).unwrap_or_else(|flaw| panic!("{flaw}\nafter {batch:?}\nanswered {result:?}"));
        if result.is_err() {
            assert_eq!(facts(&before), facts(&self.kv), "a refused command changed something: {batch:?}");
        }
        let once = self.kv.clone();
        let again = apply(&mut self.kv, self.position, &batch).expect("memory does not fail").remove(0);
        assert_eq!((&again, &self.kv), (&result, &once), "applied twice: {batch:?}");
        result
    }

    /// Has one command applied without looking at every row afterwards: for many in a row.
    pub(crate) fn apply_unchecked(&mut self, command: Command) {
        self.position += 1;
        let batch = batch(self.position, self.time_ms, command);
        let result = apply(&mut self.kv, self.position, &batch).expect("memory does not fail").remove(0);
        assert!(result.is_ok(), "{batch:?} was answered {result:?}");
    }

    pub(crate) fn ok(&mut self, command: Command) -> Outcome {
        let said = format!("{command:?}");
        self.answer(command).unwrap_or_else(|rejection| panic!("{said} was refused: {rejection}"))
    }

    pub(crate) fn refused(&mut self, command: Command) -> Rejection {
        let said = format!("{command:?}");
        self.answer(command).expect_err(&said)
    }

    pub(crate) fn node(&self, at: &str) -> Option<Node> {
        query::node(&self.kv, &path(at)).expect("memory does not fail")
    }

    pub(crate) fn must(&self, at: &str) -> Node {
        self.node(at).unwrap_or_else(|| panic!("{at} is not there"))
    }

    /// Names in a folder, in order.
    pub(crate) fn list(&self, at: &str) -> Vec<String> {
        let mut names = Vec::new();
        query::children(&self.kv, self.must(at).inode, None, &mut |node| {
            names.push(node.name);
            true
        })
        .expect("memory does not fail");
        names
    }

    /// What is in the trash of all volumes, the oldest first.
    pub(crate) fn trash(&self) -> Vec<TrashEntry> {
        query::trash_oldest(&self.kv, 0, 1_000).expect("memory does not fail")
    }

    /// Lets go for good of what is in the first volume's trash.
    pub(crate) fn empty_trash(&mut self) {
        let ids = self.trash().iter().map(|entry| entry.id).collect();
        self.ok(Command::PurgeTrash { volume: VolumeId(1), ids });
    }

    pub(crate) fn counters(&self) -> (u64, u64) {
        let volume = query::volume(&self.kv, VolumeId(1)).expect("memory does not fail").expect("the volume");
        (volume.files, volume.bytes)
    }
}

/// The rows but for the pool-wide counters and the books on outcomes.
pub(crate) fn facts(kv: &MemoryKv) -> Vec<(Vec<u8>, Vec<u8>)> {
    let books = |key: &[u8]| matches!(key.first(), Some(0x00 | 0x40 | 0x41));
    kv.rows().filter(|(key, _)| !books(key)).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

pub(crate) fn batch(position: u64, time_ms: u64, command: Command) -> Batch {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&position.to_be_bytes());
    Batch { time_ms, submissions: vec![Submission { id: CommandId(id), command }] }
}

pub(crate) fn agent(number: u8) -> AgentRecord {
    AgentRecord {
        id: AgentId([number; 32]),
        name: "pc".to_owned(),
        control_addresses: vec!["127.0.0.1:4001".parse().expect("an address")],
        data_addresses: Vec::new(),
        roles: AgentRoles::default(),
        state: AgentState::Active,
        site: String::new(),
        capacity_bytes: 1_000,
        version: "0.1.0".to_owned(),
        joined_ms: 0,
    }
}

pub(crate) fn create_pool(first: AgentRecord) -> Command {
    Command::CreatePool { id: PoolId([9; 16]), name: "home".to_owned(), survive: 2, first }
}

/// `/a/b` in the first volume.
pub(crate) fn path(text: &str) -> NodePath {
    let names = text.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    NodePath::new(VolumeId(1), names).expect("a path")
}

pub(crate) fn by(user: &str, tokens: &[&str]) -> Guard {
    Guard { user: user.to_owned(), tokens: tokens.iter().map(|&token| token.to_owned()).collect(), expect: None }
}

pub(crate) fn ana() -> Guard {
    by("ana", &[])
}

pub(crate) fn folder(at: &str) -> Command {
    Command::MakeFolder { path: path(at), guard: ana(), modified_ms: None }
}

pub(crate) fn file_with(at: &str, content: FileContent, size_bytes: u64, guard: Guard) -> Command {
    let (modified_ms, sha1, media_type) = (None, None, None);
    Command::CommitFile { path: path(at), guard, content, size_bytes, modified_ms, sha1, media_type }
}

pub(crate) fn file(at: &str, text: &str) -> Command {
    file_by(at, text, ana())
}

pub(crate) fn file_by(at: &str, text: &str, guard: Guard) -> Command {
    let content = FileContent::Inline(Bytes::copy_from_slice(text.as_bytes()));
    file_with(at, content, text.len() as u64, guard)
}

pub(crate) fn chunked(at: &str, chunks: Vec<ChunkRef>) -> Command {
    let size_bytes = chunks.iter().map(|chunk| u64::from(chunk.plain_bytes)).sum();
    file_with(at, FileContent::Chunks(chunks), size_bytes, ana())
}

pub(crate) fn remove(at: &str, guard: Guard) -> Command {
    Command::Remove { path: path(at), guard }
}

pub(crate) fn rename(from: &str, to: &str, overwrite: bool) -> Command {
    Command::Rename { from: path(from), to: path(to), overwrite, guard: ana() }
}

pub(crate) fn copy(from: &str, to: &str, overwrite: bool, deep: bool) -> Command {
    Command::Copy { from: path(from), to: path(to), overwrite, deep, guard: ana() }
}

pub(crate) fn restore(id: u64, to: Option<&str>, overwrite: bool) -> Command {
    Command::RestoreTrash { volume: VolumeId(1), id, to: to.map(path), overwrite, guard: ana() }
}

pub(crate) fn copy_out(id: u64, to: &str, overwrite: bool) -> Command {
    Command::CopyTrash { volume: VolumeId(1), id, to: path(to), overwrite, guard: ana() }
}

pub(crate) fn lock(token: &str, at: &str, deep: bool, scope: LockScope, guard: Guard) -> Command {
    let owner_xml = Bytes::from_static(b"<owner/>");
    let request = LockRequest { token: token.to_owned(), path: path(at), deep, scope, owner_xml, timeout_s: 60 };
    Command::Lock { request, guard }
}

pub(crate) fn content_id(number: u8) -> ContentId {
    ContentId([number; 32])
}

pub(crate) fn stripe_id(number: u8) -> StripeId {
    StripeId([number; 16])
}

/// A chunk whose content the pool has.
pub(crate) fn known(content: u8, plain_bytes: u32) -> ChunkRef {
    ChunkRef { content: content_id(content), plain_bytes, new_stripe: None }
}

/// A chunk just written, as a stripe of 2+1 on agents 1, 2 and 3.
pub(crate) fn fresh(content: u8, stripe: u8, plain_bytes: u32) -> ChunkRef {
    let place = |agent| ShardPlace { agent: Some(AgentId([agent; 32])), hash: ShardHash([agent; 16]) };
    let record = StripeRecord {
        content: content_id(content),
        codec: 1,
        k: 2,
        m: 1,
        plain_bytes,
        stored_bytes: plain_bytes,
        shard_bytes: plain_bytes.div_ceil(2),
        compression: 0,
        key_epoch: 1,
        shards: [1, 2, 3].map(place).to_vec(),
    };
    ChunkRef {
        new_stripe: Some(NewStripe { id: stripe_id(stripe), record, replaces: None }),
        ..known(content, plain_bytes)
    }
}

pub(crate) fn full(content: u8, stripe: u8) -> ChunkRef {
    fresh(content, stripe, CHUNK_BYTES)
}
