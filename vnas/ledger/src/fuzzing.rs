//! Laws of commands and rows, for any bytes: run by the fuzz targets in `fuzz/` and, mutated from their seeds, by every
//! test run.

use bytes::Bytes;
use dci_proto::{AgentId, CommandId, ContentId, InodeId, PoolId, ShardHash, ShardKey, StripeId, VolumeId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{
    AgentRecord, AgentRoles, AgentState, Batch, ChunkRef, Command, FileContent, Guard, JoinRequest, Lock, LockRequest,
    LockScope, MemoryKv, NewStripe, Node, NodePath, Outcome, PoolRecord, Property, PropertyName, PropertyPatch,
    Rejection, ShardPlace, StripeRecord, Submission, TicketRecord, UserRecord, VolumePolicy, VolumeRecord, tables,
    validate,
};

/// A name, the law, and inputs to begin with.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All targets of this crate.
pub const TARGETS: &[Target] = &[
    ("ledger_batches", batches, batch_seeds),
    ("ledger_messages", messages, message_seeds),
    ("ledger_rows", rows, row_seeds),
];

/// What decodes is, encoded, the same again.
fn comes_back<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let value: T = postcard::from_bytes(bytes).ok()?;
    let encoded = postcard::to_stdvec(&value).ok();
    let again = encoded.as_ref().and_then(|bytes| postcard::from_bytes::<T>(bytes).ok());
    let same = again.and_then(|again| postcard::to_stdvec(&again).ok());
    assert!(encoded.is_some() && same == encoded, "what was decoded does not come back");
    Some(value)
}

/// Whatever batches a log holds, they apply or are refused, and leave a ledger whose rows agree.
fn batches(bytes: &[u8]) {
    let mut kv = MemoryKv::default();
    let first = Batch { time_ms: 1, submissions: vec![submission(0, create_pool())] };
    assert!(crate::apply(&mut kv, 1, &first).is_ok());
    let (mut rest, mut position) = (bytes, 1);
    while let Ok((batch, after)) = postcard::take_from_bytes::<Batch>(rest) {
        position += 1;
        if let Err(error) = crate::apply(&mut kv, position, &batch) {
            panic!("a batch stopped the ledger: {error}");
        }
        if after.len() == rest.len() {
            break;
        }
        rest = after;
    }
    if let Err(wrong) = validate(&kv) {
        panic!("the rows do not agree: {wrong}");
    }
}

/// What travels and lies in the log.
fn messages(bytes: &[u8]) {
    comes_back::<Batch>(bytes);
    comes_back::<Submission>(bytes);
    comes_back::<Vec<Result<Outcome, Rejection>>>(bytes);
}

/// Rows: the first byte says of which table.
fn rows(bytes: &[u8]) {
    let Some((table, row)) = bytes.split_first() else { return };
    match table {
        0x00 => row_comes_back::<tables::MetaRow>(row),
        0x01 => row_comes_back::<PoolRecord>(row),
        0x02 => row_comes_back::<AgentRecord>(row),
        0x03 => row_comes_back::<tables::UsageRow>(row),
        0x04 => row_comes_back::<TicketRecord>(row),
        0x05 => row_comes_back::<JoinRequest>(row),
        0x06 => row_comes_back::<UserRecord>(row),
        0x07 => row_comes_back::<VolumeRecord>(row),
        0x10 | 0x11 => row_comes_back::<Node>(row),
        0x12 => row_comes_back::<Property>(row),
        0x13 => row_comes_back::<tables::ChunkRow>(row),
        0x15 => row_comes_back::<tables::UploadRow>(row),
        0x20 => row_comes_back::<Lock>(row),
        0x0c => row_comes_back::<crate::GroupRecord>(row),
        0x0d => row_comes_back::<crate::TypePolicy>(row),
        0x0e => row_comes_back::<crate::RightRecord>(row),
        0x30 => row_comes_back::<tables::ContentRow>(row),
        0x31 => row_comes_back::<StripeRecord>(row),
        0x32 => row_comes_back::<tables::GarbageRow>(row),
        0x37 => row_comes_back::<u64>(row),
        0x40 => row_comes_back::<tables::OutcomeRow>(row),
        _ => {}
    }
}

fn row_comes_back<Row: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Ok(row) = tables::decode::<Row>(tables::META, bytes) else { return };
    let encoded = tables::encode(tables::META, &row).ok();
    let again = encoded.as_ref().and_then(|bytes| tables::decode::<Row>(tables::META, bytes).ok());
    let same = again.and_then(|row| tables::encode(tables::META, &row).ok());
    assert!(encoded.is_some() && same == encoded, "a row does not come back");
}

fn submission(number: u8, command: Command) -> Submission {
    Submission { id: CommandId([number; 16]), command }
}

fn agent(number: u8) -> AgentRecord {
    AgentRecord {
        id: AgentId([number; 32]),
        name: format!("pc-{number}"),
        control_addresses: Vec::new(),
        data_addresses: Vec::new(),
        roles: AgentRoles::default(),
        state: AgentState::Active,
        site: "here".to_owned(),
        capacity_bytes: 1000,
        version: "1".to_owned(),
        joined_ms: 1,
    }
}

fn create_pool() -> Command {
    Command::CreatePool { id: PoolId([1; 16]), name: "pool".to_owned(), survive: 1, first: agent(1) }
}

#[allow(clippy::expect_used, reason = "samples of ours encode")]
fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("encodes")
}

fn path(names: &[&str]) -> NodePath {
    NodePath { volume: VolumeId(1), names: names.iter().map(|name| (*name).to_owned()).collect() }
}

fn file(name: &str, content: FileContent, size_bytes: u64) -> Command {
    let (modified_ms, sha1, media_type) = (Some(7), Some([1; 20]), Some("text/plain".to_owned()));
    let (path, guard) = (path(&["folder", name]), Guard::default());
    Command::CommitFile { path, guard, content, size_bytes, modified_ms, sha1, media_type }
}

fn chunk(number: u8) -> ChunkRef {
    let place = ShardPlace { agent: Some(AgentId([1; 32])), hash: ShardHash([number; 16]) };
    let record = StripeRecord {
        content: ContentId([number; 32]),
        codec: 1,
        k: 1,
        m: 0,
        plain_bytes: 100,
        stored_bytes: 100,
        shard_bytes: 100,
        compression: 0,
        key_epoch: 1,
        shards: vec![place],
    };
    let new_stripe = Some(NewStripe { id: StripeId([number; 16]), record, replaces: None });
    ChunkRef { content: ContentId([number; 32]), plain_bytes: 100, new_stripe }
}

/// Commands that leave rows in most tables.
fn script() -> Vec<Command> {
    let guard = Guard::default;
    let property = PropertyName { namespace: "urn:x".to_owned(), name: "colour".to_owned() };
    let request = LockRequest {
        token: "urn:uuid:1".to_owned(),
        path: path(&["folder", "b"]),
        deep: false,
        scope: LockScope::Exclusive,
        owner_xml: Bytes::from_static(b"<owner/>"),
        timeout_s: 60,
    };
    vec![
        Command::CreateVolume { name: "v".to_owned(), policy: VolumePolicy { survive: Some(0), compress: true } },
        Command::RequestJoin { agent: agent(2) },
        Command::ApproveJoin { agent: AgentId([2; 32]) },
        Command::MakeFolder { path: path(&["folder"]), guard: guard(), modified_ms: None },
        file("a", FileContent::Inline(Bytes::from_static(b"inline")), 6),
        file("b", FileContent::Chunks(vec![chunk(1)]), 100),
        Command::Copy { from: path(&["folder"]), to: path(&["copy"]), overwrite: false, deep: true, guard: guard() },
        Command::Rename { from: path(&["copy", "a"]), to: path(&["c"]), overwrite: true, guard: guard() },
        Command::PatchProperties {
            path: path(&["c"]),
            guard: guard(),
            patches: vec![PropertyPatch::Set(property, Bytes::from_static(b"<colour/>"))],
        },
        Command::Lock { request, guard: guard() },
        Command::BeginUpload { agent: AgentId([1; 32]), run: 3 },
        Command::StageChunks { upload: InodeId(8), first_index: 0, chunks: vec![chunk(2)] },
        Command::ReportBad { agent: AgentId([1; 32]), keys: vec![ShardKey { stripe: StripeId([2; 16]), index: 0 }] },
        Command::Remove { path: path(&["folder"]), guard: guard() },
        Command::SetSurvive { survive: 2 },
        Command::ForgetGarbage { stripes: vec![StripeId([1; 16])] },
        Command::SetAgentState { agent: AgentId([2; 32]), state: AgentState::Draining },
        Command::RemoveAgent { agent: AgentId([2; 32]), force: false },
        Command::GiveUp { shards: vec![(AgentId([1; 32]), ShardKey { stripe: StripeId([5; 16]), index: 1 })] },
        Command::Tick,
    ]
}

fn batch_seeds() -> Vec<Vec<u8>> {
    let batches = |commands: Vec<Command>| -> Vec<u8> {
        let numbered = commands.into_iter().enumerate();
        let batch = |(at, command)| Batch { time_ms: 5, submissions: vec![submission(at as u8 + 2, command)] };
        numbered.map(batch).flat_map(|batch| encoded(&batch)).collect()
    };
    let one = script().into_iter().enumerate().map(|(at, command)| submission(at as u8 + 2, command)).collect();
    vec![
        batches(script()),
        encoded(&Batch { time_ms: 9, submissions: one }),
        batches(vec![create_pool(), Command::Tick]),
    ]
}

fn message_seeds() -> Vec<Vec<u8>> {
    let answers: Vec<Result<Outcome, Rejection>> = vec![Ok(Outcome::Done), Err(Rejection::NotFound("a".to_owned()))];
    let mut seeds: Vec<_> = script().into_iter().map(|command| encoded(&submission(1, command))).collect();
    seeds.push(encoded(&answers));
    seeds
}

/// The rows that the script leaves, each with the number of its table before it.
fn row_seeds() -> Vec<Vec<u8>> {
    let mut kv = MemoryKv::default();
    let commands = [create_pool()].into_iter().chain(script()).enumerate();
    let submissions = commands.map(|(at, command)| submission(at as u8, command)).collect();
    let applied = crate::apply(&mut kv, 1, &Batch { time_ms: 1, submissions });
    assert!(applied.is_ok(), "samples of ours apply");
    let mut tables = std::collections::BTreeMap::new();
    for (key, row) in kv.rows() {
        tables.entry(key[0]).or_insert_with(|| [&key[..1], row].concat());
    }
    tables.into_values().collect()
}
