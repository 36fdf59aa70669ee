//! Peers killed, away, lying, full.

use std::fs;

use shoal_testkit::{AgentProcess, wait_until};

use crate::support::*;

fn named<'a>(agents: &'a [AgentProcess], wanted: &str) -> &'a AgentProcess {
    agents.iter().find(|agent| name(agent) == wanted).expect("it runs")
}

#[test]
fn a_peer_that_was_away_gets_what_it_lacks_and_a_killed_owner_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut agents = pool(folder.path(), 4, |_| {});
    let home = make_home(folder.path(), 1);
    let kit = set_up(&agents[0], &home, "2");
    back_up(&agents[0]);
    wait_until_protected(&agents[0], 2);

    let away = holders(&agents[0]).remove(0);
    let at = agents.iter().position(|agent| name(agent) == away).unwrap();
    let options = agents.remove(at).kill().unwrap();
    for number in 0..3 {
        fs::write(home.join(format!("day {number}")), format!("day {number}").repeat(1000)).unwrap();
        back_up(&agents[0]);
    }
    let newest = archives(&agents[0]).remove(0);
    assert!(newest["copies"].as_u64() < Some(2), "one is away: {newest}");

    // The owner dies too, and comes back.
    let owner = agents.remove(0).kill().unwrap();
    agents.insert(0, AgentProcess::start(owner).unwrap());
    agents.push(AgentProcess::start(options).unwrap());
    wait_until_protected(&agents[0], 2);
    assert_eq!(archives(&agents[0]).len(), 4);
    let back = named(&agents, &away);
    let repository = copy_at(back, kit["owner"].as_str().unwrap());
    assert_success(&restic(&repository, kit["passphrase"].as_str().unwrap(), &["check", "--read-data", "--no-lock"]));
}

#[test]
fn a_pack_that_rots_at_a_holder_is_found_and_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let agents = pool(folder.path(), 3, |_| {});
    let home = make_home(folder.path(), 1);
    let kit = set_up(&agents[0], &home, "2");
    back_up(&agents[0]);
    wait_until_protected(&agents[0], 2);
    let repository = copy_at(&agents[1], kit["owner"].as_str().unwrap());
    let pack = largest(&repository.join("data"));
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&pack, &bytes).unwrap();
    let passphrase = kit["passphrase"].as_str().unwrap();
    assert!(!restic(&repository, passphrase, &["check", "--read-data", "--no-lock"]).status.success());
    agents[1].json(&["backup", "scrub"]).unwrap();
    wait_until("the pack to be as it was", DEADLINE, || {
        let sound = restic(&repository, passphrase, &["check", "--read-data", "--no-lock"]).status.success();
        Ok(sound.then_some(()))
    })
    .unwrap();
}

fn largest(folder: &std::path::Path) -> std::path::PathBuf {
    let mut files: Vec<(u64, std::path::PathBuf)> = Vec::new();
    for part in fs::read_dir(folder).unwrap().flatten() {
        for file in fs::read_dir(part.path()).unwrap().flatten() {
            files.push((file.metadata().unwrap().len(), file.path()));
        }
    }
    files.into_iter().max().expect("a pack").1
}
