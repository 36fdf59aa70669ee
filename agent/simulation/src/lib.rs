//! The pure cores of Shoal under a seeded simulator of agents, disks, network and time.
//!
//! Real are the ledger's state machine and queries, placement, presence, the keeper, what is cleaned, dropped and swept. Simulated,
//! as pessimistically as they may be in truth, are disks (what is not synced is lost, torn or kept), the network, clocks,
//! sleep, and consensus, of which only Raft's promises are kept: what is committed stays, leaders come and go. Contents are
//! tokens, so that a run takes milliseconds. One seed gives one history, to the last event.
//!
//! A run has a phase of faults, then everything heals and *must* come right within a quarter of an hour of its time.
//! The checkers in `checkers` watch all of it. See `docs/testing.md`.

mod agent;
mod atlas;
mod bugs;
mod care;
mod checkers;
mod client;
mod disk;
mod exec;
mod faults;
mod holder;
mod kv;
mod ledger;
mod litter;
mod net;
mod presence;
mod record;
mod rng;
mod scenario;
mod scrub;
mod serve;
mod stripes;
mod trace;
mod world;

pub use bugs::{BUGS, Bug};
pub use scenario::{Report, run};
pub use world::{Counters, Violation};
