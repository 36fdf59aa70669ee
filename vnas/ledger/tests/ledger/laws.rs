//! Random commands: the namespace does what a map of paths would, and every copy comes to the same bytes.

use std::collections::BTreeMap;

use dci_proto::{AgentId, ShardKey};
use proptest::prelude::*;
use shoal_ledger::{
    CHUNK_BYTES, CarePolicy, ChunkRef, Command, LockScope, MoveId, NodeContent, NodeKind, Outcome, PropertyName,
    PropertyPatch, Rejection, ShardMove, TrashEntry, TrashReason, apply, query,
};

use crate::harness::{
    Answer, Ledger, agent, ana, batch, by, chunked, copy, copy_out, file, file_by, folder, fresh, known, lock, path,
    remove, rename, restore,
};
use crate::model::{Gone, Model, Verdict};

/// Commands of one history, at most.
const STEPS: usize = 40;

#[derive(Debug, Clone)]
enum Step {
    Folder(String),
    File(String, String),
    Remove(String),
    Rename(String, String, bool),
    Copy(String, String, bool, bool),
    /// Of the trash, the one with this number modulo how many there are.
    Restore(usize, Option<String>, bool),
}

fn place() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4)
        .prop_map(|names| format!("/{}", names.join("/")))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => place().prop_map(Step::Folder),
        3 => (place(), "[a-z]{0,3}").prop_map(|(at, text)| Step::File(at, text)),
        1 => place().prop_map(Step::Remove),
        2 => (place(), place(), any::<bool>()).prop_map(|(from, to, over)| Step::Rename(from, to, over)),
        2 => (place(), place(), any::<bool>(), any::<bool>())
            .prop_map(|(from, to, over, deep)| Step::Copy(from, to, over, deep)),
        2 => (any::<usize>(), prop::option::of(place()), any::<bool>())
            .prop_map(|(index, to, over)| Step::Restore(index, to, over)),
    ]
}

fn verdict(answer: &Answer) -> Verdict {
    match answer {
        Ok(Outcome::Node { created: true, .. } | Outcome::Restored { created: true, .. }) => Verdict::Made,
        Ok(Outcome::Node { created: false, .. } | Outcome::Restored { created: false, .. }) => Verdict::Replaced,
        Ok(_) => Verdict::Done,
        Err(Rejection::NotFound(_)) => Verdict::NotFound,
        Err(Rejection::ParentMissing(_)) => Verdict::ParentMissing,
        Err(Rejection::Exists(_)) => Verdict::Exists,
        Err(Rejection::IsAFolder(_)) => Verdict::IsAFolder,
        Err(Rejection::NotAFolder(_)) => Verdict::NotAFolder,
        Err(Rejection::IntoItself(_)) => Verdict::IntoItself,
        Err(other) => panic!("the model has no such verdict: {other}"),
    }
}

/// The namespace as the model would have it, read through listings.
fn listed(ledger: &Ledger) -> Model {
    let mut nodes = BTreeMap::new();
    let mut folders = vec![(Vec::new(), ledger.must("/").inode)];
    while let Some((names, inode)) = folders.pop() {
        query::children(&ledger.kv, inode, None, &mut |node| {
            let names: Vec<String> = [&names[..], std::slice::from_ref(&node.name)].concat();
            let text = node.content.as_ref().map(text_of);
            if node.kind == NodeKind::Folder {
                folders.push((names.clone(), node.inode));
            }
            nodes.insert(names, text);
            true
        })
        .expect("memory does not fail");
    }
    let gone = |entry: TrashEntry| {
        let text = text_of(entry.node.content.as_ref().expect("a file"));
        (entry.path.names, text, entry.reason)
    };
    Model { nodes, trash: sorted(ledger.trash().into_iter().map(gone).collect()) }
}

fn text_of(content: &NodeContent) -> String {
    match content {
        NodeContent::Inline(bytes) => String::from_utf8(bytes.to_vec()).expect("text"),
        NodeContent::Chunks(_) => panic!("no chunks here"),
    }
}

fn sorted(mut trash: Vec<Gone>) -> Vec<Gone> {
    trash.sort_by_key(|(path, text, reason)| (path.clone(), text.clone(), *reason == TrashReason::Deleted));
    trash
}

/// Any command on a small world, likely enough to meet others.
fn command() -> impl Strategy<Value = Command> {
    let who = || prop::sample::select(vec![by("ana", &["t1", "t2"]), by("ben", &["t1"]), ana()]);
    let token = || prop::sample::select(vec!["t1", "t2", "t3"]);
    let scope = prop::sample::select(vec![LockScope::Exclusive, LockScope::Shared]);
    let name = PropertyName { namespace: "urn:x".to_owned(), name: "p".to_owned() };
    let set = PropertyPatch::Set(name.clone(), bytes::Bytes::from_static(b"<p/>"));
    let patch = prop::sample::select(vec![set, PropertyPatch::Remove(name)]);
    prop_oneof![
        3 => place().prop_map(|at| folder(&at)),
        2 => (place(), who()).prop_map(|(at, guard)| file_by(&at, "text", guard)),
        4 => (place(), prop::collection::vec(chunk(), 1..4)).prop_map(|(at, chunks)| chunked(&at, whole(chunks))),
        2 => (place(), who()).prop_map(|(at, guard)| remove(&at, guard)),
        2 => (place(), place(), any::<bool>()).prop_map(|(from, to, over)| rename(&from, &to, over)),
        2 => (place(), place(), any::<bool>()).prop_map(|(from, to, over)| copy(&from, &to, over, true)),
        2 => (token(), place(), any::<bool>(), scope, who())
            .prop_map(|(token, at, deep, scope, guard)| lock(token, &at, deep, scope, guard)),
        1 => (token(), place()).prop_map(|(token, at)| {
            Command::Unlock { token: token.to_owned(), path: path(&at), user: "ana".to_owned() }
        }),
        2 => (place(), patch).prop_map(|(at, patch)| {
            Command::PatchProperties { path: path(&at), guard: ana(), patches: vec![patch] }
        }),
        1 => Just(Command::BeginUpload { agent: AgentId([1; 32]), run: 1 }),
        2 => (1..40_u64, 0..2_u32, prop::collection::vec(chunk(), 0..3)).prop_map(|(upload, first_index, chunks)| {
            Command::StageChunks { upload: dci_proto::InodeId(upload), first_index, chunks: whole(chunks) }
        }),
        1 => (1..40_u64).prop_map(|upload| Command::AbortUpload { upload: dci_proto::InodeId(upload) }),
        1 => (0..9_u8).prop_map(|stripe| {
            Command::ForgetGarbage { stripes: vec![crate::harness::stripe_id(stripe)] }
        }),
        1 => Just(Command::Tick),
        4 => (1..5_u8, shards()).prop_map(|(agent, keys)| Command::ReportBad { agent: member(agent), keys }),
        1 => (1..4_u8, shards()).prop_map(|(agent, keys)| Command::ReportSound { agent: member(agent), keys }),
        2 => (1..5_u8, shards()).prop_map(|(agent, keys)| {
            Command::GiveUp { shards: keys.into_iter().map(|key| (member(agent), key)).collect() }
        }),
        1 => (2..4_u8).prop_map(|number| Command::RemoveAgent { agent: member(number), force: true }),
        2 => (0..9_u8, 0..3_u8, 4..6_u8).prop_map(|(stripe, index, to)| {
            let key = ShardKey { stripe: crate::harness::stripe_id(stripe), index };
            Command::BeginMoves { moves: vec![ShardMove { key, from: Some(member(index + 1)), to: member(to) }] }
        }),
        2 => (shards(), 1..60_u64).prop_map(|(keys, begun)| {
            Command::FinishMoves { moves: keys.into_iter().map(|key| MoveId { key, begun }).collect() }
        }),
        2 => (1..20_u64, prop::option::of(place()), any::<bool>())
            .prop_map(|(id, to, over)| restore(id, to.as_deref(), over)),
        2 => (1..20_u64, place(), any::<bool>()).prop_map(|(id, to, over)| copy_out(id, &to, over)),
        1 => (0..2_u64).prop_map(|trash_keep_s| {
            Command::SetCarePolicy { policy: CarePolicy { trash_keep_s, ..CarePolicy::default() } }
        }),
        1 => (1..20_u64).prop_map(|id| Command::PurgeTrash { volume: dci_proto::VolumeId(1), ids: vec![id, id + 1] }),
    ]
}

fn member(number: u8) -> AgentId {
    AgentId([number; 32])
}

fn shards() -> impl Strategy<Value = Vec<ShardKey>> {
    let key = |(stripe, index)| ShardKey { stripe: crate::harness::stripe_id(stripe), index };
    prop::collection::vec((0..9_u8, 0..3_u8).prop_map(key), 1..6)
}

/// A chunk of few contents, each of a size of its own; some with a stripe of few.
fn chunk() -> impl Strategy<Value = ChunkRef> {
    (0..5_u8, 0..9_u8, any::<bool>()).prop_map(|(content, stripe, new)| {
        let bytes = if content == 0 { 10 } else { CHUNK_BYTES };
        if new { fresh(content, stripe, bytes) } else { known(content, bytes) }
    })
}

/// The short chunk, if there is one, comes last.
fn whole(mut chunks: Vec<ChunkRef>) -> Vec<ChunkRef> {
    chunks.sort_by_key(|chunk| std::cmp::Reverse(chunk.plain_bytes));
    let full = chunks.iter().filter(|chunk| chunk.plain_bytes == CHUNK_BYTES).count();
    chunks.truncate(full + 1);
    chunks
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_namespace_does_what_a_map_of_paths_would(steps in prop::collection::vec(step(), 1..STEPS)) {
        let (mut ledger, mut model) = (Ledger::new(), Model::default());
        for step in steps {
            let (command, expected) = match &step {
                Step::Folder(at) => (folder(at), model.folder(at)),
                Step::File(at, text) => (file(at, text), model.file(at, text)),
                Step::Remove(at) => (remove(at, ana()), model.remove(at)),
                Step::Rename(from, to, over) => (rename(from, to, *over), model.rename(from, to, *over)),
                Step::Copy(from, to, over, deep) => (copy(from, to, *over, *deep), model.copy(from, to, *over, *deep)),
                Step::Restore(index, to, over) => {
                    let trash = ledger.trash();
                    let Some(entry) = trash.get(index % trash.len().max(1)) else { continue };
                    let gone = (entry.path.names.clone(), text_of(entry.node.content.as_ref().expect("a file")), entry.reason);
                    (restore(entry.id, to.as_deref(), *over), model.restore(&gone, to.as_deref(), *over))
                }
            };
            model.trash = sorted(model.trash);
            prop_assert_eq!(verdict(&ledger.answer(command)), expected, "{:?}", step);
            prop_assert_eq!(&listed(&ledger), &model, "{:?}", step);
        }
    }

    /// [`Ledger::answer`] checks every invariant after each step, and that a second time changes nothing.
    #[test]
    fn no_history_breaks_an_invariant_and_all_copies_agree(
        commands in prop::collection::vec((command(), 0..20_000_u64), 1..STEPS),
    ) {
        let mut ledger = Ledger::new();
        for number in 4..=5 {
            ledger.ok(Command::RequestJoin { agent: agent(number) });
            ledger.ok(Command::ApproveJoin { agent: member(number) });
        }
        let mut copy = ledger.clone();
        for (command, passed_ms) in commands {
            ledger.time_ms += passed_ms;
            let answer = ledger.answer(command.clone());
            let batch = batch(ledger.position, ledger.time_ms, command);
            let answers = apply(&mut copy.kv, ledger.position, &batch).expect("memory does not fail");
            prop_assert_eq!(answers, [answer]);
        }
        prop_assert_eq!(ledger.kv, copy.kv);
    }
}
