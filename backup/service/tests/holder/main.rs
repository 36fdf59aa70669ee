//! Holders over real folders, an owner in memory, calls through a pool with faults.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failing test says what failed")]

mod catching_up;
mod crash;
mod pool;
mod proving;
mod restic;
mod sending;
mod trash;
