//! `shoal peerlet sdk`: what it takes to write programs against Shoal, out of this very binary: the Python helper, the examples of
//! the guides.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::super::CliError;
use super::super::print::{answer, count, say};

/// A file of it.
struct File {
    path: &'static str,
    text: &'static str,
    mode: u32,
}

const PLAIN_MODE: u32 = 0o644;
const PROGRAM_MODE: u32 = 0o755;

macro_rules! file {
    ($path:literal, $source:literal) => {
        file!($path, $source, PLAIN_MODE)
    };
    ($path:literal, $source:literal, $mode:expr) => {
        File { path: $path, text: include_str!(concat!("../../../../../peerlets/", $source)), mode: $mode }
    };
}

const FILES: [File; 13] = [
    file!("shoal.py", "python/shoal.py"),
    file!("flows/fetch-combine-store.toml", "flow/examples/fetch-combine-store.toml"),
    file!("flows/spread.toml", "flow/examples/spread.toml"),
    file!("peerlets/greet/greet.sh", "examples/greet/greet.sh", PROGRAM_MODE),
    file!("peerlets/greet/peerlet.toml", "examples/greet/peerlet.toml"),
    file!("peerlets/python/peerlet.toml", "examples/python/peerlet.toml"),
    file!("peerlets/shout/peerlet.toml", "examples/shout/peerlet.toml"),
    file!("peerlets/sql/peerlet.toml", "examples/sql/peerlet.toml"),
    file!("peerlets/tally/peerlet.toml", "examples/tally/peerlet.toml"),
    file!("peerlets/tally/tally.py", "examples/tally/tally.py"),
    file!("peerlets/titles/peerlet.toml", "examples/titles/peerlet.toml"),
    file!("peerlets/titles/titles.py", "examples/titles/titles.py"),
    file!("peerlets/word-count/peerlet.toml", "examples/word-count/peerlet.toml"),
];

/// Writes all of it into a folder. Files that are there stay as they are, unless `force` is given or they are the same.
pub(super) fn sdk(to: &Path, force: bool, json: bool) -> Result<(), CliError> {
    for file in &FILES {
        write(&to.join(file.path), file, force)?;
    }
    if json {
        return answer(&serde_json::json!({ "to": to, "files": FILES.map(|file| file.path) }));
    }
    say!("{} in {}:", count(FILES.len() as u64, "file"), to.display());
    say!("  shoal.py    talks to peerlets from Python; copy it beside your program");
    say!("  peerlets/   peerlets to start from: `shoal peerlet add {}`", to.join("peerlets/word-count").display());
    say!("  flows/      tasks in several steps: `shoal flow run {}`", to.join("flows/spread.toml").display());
    Ok(())
}

fn write(path: &Path, file: &File, force: bool) -> Result<(), CliError> {
    let failed = |error: std::io::Error| CliError::Failed(format!("cannot write {}: {error}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).mode(file.mode);
    let options = if force { options.create(true).truncate(true) } else { options.create_new(true) };
    match options.open(path) {
        Ok(mut target) => target.write_all(file.text.as_bytes()).map_err(failed),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if std::fs::read(path).is_ok_and(|there| there == file.text.as_bytes()) {
                return Ok(());
            }
            Err(CliError::Refused(format!("{} is there and differs; --force replaces it", path.display())))
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files_in(folder: &Path, all: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { files_in(&path, all) } else { all.push(path) }
        }
    }

    #[test]
    fn every_example_is_written_as_it_is_and_nothing_is_replaced_unasked() {
        let folder = tempfile::tempdir().expect("a folder");
        let to = folder.path().join("sdk");
        sdk(&to, false, true).expect("written");
        sdk(&to, false, true).expect("the same again");
        let peerlets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../peerlets");
        for (source, target) in [("examples", "peerlets"), ("flow/examples", "flows")] {
            let mut sources = Vec::new();
            files_in(&peerlets.join(source), &mut sources);
            assert!(!sources.is_empty());
            for path in sources {
                let written = to.join(target).join(path.strip_prefix(peerlets.join(source)).expect("within"));
                assert_eq!(std::fs::read(&written).ok(), std::fs::read(&path).ok(), "{}", written.display());
                let runs = |path: &Path| {
                    use std::os::unix::fs::PermissionsExt as _;
                    path.metadata().is_ok_and(|found| found.permissions().mode() & 0o100 != 0)
                };
                assert_eq!(runs(&written), runs(&path), "{}", written.display());
            }
        }
        std::fs::write(to.join("shoal.py"), "mine").expect("written");
        let error = sdk(&to, false, true).expect_err("it differs").to_string();
        assert!(error.contains("shoal.py is there and differs"), "{error}");
        assert_eq!(std::fs::read(to.join("shoal.py")).expect("read"), b"mine");
        sdk(&to, true, true).expect("replaced");
        assert_ne!(std::fs::read(to.join("shoal.py")).expect("read"), b"mine");
    }
}
