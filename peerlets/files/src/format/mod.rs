//! What is told of files that are sent, as XML in messages of type [`TYPE`].
//!
//! Pure: knows no clock, disk or network. All that is read here comes from others and is checked once, here; what has
//! been read can be relied on.

mod attributes;
mod listing;
mod offer;
mod path;
mod progress;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use listing::{Entry, FileEntry, Manifest};
pub use offer::{Listing, Offer};
pub use path::{PathFault, RelativePath};
pub use progress::{Progress, ProgressState};

/// The type of the messages.
pub const TYPE: &str = "files";
/// The namespace of their elements; its number is the version.
pub const NAMESPACE: &str = "urn:shoal:files:1";
/// Files and folders of one transfer, at most.
pub const ENTRIES_LIMIT: usize = 100_000;
/// Bytes of a manifest that travels as a file, at most.
pub const MANIFEST_LIMIT_BYTES: u64 = 32 * 1024 * 1024;
/// Bytes of a manifest within its message, at most; a message has 1 MiB, and is written into others' logs.
pub const HERE_LIMIT_BYTES: usize = 256 * 1024;
/// Characters of a note, at most.
pub const NOTE_LIMIT_CHARS: usize = 1_000;
/// Elements of an offer, at most: as many as a message may have.
const ELEMENTS_LIMIT: usize = 65_536;
/// Characters of a reason, at most; the rest is cut off.
const REASON_LIMIT_CHARS: usize = 500;

/// Which transfer: made up by the sender's agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TransferId(pub Uuid);

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for TransferId {
    type Err = FormatError;

    /// Only as it is written: it is the name of a folder.
    fn from_str(text: &str) -> Result<Self, FormatError> {
        let id = Uuid::try_parse(text).map(Self).map_err(|_| FormatError::Transfer)?;
        if id.to_string() == text { Ok(id) } else { Err(FormatError::Transfer) }
    }
}

/// Why something is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// No transfer's id.
    #[error("the transfer is named by a UUID in lower case")]
    Transfer,
    /// No such XML.
    #[error("it cannot be read: {0}")]
    Xml(#[from] dci_proto::xml::BadXml),
    /// Not as it should be.
    #[error("{0}")]
    Shape(String),
    /// A name that is not taken.
    #[error("{path:?} {fault}")]
    Path {
        /// Which, cut to what a person reads.
        path: String,
        /// What is wrong with it.
        fault: PathFault,
    },
    /// Over a limit.
    #[error("more than {limit} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much is taken.
        limit: u64,
    },
}

fn shape(text: &str) -> FormatError {
    FormatError::Shape(text.to_owned())
}
