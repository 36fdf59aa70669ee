//! What archives cost, beside the stock `restic` and `borg` on the same files:
//!
//! ```text
//! cargo run --release -p shoal-archive --example bench -- FOLDER [FILES] [MIB]
//! ```
//!
//! FOLDER is made and must not exist; it takes about five times what is backed up. Files: 50,000 small ones (0.5 to 12 KiB,
//! half text) and 2 GiB in eight large ones (half noise, half text). Jobs: first backup, one with no change, one with 1 % of
//! the small files changed, restore of everything. (`--make FOLDER FILES MIB` and `--change FOLDER FILES` only make the files.) Each job is a process of its own: processor seconds of user and system,
//! seconds on the clock, most memory, as the system counts them for that process. The clock says little on a busy machine.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Instant;

use shoal_archive::{BackUp, Engine, Repository, Restore, Watch};
use shoal_backup::ArchiveId;
use shoal_backup::plan::Plan;
use shoal_backup::recovery::Existing;
use shoal_backup::schedule::Mode;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const PASSPHRASE: &str = "a passphrase for measuring";
const FILES_PER_FOLDER: usize = 100;
const LARGE_FILES: usize = 8;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--back-up", repository, folder, number] => back_up(Path::new(repository), folder, number.parse()?),
        ["--restore", repository, target] => restore(Path::new(repository), Path::new(target)),
        ["--make", home, files, mib] => make_files(Path::new(home), files.parse()?, mib.parse()?),
        ["--change", home, files] => change_files(Path::new(home), files.parse()?),
        [folder] => measure(Path::new(folder), 50_000, 2_048),
        [folder, files, mib] => measure(Path::new(folder), files.parse()?, mib.parse()?),
        _ => Err("usage: bench FOLDER [FILES MIB]".into()),
    }
}

fn back_up(repository: &Path, folder: &str, number: u64) -> Result<()> {
    let what = BackUp {
        plan: Arc::new(Plan { roots: vec![folder.into()], ..Plan::default() }),
        host: "pc".to_owned(),
        number: ArchiveId(number),
        mode: Mode::Delta,
        parent: None,
        reread: false,
        only_changes: false,
    };
    let made = Engine::open(repository, PASSPHRASE)?.back_up(&what, &Arc::new(Watch::silent()))?;
    if made.archive.is_complete { Ok(()) } else { Err(made.problems.description().into()) }
}

fn restore(repository: &Path, target: &Path) -> Result<()> {
    let engine = Engine::open(repository, PASSPHRASE)?;
    let archives = engine.archives()?.last().map(|archive| archive.name).into_iter().collect();
    let restore = Restore { archives, target: target.to_owned(), ticked: vec![], existing: Existing::Overwrite };
    let outcome = restore.run(&engine, &Watch::silent())?;
    if outcome.is_complete() { Ok(()) } else { Err(format!("{outcome:?}").into()) }
}

fn measure(folder: &Path, files: usize, mib: usize) -> Result<()> {
    fs::create_dir(folder)?;
    let folder = folder.canonicalize()?;
    let home = folder.join("home");
    make_files(&home, files, mib)?;
    let (ours, theirs, others) = (folder.join("shoal"), folder.join("restic"), folder.join("borg"));
    Engine::init(&ours, PASSPHRASE, "pc")?;
    job("restic init", restic(&theirs, &["init", "--repository-version", "2"]))?;
    job("borg init", borg(&others, &["init", "-e", "repokey-blake2", text(&others)?]))?;
    println!("{files} small files, {mib} MiB in large ones\n{:28}{:>8}{:>8}{:>10}", "", "CPU s", "clock s", "peak MiB");
    for (number, name) in [(1, "first"), (2, "no change"), (3, "1 % changed")] {
        if number == 3 {
            change_files(&home, files)?;
        }
        job(&format!("{name}: shoal"), itself(&["--back-up", text(&ours)?, text(&home)?, &number.to_string()])?)?;
        job(&format!("{name}: restic"), restic(&theirs, &["backup", "--host", "pc", text(&home)?]))?;
        let archive = format!("{}::{number}", text(&others)?);
        job(&format!("{name}: borg"), borg(&others, &["create", "--compression", "zstd,1", &archive, text(&home)?]))?;
    }
    job("restore: shoal", itself(&["--restore", text(&ours)?, text(&folder.join("out-shoal"))?])?)?;
    let target = folder.join("out-restic");
    job("restore: restic", restic(&theirs, &["restore", "latest", "--target", text(&target)?]))?;
    let target = folder.join("out-borg");
    fs::create_dir(&target)?;
    let mut extract = borg(&others, &["extract", &format!("{}::3", text(&others)?)]);
    extract.current_dir(&target);
    job("restore: borg", extract)?;
    for (name, repository) in [("shoal", &ours), ("restic", &theirs), ("borg", &others)] {
        println!("stored by {name}: {} MiB", size_of(repository)? >> 20);
    }
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| "a folder whose name is text is needed".into())
}

fn itself(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments);
    Ok(command)
}

fn restic(repository: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("restic");
    command.arg("-q").arg("-r").arg(repository).args(arguments).env("RESTIC_PASSWORD", PASSPHRASE);
    command.env("RESTIC_CACHE_DIR", repository.with_extension("cache"));
    command
}

fn borg(repository: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("borg");
    command.args(arguments).env("BORG_PASSPHRASE", PASSPHRASE).env("BORG_BASE_DIR", repository.with_extension("base"));
    command
}

/// Runs a command and prints what it took. A small Python program waits for it: what the system counts for children that have
/// ended is asked of a process that had no others.
fn job(name: &str, command: Command) -> Result<()> {
    let begun = Instant::now();
    let report = std::env::temp_dir().join(format!("shoal-bench-{}", std::process::id()));
    let mut timed = Command::new("python3");
    timed.arg("-c").arg(TIMED).arg(&report).arg(command.get_program()).args(command.get_args());
    timed.current_dir(command.get_current_dir().unwrap_or(Path::new(".")));
    for (name, value) in command.get_envs() {
        timed.env(name, value.unwrap_or_default());
    }
    let status: ExitStatus = timed.status()?;
    if !status.success() {
        return Err(format!("{name} failed: {status}").into());
    }
    let said = fs::read_to_string(&report)?;
    fs::remove_file(&report)?;
    let (cpu, peak) = said.trim().split_once(' ').ok_or("no figures")?;
    println!("{name:28}{cpu:>8}{:>8.1}{peak:>10}", begun.elapsed().as_secs_f64());
    Ok(())
}

const TIMED: &str = "import resource, subprocess, sys
code = subprocess.call(sys.argv[2:], stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
open(sys.argv[1], 'w').write('%.1f %d' % (used.ru_utime + used.ru_stime, used.ru_maxrss // 1024))
sys.exit(code)";

fn small_path(home: &Path, file: usize) -> PathBuf {
    home.join(format!("small/{:03}/{file:05}.txt", file / FILES_PER_FOLDER))
}

fn make_files(home: &Path, files: usize, mib: usize) -> Result<()> {
    for file in 0..files {
        let path = small_path(home, file);
        if file % FILES_PER_FOLDER == 0 {
            fs::create_dir_all(path.parent().ok_or("no folder")?)?;
        }
        let length = 512 + file * 7_919 % 11_776;
        let seed = file as u64;
        fs::write(path, if file % 2 == 0 { noise(seed, length) } else { lines(seed, length) })?;
    }
    let length = (mib << 20) / LARGE_FILES;
    for file in 0..LARGE_FILES {
        let seed = 1 << 40 | file as u64;
        let path = home.join(format!("large-{file}"));
        fs::write(path, if file % 2 == 0 { noise(seed, length) } else { lines(seed, length) })?;
    }
    Ok(())
}

/// Changes 1 % of the small files.
fn change_files(home: &Path, files: usize) -> Result<()> {
    for file in (0..files).step_by(100) {
        fs::write(small_path(home, file), noise(file as u64 + 1_000_000, 5_000))?;
    }
    Ok(())
}

/// Bytes that do not compress.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&next(&mut state).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Lines as in a log.
fn lines(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::with_capacity(length + 100);
    while text.len() < length {
        let value = next(&mut state);
        text.push_str(&format!(
            "2026-01-{:02} 12:{:02}:{:02} INFO agent: request {value:016x} took {} ms\n",
            value % 28 + 1,
            value >> 8 & 59,
            value >> 16 & 59,
            value >> 24 & 1_023
        ));
    }
    text.truncate(length);
    text.into_bytes()
}

fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn size_of(folder: &Path) -> Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        size += if entry.file_type()?.is_dir() { size_of(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(size)
}
