//! Files between real agents: whole, resumed after anybody was killed, refused with a reason, and never more than their owners
//! allow (D7).

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failing test says what failed")]

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use shoal_testkit::{AgentOptions, AgentProcess, RandomBytes, SmallDisk, free_port_base, start_pool, wait_until};

const DEADLINE: Duration = Duration::from_secs(120);
const MB: u64 = 1_000_000;
/// What may be fetched again after a kill: pieces that were on their way.
const AGAIN_BYTES: u64 = 24 * 1024 * 1024;

fn pool_with(folder: &Path, count: u16, prepare: impl Fn(&mut AgentOptions)) -> Vec<AgentProcess> {
    let port = free_port_base(10 * count).expect("ports");
    let prepare = |options: &mut AgentOptions| {
        prepare(options);
        Ok(())
    };
    start_pool(Path::new(env!("CARGO_BIN_EXE_shoal")), folder, port, count, prepare).expect("a pool")
}

fn pool(folder: &Path, count: u16) -> Vec<AgentProcess> {
    pool_with(folder, count, |_| {})
}

fn name(agent: &AgentProcess) -> String {
    agent.data().file_name().expect("a name").to_string_lossy().into_owned()
}

/// A file of bytes that do not repeat.
fn make_file(path: &Path, seed: u64, bytes: u64) {
    let length = usize::try_from(bytes).expect("a length");
    fs::write(path, RandomBytes::new(seed).take(length)).expect("written");
}

/// Sends and returns the transfer's id.
fn send(agent: &AgentProcess, paths: &[&Path], more: &[&str]) -> String {
    let mut arguments = vec!["files", "send"];
    arguments.extend(paths.iter().map(|path| path.to_str().expect("a path")));
    arguments.extend(more);
    let sent = agent.json(&arguments).expect("sent");
    sent["transfer"].as_str().expect("a transfer").to_owned()
}

fn outgoing(agent: &AgentProcess, transfer: &str) -> Value {
    find(&agent.json(&["files", "list"]).expect("a list")["outgoing"], transfer).expect("it is sent")
}

fn incoming(agent: &AgentProcess, transfer: &str) -> Option<Value> {
    find(&agent.json(&["files", "list"]).expect("a list")["incoming"], transfer)
}

fn find(list: &Value, transfer: &str) -> Option<Value> {
    list.as_array().unwrap().iter().find(|one| one["transfer"] == transfer).cloned()
}

fn recipient(sent: &Value, name: &str) -> Value {
    let all = sent["recipients"].as_array().unwrap();
    all.iter().find(|one| one["name"] == name).cloned().unwrap_or_else(|| panic!("{name} is no recipient: {sent}"))
}

fn wait_for_recipient(agent: &AgentProcess, transfer: &str, name: &str, state: &str) -> Value {
    wait_until(&format!("{name} to be {state}"), DEADLINE, || {
        let seen = recipient(&outgoing(agent, transfer), name);
        if seen["state"] == state { Ok(Some(seen)) } else { Err(anyhow::anyhow!("{seen}")) }
    })
    .expect("the state")
}

fn place(agent: &AgentProcess, transfer: &str) -> PathBuf {
    agent.data().join("files/in").join(transfer)
}

/// Waits until so many bytes of a transfer's first file are at an agent.
fn wait_for_bytes(agent: &AgentProcess, transfer: &str, bytes: u64) {
    let parts = place(agent, transfer).join("parts");
    wait_until("the first bytes to come", DEADLINE, || {
        let lengths = fs::read_dir(&parts).into_iter().flatten().flatten().filter_map(|part| part.metadata().ok());
        Ok((lengths.map(|part| part.len()).sum::<u64>() >= bytes).then_some(()))
    })
    .expect("bytes");
}

fn hash(path: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update_reader(fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .expect("read");
    hasher.finalize().to_hex().to_string()
}

/// All files and folders below a folder with hashes, modes that may be run, and times.
fn tree(folder: &Path) -> Vec<(PathBuf, String, bool, u128)> {
    let mut all = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).expect("listed").flatten() {
            let found = entry.metadata().expect("metadata");
            let path = entry.path();
            let short = path.strip_prefix(folder).expect("below").to_owned();
            if found.is_dir() {
                all.push((short, String::new(), false, 0));
                open.push(path);
            } else {
                let since = found.modified().expect("a time").duration_since(std::time::UNIX_EPOCH).expect("later");
                all.push((short, hash(&path), found.permissions().mode() & 0o100 != 0, since.as_millis()));
            }
        }
    }
    all.sort();
    all
}

#[test]
fn a_large_file_and_a_folder_of_small_ones_reach_two_agents_though_one_is_killed_on_the_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut agents = pool(folder.path(), 3);
    let home = folder.path().join("home");
    let many = home.join("many files");
    fs::create_dir_all(many.join("deep/empty")).expect("made");
    for number in 0..500u64 {
        make_file(
            &many.join(format!("{}{number}.dat", if number % 2 == 0 { "deep/" } else { "" })),
            number,
            number * 7,
        );
    }
    fs::set_permissions(many.join("1.dat"), fs::Permissions::from_mode(0o755)).expect("set");
    std::os::unix::fs::symlink("/etc/passwd", many.join("link")).expect("linked");
    let large = home.join("large.bin");
    make_file(&large, 1, 200 * MB);
    let (first, second) = (name(&agents[1]), name(&agents[2]));
    let transfer = send(&agents[0], &[&large, &many], &["--on", &format!("{first},{second}"), "--note", "as promised"]);

    wait_for_bytes(&agents[1], &transfer, 40 * MB);
    let options = agents.remove(1).kill().expect("killed");
    let part = folder.path().join("agent-1/files/in").join(&transfer).join("parts/0");
    let kept = fs::metadata(part).expect("a part of it is kept").len();
    assert!(kept < 200 * MB, "it was killed on the way");
    let back = AgentProcess::start(options).expect("it comes back");
    for (agent, name) in [(&back, &first), (&agents[1], &second)] {
        let done = wait_for_recipient(&agents[0], &transfer, name, "done");
        let total = outgoing(&agents[0], &transfer)["bytes"].as_u64().expect("bytes");
        let served = done["served_bytes"].as_u64().expect("bytes");
        assert!(served >= total && served <= total + AGAIN_BYTES, "{name} was given {served} of {total} bytes");
        let came = incoming(agent, &transfer).expect("it came");
        assert_eq!((came["state"].as_str(), came["note"].as_str()), (Some("done"), Some("as promised")));
        let to = folder.path().join(format!("out of {name}"));
        agent.json(&["files", "get", &transfer[..8], "--to", to.to_str().unwrap()]).expect("copied out");
        fs::remove_file(many.join("link")).unwrap_or_default();
        assert_eq!(tree(&to), tree(&home));
    }
    let pulled = incoming(&back, &transfer).expect("it came")["pulled_bytes"].as_u64().expect("bytes");
    assert!(pulled <= 200 * MB - kept + 2 * MB, "{pulled} bytes were fetched after {kept} were there");
    // Nobody needs the bytes any more.
    let content = agents[0].data().join("files/out").join(&transfer).join("content");
    wait_until("the sender to let go of the bytes", DEADLINE, || Ok((!content.exists()).then_some(()))).expect("gone");
    assert_eq!(outgoing(&agents[0], &transfer)["state"], "ended");
}

#[test]
fn a_sender_that_is_killed_and_one_that_sleeps_are_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut agents = pool(folder.path(), 2);
    let large = folder.path().join("large.bin");
    make_file(&large, 2, 150 * MB);
    let receiver = name(&agents[1]);
    let transfer = send(&agents[0], &[&large], &["--on", &receiver]);
    wait_for_bytes(&agents[1], &transfer, 20 * MB);
    let options = agents.remove(0).kill().expect("killed");
    wait_until("the receiver to say that it waits", DEADLINE, || {
        let seen = incoming(&agents[0], &transfer).expect("it is known");
        let waits = seen["state"] == "waiting" && seen["why"].as_str().unwrap_or_default().contains("does not answer");
        if waits { Ok(Some(())) } else { Err(anyhow::anyhow!("{seen}")) }
    })
    .expect("it waits");
    let back = AgentProcess::start(options).expect("it comes back");
    wait_for_recipient(&back, &transfer, &receiver, "done");
    let came = incoming(&agents[0], &transfer).expect("it came");
    let pulled = came["pulled_bytes"].as_u64().expect("bytes");
    assert!(pulled <= 150 * MB + AGAIN_BYTES, "{pulled} bytes were fetched");
    assert_eq!(hash(&place(&agents[0], &transfer).join("content/large.bin")), hash(&large));
}

#[test]
fn who_is_away_gets_it_later_and_changed_bytes_are_never_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut agents = pool(folder.path(), 2);
    let receiver = name(&agents[1]);
    let files: Vec<PathBuf> = ["fine", "changed", "shorter"].iter().map(|name| folder.path().join(name)).collect();
    for (seed, file) in files.iter().enumerate() {
        make_file(file, seed as u64, 3 * MB);
    }
    let options = agents.remove(1).kill().expect("killed");
    let sent: Vec<String> = files.iter().map(|file| send(&agents[0], &[file], &["--on", &receiver])).collect();
    assert_eq!(recipient(&outgoing(&agents[0], &sent[0]), &receiver)["state"], "waiting");
    // What a sender does to bytes that it has offered.
    let content = |transfer: &str| {
        let path = agents[0].data().join("files/out").join(transfer).join("content/0");
        fs::File::options().write(true).open(path).expect("the content")
    };
    content(&sent[1]).write_all_at(b"other", 2_000_000).expect("changed");
    content(&sent[2]).set_len(1_000_000).expect("cut");
    let back = AgentProcess::start(options).expect("it comes back");
    wait_for_recipient(&agents[0], &sent[0], &receiver, "done");
    let changed = wait_for_recipient(&agents[0], &sent[1], &receiver, "failed");
    assert!(changed["why"].as_str().unwrap().contains("another hash"), "{changed}");
    let shorter = wait_for_recipient(&agents[0], &sent[2], &receiver, "failed");
    assert!(shorter["why"].as_str().unwrap().contains("no such piece"), "{shorter}");
    for transfer in &sent[1..] {
        assert!(!place(&back, transfer).join("content").exists(), "nothing of it is kept");
    }
}

#[test]
fn what_does_not_fit_and_what_leads_elsewhere_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    // All that is free is the second owner's own.
    let mut agents = pool_with(folder.path(), 3, |options| {
        if options.data.ends_with("agent-1") {
            options.arguments = vec!["--reserve".to_owned(), u64::MAX.to_string()];
        }
    });
    let (full, other) = (name(&agents[1]), name(&agents[2]));
    let file = folder.path().join("report.txt");
    fs::write(&file, "all of it").expect("written");
    let output = agents[0].shoal(&["files", "send", file.to_str().unwrap(), "--on", &full, "--wait"]).expect("run");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("failed: it takes 9 B, and the disk has 0 B left"), "{said}");

    // An offer that nobody's CLI makes.
    let id = "01234567-89ab-4cde-8f01-23456789abcd";
    let zero = "0".repeat(64);
    let offer = |path: &str| {
        format!(
            "<offer xmlns=\"urn:shoal:files:1\" transfer=\"{id}\" files=\"1\" size=\"9\"><file path=\"{path}\" size=\"9\" hash=\"{zero}\"/></offer>"
        )
    };
    let raw = folder.path().join("offer.xml");
    for (path, status) in [("../../key", 1), ("/etc/passwd", 1), ("a/../b", 1), ("CON", 1), ("fine", 0)] {
        fs::write(&raw, offer(path)).expect("written");
        let sent = agents[0].json(&["send", "files", "--on", &other, "--xml", raw.to_str().unwrap()]).expect("sent");
        let message = sent["messages"][0]["id"].as_str().expect("an id").to_owned();
        let state = wait_until("the offer to be looked at", DEADLINE, || {
            let states = agents[0].json(&["message", &message])?;
            Ok(states["recipients"][0]["exit_status"].as_i64())
        });
        assert_eq!(state.expect("a state"), status, "{path}");
    }
    // There is no such transfer at its sender.
    let failed = wait_until("what is not there to fail", DEADLINE, || {
        Ok(incoming(&agents[2], id).filter(|one| one["state"] == "failed"))
    });
    assert!(failed.expect("it failed")["why"].as_str().unwrap().contains("does not keep it any more"));

    // A transfer that was offered to one, who sleeps, is not given to another who knows its name.
    let other = agents.remove(2);
    drop(agents.remove(1));
    let stopped = send(&agents[0], &[&file], &["--on", &full]);
    let mine = agents[0].data().join("files/out").join(&stopped);
    assert!(!mine.join("draft.json").exists() && mine.join("manifest").exists());
    fs::write(&raw, offer("fine").replace(id, &stopped)).expect("written");
    agents[0].json(&["send", "files", "--on", &name(&other), "--xml", raw.to_str().unwrap()]).expect("sent");
    let refused = wait_until("the other one to be refused", DEADLINE, || {
        Ok(incoming(&other, &stopped).filter(|one| one["state"] == "failed"))
    });
    assert_eq!(refused.expect("it is refused")["why"], "it was not sent to that agent");
    assert_eq!(recipient(&outgoing(&agents[0], &stopped), &full)["state"], "waiting");
    assert!(!place(&other, &stopped).join("content/fine").exists());
}

#[test]
fn a_group_gets_it_and_nobody_else_and_a_page_takes_a_folder_along_as_one_archive() {
    let folder = tempfile::tempdir().expect("a folder");
    let agents = pool(folder.path(), 4);
    let home = folder.path().join("home");
    let photos = home.join("photos");
    fs::create_dir_all(photos.join("été/empty")).expect("made");
    make_file(&photos.join("été/large.bin"), 3, 2 * MB);
    fs::write(photos.join("none.txt"), "").expect("written");
    fs::write(photos.join("run.sh"), "#!/bin/sh\n").expect("written");
    let names: Vec<String> = agents.iter().map(name).collect();
    agents[0].json(&["group", "set", "lab", &names[1], &names[3]]).expect("a group");
    let transfer = send(&agents[0], &[&photos], &["--group", "lab"]);
    for name in [&names[1], &names[3]] {
        wait_for_recipient(&agents[0], &transfer, name, "done");
    }
    let sent = outgoing(&agents[0], &transfer);
    assert_eq!((sent["recipients"].as_array().map(Vec::len), &sent["to"]), (Some(2), &"group lab".into()));
    assert_eq!((incoming(&agents[2], &transfer), incoming(&agents[0], &transfer)), (None, None));

    let fetch = |agent: &AgentProcess| {
        let path = format!("/api/v1/files/{transfer}/archive");
        agent.api().request("GET", &path, &[], b"").expect("an answer")
    };
    let answer = fetch(&agents[1]).expect(&[200]).expect("an archive");
    assert_eq!(answer.header("content-type"), Some("application/zip"));
    let archive = folder.path().join("photos.zip");
    fs::write(&archive, &answer.body).expect("written");
    let unpacked = folder.path().join("unpacked");
    let script =
        "import sys, zipfile\na = zipfile.ZipFile(sys.argv[1])\nassert a.testzip() is None\na.extractall(sys.argv[2])";
    let python = Command::new("python3").args(["-c", script]).args([&archive, &unpacked]).output().expect("python3");
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
    let contents = |folder: &Path| tree(folder).into_iter().map(|(path, hash, ..)| (path, hash)).collect::<Vec<_>>();
    assert_eq!(contents(&unpacked), contents(&home));
    assert_eq!(fetch(&agents[2]).status, 404);
}

#[test]
fn a_disk_that_runs_full_on_the_way_is_told_of_leaves_no_half_file_and_is_gone_on_with() {
    const SIZE_BYTES: u64 = 160 * MB;
    let folder = tempfile::tempdir().expect("a folder");
    let mut agents = pool_with(folder.path(), 2, |options| {
        options.arguments = ["--reserve", "0", "--cap", "100000000"].map(str::to_owned).to_vec();
    });
    let options = agents.remove(1).kill().expect("killed");
    let Some(disk) = SmallDisk::mount(options.data.join("files"), SIZE_BYTES + 20 * MB).expect("a folder") else {
        eprintln!("skipped: only root may mount the small disk this test fills");
        return;
    };
    agents.push(AgentProcess::start(options).expect("it comes back"));
    let large = folder.path().join("large.bin");
    make_file(&large, 4, SIZE_BYTES);
    let receiver = name(&agents[1]);
    let transfer = send(&agents[0], &[&large], &["--on", &receiver]);
    wait_for_bytes(&agents[1], &transfer, 10 * MB);
    disk.fill().expect("filled");

    let full = wait_until("the sender to know why nothing comes", DEADLINE, || {
        let seen = recipient(&outgoing(&agents[0], &transfer), &receiver);
        let says = seen["why"].as_str().unwrap_or_default().contains("the disk has run full");
        if says { Ok(Some(seen)) } else { Err(anyhow::anyhow!("{seen}")) }
    });
    assert_eq!(full.expect("it is told")["state"], "receiving");
    // Between two tries it says what it waits for.
    wait_until("the receiver to say so too", DEADLINE, || {
        let seen = incoming(&agents[1], &transfer).expect("it is known");
        let says =
            seen["state"] == "waiting" && seen["why"].as_str().unwrap_or_default().contains("the disk has run full");
        if says { Ok(Some(())) } else { Err(anyhow::anyhow!("{seen}")) }
    })
    .expect("it waits");
    let target = place(&agents[1], &transfer).join("content/large.bin");
    let kept = fs::metadata(place(&agents[1], &transfer).join("parts/0")).expect("a part of it is kept").len();
    assert!(kept < SIZE_BYTES && !target.exists(), "{kept} bytes are there");

    fs::remove_file(disk.filler()).expect("removed");
    let done = wait_for_recipient(&agents[0], &transfer, &receiver, "done");
    assert_eq!(hash(&target), hash(&large));
    let served = done["served_bytes"].as_u64().expect("bytes");
    assert!(served <= SIZE_BYTES + AGAIN_BYTES, "{served} bytes were given");
    assert_eq!(done.get("why"), None, "{done}");
}

#[test]
fn what_is_handed_in_and_broken_off_is_given_up_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let agents = pool_with(folder.path(), 1, |options| {
        fs::create_dir_all(&options.data).expect("made");
        fs::write(options.data.join("agent.toml"), "version = 1\n[files]\nupload_patience_s = 1\n").expect("written");
    });
    let agent = &agents[0];
    let json = [("Content-Type", "application/json")];
    let body = br#"{"entries":[{"path":"report.txt","size_bytes":10}],"note":"the report"}"#;
    let begun = agent.api().request("POST", "/api/v1/files", &json, body).expect("an answer");
    let begun: Value = serde_json::from_slice(&begun.expect(&[200]).expect("begun").body).expect("JSON");
    let transfer = begun["transfer"].as_str().expect("an id").to_owned();
    let piece = format!("/api/v1/files/{transfer}/content/0");
    agent.api().request("PUT", &piece, &[], b"half").expect("an answer").expect(&[200]).expect("taken");
    let ended = wait_until("it to be given up", DEADLINE, || {
        let seen = outgoing(agent, &transfer);
        Ok((seen["state"] == "ended").then_some(seen))
    });
    let ended = ended.expect("it is given up");
    assert_eq!(ended["why"].as_str(), Some("given up: nothing more of it was handed in for 1 second"), "{ended}");
    let bytes = folder.path().join("agent-0/files/out").join(&transfer).join("content/0");
    wait_until("its bytes to go", DEADLINE, || Ok((!bytes.exists()).then_some(()))).expect("they go");
    let more = format!("{piece}?offset=4");
    let refused = agent.api().request("PUT", &more, &[], b"more").expect("an answer");
    let said = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(refused.status == 409 && said.contains("given up"), "{} {said}", refused.status);
    let list = String::from_utf8(agent.shoal(&["files", "list"]).expect("runs").stdout).expect("text");
    assert!(list.contains("1 file, ") && list.contains("given up: nothing more"), "{list}");
}

#[test]
fn copying_out_replaces_nothing_and_what_is_removed_does_not_come_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut agents = pool(folder.path(), 2);
    let receiver = name(&agents[1]);
    let file = folder.path().join("report.txt");
    fs::write(&file, "the new one").expect("written");
    // To both: a sender is one of all.
    let transfer = send(&agents[0], &[&file], &["--all"]);
    wait_for_recipient(&agents[0], &transfer, &receiver, "done");
    wait_for_recipient(&agents[0], &transfer, &name(&agents[0]), "done");
    let to = folder.path().join("to");
    fs::create_dir(&to).expect("made");
    fs::write(to.join("report.txt"), "an old one").expect("written");
    let get = |more: &[&str]| {
        let arguments = [&["files", "get", &transfer, "--to", to.to_str().unwrap()], more].concat();
        agents[1].shoal(&arguments).expect("run")
    };
    assert_eq!(get(&[]).status.code(), Some(5));
    assert_eq!(fs::read(to.join("report.txt")).expect("read"), b"an old one");
    assert!(get(&["--force"]).status.success());
    assert_eq!(fs::read(to.join("report.txt")).expect("read"), b"the new one");
    assert!(get(&[]).status.success(), "what is there already is no reason to fail");
    assert_eq!(fs::read_dir(&to).expect("listed").count(), 1, "no part is left");

    agents[1].json(&["files", "remove", &transfer]).expect("removed");
    assert_eq!(incoming(&agents[1], &transfer), None);
    let options = agents.remove(1).kill().expect("killed");
    let back = AgentProcess::start(options).expect("it comes back");
    let later = send(&agents[0], &[&file], &["--on", &receiver]);
    wait_for_recipient(&agents[0], &later, &receiver, "done");
    assert_eq!(incoming(&back, &transfer), None);
    assert!(!place(&back, &transfer).join("content").exists());
}
