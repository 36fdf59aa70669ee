//! Recovery over a pool in memory.

#![allow(clippy::unwrap_used, reason = "a failing test says what failed")]

mod browse;
mod drill;
mod holders;
mod luck;
mod restore;
mod stage;
