//! The doors for callers (D10), each tried as its callers use it: real agents, stock clients, and hostile ones.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failing test says what failed")]

mod command_line;
mod common;
mod guide;
mod hostile;
mod languages;
mod plain;
mod soap;
mod socket;
