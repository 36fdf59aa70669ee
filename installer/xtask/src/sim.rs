//! The seeded simulation, built optimised: it does a day of a pool's life in milliseconds.

use anyhow::{Result, bail};
use clap::Args;

use crate::steps::{cargo, step};

/// Seeds that `cargo xtask verify` runs.
const VERIFY_SEEDS: &str = "0..400";

/// What the simulation is asked to do.
#[derive(Args)]
pub(crate) struct Options {
    /// `--seed N [--trace]` or `--seeds A..B [--jobs N]`, and `--bug NAME` to plant one.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut command = cargo();
    command.args(["run", "--release", "--quiet", "--locked", "--package", "shoal-simulation"]);
    if options.arguments.iter().any(|argument| argument.starts_with("--bug")) {
        command.args(["--features", "planted-bugs"]);
    }
    let status = command.arg("--").args(&options.arguments).status()?;
    if !status.success() {
        bail!("the simulation says no");
    }
    Ok(())
}

/// What is checked on every change: that the checkers find what is planted, and nothing where nothing is.
pub(crate) fn verify() -> Result<()> {
    let package = ["--release", "--locked", "--package", "shoal-simulation", "--features", "planted-bugs"];
    step("simulation: planted bugs", cargo().arg("test").args(package))?;
    step("simulation: seeds", cargo().arg("run").args(package).args(["--", "--seeds", VERIFY_SEEDS]))
}
