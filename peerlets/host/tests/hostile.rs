//! Programs that do what they should not: each is held to its limits, its sender hears why, and others are served meanwhile.

#![allow(clippy::expect_used, reason = "a failing test says what failed")]

mod common;

use std::time::{Duration, Instant};

use common::{Described, Rig, all, is_handled, processes_with, until};
use shoal_peerlets::core::Verdict;

/// Another peerlet, which must go on working.
const ECHO: Described<'static> = ("echo", "command = [\"cat\"]\nmode = \"oneshot\"", &[]);

async fn others_are_served(rig: &Rig) {
    let began = Instant::now();
    let (replies, verdict) = all(rig.send("echo", "still here").await).await;
    assert_eq!(replies, ["still here"]);
    assert!(is_handled(&verdict, 0), "{verdict:?}");
    assert!(began.elapsed() < Duration::from_secs(15), "others waited {:?}", began.elapsed());
}

#[tokio::test]
async fn a_fork_bomb_gets_no_further_than_its_processes_and_is_gone_when_its_time_is() {
    let bomb = "#!/usr/bin/python3\nimport os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n";
    let manifest = "command = [\"./bomb.py\"]\nmode = \"oneshot\"\n[limits]\ntime_s = 2\nprocesses = 40\ngrace_s = 1";
    let rig = Rig::new(&[("bomb", manifest, &[("bomb.py", bomb)]), ECHO]).await;
    let outcomes = rig.send("bomb", "go").await;
    let own = rig.folder.path().join("installed/bomb").to_string_lossy().into_owned();
    let count = || processes_with(&own).len();
    let ended = tokio::spawn(all(outcomes));
    let mut most = 0;
    while !ended.is_finished() {
        most = most.max(count());
        tokio::time::sleep(Duration::from_millis(10)).await;
        others_are_served(&rig).await;
    }
    // Where it has a user of its own that is the kernel's limit; what has ended and was not asked for its status yet is seen
    // as well. Elsewhere the kernel counts the user's other processes, and the launcher finds what is too many.
    let root = rustix::process::geteuid().is_root();
    let (least, bound, limit) = if root { (20, 60, "limits.time_s") } else { (0, 400, "limits.") };
    assert!((least..=bound).contains(&most), "{most} processes");
    let verdict = ended.await.expect("it does not panic").1;
    assert!(matches!(&verdict, Verdict::Refused { why } if why.contains(limit)), "{verdict:?}");
    until("all of it is gone", || count() == 0).await;
}

#[tokio::test]
async fn one_that_prints_ten_gigabytes_is_cut_at_its_output() {
    let manifest =
        "command = [\"head\", \"-c\", \"10000000000\", \"/dev/zero\"]\nmode = \"oneshot\"\n[limits]\noutput_kib = 64";
    let rig = Rig::new(&[("it", manifest, &[]), ECHO]).await;
    let began = Instant::now();
    let (replies, verdict) = rig.ask("go").await;
    assert!(replies.is_empty(), "half an answer is none");
    assert!(matches!(&verdict, Verdict::Refused { why } if why.contains("64 KiB")), "{verdict:?}");
    assert!(began.elapsed() < Duration::from_secs(20));
    others_are_served(&rig).await;
}

#[tokio::test]
async fn a_line_without_end_is_cut_as_well() {
    let manifest = "command = [\"cat\", \"/dev/zero\"]\nmode = \"service\"\n[limits]\noutput_kib = 100";
    let why = Rig::of(manifest, &[]).await.refusal("go").await;
    assert!(why.contains("100 KiB") || why.contains("102400 bytes"), "{why}");
}

#[tokio::test]
async fn a_sleeper_that_ignores_being_asked_to_end_is_ended() {
    let sleeper = "#!/bin/sh\ntrap '' TERM INT HUP\nwhile :; do sleep 1000; done\n";
    let manifest = "command = [\"./sleeper.sh\"]\nmode = \"oneshot\"\n[limits]\ntime_s = 1\ngrace_s = 1";
    let rig = Rig::of(manifest, &[("sleeper.sh", sleeper)]).await;
    let began = Instant::now();
    let why = rig.refusal("go").await;
    assert!(why.contains("longer than 1 s"), "{why}");
    assert!(began.elapsed() >= Duration::from_millis(1_900), "it had its time and its grace: {:?}", began.elapsed());
    let folder = rig.folder.path().to_string_lossy().into_owned();
    until("it is gone", || processes_with(&folder).is_empty()).await;
}

#[tokio::test]
async fn what_left_its_process_group_and_session_is_ended_with_the_program() {
    let leaver = "#!/bin/sh\nsetsid sh -c 'trap \"\" TERM HUP; exec sleep 98765' >/dev/null 2>&1 </dev/null &\nsleep 0.3\necho left\n";
    let manifest = "command = [\"./leaver.sh\"]\nmode = \"oneshot\"";
    let rig = Rig::of(manifest, &[("leaver.sh", leaver)]).await;
    let outcomes = rig.send("it", "go").await;
    until("it has left", || !processes_with("sleep 98765").is_empty()).await;
    let (replies, verdict) = all(outcomes).await;
    assert_eq!(replies, ["left\n"]);
    assert!(is_handled(&verdict, 0));
    until("it is gone too", || processes_with("sleep 98765").is_empty()).await;
}

#[tokio::test]
async fn one_that_crashes_whenever_it_is_started_is_given_up_after_ever_longer_waits() {
    let crash = "#!/bin/sh\necho once >> \"$1\"\necho no luck >&2\nexit 3\n";
    let folder = common::open_folder();
    let log = folder.path().join("starts");
    std::fs::write(&log, "").expect("a file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(&log, mode).expect("it is ours");
    let log = log.display();
    // It never says that it is ready, so what waits is never fed, and may be given to the next.
    let manifest = format!(
        "command = [\"./crash.sh\", \"{log}\"]\nmode = \"service\"\nready = {{ line = \"up\" }}\n[rights]\nwrite = [\"{log}\"]"
    );
    let rig = Rig::of(&manifest, &[("crash.sh", crash)]).await;
    let began = Instant::now();
    let why = rig.refusal("go").await;
    assert!(why.contains("status 3") && why.contains("no luck"), "{why}");
    assert!(began.elapsed() >= Duration::from_millis(200 + 400 + 800 + 1_600), "{:?}", began.elapsed());
    let starts = std::fs::read_to_string(log.to_string()).expect("a file");
    assert_eq!(starts.lines().count(), 5);
}

#[tokio::test]
async fn one_that_takes_all_memory_gets_no_more_than_its_own() {
    let hog = "x = []\nwhile True: x.append(bytearray(16 * 1024 * 1024))\n";
    let manifest =
        "command = [\"python3\", \"{folder}/hog.py\"]\nmode = \"oneshot\"\n[limits]\nmemory_mib = 128\ntime_s = 30";
    let rig = Rig::of(manifest, &[("hog.py", hog)]).await;
    let (_, verdict) = rig.ask("go").await;
    assert!(matches!(&verdict, Verdict::Handled { status: 1, said } if said.contains("MemoryError")), "{verdict:?}");
}

#[tokio::test]
async fn many_processes_that_take_a_little_each_are_counted_together() {
    let hog = "import os, time\nfor _ in range(8):\n    if os.fork() == 0: break\nx = bytearray(60 * 1024 * 1024)\nfor i in range(0, len(x), 4096): x[i] = 1\ntime.sleep(60)\n";
    let manifest =
        "command = [\"python3\", \"{folder}/hog.py\"]\nmode = \"oneshot\"\n[limits]\nmemory_mib = 128\ntime_s = 50";
    let why = Rig::of(manifest, &[("hog.py", hog)]).await.refusal("go").await;
    assert!(why.contains("128 MiB"), "{why}");
}

#[tokio::test]
async fn processes_that_the_kernel_lets_it_have_are_counted_by_the_launcher() {
    // With the agent's own user, whose processes are not counted where it is root, and others' with them elsewhere.
    let many = "import os, time\nfor _ in range(150):\n    if os.fork() == 0: break\ntime.sleep(60)\n";
    let manifest = "command = [\"python3\", \"{folder}/many.py\"]\nmode = \"oneshot\"\n[limits]\nprocesses = 40\ntime_s = 50\n[rights]\nexecutes = true\nas_agent = true";
    let why = Rig::of(manifest, &[("many.py", many)]).await.refusal("go").await;
    assert!(why.contains("limits.processes"), "{why}");
}

#[tokio::test]
async fn shared_memory_counts_too() {
    let hog =
        "import mmap, time\nx = mmap.mmap(-1, 1 << 30)\nfor i in range(0, 1 << 30, 4096): x[i] = 1\ntime.sleep(60)\n";
    let manifest =
        "command = [\"python3\", \"{folder}/hog.py\"]\nmode = \"oneshot\"\n[limits]\nmemory_mib = 128\ntime_s = 50";
    let why = Rig::of(manifest, &[("hog.py", hog)]).await.refusal("go").await;
    assert!(why.contains("128 MiB"), "{why}");
}

#[tokio::test]
async fn one_that_reads_nothing_holds_up_nobody_else() {
    let manifest = "command = [\"sleep\", \"1000\"]\nmode = \"service\"\n[limits]\ntime_s = 2\ngrace_s = 0";
    let rig = Rig::new(&[("it", manifest, &[]), ECHO]).await;
    let large = "x".repeat(900_000);
    let waiting = [rig.send("it", &large).await, rig.send("it", &large).await];
    others_are_served(&rig).await;
    for outcomes in waiting {
        assert!(matches!(all(outcomes).await.1, Verdict::Refused { .. }));
    }
}

#[tokio::test]
async fn one_that_closes_its_output_and_stays_is_ended_and_its_message_refused() {
    let closer = "#!/bin/sh\nexec >&-\nexec sleep 1000\n";
    let manifest = "command = [\"./closer.sh\"]\nmode = \"service\"\n[limits]\ntime_s = 40\ngrace_s = 1";
    let rig = Rig::of(manifest, &[("closer.sh", closer)]).await;
    let began = Instant::now();
    let why = rig.refusal("go").await;
    assert!(!why.is_empty());
    assert!(began.elapsed() < Duration::from_secs(20), "nobody waits for what cannot come");
}

#[tokio::test]
async fn a_oneshot_that_closes_its_output_and_stays_has_its_time() {
    let closer = "#!/bin/sh\necho bye\nexec >&- 2>&-\nsleep 0.5\nexit 4\n";
    let rig = Rig::of("command = [\"./closer.sh\"]\nmode = \"oneshot\"", &[("closer.sh", closer)]).await;
    let (replies, verdict) = rig.ask("go").await;
    assert_eq!(replies, ["bye\n"]);
    assert!(is_handled(&verdict, 4), "{verdict:?}");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let why = Rig::of("command = [\"no-such-program\"]\nmode = \"oneshot\"", &[]).await.refusal("go").await;
    assert!(why.contains("no-such-program") && why.contains("install it"), "{why}");
    let why = Rig::of("command = [\"/no/such/program\"]\nmode = \"oneshot\"", &[]).await.refusal("go").await;
    assert!(why.contains("/no/such/program"), "{why}");
}

#[tokio::test]
async fn a_script_whose_interpreter_is_missing_is_refused_with_the_reason() {
    let script = "#!/no/such/interpreter\n";
    let rig = Rig::of("command = [\"./script\"]\nmode = \"oneshot\"", &[("script", script)]).await;
    let why = rig.refusal("go").await;
    assert!(why.contains("cannot run") && why.contains("script"), "{why}");
}

#[tokio::test]
async fn a_service_that_prints_no_replies_is_ended_for_it() {
    let manifest = "command = [\"cat\"]\nmode = \"service\"\noutput = \"json\"";
    let why = Rig::of(manifest, &[]).await.refusal("this is no JSON").await;
    assert!(why.contains("printed no reply"), "{why}");
}

#[tokio::test]
async fn a_file_grows_no_further_than_it_may() {
    let manifest = "command = [\"dd\", \"if=/dev/zero\", \"of=big\", \"bs=1M\", \"count=50\"]\nmode = \"oneshot\"\n[limits]\nfile_mib = 2";
    let (_, verdict) = Rig::of(manifest, &[]).await.ask("go").await;
    // 128 and SIGXFSZ, or dd's own failure where it has that signal ignored.
    assert!(is_handled(&verdict, 153) || is_handled(&verdict, 1), "{verdict:?}");
}

#[test]
fn all_this_holds_for_an_agent_that_is_not_root_as_well() {
    common::again_as_another_user("all_this_holds");
}
