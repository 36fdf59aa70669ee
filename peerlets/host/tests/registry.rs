//! The folder of peerlets: what is taken into it, and that bad ones keep nobody from using the others.

#![allow(clippy::expect_used, reason = "a failing test says what failed")]

mod common;

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use common::write_peerlet;
use shoal_peerlets::registry::{CopyError, FILES_LIMIT, Registry, RegistryError};

const WC: &str = "command = [\"wc\"]\nmode = \"oneshot\"\n";
const OWN: &str = "command = [\"./run.sh\"]\nmode = \"oneshot\"\n";
const SCRIPT: (&str, &str) = ("run.sh", "#!/bin/sh\n");

struct Place {
    folder: tempfile::TempDir,
    registry: Registry,
}

fn place() -> Place {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Registry::open(&folder.path().join("installed")).expect("a registry");
    Place { folder, registry }
}

impl Place {
    /// A folder to add from.
    fn source(&self, manifest: &str, files: &[(&str, &str)]) -> std::path::PathBuf {
        write_peerlet(&self.folder.path().join("source"), "it", manifest, files)
    }

    fn refused(&self, source: &Path) -> RegistryError {
        let error = self.registry.add(source).expect_err("it is refused");
        let installed = std::fs::read_dir(self.folder.path().join("installed")).expect("a folder");
        assert_eq!(installed.count(), 0, "something was left behind");
        error
    }
}

fn version(source: &Path, version: &str) {
    let path = source.join("peerlet.toml");
    let text = std::fs::read_to_string(&path).expect("a manifest");
    let lines: Vec<String> = text
        .lines()
        .map(|line| if line.starts_with("version") { format!("version = \"{version}\"") } else { line.to_owned() })
        .collect();
    std::fs::write(path, lines.join("\n")).expect("a manifest");
}

#[test]
fn a_peerlet_is_copied_whole_with_its_files_and_taken_away_again() {
    let place = place();
    let source = place.source(OWN, &[SCRIPT, ("data.txt", "x")]);
    std::fs::create_dir(source.join("more")).expect("a folder");
    std::fs::write(source.join("more/deep.txt"), "deep").expect("a file");
    symlink("more/deep.txt", source.join("link")).expect("a link");
    std::fs::set_permissions(source.join("data.txt"), std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    let added = place.registry.add(&source).expect("it is added");
    assert_eq!((added.version.to_string().as_str(), added.replaced), ("1.0.0", None));
    // What happens to the source afterwards does not matter.
    std::fs::remove_dir_all(&source).expect("it is ours");
    let loaded = place.registry.load().expect("it can be read");
    let installed = &loaded.peerlets[&added.kind];
    assert!(loaded.faults.is_empty());
    assert_eq!(std::fs::read_to_string(installed.folder.join("link")).expect("a file"), "deep");
    let mode = |name: &str| installed.folder.join(name).metadata().expect("a file").permissions().mode() & 0o777;
    assert_eq!((mode("run.sh"), mode("data.txt")), (0o755, 0o644));
    place.registry.remove(&added.kind).expect("it is there");
    assert!(place.registry.load().expect("it can be read").peerlets.is_empty());
    assert!(matches!(place.registry.remove(&added.kind), Err(RegistryError::Unknown(_))));
}

#[test]
fn a_newer_version_takes_the_place_of_an_older_one_and_not_the_other_way_round() {
    let place = place();
    let source = place.source(OWN, &[SCRIPT, ("old.txt", "")]);
    place.registry.add(&source).expect("it is added");
    version(&source, "1.2.0");
    std::fs::remove_file(source.join("old.txt")).expect("it is there");
    let added = place.registry.add(&source).expect("it is newer");
    assert_eq!(added.replaced.expect("one was there").to_string(), "1.0.0");
    let folder = &place.registry.load().expect("it can be read").peerlets[&added.kind].folder;
    assert!(!folder.join("old.txt").exists(), "nothing of the old one is left");
    version(&source, "1.1.9");
    let error = place.registry.add(&source).expect_err("it is older").to_string();
    assert!(error.contains("1.2.0") && error.contains("1.1.9"), "{error}");
    let entries = std::fs::read_dir(place.folder.path().join("installed")).expect("a folder").count();
    assert_eq!(entries, 1);
}

#[test]
fn bad_ones_are_reported_and_the_others_load() {
    let place = place();
    let installed = place.folder.path().join("installed");
    write_peerlet(&installed, "good", WC, &[]);
    write_peerlet(&installed, "unknown-field", "command = [\"wc\"]\nmode = \"oneshot\"\ncolour = 1", &[]);
    write_peerlet(&installed, "no-program", OWN, &[]);
    write_peerlet(&installed, "large", WC, &[]);
    std::fs::write(installed.join("large/peerlet.toml"), "#".repeat(70_000)).expect("a manifest");
    write_peerlet(&installed, "placed", WC, &[]);
    std::fs::rename(installed.join("placed"), installed.join("misplaced")).expect("it is ours");
    std::fs::create_dir(installed.join("empty")).expect("a folder");
    std::fs::write(installed.join("a-file"), "").expect("a file");
    let loaded = place.registry.load().expect("it can be read");
    assert_eq!(loaded.peerlets.keys().map(ToString::to_string).collect::<Vec<_>>(), ["good"]);
    let faults: Vec<String> = loaded.faults.iter().map(ToString::to_string).collect();
    for named in ["unknown-field/peerlet.toml", "run.sh", "large/peerlet.toml", "misplaced", "empty/peerlet.toml"] {
        assert!(faults.iter().any(|fault| fault.contains(named)), "{named} is not in {faults:#?}");
    }
    assert_eq!(faults.len(), 5, "{faults:#?}");
}

#[test]
fn links_out_of_the_folder_are_refused_however_they_are_written() {
    for target in ["/etc/passwd", "../outside", "../it/../outside", "more/../../outside"] {
        let place = place();
        let source = place.source(WC, &[]);
        std::fs::create_dir(source.join("more")).expect("a folder");
        std::fs::write(source.join("../outside"), "secret").expect("a file");
        symlink(target, source.join("link")).expect("a link");
        let error = place.refused(&source);
        assert!(matches!(error, RegistryError::Copy(CopyError::LeadsOut { .. })), "{target}: {error}");
    }
    // One that leaves and comes back by the folder's own name would lead elsewhere in the copy.
    let place = place();
    let source = place.source(WC, &[("data", "x")]);
    symlink("../it/data", source.join("link")).expect("a link");
    let error = place.refused(&source);
    assert!(matches!(error, RegistryError::Copy(_)), "{error}");
}

#[test]
fn a_manifest_that_is_a_link_out_is_refused() {
    let place = place();
    let source = place.source(WC, &[]);
    let outside = place.folder.path().join("outside.toml");
    std::fs::rename(source.join("peerlet.toml"), &outside).expect("it is ours");
    symlink(&outside, source.join("peerlet.toml")).expect("a link");
    assert!(matches!(place.refused(&source), RegistryError::Copy(CopyError::LeadsOut { .. })));
}

#[test]
fn programs_that_gain_rights_and_things_that_are_no_files_are_refused() {
    let place = place();
    let source = place.source(OWN, &[SCRIPT]);
    let mode = std::fs::Permissions::from_mode(0o4755);
    std::fs::set_permissions(source.join("run.sh"), mode).expect("it is ours");
    assert!(matches!(place.refused(&source), RegistryError::Copy(CopyError::SetId(_))));
    std::fs::set_permissions(source.join("run.sh"), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let _socket = std::os::unix::net::UnixListener::bind(source.join("socket")).expect("a socket");
    assert!(matches!(place.refused(&source), RegistryError::Copy(CopyError::Special(_))));
}

#[test]
fn one_whose_program_cannot_be_run_is_refused_with_the_reason() {
    let place = place();
    for (command, saying) in [
        ("no-such-program", "there is no program no-such-program"),
        ("/no/such/program", "the program /no/such/program cannot be used"),
        ("/etc/passwd", "/etc/passwd is no program"),
    ] {
        let source = place.source(&format!("command = [\"{command}\"]\nmode = \"oneshot\"\n"), &[]);
        let error = place.refused(&source);
        assert!(matches!(error, RegistryError::Program { .. }) && error.to_string().contains(saying), "{error}");
    }
}

#[test]
fn a_pipe_in_the_manifests_place_is_refused_and_not_waited_for() {
    let place = place();
    let source = place.source(WC, &[]);
    std::fs::remove_file(source.join("peerlet.toml")).expect("it is there");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, source.join("peerlet.toml"), mode).expect("a pipe");
    place.refused(&source);
}

#[test]
fn too_many_and_too_large_files_are_refused() {
    let place = place();
    let source = place.source(WC, &[]);
    let large = std::fs::File::create(source.join("large")).expect("a file");
    large.set_len(300 * 1024 * 1024).expect("a hole");
    assert!(matches!(place.refused(&source), RegistryError::Copy(CopyError::TooLarge(_))));
    std::fs::remove_file(source.join("large")).expect("it is there");
    for number in 0..=FILES_LIMIT {
        std::fs::hard_link(source.join("peerlet.toml"), source.join(number.to_string())).expect("a name");
    }
    assert!(matches!(place.refused(&source), RegistryError::Copy(CopyError::TooLarge(_))));
    let deep = place.source(WC, &[]);
    for number in 0..=FILES_LIMIT {
        std::fs::remove_file(deep.join(number.to_string())).expect("it is there");
    }
    std::fs::create_dir_all(deep.join("a/".repeat(40))).expect("folders");
    assert!(matches!(place.refused(&deep), RegistryError::Copy(CopyError::TooLarge(_))));
}

#[test]
fn what_was_half_added_is_cleared_away() {
    let place = place();
    let installed = place.folder.path().join("installed");
    std::fs::create_dir(installed.join(".aside-it-1")).expect("a folder");
    std::fs::write(installed.join(".aside-it-1/peerlet.toml"), "").expect("a file");
    Registry::open(&installed).expect("a registry");
    assert!(!installed.join(".aside-it-1").exists());
}
