//! A pool with peerlets, and what callers are run with.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use shoal_testkit::{AgentProcess, free_port_base, start_pool};

/// How long anything may take before a test says what it waited for in vain.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A file of the project.
pub(crate) fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Agents by these names, each with these peerlets of the guide to peerlets.
pub(crate) struct Pool {
    pub(crate) agents: Vec<AgentProcess>,
    pub(crate) folder: tempfile::TempDir,
}

impl Pool {
    pub(crate) fn start(names: &[&str], peerlets: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let count = u16::try_from(names.len()).expect("few");
        let port = free_port_base(10 * count).expect("ports");
        let mut names = names.iter();
        let agents = start_pool(Path::new(env!("CARGO_BIN_EXE_shoal")), folder.path(), port, count, |options| {
            options.data = folder.path().join(names.next().expect("a name"));
            Ok(())
        });
        let pool = Self { agents: agents.expect("a pool"), folder };
        for agent in &pool.agents {
            for peerlet in peerlets {
                add(agent, &project("peerlets/examples").join(peerlet));
            }
        }
        pool
    }
}

/// Installs a peerlet.
pub(crate) fn add(agent: &AgentProcess, folder: &Path) {
    agent.json(&["peerlet", "add", folder.to_str().unwrap()]).expect("the peerlet is installed");
}

/// Python with zeep in it: where `.ci/run` puts it, unless the environment says where.
pub(crate) fn python_with_zeep() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    let usual = cache.join("shoal-ci-tools/zeep/bin/python");
    let python = std::env::var_os("SHOAL_ZEEP_PYTHON").map_or(usual, PathBuf::from);
    let works = Command::new(&python).args(["-c", "import zeep, lxml"]).output().is_ok_and(|it| it.status.success());
    let folder = python.parent().and_then(Path::parent).unwrap_or(Path::new("zeep")).display();
    let requirements = project("agent/app/tests/doors/requirements.txt");
    assert!(
        works,
        "this test needs zeep, a SOAP client. Get it with\n  python3 -m venv {folder} && {folder}/bin/pip install -r {}\nor name a \
         Python that has it in SHOAL_ZEEP_PYTHON",
        requirements.display()
    );
    python
}

/// What a program printed; fails with all it said unless it ended well.
pub(crate) fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?} ended with {}:\n{}", output.status, said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
