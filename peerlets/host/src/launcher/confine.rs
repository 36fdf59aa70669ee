//! The step that limits itself and becomes the program.

use std::convert::Infallible;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, setrlimit, setsid, umask};

use super::restrict;
use super::spec::{FAILURE_FILE, Spec};

/// Files a program may have open.
const OPEN_FILES: u64 = 1_024;
/// The first descriptor after standard input, output and error.
const FIRST_OTHER_DESCRIPTOR: i32 = 3;
/// Bytes of a thread's stack.
const STACK_BYTES: u64 = 8 * 1024 * 1024;
/// Where memory runs out the kernel should end peerlets rather than the agent; of 1,000.
const OOM_SCORE: &str = "500";

/// Limits this process and becomes the program; comes back only if that fails.
pub(super) fn run(folder: &Path) -> Result<Infallible, String> {
    let spec = Spec::load(folder)?;
    // Opened while it may be: afterwards this process is in no position to.
    let path = folder.join(FAILURE_FILE);
    let mut failure = File::create(&path).map_err(|error| format!("cannot create {}: {error}", path.display()))?;
    let why = match become_program(&spec) {
        Ok(never) => match never {},
        Err(why) => why,
    };
    failure.write_all(why.as_bytes()).map_err(|error| format!("{why}; and that could not be reported: {error}"))?;
    Err(why)
}

fn become_program(spec: &Spec) -> Result<Infallible, String> {
    setsid().map_err(|error| format!("cannot begin a session: {error}"))?;
    std::env::set_current_dir(&spec.scratch)
        .map_err(|error| format!("cannot work in {}: {error}", spec.scratch.display()))?;
    // What it writes into a folder that others have as well is for them too: for the next program, which has another user, and for who owns
    // the folder. Its working directory lets nobody else in. Anything else is private to the program's user.
    umask(if spec.write.is_empty() { Mode::RWXG | Mode::RWXO } else { Mode::WOTH });
    // Not offered by every kernel, and only a preference.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    let mut command = Command::new(&spec.program);
    command.args(&spec.arguments).env_clear().envs(spec.environment.iter().map(|(name, value)| (name, value)));
    if let (Some(id), Some(group)) = (spec.id, spec.group) {
        command.uid(id).gid(group);
    }
    // Whatever the agent, or who started it, has left open to be inherited.
    close_fds::set_fds_cloexec(FIRST_OTHER_DESCRIPTOR, &[]);
    rustix::thread::set_no_new_privs(true).map_err(|error| format!("cannot give up gaining privileges: {error}"))?;
    restrict::restrict(spec)?;
    limit(spec)?;
    let error = command.exec();
    Err(format!("cannot run {}: {error}", spec.program.display()))
}

fn limit(spec: &Spec) -> Result<(), String> {
    let limits = [
        (Resource::Core, 0),
        (Resource::Nofile, OPEN_FILES),
        (Resource::Stack, STACK_BYTES),
        (Resource::Fsize, spec.file_bytes),
        (Resource::Data, spec.memory_bytes),
        (Resource::Nproc, spec.user_processes),
    ];
    for (resource, most) in limits {
        // Where less than that was allowed before, that stands.
        let least = rustix::process::getrlimit(resource).maximum.map_or(most, |before| before.min(most));
        setrlimit(resource, Rlimit { current: Some(least), maximum: Some(least) })
            .map_err(|error| format!("cannot limit {resource:?} to {least}: {error}"))?;
    }
    Ok(())
}
