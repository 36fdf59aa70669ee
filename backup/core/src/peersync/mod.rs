//! A holder's side of copies: what it has of an owner's repository, what it lacks, and from whom it gets that.
//!
//! A holder that was away sends the last sequence it knows to the owner or to any other holder, gets the tail of the
//! catalogue ([`crate::catalogue`]), and then knows by itself what it lacks. It asks others which of that they have, and
//! fetches from the nearest that is not busy, in the order of [`crate::order`]. Every object is checked by its hash. One that
//! breaks off goes on where it was, from another holder if need be; so little more travels than is missing.
//!
//! ```text
//! copy     what this holder has of one owner, the trash too; what it may drop
//! fetch    from whom what is fetched next, and what to do when that fails
//! ship     which objects travel along with a catalogue's tail, for who asks for that
//! sources  the nearest that is not busy
//! ```

mod copy;
mod fetch;
mod ship;
mod sources;
#[cfg(test)]
mod week;

pub use copy::{Copy, CopyState, Taken};
pub use fetch::{FETCHES, FETCHES_OF_SOURCE, Fetch, FetchFailure, Fetched, Fetcher, STALL_MS};
pub use ship::{SHIP_LIMIT_BYTES, ship};
pub use sources::{Candidate, SOURCES_LIMIT, nearest};
