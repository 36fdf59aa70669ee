//! What an agent is expected to hold, and which files a content is of.

use std::collections::BTreeSet;

use dci_proto::AgentId;
use shoal_ledger::query::{ExpectedShard, NAMES_PER_CONTENT, expected, files_of};
use shoal_ledger::{Command, query};

use crate::harness::{Ledger, agent, ana, chunked, content_id, copy, folder, fresh, known, remove, rename, stripe_id};

fn id(number: u8) -> AgentId {
    AgentId([number; 32])
}

fn pool() -> Ledger {
    let mut ledger = Ledger::new();
    ledger.ok(Command::RequestJoin { agent: agent(4) });
    ledger.ok(Command::ApproveJoin { agent: id(4) });
    ledger
}

fn names(ledger: &Ledger, content: u8) -> (Vec<String>, u64) {
    let found = files_of(&ledger.kv, &BTreeSet::from([content_id(content)])).expect("memory does not fail");
    found.get(&content_id(content)).map(|files| (files.names.clone(), files.more)).unwrap_or_default()
}

#[test]
fn pages_of_any_size_show_every_shard_an_agent_shall_hold_once_and_in_order() {
    let mut ledger = pool();
    for number in 1..=7 {
        ledger.ok(chunked(&format!("/f{number}"), vec![fresh(number, number, 10)]));
    }
    for limit in 1..=8 {
        let (mut after, mut all) = (None, Vec::<ExpectedShard>::new());
        loop {
            let page = expected(&ledger.kv, id(2), after, limit).expect("memory does not fail");
            assert!(page.shards.len() <= limit);
            all.extend(&page.shards);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let keys: Vec<_> = all.iter().map(|shard| (shard.key.stripe, shard.key.index, shard.bytes)).collect();
        assert_eq!(keys, (1..=7).map(|number| (stripe_id(number), 1, 5)).collect::<Vec<_>>(), "pages of {limit}");
        let record = query::stripe(&ledger.kv, stripe_id(3)).expect("memory does not fail").expect("there");
        assert_eq!(all[2].hash, record.shards[1].hash);
    }
    assert!(expected(&ledger.kv, id(4), None, 100).expect("memory does not fail").shards.is_empty());
}

#[test]
fn a_content_is_named_by_all_files_that_have_it_wherever_they_are_by_now() {
    let mut ledger = pool();
    ledger.ok(folder("/a"));
    ledger.ok(folder("/a/b"));
    ledger.ok(chunked("/a/b/one", vec![fresh(1, 1, 10)]));
    ledger.ok(chunked("/two", vec![known(1, 10)]));
    ledger.ok(copy("/a/b/one", "/a/three", false, true));
    ledger.ok(chunked("/other", vec![fresh(2, 2, 10)]));
    ledger.ok(rename("/a/b", "/a/c", false));
    let (mut found, more) = names(&ledger, 1);
    found.sort();
    assert_eq!((found, more), (["pool/a/c/one", "pool/a/three", "pool/two"].map(str::to_owned).to_vec(), 0));
    ledger.ok(remove("/two", ana()));
    assert!(names(&ledger, 1).0.contains(&"pool/two (in the trash)".to_owned()));
    assert_eq!(names(&ledger, 3), (Vec::new(), 0), "no file has it");
}

#[test]
fn of_a_content_in_many_files_some_are_named_and_all_are_counted() {
    let mut ledger = pool();
    ledger.ok(chunked("/f0", vec![fresh(1, 1, 10)]));
    for number in 1..20 {
        ledger.ok(chunked(&format!("/f{number}"), vec![known(1, 10)]));
    }
    let (found, more) = names(&ledger, 1);
    assert_eq!((found.len(), more), (NAMES_PER_CONTENT, 20 - NAMES_PER_CONTENT as u64));
}
