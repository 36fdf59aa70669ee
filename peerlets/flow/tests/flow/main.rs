//! The core of flows: single ones step by step, and laws over random ones.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failing test says what failed")]

mod flows;
mod laws;
mod world;
