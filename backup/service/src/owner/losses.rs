//! What this PC's disk damaged or lost of its own repository: it is noticed, put aside, and backed up again if nobody has it.
//!
//! What a holder has comes back from there ([`super::fetching`]). What nobody has a run packs again, from the files; what it
//! could not pack again is deleted from the catalogue, or no later archive would ever have a copy
//! ([`shoal_backup::lost`]), and the archives that lack it are told.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use dci_proto::AgentId;
use shoal_backup::schedule::Mode;
use shoal_backup::{Object, ObjectName, lost};

use super::books::Books;
use super::error::OwnerError;
use super::{Owner, Setup, blocking};

/// Where damaged objects are put.
const ASIDE: &str = "damaged";
/// Damaged objects that are kept for somebody to look at, at most.
const ASIDE_LIMIT: usize = 16;

impl Owner {
    /// An object that arrived as another one, or could not be read: is it whole here? Not while a run or aging changes the repository:
    /// what aging just dropped is in the catalogue for a moment still. Whoever needs the object asks again.
    pub(super) async fn look_at_own(&self, setup: &Arc<Setup>, object: &Object) {
        let Ok(alone) = Arc::clone(&setup.work).try_lock_owned() else { return };
        let (folder, setup_here, wanted) = (self.parts.folder.join(ASIDE), Arc::clone(setup), *object);
        let looked = blocking(move || {
            let _alone = alone;
            let path = setup_here.objects.path(wanted.kind, &wanted.name);
            let is_whole = is_whole(fs::read(&path), &wanted.name);
            if is_whole.map_err(|error| OwnerError::io("read", &path, error))?
                || setup_here.books().catalogue.state().get(&wanted.name).is_none()
            {
                return Ok(());
            }
            tracing::error!(path = %path.display(), "an object of the backup is damaged on this disk");
            if path.exists() {
                put_aside(&path, &folder, &wanted.name).map_err(|error| OwnerError::io("move", &path, error))?;
            }
            setup_here.books().missing.insert(wanted.name, wanted);
            Ok(())
        });
        if let Err(error) = looked.await {
            tracing::warn!(%error, "an object of the backup could not be looked at");
        }
    }

    /// What is missing and what nobody has is backed up again: a run is asked for, once for each object.
    pub(super) fn pack_lost_again(&self, setup: &Setup) {
        let mut books = setup.books();
        let lost = books.lost();
        if lost.is_subset(&books.packed_again) {
            return;
        }
        tracing::warn!(objects = lost.len(), "objects of the backup are lost: what was in them is backed up again");
        books.packed_again.extend(lost);
        books.scheduler.ask(Mode::Delta);
        drop(books);
        self.wake_schedule.notify_one();
    }
}

impl Books {
    /// What is missing here and what nobody else has either.
    pub(super) fn lost(&self) -> BTreeSet<ObjectName> {
        lost::with_nobody(self.missing.keys().copied(), &self.replication, |agent| self.was_heard(agent))
    }

    /// What was missing before a run, is missing still, and is with nobody.
    pub(super) fn gone(&self, before_run: &BTreeSet<ObjectName>) -> BTreeSet<ObjectName> {
        let missing = self.missing.keys().copied();
        lost::gone(before_run, missing, &self.replication, |agent| self.was_heard(agent))
    }

    /// Whether a holder said all that it has since it came into sight.
    fn was_heard(&self, agent: AgentId) -> bool {
        self.peers.get(&agent).is_some_and(|peer| peer.reported_ms.is_some())
    }
}

/// Whether what was read is the object. That a disk cannot read its own sectors is damage as other bytes are; any other error says
/// nothing of the object.
fn is_whole(read: io::Result<Vec<u8>>, name: &ObjectName) -> io::Result<bool> {
    match read {
        Ok(bytes) => Ok(ObjectName::of(&bytes) == *name),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Moves a damaged object out of the repository; the oldest ones there go.
fn put_aside(path: &Path, folder: &Path, name: &ObjectName) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut there = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        there.push((entry.metadata()?.modified()?, entry.path()));
    }
    there.sort();
    let many = there.len().saturating_sub(ASIDE_LIMIT - 1);
    there.iter().take(many).try_for_each(|(_, path)| fs::remove_file(path))?;
    fs::rename(path, folder.join(name.to_string()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test says what failed")]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn other_bytes_none_and_bad_sectors_are_damage_and_other_errors_say_nothing() {
        let name = ObjectName::of(b"right");
        assert!(is_whole(Ok(b"right".to_vec()), &name).unwrap());
        assert!(!is_whole(Ok(b"wrong".to_vec()), &name).unwrap());
        assert!(!is_whole(Err(Errno::NOENT.into()), &name).unwrap());
        assert!(!is_whole(Err(Errno::IO.into()), &name).unwrap());
        assert!(is_whole(Err(Errno::MFILE.into()), &name).is_err());
    }
}
