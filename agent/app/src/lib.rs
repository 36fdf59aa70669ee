//! The Shoal agent as a library: one for every PC.
//!
//! [`start`](start::start) puts an agent together, [`run`](run::run) runs it until it is told to stop. Everything that
//! decides alone lives in crates of its own (ledger, placement) or in pure modules here ([`status`], [`census`],
//! [`health`]'s core, [`ticket`]s); what is here otherwise joins them:
//!
//! ```text
//! config ─► data_directory ─► start ─┬─ shoal-net      handler (who asks what) · join (newcomers)
//!                                    ├─ shoal-consensus  transport · membership (learners, voters)
//!                                    ├─ shoal-store    stores
//!                                    ├─ shoal-volume   peers (shards to and from members)
//!                                    ├─ shoal-dav      door · auth · tls
//!                                    ├─ messages · files  between agents
//!                                    └─ upkeep         health · machine · members · renew · keeping · janitor · copies
//! context: what API, CLI, page and metrics see of all that
//! ```
//!
//! Only this crate knows all the others.

mod addresses;
pub mod api;
mod assembly;
pub mod audit;
pub mod auth;
mod backup;
pub mod census;
mod check;
pub mod cli;
mod clock;
pub mod config;
pub mod context;
pub mod copies;
pub mod data_directory;
pub mod demo;
pub mod directory_lock;
pub mod discover;
mod door;
pub mod error;
mod expiry;
mod files;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handler;
pub mod health;
mod holdings;
mod janitor;
mod join;
pub mod keeping;
mod ledger_mark;
mod listeners;
pub mod machine;
mod member_list;
mod members;
mod membership;
mod mend;
mod messages;
mod no_ledger;
mod orphans;
pub mod outlook;
mod page;
mod peers;
#[cfg(test)]
mod peers_tests;
mod proof;
mod rebuild;
mod recover;
mod renew;
mod room;
pub mod run;
pub mod scrub;
pub mod secret_file;
pub mod settle;
mod shipped;
pub mod start;
pub mod status;
mod status_board;
mod store_gate;
mod stores;
mod sweep;
mod talk;
pub mod ticket;
pub mod tls;
mod transport;
mod trash;
mod verdict;
mod wire;
mod words;

pub use context::AgentContext;
pub use error::AgentError;
