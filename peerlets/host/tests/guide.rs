//! The examples in `peerlets/examples`, and the guide that shows them: `docs/peerlets.md` holds each of their files word for
//! word, and each does what it says there.

#![allow(clippy::expect_used, reason = "a failing test says what failed")]

mod common;

use std::path::{Path, PathBuf};

use common::{all, envelope, envelope_from, is_handled, launcher, open_folder};
use dci_proto::SessionId;
use dci_proto::message::Body;
use shoal_peerlets::core::Verdict;
use shoal_peerlets::{Host, HostConfig};
use std::sync::Arc;

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// A host to which all examples were added.
async fn host(folder: &Path) -> Host {
    let config = HostConfig::new(&folder.join("installed"), &folder.join("runtime"), launcher());
    let host = Host::start(config).await.expect("a host");
    for entry in std::fs::read_dir(project("peerlets/examples")).expect("a folder").flatten() {
        host.add(&entry.path()).await.expect("an example can be added");
    }
    host
}

async fn ask(host: &Host, kind: &str, text: &str) -> (Vec<String>, Verdict) {
    all(host.deliver(Arc::new(envelope(kind, text, None))).await.expect("a host")).await
}

#[test]
fn the_guide_shows_the_examples_as_they_are() {
    let guide = std::fs::read_to_string(project("docs/peerlets.md")).expect("the guide");
    let mut shown = 0;
    for example in std::fs::read_dir(project("peerlets/examples")).expect("a folder").flatten() {
        for file in std::fs::read_dir(example.path()).expect("a folder").flatten() {
            let text = std::fs::read_to_string(file.path()).expect("a text");
            assert!(guide.contains(&text), "the guide does not show {} as it is", file.path().display());
            shown += 1;
        }
    }
    assert_eq!(shown, 10);
}

#[tokio::test]
async fn unchanged_programs_are_peerlets_by_their_manifest_alone() {
    let folder = open_folder();
    let host = host(folder.path()).await;
    let (replies, verdict) = ask(&host, "word-count", "one two\nthree\n").await;
    assert_eq!(replies.concat().split_whitespace().collect::<Vec<_>>(), ["2", "3", "14"]);
    assert!(is_handled(&verdict, 0));
    let (replies, verdict) = ask(&host, "python", "for i in range(3): print(i * i)\nraise SystemExit(5)\n").await;
    assert_eq!(replies, ["0", "1", "4"]);
    assert!(is_handled(&verdict, 5));
    let sql = "CREATE TABLE t(n); INSERT INTO t VALUES (20), (22); SELECT sum(n) AS total FROM t;";
    assert_eq!(ask(&host, "sql", sql).await.0, ["total\n42\n"]);
    let (_, verdict) = ask(&host, "sql", ".shell id\nSELECT nonsense;").await;
    assert!(matches!(&verdict, Verdict::Handled { status: 1, said } if said.contains("safe mode")), "{verdict:?}");
}

#[tokio::test]
async fn scripts_and_programs_written_for_it_are_too() {
    let folder = open_folder();
    let host = host(folder.path()).await;
    assert_eq!(ask(&host, "greet", "world").await.0, ["Hello world, says ana\n"]);
    let say = async |session, text| {
        let message = envelope("shout", text, Some(SessionId([session; 16])));
        all(host.deliver(Arc::new(message)).await.expect("a host")).await.0
    };
    assert_eq!(say(1, "hello").await, ["HELLO!"]);
    assert_eq!(say(1, "again").await, ["AGAIN!"]);
    let count = async |user, text: &str| {
        let message = envelope_from(user, "tally", Body::of_text(text).expect("a body"), None);
        all(host.deliver(Arc::new(message)).await.expect("a host")).await
    };
    assert_eq!(count("ana", "3").await.0, ["ana has 3"]);
    assert_eq!(count("bo", "10").await.0, ["bo has 10"]);
    assert_eq!(count("ana", "4").await.0, ["ana has 7"]);
    assert!(is_handled(&count("ana", "many").await.1, 2));
    let books = "<books xmlns=\"urn:books\"><title>Emma</title><title>Dracula &amp; I</title></books>";
    let message = envelope_from("ana", "titles", Body::of_xml(books.into()).expect("a body"), None);
    let (replies, _) = all(host.deliver(Arc::new(message)).await.expect("a host")).await;
    assert_eq!(replies, ["Emma", "Dracula & I"]);
}
