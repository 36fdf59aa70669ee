//! The keeper against a real ledger and agents that do at once what they are told.

#![allow(clippy::expect_used, reason = "a test's helpers may fail the test")]

mod damage;
mod pool;
mod recovery;
mod sharing;
