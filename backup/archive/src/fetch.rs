//! Objects that are not on this disk are brought from elsewhere when they are needed.

use std::{fmt, io};

use shoal_backup::{ObjectKind, ObjectName};

/// Brings objects of a repository of which only a part is on this disk.
///
/// To be correct, an implementation must put only bytes in an object's place whose SHA-256 is its name, all at once, and must
/// end, with an error if need be. It is called from many threads, also for the same object.
pub trait FetchObject: Send + Sync + fmt::Debug {
    /// Puts an object in its place in the repository's folder, also if there is something there. Returns when it is there.
    ///
    /// # Errors
    /// Why it cannot be had, in a sentence.
    fn fetch(&self, kind: ObjectKind, name: &ObjectName) -> io::Result<()>;
}
