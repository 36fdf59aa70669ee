//! Which group agrees on this ledger: a pool that lost its voters for good is recovered into a group of a new
//! generation, and what the old one still says is not listened to.
//!
//! Every message and every answer names the sender's group. Who hears of a newer generation from a member stops taking
//! part in the older one ([`crate::Consensus::overtaken`]). Two groups of one generation (recovered twice, from two agents) stay
//! apart: which of them is the pool is for people to say.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::ConsensusError;
use crate::files::{replace_file, seal, unseal};

const FILE_NAME: &str = "group";
/// Version of the file.
const FILE_VERSION: u32 = 1;

/// A group that agrees on a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Group {
    /// How often the pool has been recovered.
    pub generation: u64,
    /// Tells groups of one generation apart.
    pub id: [u8; 16],
    /// Where the ledger ended that it was recovered from.
    pub position: u64,
}

/// What another group is to this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Same,
    /// It was recovered since.
    Newer,
    /// It was before the recovery.
    Older,
    /// Recovered as often, but from another agent.
    Twin,
}

impl Group {
    /// The group of a ledger's directory; the first generation where nothing is noted.
    ///
    /// # Errors
    /// If the note cannot be read, is damaged, or of a newer version.
    pub fn read(directory: &Path) -> Result<Self, ConsensusError> {
        let path = directory.join(FILE_NAME);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(ConsensusError::io("read", &path)(error)),
        };
        let content = unseal(&bytes).ok_or_else(|| ConsensusError::damaged(&path, "its checksum does not hold"))?;
        let undecodable = |error| ConsensusError::damaged(&path, format!("it does not decode ({error})"));
        let (found, rest) = postcard::take_from_bytes::<u32>(content).map_err(undecodable)?;
        if found > FILE_VERSION {
            return Err(ConsensusError::NewerVersion { path, found, known: FILE_VERSION });
        }
        postcard::from_bytes(rest).map_err(undecodable)
    }

    /// Notes the group in a ledger's directory, making it if need be; durable when this returns.
    ///
    /// # Errors
    /// If the note cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), ConsensusError> {
        std::fs::create_dir_all(directory).map_err(ConsensusError::io("make the directory", directory))?;
        let content = postcard::to_stdvec(&(FILE_VERSION, self))
            .map_err(|error| ConsensusError::Format(format!("the group cannot be encoded: {error}")))?;
        replace_file(directory, FILE_NAME, &seal(content))
    }

    fn relation(&self, theirs: &Self) -> Relation {
        match theirs.generation.cmp(&self.generation) {
            std::cmp::Ordering::Greater => Relation::Newer,
            std::cmp::Ordering::Less => Relation::Older,
            std::cmp::Ordering::Equal if theirs.id == self.id => Relation::Same,
            std::cmp::Ordering::Equal => Relation::Twin,
        }
    }
}

/// The group a member belongs to, and what it heard of others.
#[derive(Debug)]
pub(crate) struct GroupBook {
    directory: PathBuf,
    own: Mutex<Group>,
    newer: watch::Sender<Option<Group>>,
    twin: Mutex<Option<Group>>,
}

impl GroupBook {
    pub(crate) fn new(directory: &Path, own: Group) -> Self {
        let (own, twin) = (Mutex::new(own), Mutex::new(None));
        Self { directory: directory.to_owned(), own, newer: watch::Sender::new(None), twin }
    }

    pub(crate) fn own(&self) -> Group {
        *self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a group that was heard.
    pub(crate) fn hear(&self, theirs: &Group) -> Relation {
        let relation = self.own().relation(theirs);
        match relation {
            Relation::Newer => {
                let newest = |known: &Option<Group>| known.is_none_or(|known| known.generation < theirs.generation);
                self.newer.send_if_modified(|known| {
                    let news = newest(known);
                    if news {
                        *known = Some(*theirs);
                    }
                    news
                });
            }
            Relation::Twin => *self.twin.lock().unwrap_or_else(PoisonError::into_inner) = Some(*theirs),
            Relation::Same | Relation::Older => {}
        }
        relation
    }

    /// Joins a group; for a member whose ledger is empty. Blocking.
    pub(crate) fn adopt(&self, group: Group) -> Result<(), ConsensusError> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        group.write(&self.directory)?;
        *own = group;
        self.newer.send_replace(None);
        Ok(())
    }

    pub(crate) fn newer(&self) -> watch::Receiver<Option<Group>> {
        self.newer.subscribe()
    }

    pub(crate) fn twin(&self) -> Option<Group> {
        *self.twin.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a message of another group is not taken, for people.
pub(crate) fn refusal(relation: Relation, own: &Group, theirs: &Group) -> String {
    let (ours, theirs) = (own.generation, theirs.generation);
    match relation {
        Relation::Newer => format!("this agent's ledger is of generation {ours}, before the pool was recovered"),
        Relation::Older => {
            format!(
                "the pool was recovered: its ledger is of generation {ours}, yours of generation {theirs} counts no more"
            )
        }
        Relation::Twin => "the pool was recovered twice, from two agents that do not know of each other".to_owned(),
        Relation::Same => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_told_apart_and_the_newest_generation_is_heard_of() {
        let folder = tempfile::tempdir().expect("folder");
        let group = |generation, id| Group { generation, id: [id; 16], position: 7 };
        assert_eq!(Group::read(folder.path()).expect("nothing noted"), Group::default());
        group(1, 1).write(folder.path()).expect("noted");
        let book = GroupBook::new(folder.path(), Group::read(folder.path()).expect("read"));
        assert_eq!(book.own(), group(1, 1));
        assert_eq!(book.hear(&group(1, 1)), Relation::Same);
        assert_eq!(book.hear(&group(0, 0)), Relation::Older);
        assert_eq!((book.hear(&group(1, 2)), book.twin()), (Relation::Twin, Some(group(1, 2))));
        assert_eq!(*book.newer().borrow(), None);
        assert_eq!((book.hear(&group(3, 1)), book.hear(&group(2, 1))), (Relation::Newer, Relation::Newer));
        assert_eq!(*book.newer().borrow(), Some(group(3, 1)));
        book.adopt(group(3, 1)).expect("joined");
        assert_eq!((book.own(), *book.newer().borrow()), (group(3, 1), None));
        assert_eq!(Group::read(folder.path()).expect("read"), group(3, 1));
    }

    #[test]
    fn a_damaged_note_is_told() {
        let folder = tempfile::tempdir().expect("folder");
        Group { generation: 1, ..Group::default() }.write(folder.path()).expect("noted");
        let path = folder.path().join(FILE_NAME);
        let mut bytes = std::fs::read(&path).expect("read");
        bytes[0] ^= 1;
        std::fs::write(&path, bytes).expect("written");
        assert!(matches!(Group::read(folder.path()), Err(ConsensusError::Damaged { .. })));
    }
}
