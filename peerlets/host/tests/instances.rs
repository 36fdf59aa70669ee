//! Sessions, services, their ends and their agent's: real programs under a real host.

#![allow(clippy::expect_used, reason = "a failing test says what failed")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Rig, all, envelope, envelope_from, is_handled, processes_with, until};
use dci_proto::SessionId;
use dci_proto::message::{Body, Envelope, MessageType};
use shoal_peerlets::core::{Standing, Verdict};
use shoal_peerlets::{Host, HostConfig, HostError, Outcome, Past};
use tokio::sync::mpsc;

/// Counts what it gets, and says for which session it is.
const COUNTER: &str = "#!/bin/sh\nn=0\nwhile read -r line; do n=$((n + 1)); echo \"$line $n\"; done\n";

async fn standing(rig: &Rig) -> Standing {
    rig.host.list().await.expect("the host is there")[0].standing
}

async fn until_standing(rig: &Rig, what: &str, is_so: impl Fn(Standing) -> bool) {
    until_standing_of(rig, "it", what, is_so).await;
}

async fn until_standing_of(rig: &Rig, kind: &str, what: &str, is_so: impl Fn(Standing) -> bool) {
    let began = std::time::Instant::now();
    loop {
        let listed = rig.host.list().await.expect("the host is there");
        let standing = listed.iter().find(|one| one.manifest.kind.as_str() == kind).map(|one| one.standing);
        if standing.is_some_and(&is_so) {
            return;
        }
        assert!(began.elapsed() < common::PATIENCE, "never: {what}: {standing:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn each_session_has_a_program_of_its_own_that_stays() {
    let rig = Rig::of("command = [\"./counter.sh\"]\nmode = \"session\"", &[("counter.sh", COUNTER)]).await;
    for (session, wanted) in [(1, "a 1"), (2, "a 1"), (1, "a 2"), (1, "a 3"), (2, "a 2")] {
        let (replies, verdict) = all(rig.send_to("it", session, "a").await).await;
        assert_eq!(replies, [wanted]);
        assert!(is_handled(&verdict, 0));
    }
    assert_eq!(standing(&rig).await, Standing { processes: 2, waiting: 0, open: 0 });
    // One that names no session begins one.
    assert_eq!(rig.ask("a").await.0, ["a 1"]);
}

#[tokio::test]
async fn messages_wait_in_order_until_a_service_is_ready() {
    let service = format!("{}\n", COUNTER.replace("n=0\n", "n=0\necho starting\nsleep 0.3\necho ready\n"));
    let manifest = "command = [\"./service.sh\"]\nmode = \"service\"\nready = { line = \"ready\" }";
    let rig = Rig::of(manifest, &[("service.sh", &service)]).await;
    let mut waiting = Vec::new();
    for number in 0..20 {
        waiting.push(rig.send("it", &number.to_string()).await);
    }
    for (number, outcomes) in waiting.into_iter().enumerate() {
        assert_eq!(all(outcomes).await.0, [format!("{number} {}", number + 1)]);
    }
    assert_eq!(standing(&rig).await.processes, 1);
}

#[tokio::test]
async fn a_queue_takes_no_more_than_it_may_and_says_so() {
    let manifest = "command = [\"sleep\", \"1000\"]\nmode = \"service\"\nready = { line = \"never\" }\n[limits]\nqueue = 3\ngrace_s = 0";
    let rig = Rig::of(manifest, &[]).await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(rig.send("it", "x").await);
    }
    assert!(rig.refusal("one too many").await.contains("limits.queue"));
    assert_eq!(standing(&rig).await.waiting, 3);
    rig.host.shutdown().await;
    for outcomes in waiting {
        assert_eq!(all(outcomes).await.1, Verdict::GivenBack);
    }
}

#[tokio::test]
async fn what_waits_has_no_more_bytes_than_it_may_and_what_programs_have_does_not_count() {
    let keeper = "#!/bin/sh\nread -r line\nwhile :; do sleep 1; done\n";
    let never =
        "command = [\"sleep\", \"1000\"]\nmode = \"service\"\nready = { line = \"never\" }\n[limits]\ngrace_s = 0";
    let keeping = "command = [\"./keeper.sh\"]\nmode = \"session\"\n[limits]\ngrace_s = 0";
    let peerlets: [common::Described<'_>; 2] = [("it", never, &[]), ("keeper", keeping, &[("keeper.sh", keeper)])];
    let rig = Rig::with(&peerlets, |config| config.waiting_bytes = 10_000).await;
    let _kept = rig.send_to("keeper", 1, &"x".repeat(6_000)).await;
    until_standing_of(&rig, "keeper", "it has it", |standing| standing.open == 1).await;
    let mut waiting = Vec::new();
    let began = std::time::Instant::now();
    // The first may be refused while the one before is still on its way into the program.
    while waiting.is_empty() {
        assert!(began.elapsed() < common::PATIENCE, "there is never room");
        let mut outcomes = rig.send("it", &"x".repeat(6_000)).await;
        if tokio::time::timeout(Duration::from_millis(200), outcomes.next()).await.is_err() {
            waiting.push(outcomes);
        }
    }
    assert!(rig.refusal(&"x".repeat(6_000)).await.contains("as much as it can"));
    let small = rig.send("it", "x").await;
    rig.host.shutdown().await;
    assert_eq!(all(small).await.1, Verdict::GivenBack);
}

#[tokio::test]
async fn an_idle_service_is_ended_and_started_again_for_the_next_message() {
    let manifest = "command = [\"./counter.sh\"]\nmode = \"service\"\n[limits]\nidle_s = 1";
    let rig = Rig::of(manifest, &[("counter.sh", COUNTER)]).await;
    assert_eq!(rig.ask("a").await.0, ["a 1"]);
    assert_eq!(rig.ask("a").await.0, ["a 2"]);
    until_standing(&rig, "it is ended", |standing| standing.processes == 0).await;
    assert_eq!(rig.ask("a").await.0, ["a 1"]);
}

#[tokio::test]
async fn a_program_cannot_answer_for_another_session() {
    // Answers the message whose id is its text, and then its own.
    let liar = "#!/usr/bin/python3\nimport json, sys\nfor line in sys.stdin:\n    m = json.loads(line)\n    if m['text'] != 'wait':\n        print(json.dumps({'in_reply_to': m['text'], 'text': 'forged'}), flush=True)\n        print(json.dumps({'in_reply_to': m['id'], 'text': 'own'}), flush=True)\n";
    let manifest = "command = [\"./liar.py\"]\nmode = \"session\"\ninput = \"json\"\noutput = \"json\"\n[limits]\ntime_s = 3\ngrace_s = 0";
    let rig = Rig::of(manifest, &[("liar.py", liar)]).await;
    let victim = envelope("it", "wait", Some(SessionId([1; 16])));
    let target = victim.message.id.to_string();
    let waiting = rig.deliver(victim).await;
    until_standing(&rig, "the victim's program has it", |standing| standing.open == 1).await;
    let (replies, verdict) = all(rig.send_to("it", 2, &target).await).await;
    assert_eq!(replies, ["own"]);
    assert!(is_handled(&verdict, 0));
    let (replies, verdict) = all(waiting).await;
    assert!(replies.is_empty(), "{replies:?}");
    assert!(matches!(verdict, Verdict::Refused { .. }));
}

#[tokio::test]
async fn replies_may_follow_each_other_until_one_is_the_last() {
    let program = "#!/usr/bin/python3\nimport json, sys\nfor line in sys.stdin:\n    m = json.loads(line)\n    for i in range(3):\n        print(json.dumps({'in_reply_to': m['id'], 'xml': f'<n xmlns=\"urn:n\">{i}</n>', 'more': True}), flush=True)\n    print(json.dumps({'in_reply_to': m['id'], 'status': 7}), flush=True)\n";
    let manifest = "command = [\"./many.py\"]\nmode = \"service\"\ninput = \"json\"\noutput = \"json\"";
    let rig = Rig::of(manifest, &[("many.py", program)]).await;
    let (replies, verdict) = rig.send("it", "go").await.all().await;
    let elements: Vec<String> = replies.iter().map(|body: &Body| body.elements()[0].text.clone()).collect();
    assert_eq!(elements, ["0", "1", "2"]);
    assert!(is_handled(&verdict, 7));
}

#[tokio::test]
async fn every_line_reaches_one_who_takes_them_slowly_and_the_program_waits() {
    let manifest =
        "command = [\"seq\", \"20000\"]\nmode = \"oneshot\"\noutput = \"lines\"\n[limits]\noutput_kib = 1000";
    let rig = Rig::of(manifest, &[]).await;
    let mut outcomes = rig.send("it", "go").await;
    assert!(matches!(outcomes.next().await, Some(Outcome::Reply(body)) if body.text() == "1"));
    // Others go on meanwhile.
    assert_eq!(rig.ask("again").await.0.len(), 20_000);
    assert_eq!(standing(&rig).await.processes, 1, "the slow one's program is still there");
    let (replies, verdict) = all(outcomes).await;
    assert_eq!((replies.len(), replies.last().map(String::as_str)), (19_999, Some("20000")));
    assert!(is_handled(&verdict, 0));
}

#[tokio::test]
async fn shutting_down_lets_programs_finish_and_leaves_none() {
    let tidy = "#!/bin/sh\nwhile read -r line; do sleep 0.5; echo \"done with $line\"; done\n";
    let rig = Rig::of("command = [\"./tidy.sh\"]\nmode = \"service\"", &[("tidy.sh", tidy)]).await;
    let outcomes = rig.send("it", "this").await;
    until_standing(&rig, "it has begun", |standing| standing.open == 1).await;
    rig.host.shutdown().await;
    let (replies, verdict) = all(outcomes).await;
    assert_eq!(replies, ["done with this"]);
    assert!(is_handled(&verdict, 0));
    assert!(matches!(rig.host.deliver(Arc::new(envelope("it", "late", None))).await, Err(HostError::Ended)));
    let folder = rig.folder.path().to_string_lossy().into_owned();
    until("nothing is left", || processes_with(&folder).is_empty()).await;
}

#[tokio::test]
async fn peerlets_come_and_go_while_the_host_runs() {
    let rig = Rig::of("command = [\"cat\"]\nmode = \"service\"", &[]).await;
    assert_eq!(rig.ask("a").await.0, ["a"]);
    let source = rig.folder.path().join("source");
    let newer =
        common::write_peerlet(&source, "it", "command = [\"sed\", \"-u\", \"s/^/new /\"]\nmode = \"service\"", &[]);
    rig.host.add(&newer).await.expect("it is added");
    assert_eq!(rig.ask("a").await.0, ["new a"]);
    let kind = "it".parse().expect("a type");
    rig.host.remove(&kind).await.expect("it is there");
    assert!(rig.refusal("a").await.contains("no peerlet"));
    assert!(rig.host.list().await.expect("the host is there").is_empty());
}

#[tokio::test]
async fn peerlets_that_are_added_at_once_are_all_there() {
    let rig = Rig::new(&[]).await;
    let source = rig.folder.path().join("source");
    let kinds = ["a", "b", "c", "d"];
    let sources =
        kinds.map(|kind| common::write_peerlet(&source, kind, "command = [\"cat\"]\nmode = \"oneshot\"", &[]));
    let adding: Vec<_> = sources
        .iter()
        .chain(&sources)
        .map(|source| {
            let (host, source) = (rig.host.clone(), source.clone());
            tokio::spawn(async move { host.add(&source).await })
        })
        .collect();
    for add in adding {
        add.await.expect("it does not panic").expect("it is added");
    }
    let listed = rig.host.list().await.expect("the host is there");
    assert_eq!(listed.iter().map(|one| one.manifest.kind.to_string()).collect::<Vec<_>>(), kinds);
}

#[tokio::test]
async fn several_lines_for_a_program_that_takes_one_are_refused_before_it_sees_them() {
    let rig = Rig::of("command = [\"cat\"]\nmode = \"service\"", &[]).await;
    assert!(rig.refusal("a\nb").await.contains("one line"));
    let xml = Body::of_xml("<a xmlns=\"urn:a\">b</a>".into()).expect("a body");
    let (replies, _) = all(rig.deliver(envelope_from("ana", "it", xml, None)).await).await;
    assert_eq!(replies, ["<a xmlns=\"urn:a\">b</a>"]);
}

#[tokio::test]
async fn a_launcher_that_hangs_does_not_keep_its_program_alive() {
    let manifest = "command = [\"sleep\", \"87654\"]\nmode = \"oneshot\"\n[limits]\ntime_s = 1\ngrace_s = 0";
    let rig = Rig::of(manifest, &[]).await;
    let outcomes = rig.send("it", "go").await;
    until("it runs", || !processes_with("sleep 87654").is_empty()).await;
    let folder = rig.folder.path().join("runtime/control").to_string_lossy().into_owned();
    for warden in processes_with(&folder) {
        let warden = rustix::process::Pid::from_raw(warden as i32).expect("a process");
        rustix::process::kill_process(warden, rustix::process::Signal::STOP).expect("it is ours");
    }
    assert!(matches!(all(outcomes).await.1, Verdict::Refused { .. }));
    until("it is gone", || processes_with("sleep 87654").is_empty()).await;
    until("its launcher too", || processes_with(&folder).is_empty()).await;
}

/// Says where the agent of the next test, which is this very test in another process, has its folders.
const AGENT_FOLDER: &str = "PEERLETS_TEST_AGENT";

#[tokio::test]
async fn an_agent_that_is_killed_takes_its_programs_with_it() {
    if let Ok(folder) = std::env::var(AGENT_FOLDER) {
        let folder = std::path::PathBuf::from(folder);
        let config = HostConfig::new(&folder.join("installed"), &folder.join("runtime"), common::launcher());
        let host = Host::start(config).await.expect("a host");
        host.deliver(Arc::new(envelope("it", "go", None))).await.expect("a host");
        return std::future::pending().await;
    }
    let folder = common::open_folder();
    let installed = folder.path().join("installed");
    std::fs::create_dir(&installed).expect("a folder");
    common::open(&installed);
    let script = "#!/bin/sh\ntrap '' TERM HUP\nsetsid sleep 76543 &\nsleep 76543\n";
    let manifest = "command = [\"./stay.sh\"]\nmode = \"oneshot\"";
    common::write_peerlet(&installed, "it", manifest, &[("stay.sh", script)]);
    let mut agent = std::process::Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "an_agent_that_is_killed_takes_its_programs_with_it", "--nocapture"])
        .env(AGENT_FOLDER, folder.path())
        .spawn()
        .expect("an agent");
    until("both run", || processes_with("sleep 76543").len() >= 2).await;
    agent.kill().expect("it is ours");
    agent.wait().expect("it has ended");
    until("both are gone", || processes_with("sleep 76543").is_empty()).await;
}

/// What was sent before, in the hands of a test.
#[derive(Debug, Default)]
struct Before(std::sync::Mutex<Vec<Arc<Envelope>>>);

impl Past for Before {
    fn tell(&self, kind: &MessageType) -> mpsc::Receiver<Arc<Envelope>> {
        let all: Vec<_> =
            self.0.lock().expect("not poisoned").iter().filter(|one| &one.message.kind == kind).cloned().collect();
        let (told, hears) = mpsc::channel(1);
        tokio::spawn(async move {
            for envelope in all {
                let _ = told.send(envelope).await;
            }
        });
        hears
    }
}

#[tokio::test]
async fn a_service_that_wants_to_is_told_what_was_sent_before_it_is_given_more() {
    // Answers what it is given with the number of those before.
    let counter = "#!/bin/sh\nn=0\nwhile read -r line; do case $line in *'\"past\":true'*) n=$((n + 1));; *'\"text\":\"end\"'*) exit;; *) echo \"$n\";; esac; done\n";
    let manifest = "command = [\"./counter.sh\"]\nmode = \"service\"\ninput = \"json\"\n";
    let before = Arc::new(Before::default());
    let kept = before.clone();
    let peerlets = [
        ("it", &*format!("{manifest}past = true"), &[("counter.sh", counter)][..]),
        ("other", manifest, &[("counter.sh", counter)][..]),
    ];
    let rig = Rig::with(&peerlets, |config| config.past = Some(kept)).await;
    let note = |kind| before.0.lock().expect("not poisoned").push(Arc::new(envelope(kind, "a", None)));
    for kind in ["it", "it", "it", "other"] {
        note(kind);
    }
    assert_eq!(rig.ask("a").await.0, ["3"]);
    assert_eq!(all(rig.send("other", "a").await).await.0, ["0"]);
    note("it");
    assert_eq!(rig.ask("a").await.0, ["3"]);
    // Another program of the peerlet knows all of it.
    assert!(matches!(rig.ask("end").await.1, Verdict::Refused { .. }));
    until_standing_of(&rig, "it", "the program to be gone", |standing| standing.processes == 0).await;
    assert_eq!(rig.ask("a").await.0, ["4"]);
}
