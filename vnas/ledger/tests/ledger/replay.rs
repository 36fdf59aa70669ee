//! A command takes effect once, and every copy comes to the same bytes.

use std::cell::Cell;

use bytes::Bytes;
use dci_proto::CommandId;
use shoal_ledger::{
    Batch, Command, KvError, KvRead, KvWrite, LedgerClient, LocalLedger, LockScope, MemoryKv, NodeContent, Outcome,
    RowVisitor, Submission, SubmitError, apply, limits, query,
};

use crate::harness::{
    Ledger, agent, ana, batch, by, chunked, copy, create_pool, facts, file, folder, fresh, lock, remove,
};

fn id(number: u64) -> CommandId {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    CommandId(id)
}

fn many(time_ms: u64, commands: impl IntoIterator<Item = (u64, Command)>) -> Batch {
    let submission = |(number, command)| Submission { id: id(number), command };
    Batch { time_ms, submissions: commands.into_iter().map(submission).collect() }
}

#[test]
fn a_command_that_comes_again_is_answered_as_it_was_then() {
    let mut ledger = Ledger::new();
    let first = many(5_000_000, [(1, file("/f", "one")), (2, folder("/f")), (1, file("/f", "one"))]);
    let results = apply(&mut ledger.kv, 10, &first).expect("memory does not fail");
    assert_eq!(results[0], results[2], "even in one batch");
    ledger.ok(remove("/f", ana()));
    let again = apply(&mut ledger.kv, 12, &first).expect("memory does not fail");
    assert_eq!(results[1], again[1], "a refusal, too, though the name is free now");
    assert_eq!(ledger.node("/f"), None, "and nothing is done again");
    let (Ok(Outcome::Node { node: then, .. }), Ok(Outcome::Node { node: now, .. })) = (&results[0], &again[0]) else {
        panic!("no nodes")
    };
    assert_eq!((then.inode, then.version, then.size_bytes), (now.inode, now.version, now.size_bytes));
    assert_eq!(then.content, Some(NodeContent::Inline(Bytes::from_static(b"one"))));
    assert_eq!(now.content, Some(NodeContent::Inline(Bytes::new())), "the bytes are gone with the file");
}

#[test]
fn outcomes_are_kept_for_a_bounded_number_of_commands() {
    let mut kv = MemoryKv::default();
    apply(&mut kv, 1, &batch(1, 1, create_pool(agent(1)))).expect("memory does not fail");
    let ticks = |first: u64, count: u64| many(1, (first..first + count).map(|number| (number, Command::Tick)));
    let mut number = 1_000;
    while number < 1_000 + 2 * limits::OUTCOMES_KEPT {
        apply(&mut kv, number, &ticks(number, 4_096)).expect("memory does not fail");
        number += 4_096;
    }
    let kept = kv.rows().filter(|(key, _)| key[0] == 0x40).count() as u64;
    assert!((limits::OUTCOMES_KEPT..limits::OUTCOMES_KEPT + 4_096).contains(&kept), "{kept}");
    let ever = |kv: &MemoryKv| facts(kv).len();
    let (rows, before) = (ever(&kv), kv.clone());
    apply(&mut kv, number - 4_096, &ticks(number - limits::OUTCOMES_KEPT, 1)).expect("memory does not fail");
    assert_eq!((rows, before), (ever(&kv), kv), "the oldest that must be known still is");
}

#[test]
fn a_batch_or_its_commands_one_by_one_come_to_the_same_state() {
    let commands = || {
        let names = ["/a", "/a/b", "/a/b/c"];
        names.map(folder).into_iter().chain([file("/a/f", "x"), remove("/a/b", ana())]).zip(100..)
    };
    let mut together = Ledger::new();
    let mut apart = together.clone();
    let batch = many(2_000_000, commands().map(|(command, number)| (number, command)));
    apply(&mut together.kv, 99, &batch).expect("memory does not fail");
    for (command, number) in commands() {
        apply(&mut apart.kv, 99, &many(2_000_000, [(number, command)])).expect("memory does not fail");
    }
    assert_eq!(facts(&together.kv), facts(&apart.kv));
    assert_eq!(query::position(&together.kv).expect("memory"), 99);
}

#[test]
fn the_ledger_for_tests_loses_its_quorum_when_told_to() {
    let ledger = LocalLedger::with_pool(&[agent(1).id, agent(2).id], "pool").expect("a pool");
    let position = block_on(ledger.changed(0));
    let view = ledger.view().expect("a view");
    ledger.set_quorum(false);
    assert!(matches!(block_on(ledger.submit(Command::Tick)), Err(SubmitError::NoQuorum(_))));
    assert!(matches!(block_on(ledger.barrier()), Err(SubmitError::NoQuorum(_))));
    ledger.set_quorum(true);
    block_on(ledger.submit(file("/f", "x"))).expect("taken");
    assert_eq!(block_on(ledger.changed(position)), position + 1);
    let seen = |view: &dyn KvRead| query::node(view, &crate::harness::path("/f")).expect("memory");
    assert_eq!(seen(&*view), None, "a view does not change");
    assert!(seen(&*ledger.view().expect("a view")).is_some());
    assert_eq!(query::agents(&*view).expect("memory").len(), 2);
}

/// Polls a future that has nothing to wait for.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("nothing will wake it"),
    }
}

/// A store that fails from its n-th call on.
struct Failing {
    kv: MemoryKv,
    calls_left: Cell<u32>,
}

impl Failing {
    fn call(&self) -> Result<(), KvError> {
        let left = self.calls_left.get().checked_sub(1).ok_or_else(|| KvError::Io("planned".to_owned()))?;
        self.calls_left.set(left);
        Ok(())
    }
}

impl KvRead for Failing {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.call()?;
        self.kv.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: RowVisitor<'_>) -> Result<(), KvError> {
        self.call()?;
        self.kv.scan(from, to, visit)
    }
}

impl KvWrite for Failing {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), KvError> {
        self.call()?;
        self.kv.put(key, value)
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), KvError> {
        self.call()?;
        self.kv.delete(key)
    }
}

#[test]
fn a_store_that_fails_at_any_call_fails_the_whole_batch() {
    let mut ledger = Ledger::new();
    ledger.ok(folder("/a"));
    ledger.ok(chunked("/a/f", vec![fresh(1, 1, 10)]));
    ledger.ok(lock("t", "/a/f", false, LockScope::Shared, ana()));
    let guard = by("ana", &["t"]);
    let commands = [(201, copy("/a", "/b", false, true)), (202, remove("/a", guard)), (203, Command::Tick)];
    let batch = many(2_000_000, commands);
    for calls in 0..1_000 {
        let mut failing = Failing { kv: ledger.kv.clone(), calls_left: Cell::new(calls) };
        match apply(&mut failing, 50, &batch) {
            Err(error) => assert!(matches!(error, KvError::Io(_)), "{error}"),
            Ok(results) => {
                assert!(results.iter().all(Result::is_ok), "{results:?}");
                assert!(calls > 30, "{calls} calls cannot be enough");
                return;
            }
        }
    }
    panic!("never enough calls");
}
