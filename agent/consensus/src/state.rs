//! The state on disk: redb, changed by applied entries, read through views, carried to newcomers row by row.
//!
//! Applying commits without durability; [`store::StateStore::checkpoint`] makes all of it durable at once, and only
//! what a checkpoint holds may be purged from the log. After a crash redb shows the last checkpoint and the log is
//! applied again from there.

mod dump;
mod incoming;
mod machine;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod view;

pub use dump::StateDump;
pub(crate) use dump::{DumpReader, RowPieces};
#[cfg(feature = "fuzzing")]
pub(crate) use dump::{PieceWriter, read_rows};
pub(crate) use incoming::IncomingState;
pub(crate) use machine::StateMachine;
pub(crate) use store::{DurablePosition, StateStore};
pub(crate) use view::StateView;

use std::sync::Arc;

/// A snapshot as openraft passes it around.
pub(crate) enum StateTransfer {
    /// To be sent: a view whose rows are read while they are sent; no copy is made on disk.
    Outgoing(Arc<StateView>),
    /// Received into a database of its own, to be put in place.
    Incoming(Box<IncomingState>),
}
