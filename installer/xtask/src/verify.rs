//! `cargo xtask verify`: what CI runs.

use anyhow::{Result, bail};

use crate::steps::{cargo, debug_binary, installed, step};
use crate::{accept, chaos, hops, hosts, netns, purity, sim};

/// What to leave out.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave out the tests (only format, lints, layering, licences, docs).
    #[arg(long)]
    no_tests: bool,
    /// Run the acceptance checks, the checks on several hosts and a short run of chaos too; fails if their scripts are not here, or without root.
    #[arg(long)]
    accept: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    step("format", cargo().args(["fmt", "--all", "--check"]))?;
    println!("== layering");
    purity::check()?;
    step("lints", cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    licences(options.accept)?;
    step(
        "docs",
        cargo().args(["doc", "--workspace", "--no-deps", "--locked", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    if !options.no_tests {
        // Examples are checked by the lints already; to link them takes a minute.
        let tests = ["test", "--workspace", "--locked", "--no-fail-fast", "--lib", "--bins", "--tests"];
        step("tests", cargo().args(tests))?;
        step("tests in docs", cargo().args(["test", "--workspace", "--locked", "--quiet", "--doc"]))?;
        sim::verify()?;
    }
    if options.accept {
        on_several_hosts(options)?;
    }
    println!("verify: everything passed");
    Ok(())
}

/// With the binary the tests were run with: to build another takes as long as all of these.
fn on_several_hosts(options: &Options) -> Result<()> {
    let binary = debug_binary();
    if options.no_tests || !binary.exists() {
        step("build", cargo().args(["build", "--workspace", "--locked", "--bin", "shoal"]))?;
    }
    accept::run(&accept::Options::quick(binary.clone()))?;
    hosts::run(&netns::Options::of(binary.clone()))?;
    hops::run(&netns::Options::of(binary.clone()))?;
    chaos::verify(binary)
}

/// Licences, sources, bans and, where the advisory database can be fetched, known vulnerabilities.
fn licences(must: bool) -> Result<()> {
    if !installed("cargo-deny") {
        let get = "cargo-deny is not installed; get it with `cargo install --locked cargo-deny`";
        if must {
            bail!(get);
        }
        println!("== licences, sources, bans, advisories: NOT CHECKED, {get}");
        return Ok(());
    }
    step("licences, sources, bans", cargo().args(["deny", "--locked", "check", "licenses", "sources", "bans"]))?;
    let fetched = cargo().args(["deny", "fetch", "db"]).output().is_ok_and(|output| output.status.success());
    if fetched {
        return step("advisories", cargo().args(["deny", "--locked", "check", "advisories"]));
    }
    println!("== advisories: NOT CHECKED, the advisory database cannot be fetched from here");
    Ok(())
}
