//! Backup carried out: what `shoal-backup` decides and `shoal-archive` reads and writes, over disks, clocks and peers.
//!
//! ```text
//! call      what agents ask of each other about backups, as types
//! network   the other agents and the machine, as this crate sees them
//! files     on disk: the catalogue of an owner, objects in the layout of restic
//! holder    copies for others: takes, fetches, scrubs, proves, drops
//! owner     the PC's own backup: plan, runs, copies on peers, aging, alerts
//! recovery  archives looked at and restored, from here or from peers; drills
//! ```
//!
//! Under `DATA/backup`: `own/` (`repo/`, `catalogue`, `plan.json`, `passphrase`, …), `held/OWNER/` (`repo/`, `catalogue`,
//! `state`), `recover/OWNER/` (what a restore fetched). Each `repo` is a restic repository.

#![forbid(unsafe_code)]

pub mod call;
pub mod network;
pub mod testing;

pub mod files;
pub mod holder;
pub mod owner;
pub mod recovery;
