//! The door over real sockets, on a pool in memory: each fault cured has a test that fails without its cure.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "what helpers of tests expect is what the tests prove"
)]

mod common;
mod door;
mod get;
mod listing;
mod locks;
mod put;
mod transfer;
mod trash;
