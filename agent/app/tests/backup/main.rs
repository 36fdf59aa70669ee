//! Backups between real agents: made, protected, restored by file, by date and wholly onto another PC, whoever is killed
//! meanwhile, and read without Shoal (B1–B12).

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failing test says what failed")]

mod life;
mod misfortune;
mod support;
