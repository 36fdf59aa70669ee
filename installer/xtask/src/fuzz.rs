//! `cargo xtask fuzz`: the laws of all decoders, tried by cargo-fuzz for as long as asked.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::steps::{installed, workspace_root};

/// What to try.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only this target, a folder of `fuzz/corpus`; else all, one after the other.
    #[arg(long)]
    target: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if !installed("cargo-fuzz") {
        bail!(
            "cargo-fuzz is not installed; get it with `cargo install --locked cargo-fuzz`, it needs a nightly compiler. \
             The same laws are tried without it, for a short time: cargo test -p shoal-testkit --test laws"
        );
    }
    let folder = workspace_root().join("fuzz");
    let targets = targets(&folder)?;
    let chosen: Vec<_> =
        targets.iter().filter(|name| options.target.as_ref().is_none_or(|wanted| wanted == *name)).collect();
    if chosen.is_empty() {
        bail!("there is no such target; there are {}", targets.join(", "));
    }
    let mut broken = Vec::new();
    for target in chosen {
        let started = Instant::now();
        // What is found to be new grows apart from the seeds, which are kept small.
        let grown = folder.join("grown").join(target);
        let artifacts = folder.join("artifacts").join(target);
        for folder in [&grown, &artifacts] {
            std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        let artifacts = format!("-artifact_prefix={}/", artifacts.display());
        let status = Command::new("cargo")
            .current_dir(&folder)
            .env("SHOAL_FUZZ_TARGET", target)
            .env("RUSTUP_TOOLCHAIN", "nightly")
            .args(["fuzz", "run", "--sanitizer", "none"])
            .args(["--no-default-features", "--features", target.split('_').next().unwrap_or_default()])
            .arg("laws")
            .args([grown.as_os_str(), folder.join("corpus").join(target).as_os_str()])
            .args(["--", &format!("-max_total_time={}", options.seconds), &artifacts])
            .args(["-max_len=16384", "-rss_limit_mb=1024", "-timeout=10", "-print_final_stats=1"])
            .status()
            .context("run cargo-fuzz")?;
        println!(
            "== {target}: {} after {} s",
            if status.success() { "holds" } else { "BROKEN, or interrupted" },
            started.elapsed().as_secs()
        );
        if !status.success() {
            broken.push(target.as_str());
        }
    }
    if broken.is_empty() {
        Ok(())
    } else {
        bail!(
            "laws are broken, or trying them was interrupted: {}; what breaks them is in fuzz/artifacts",
            broken.join(", ")
        )
    }
}

fn targets(folder: &Path) -> Result<Vec<String>> {
    let corpus = folder.join("corpus");
    let entries = std::fs::read_dir(&corpus).with_context(|| format!("list {}", corpus.display()))?;
    let mut names =
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}
