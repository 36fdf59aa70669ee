//! A process that is killed at any instant leaves all that it acknowledged.

#![allow(clippy::expect_used, reason = "a failing test says what failed")]

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use common::{ANA, ME, came, id, sent};
use dci_proto::message::ReceiptState;
use shoal_mailbox::{Accepted, Mailbox, MailboxConfig, Now, Opened, Settlement};
use tempfile::TempDir;

/// Says to the test that follows where it is to work, as another process.
const FILE: &str = "SHOAL_MAILBOX_KILL_FILE";
/// The first number it may use.
const FIRST: &str = "SHOAL_MAILBOX_KILL_FIRST";
const LIVES: u64 = 4;
const CALLERS: u64 = 8;

/// Time stands still, so that nothing expires.
struct NoTime;

impl shoal_mailbox::Clock for NoTime {
    fn now(&self) -> Now {
        Now { steady_ms: 0, wall_ms: common::START_MS }
    }
}

fn open(path: &Path) -> Opened {
    let config = MailboxConfig { clock: Arc::new(NoTime), ..MailboxConfig::new(path, ME) };
    Mailbox::open(config).expect("opens")
}

/// Not a test by itself: the process that is killed. It says what was acknowledged, a line each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_is_killed() {
    let Some(path) = std::env::var_os(FILE).map(PathBuf::from) else { return };
    let first: u64 = std::env::var(FIRST).expect("a number").parse().expect("a number");
    let Opened { mailbox, mut outgoing, mut incoming } = open(&path);
    let mailbox = Arc::new(mailbox);
    tokio::spawn(async move { while outgoing.next().await.is_some() {} });
    let settles = Arc::clone(&mailbox);
    tokio::spawn(async move {
        while let Some(received) = incoming.next().await {
            let number = u64::from_be_bytes(*received.envelope.message.id.0.first_chunk().expect("8 bytes"));
            settles.settle(received.place, Settlement::Handled { exit_status: 0 }).await.expect("settled");
            println!("settled {number}");
        }
    });
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let mailbox = Arc::clone(&mailbox);
            tokio::spawn(async move {
                for number in (first + caller..).step_by(CALLERS as usize) {
                    mailbox.post(sent(number, Some(caller as u8)), vec![ANA]).await.expect("posted");
                    println!("posted {number}");
                    mailbox.accept(came(number, Some(caller as u8))).await.expect("accepted");
                    println!("accepted {number}");
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("no panic");
    }
}

/// Lets a process work until it has said so many lines, and kills it. Answers the numbers it said, by word.
fn killed_after(path: &Path, first: u64, lines: usize) -> [BTreeSet<u64>; 3] {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "the_process_that_is_killed", "--nocapture", "--test-threads=1"])
        .env(FILE, path)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut said: [BTreeSet<u64>; 3] = Default::default();
    let mut count = 0;
    let mut output = BufReader::new(child.stdout.take().expect("its output")).lines();
    // What is in the pipe when it dies counts too: it was acknowledged.
    while let Some(Ok(line)) = output.next() {
        let Some((word, Ok(number))) = line.rsplit_once(' ').map(|(word, number)| (word, number.parse())) else {
            continue;
        };
        let word = ["posted", "accepted", "settled"].iter().position(|known| word.ends_with(known));
        if let Some(word) = word {
            said[word].insert(number);
            count += 1;
        }
        if count == lines {
            child.kill().expect("is killed");
        }
    }
    child.wait().expect("ends");
    assert!(count >= lines, "it said {count} lines");
    said
}

#[tokio::test]
async fn a_killed_process_leaves_all_that_it_acknowledged() {
    let home = TempDir::new().expect("a directory");
    let path = home.path().join("mailbox.redb");
    let mut all: [BTreeSet<u64>; 3] = Default::default();
    for life in 0..LIVES {
        let said = killed_after(&path, life * 1_000_000, 100 + 150 * life as usize);
        for (all, said) in all.iter_mut().zip(said) {
            all.extend(said);
        }
        let Opened { mailbox, .. } = open(&path);
        let [posted, accepted, settled] = &all;
        for number in posted {
            assert!(mailbox.states(id(*number)).await.expect("reads").is_some(), "{number} was posted, then lost");
        }
        for number in accepted {
            let known = mailbox.accept(came(*number, None)).await.expect("answers");
            assert!(matches!(known, Accepted::Known(_)), "{number} was accepted, and now is {known:?}");
        }
        for number in settled {
            let known = mailbox.accept(came(*number, None)).await.expect("answers");
            assert_eq!(known, Accepted::Known(ReceiptState::Handled { exit_status: 0 }), "{number} was settled");
        }
        assert!(posted.len() > 20 && accepted.len() > 20 && settled.len() > 5, "{life}");
    }
}
