//! Backups over HTTP: setting up, runs, peers, archives, restores.

pub mod types;
