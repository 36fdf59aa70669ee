//! The ledger as its callers see it: commands in, outcomes and queries out, every invariant checked after each step.

#![allow(clippy::expect_used, reason = "a test's helpers may fail the test")]

mod bad;
mod care;
mod content;
mod format;
mod harness;
mod holdings;
mod laws;
mod locks;
mod members;
mod model;
mod namespace;
mod replay;
mod rights;
mod trash;
mod volumes;
