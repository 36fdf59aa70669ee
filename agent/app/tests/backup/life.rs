//! A backup's life: set up, changed, restored, moved to another PC.

use std::fs;

use serde_json::Value;
use shoal_testkit::{AgentProcess, wait_until};

use crate::support::*;

#[test]
fn two_homes_are_backed_up_and_come_back_by_file_by_archive_and_onto_another_pc() {
    let folder = tempfile::tempdir().unwrap();
    let mut agents = pool(folder.path(), 6, |_| {});
    let homes = [make_home(folder.path(), 1), make_home(folder.path(), 2)];
    let kits = [set_up(&agents[0], &homes[0], "2"), set_up(&agents[1], &homes[1], "2")];
    let first = back_up(&agents[0]);
    back_up(&agents[1]);
    wait_until_protected(&agents[0], 2);
    wait_until_protected(&agents[1], 2);
    let before = content(&homes[0]);

    // Changed, deleted, added: the second archive has it so, the first as it was.
    fs::write(homes[0].join("documents/letter 1.txt"), "changed").unwrap();
    fs::remove_file(homes[0].join("documents/letter 3.txt")).unwrap();
    fs::write(homes[0].join("new.txt"), "new").unwrap();
    let second = back_up(&agents[0]);
    assert!(second > first);
    wait_until_protected(&agents[0], 2);
    let after = content(&homes[0]);
    let (from, to) = (first.to_string(), second.to_string());
    let difference = agents[0].json(&["archives", "diff", &from, &to]).unwrap().to_string();
    for name in ["letter 1.txt", "letter 3.txt", "new.txt"] {
        assert!(difference.contains(name), "{difference}");
    }
    assert!(!difference.contains("letter 4.txt"), "{difference}");

    // One file, in place, as it was.
    let path = homes[0].join("documents/letter 3.txt");
    agents[0].json(&["restore", &from, path.to_str().unwrap(), "--yes"]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), before[std::path::Path::new("documents/letter 3.txt")].2);
    assert_eq!(fs::read(homes[0].join("documents/letter 1.txt")).unwrap(), b"changed", "nothing else is touched");

    // A date, aside.
    let aside = folder.path().join("aside");
    agents[0].json(&["restore", &from, "--to", aside.to_str().unwrap()]).unwrap();
    assert_eq!(content(&aside.join(homes[0].strip_prefix("/").unwrap())), before);

    // Everything onto a PC that holds nothing of it, with only the kit, when the owner is gone for good.
    let owner = kits[0]["owner"].as_str().unwrap().to_owned();
    let passphrase = kits[0]["passphrase"].as_str().unwrap().to_owned();
    let held_by = holders(&agents[0]);
    assert_eq!(held_by.len(), 2, "{held_by:?}");
    let gone = agents.remove(0);
    gone.kill().unwrap();
    fs::remove_dir_all(&homes[0]).unwrap();
    let stranger = agents.iter().find(|agent| !held_by.contains(&name(agent))).unwrap();
    let whole = folder.path().join("whole");
    let arguments = ["restore", "latest", "--from", &owner, "--to", whole.to_str().unwrap(), "--json"];
    assert_success(&with_passphrase(stranger, &passphrase, &arguments));
    assert_eq!(content(&whole.join(homes[0].strip_prefix("/").unwrap())), after);
    let wrong = with_passphrase(stranger, "wrong", &["archives", "--from", &owner]);
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("passphrase"));

    read_without_shoal(&agents, &held_by, &owner, &passphrase, folder.path());
}

/// Every copy is a repository that the stock program checks and restores.
fn read_without_shoal(
    agents: &[AgentProcess],
    held_by: &[String],
    owner: &str,
    passphrase: &str,
    folder: &std::path::Path,
) {
    for holder in agents.iter().filter(|agent| held_by.contains(&name(agent))) {
        let repository = copy_at(holder, owner);
        assert_success(&restic(&repository, passphrase, &["check", "--read-data", "--no-lock"]));
        let target = folder.join(format!("by-restic-{}", name(holder)));
        let arguments = ["restore", "latest", "--no-lock", "--target", target.to_str().unwrap()];
        assert_success(&restic(&repository, passphrase, &arguments));
        assert!(target.join(folder.strip_prefix("/").unwrap()).join("home-1/new.txt").exists());
    }
}

#[test]
fn restoring_up_to_an_archive_brings_back_what_later_ones_lack_and_deletes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let agents = pool(folder.path(), 2, |_| {});
    let home = make_home(folder.path(), 1);
    set_up(&agents[0], &home, "1");
    back_up(&agents[0]);
    fs::remove_file(home.join("documents/letter 5.txt")).unwrap();
    fs::write(home.join("documents/letter 6.txt"), "second").unwrap();
    let second = back_up(&agents[0]).to_string();
    fs::write(home.join("documents/letter 6.txt"), "third").unwrap();
    fs::write(home.join("unknown"), "not in any archive").unwrap();
    let plan = agents[0].json(&["restore", &second, "--up-to", "--dry-run"]).unwrap();
    assert!(plan.to_string().contains("letter 6.txt"), "{plan}");
    assert_eq!(fs::read(home.join("documents/letter 6.txt")).unwrap(), b"third", "a plan changes nothing");
    agents[0].json(&["restore", &second, "--up-to", "--yes"]).unwrap();
    assert!(home.join("documents/letter 5.txt").exists(), "of the first archive");
    assert_eq!(fs::read(home.join("documents/letter 6.txt")).unwrap(), b"second", "the later one wins");
    assert_eq!(fs::read(home.join("unknown")).unwrap(), b"not in any archive");
    commands_say_what_there_is(&agents, &home, &second);
}

/// Files, rights, folders that are not there, names that nothing has, and how such commands end.
fn commands_say_what_there_is(agents: &[AgentProcess], home: &std::path::Path, archive: &str) {
    let shoal = |arguments: &[&str]| {
        let output = agents[0].shoal(arguments).unwrap();
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        (output.status.code(), said)
    };
    let letter = home.join("documents/letter 2.txt");
    let letter = letter.to_str().unwrap();
    let listed = agents[0].json(&["archives", "ls", archive, letter]).unwrap();
    assert_eq!((&listed["entries"][0]["path"], &listed["entries"][0]["mode"]), (&letter.into(), &"0640".into()));
    assert_eq!(listed["entries"].as_array().map(Vec::len), Some(1));
    let (code, said) = shoal(&["archives", "ls", archive, letter]);
    assert!(code == Some(0) && said.starts_with("-rw-r-----  "), "{said}");
    assert_eq!(shoal(&["archives", "ls", archive, "/no/such"]).0, Some(5));
    let (code, said) = shoal(&["archives", "find", "*.nowhere"]);
    assert!(code == Some(1) && said.contains("no archive has anything like *.nowhere"), "{code:?}: {said}");

    fs::set_permissions(letter, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(home.join("documents/\u{202e}cod.\u{1b}[2J"), "a name that a terminal would follow").unwrap();
    back_up(&agents[0]);
    let (code, said) = shoal(&["archives", "diff", archive, "latest"]);
    assert!(code == Some(0) && said.contains("letter 2.txt  (was -rw-r----- "), "{said}");
    assert!(said.contains("/%E2%80%AEcod.%1B[2J") && !said.contains(['\u{202e}', '\u{1b}']), "{said}");

    let (code, said) = shoal(&["backup", "set", "--root", "/no/such"]);
    assert!(code == Some(5) && said.contains("--allow-missing"), "{code:?}: {said}");
    let plan = agents[0].json(&["backup", "set", "--root", "/no/such", "--allow-missing"]).unwrap();
    assert_eq!(plan["missing"], serde_json::json!(["/no/such"]));
    let scrub = agents[1].json(&["backup", "scrub", "--wait"]).unwrap();
    assert!(scrub["objects"].as_u64() > Some(0) && scrub["damaged"] == 0, "{scrub}");
    let one = home.parent().unwrap().join("one");
    let (code, said) = shoal(&["restore", "latest", letter, "--to", one.to_str().unwrap()]);
    assert!(code == Some(0) && said.contains("1 file, "), "{said}");
}

#[test]
fn restoring_is_proven_by_an_agent_that_holds_no_copy_and_changes_are_mirrored_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let agents = pool(folder.path(), 4, |_| {});
    let home = make_home(folder.path(), 1);
    set_up(&agents[0], &home, "1");
    let assigned = name(&agents[1]);
    agents[0].json(&["backup", "peers", &assigned]).unwrap();
    back_up(&agents[0]);
    // Another one may have been chosen first; it ends some time after.
    wait_until("the assigned peer to hold everything", DEADLINE, || {
        let peers = status(&agents[0])["peers"].as_array().cloned().unwrap_or_default();
        let holds = |peer: &Value| peer["name"] == assigned.as_str() && peer["lacking_bytes"] == 0;
        Ok(peers.iter().any(holds).then_some(()))
    })
    .unwrap();
    wait_until_protected(&agents[0], 1);

    let proof = agents[0].json(&["backup", "drill", "--wait"]).unwrap();
    assert!(proof["result"]["good_files"].as_u64() >= Some(40), "{proof}");
    assert_eq!(proof["result"]["bad_files"], 0);
    let nodes = agents[0].json(&["status"]).unwrap()["nodes"].as_array().unwrap().clone();
    let tester = nodes.iter().find(|node| node["id"] == proof["by"]).expect("it is a member");
    let tester = tester["name"].as_str().unwrap().to_owned();
    assert!(tester != name(&agents[0]) && !holders(&agents[0]).contains(&tester), "{tester} holds no copy");
    assert!(status(&agents[0])["full_restore_ms"].as_u64().is_some());

    agents[0].json(&["backup", "set", "--continuous", "on"]).unwrap();
    fs::write(home.join("just written.txt"), "nobody asked for an archive").unwrap();
    wait_until("the new file to be in a protected archive", DEADLINE, || {
        let found = agents[0].json(&["archives", "find", "just written.txt"])?;
        let found = found["entries"].as_array().is_some_and(|entries| !entries.is_empty());
        let whole = archives(&agents[0]).iter().all(|archive| archive["copies"].as_u64() >= Some(1));
        Ok((found && whole).then_some(()))
    })
    .unwrap();
}
