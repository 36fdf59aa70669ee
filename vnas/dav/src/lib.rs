//! The WebDAV door: the pool's volumes as a network drive for Explorer, Finder, davfs2, rclone and browsers.
//!
//! A shell over [`shoal_volume::Drive`]. [`serve`] takes connections from a listener its caller owns, [`Door`] answers
//! requests. `/` lists the volumes, `/VOLUME/…` is what is in one.
//!
//! ```text
//! server  connections, TLS, timeouts ─► door  who, how fresh, which method ─┬► get, put, propfind, proppatch, lock_refresh
//!                                                                          └► library: dav-server for the others
//! ```
//!
//! What is frequent or large (GET, PUT, PROPFIND) and what dav-server cannot do right (PROPPATCH of Windows' times) is
//! done here; MKCOL, DELETE, COPY, MOVE, LOCK and UNLOCK go through dav-server, after every header it would read has
//! been checked and rewritten here (`docs/decisions/0005-webdav-door.md`).
//!
//! What this crate does not know: peers, stripes, sockets it did not get from its caller, passwords (it hands them to
//! an [`Authenticator`] and forgets them). Conditions and locks are checked here early, so that clients hear soon, and
//! again by the ledger in the step that changes something, which alone decides.

mod auth;
mod body;
mod conditions;
mod config;
mod context;
mod door;
mod folder_page;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod get;
mod href;
mod if_header;
mod library;
mod live;
mod lock_refresh;
mod media_type;
mod multistatus;
mod options;
mod propfind;
mod proppatch;
mod put;
mod ranges;
mod refusal;
mod server;
mod stall;
mod stats;
mod strangers;
mod throttle;
mod times;
mod trash;

pub use auth::{AuthFailure, Authenticator, Principal};
pub use config::DoorConfig;
pub use door::Door;
pub use server::serve;
pub use stats::{DoorStats, LATENCY_BUCKETS_MS, METHODS, STATUSES};
pub use strangers::{Stranger, Strangers};
pub use throttle::Throttle;

/// Elements of a request's body, at most.
const XML_ELEMENTS_LIMIT: usize = 4096;
