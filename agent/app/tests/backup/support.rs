//! Pools with homes to back up.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use shoal_testkit::{AgentOptions, AgentProcess, RandomBytes, free_port_base, start_pool, wait_until};

pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

pub(crate) fn pool(folder: &Path, count: u16, prepare: impl Fn(&mut AgentOptions)) -> Vec<AgentProcess> {
    let port = free_port_base(10 * count).expect("ports");
    let prepare = |options: &mut AgentOptions| {
        prepare(options);
        Ok(())
    };
    start_pool(Path::new(env!("CARGO_BIN_EXE_shoal")), folder, port, count, prepare).expect("a pool")
}

pub(crate) fn name(agent: &AgentProcess) -> String {
    agent.data().file_name().expect("a name").to_string_lossy().into_owned()
}

/// A home folder: documents, a large file, a link, a folder without anything, names that are odd.
pub(crate) fn make_home(folder: &Path, seed: u64) -> PathBuf {
    let home = folder.join(format!("home-{seed}"));
    fs::create_dir_all(home.join("documents/old")).unwrap();
    fs::create_dir_all(home.join("empty")).unwrap();
    for number in 0..40_u64 {
        let path = home.join(format!("documents/letter {number}.txt"));
        fs::write(path, format!("letter {number} of {seed}\n").repeat(30)).unwrap();
    }
    fs::write(home.join("photo.raw"), RandomBytes::new(seed).take(6_000_000)).unwrap();
    fs::write(home.join("documents/old/тест.txt"), "names are bytes").unwrap();
    std::os::unix::fs::symlink("documents/letter 1.txt", home.join("latest")).unwrap();
    fs::set_permissions(home.join("documents/letter 2.txt"), fs::Permissions::from_mode(0o640)).unwrap();
    home
}

/// What is in a folder: of each path its kind, permissions, time and content.
pub(crate) fn content(folder: &Path) -> BTreeMap<PathBuf, (u32, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("lists").map(|entry| entry.expect("lists").path()) {
            let metadata = fs::symlink_metadata(&entry).expect("looks");
            let bytes = match metadata.file_type() {
                kind if kind.is_dir() => Vec::new(),
                kind if kind.is_symlink() => {
                    fs::read_link(&entry).expect("reads").into_os_string().into_encoded_bytes()
                }
                _ => fs::read(&entry).expect("reads"),
            };
            if metadata.is_dir() {
                folders.push(entry.clone());
            }
            let modified = if metadata.is_dir() { 0 } else { metadata.mtime() };
            let path = entry.strip_prefix(folder).expect("below").to_owned();
            found.insert(path, (metadata.mode(), modified, bytes));
        }
    }
    found
}

/// Sets up the backup of a home; returns the recovery kit.
pub(crate) fn set_up(agent: &AgentProcess, home: &Path, copies: &str) -> Value {
    let home = home.to_str().unwrap();
    agent.json(&["backup", "init", "--root", home, "--copies", copies, "--yes"]).expect("set up")
}

/// Makes an archive and returns its number.
pub(crate) fn back_up(agent: &AgentProcess) -> u64 {
    agent.json(&["backup", "run", "--wait"]).expect("backed up");
    archives(agent)[0]["number"].as_u64().expect("a number")
}

/// All archives, the newest first.
pub(crate) fn archives(agent: &AgentProcess) -> Vec<Value> {
    agent.json(&["archives"]).expect("archives").as_array().expect("a list").clone()
}

pub(crate) fn status(agent: &AgentProcess) -> Value {
    agent.json(&["backup", "status"]).expect("a status")
}

/// Waits until every archive has as many copies.
pub(crate) fn wait_until_protected(agent: &AgentProcess, copies: u64) {
    let what = format!("every archive to be protected {copies} of {copies}");
    wait_until(&what, DEADLINE, || {
        let all = archives(agent);
        let whole = all.iter().all(|archive| archive["copies"].as_u64() >= Some(copies));
        anyhow::ensure!(whole, "{all:?}, {}", status(agent));
        Ok((!all.is_empty()).then_some(()))
    })
    .expect("protected");
}

/// Names of the agents that hold a copy.
pub(crate) fn holders(agent: &AgentProcess) -> Vec<String> {
    let peers = status(agent)["peers"].as_array().cloned().unwrap_or_default();
    peers.iter().map(|peer| peer["name"].as_str().expect("a name").to_owned()).collect()
}

/// Where a holder keeps the copy of an owner: a restic repository.
pub(crate) fn copy_at(holder: &AgentProcess, owner: &str) -> PathBuf {
    let held = holder.data().join("backup/held");
    let found = fs::read_dir(&held).expect("lists").flatten().find(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name == owner || owner.contains(&name) || name.contains(owner)
    });
    found.unwrap_or_else(|| panic!("no copy of {owner} in {}", held.display())).path().join("repo")
}

/// Runs `shoal` with a passphrase of another's backup.
pub(crate) fn with_passphrase(agent: &AgentProcess, passphrase: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal"));
    command.arg("--data").arg(agent.data()).args(arguments).env("SHOAL_BACKUP_PASSPHRASE", passphrase);
    command.stdin(std::process::Stdio::null()).output().expect("runs")
}

/// Runs the stock restic on a repository.
pub(crate) fn restic(repository: &Path, passphrase: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("restic");
    command.arg("--no-cache").arg("-r").arg(repository).args(arguments).env("RESTIC_PASSWORD", passphrase);
    command.output().expect("restic is installed")
}

pub(crate) fn assert_success(output: &Output) {
    let said = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {said:?}", output.status);
}
