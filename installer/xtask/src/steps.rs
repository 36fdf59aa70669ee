//! Running one program after another, each step named and timed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The top folder of the checkout.
pub(crate) fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace_root());
    command
}

/// Runs a step to its end with its output shown; fails with its name.
pub(crate) fn step(name: &str, command: &mut Command) -> Result<()> {
    println!("== {name}");
    let begin = Instant::now();
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("{name}: cannot start {command:?}"))?;
    if !status.success() {
        bail!("{name} failed ({status}); run it alone with: {command:?}");
    }
    println!("== {name}: ok, {:.0} s", begin.elapsed().as_secs_f32());
    Ok(())
}

/// Whether a program can be found on the path.
pub(crate) fn installed(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|paths| std::env::split_paths(&paths).any(|path| path.join(program).is_file()))
}

/// The `shoal` binary users run, built now.
pub(crate) fn release_binary() -> Result<PathBuf> {
    step("build", cargo().args(["build", "--release", "--locked", "--package", "shoal", "--bin", "shoal"]))?;
    Ok(target_directory().join("release/shoal"))
}

/// The `shoal` binary developers run, as the last build left it.
pub(crate) fn debug_binary() -> PathBuf {
    target_directory().join("debug/shoal")
}

fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace_root().join("target"), PathBuf::from)
}
