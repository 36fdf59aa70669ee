//! What disks say of themselves, asked through `smartctl` where that is there.

mod parse;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use shoal_care::standing::DiskHealth;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::devices;
use parse::Told;

/// How long one disk is waited for; one that sleeps takes a while to spin up.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer read, at most.
const ANSWER_LIMIT_BYTES: u64 = 256 * 1024;

/// How disks are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmartConfig {
    /// The program; empty: none is asked.
    pub program: PathBuf,
    /// The disks' devices, where they cannot be told from the store directories.
    pub devices: Vec<PathBuf>,
}

impl Default for SmartConfig {
    fn default() -> Self {
        Self { program: PathBuf::from("smartctl"), devices: Vec::new() }
    }
}

/// Asks all disks under the directories. What cannot be asked is left out: nothing is known of it. Takes up to
/// [`TIMEOUT`] for each.
pub(crate) async fn ask_all(config: &SmartConfig, directories: &[PathBuf]) -> Vec<DiskHealth> {
    if config.program.as_os_str().is_empty() {
        return Vec::new();
    }
    let mut devices: Vec<String> = config.devices.iter().map(|device| device.display().to_string()).collect();
    if devices.is_empty() {
        devices = directories.iter().flat_map(|directory| devices::under(directory)).collect();
        devices.sort();
        devices.dedup();
    }
    let mut disks = Vec::new();
    for device in devices {
        match ask(&config.program, &device).await {
            Ok(Told::Health(smart)) => disks.push(DiskHealth { device, smart }),
            Ok(Told::Nothing(reason)) => tracing::debug!(device, reason, "a disk says nothing of itself"),
            Err(error) => tracing::debug!(device, %error, "a disk could not be asked"),
        }
    }
    disks
}

async fn ask(program: &Path, device: &str) -> std::io::Result<Told> {
    let mut child = Command::new(program)
        .args(["--json", "-H", "-A", device])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut answer = Vec::new();
    let reading = async {
        if let Some(stdout) = child.stdout.take() {
            stdout.take(ANSWER_LIMIT_BYTES).read_to_end(&mut answer).await?;
        }
        // Its exit code is a set of flags, most of which are in the answer too.
        child.wait().await
    };
    match tokio::time::timeout(TIMEOUT, reading).await {
        Ok(ended) => ended.map(drop)?,
        Err(_) => {
            child.start_kill()?;
            return Ok(Told::Nothing("no answer in time".to_owned()));
        }
    }
    Ok(parse::told(&answer))
}

#[cfg(test)]
mod tests {
    use shoal_care::standing::Smart;

    use super::*;

    fn program(folder: &Path, script: &str) -> PathBuf {
        let (text, path) = (folder.join("text"), folder.join("smartctl"));
        std::fs::write(&text, format!("#!/bin/sh\n{script}\n")).expect("written");
        // By another process: a program that this one has open for writing, in any thread's fork, cannot be started.
        let installed = std::process::Command::new("install").args(["-m", "755"]).args([&text, &path]).status();
        assert!(installed.expect("install runs").success());
        path
    }

    async fn asked(script: &str) -> Vec<DiskHealth> {
        let folder = tempfile::tempdir().expect("folder");
        let config = SmartConfig { program: program(folder.path(), script), devices: vec!["/dev/one".into()] };
        ask_all(&config, &[]).await
    }

    #[tokio::test]
    async fn a_disk_is_asked_by_its_device_and_one_that_says_nothing_is_left_out() {
        let script = r#"[ "$*" = "--json -H -A /dev/one" ] && echo '{"smart_status":{"passed":false}}'; exit 8"#;
        let failed = Smart { passed: Some(false), ..Smart::default() };
        assert_eq!(asked(script).await, [DiskHealth { device: "/dev/one".into(), smart: failed }]);
        assert_eq!(asked("exit 2").await, []);
        assert_eq!(asked("head -c 10000000 /dev/zero").await, [], "an endless answer");
    }

    #[tokio::test]
    async fn a_machine_without_the_program_is_told_nothing() {
        let missing = SmartConfig { program: "/nowhere/smartctl".into(), devices: vec!["/dev/one".into()] };
        assert_eq!(ask_all(&missing, &[]).await, []);
        let none = SmartConfig { program: PathBuf::new(), devices: vec!["/dev/one".into()] };
        assert_eq!(ask_all(&none, &[]).await, []);
    }
}
