//! Says where chunks of a file end: a Rabin fingerprint that rolls over the bytes, as restic's format has it, so that a change in
//! the middle of a large file leaves the chunks before and behind it as they were. After M. O. Rabin, "Fingerprinting by Random
//! Polynomials" (1981), with the two tables of A. Z. Broder, "Some applications of Rabin's fingerprinting method" (1993).
//!
//! It stands in for the crate `rustic_cdc` 0.3, of which it has what `rustic_core` 0.13 uses. That engine makes a new hash for every
//! file, and there both tables were worked out anew each time: 28 % of the processor time of a first backup of 20,000 small files
//! (`cargo xtask bench backup`). Here that is done once for each polynomial. It goes when the engine keeps its hash.
//!
//! ```text
//! polynomial   polynomials over GF(2) in 64 bits
//! rolling      the hash of the last bytes
//! tables       what the hash looks up
//! ```

mod polynomial;
mod rolling;
mod tables;

pub use polynomial::{Polynom, Polynom64};
pub use rolling::{Rabin64, RollingHash64};
