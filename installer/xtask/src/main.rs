//! Development tasks, run as `cargo xtask TASK`.

mod accept;
mod bench;
mod chaos;
mod fuzz;
mod hops;
mod hosts;
mod netns;
mod purity;
mod sim;
mod steps;
mod verify;

use clap::{Parser, Subcommand};

/// Development tasks of Shoal.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Checks everything CI checks, and writes nothing outside `target/`: format, lints, layering, licences,
    /// tests, docs.
    Verify(verify::Options),
    /// Checks only the layering rules: what pure crates may reach, and which crate may know which.
    Layering,
    /// Runs the acceptance checks, real WebDAV clients, against a real pool of six agents.
    Accept(accept::Options),
    /// Two agents on two hosts (network namespaces) find each other by mDNS, join, and share a file. Needs root.
    Hosts(netns::Options),
    /// Four agents on four hosts in a row, each of which sees only its neighbours, are one pool. Needs root.
    Hops(netns::Options),
    /// Runs a pool of real processes under clients while agents are killed, stopped, cut off, their disks filled, slowed and
    /// damaged; then compares every acknowledged byte. Network and disk faults need root.
    Chaos(chaos::Options),
    /// Tries the laws of all decoders with cargo-fuzz, target by target.
    Fuzz(fuzz::Options),
    /// Runs the simulation: one seed with its trace, or many. Every option after `sim` is its own; `--help` lists them.
    #[command(disable_help_flag = true)]
    Sim(sim::Options),
    /// Measures.
    #[command(subcommand)]
    Bench(bench::Bench),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Verify(options) => verify::run(&options),
        Task::Layering => purity::check(),
        Task::Accept(options) => accept::run(&options),
        Task::Hosts(options) => hosts::run(&options),
        Task::Hops(options) => hops::run(&options),
        Task::Chaos(options) => chaos::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Sim(options) => sim::run(&options),
        Task::Bench(bench) => bench::run(&bench),
    }
}
