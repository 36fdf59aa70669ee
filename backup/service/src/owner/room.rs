//! The disk that the repository is on is full, or nearly.
//!
//! A run begins only with room ([`shoal_backup::room`]), and ends when what is reserved for the PC's user would be used up. What a
//! run wrote that failed for want of room is given up at once: nothing but that run needed it, and the disk is the user's. If the PC
//! went off before that was done, it is done when the next run is due and has no room. What goes here is deleted for the holders by
//! the catalogue, if they were told of it ([`super::together`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use shoal_archive::Repository;
use shoal_backup::plan::Pause;
use shoal_backup::room::in_words;
use shoal_backup::{Now, ObjectKind, ObjectName};

use super::books::Books;
use super::error::OwnerError;
use super::status::LastRun;
use super::{Owner, Setup, blocking};

/// While there is no room, what could be given up is looked for this often.
const LOOK_EVERY_MS: u64 = 5 * 60_000;

/// A run has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom {
    free_bytes: u64,
    needed_bytes: u64,
}

impl Owner {
    /// Free on the disk of the repository. What cannot be found out is no reason to keep nothing.
    pub(super) fn free_bytes(&self) -> u64 {
        self.parts.machine.free_bytes(&self.parts.folder).unwrap_or(u64::MAX)
    }

    /// Gives up what no archive needs. How many bytes came free; `None`: it is not known for sure what that is. Blocks. Who calls it
    /// holds the lock on work.
    pub(super) fn give_up(&self, setup: &Setup) -> Result<Option<u64>, OwnerError> {
        let archives: BTreeSet<ObjectName> = {
            let books = setup.books();
            if !books.clearance.is_clear {
                return Ok(None);
            }
            let objects = books.catalogue.state().iter().map(|(_, object)| object);
            let archives = objects.filter(|object| object.kind == ObjectKind::Snapshot).map(|object| object.name);
            archives.filter(|name| !books.state.forgetting.contains(name)).collect()
        };
        // An archive that is to come back to this disk may need anything.
        let there: BTreeSet<ObjectName> = setup.engine.objects()?.into_iter().map(|object| object.name).collect();
        if !archives.is_subset(&there) {
            return Ok(None);
        }
        let given_up = setup.engine.give_up()?;
        if !given_up.removed.is_empty() {
            let (objects, freed_bytes) = (given_up.removed.len(), given_up.freed_bytes);
            tracing::info!(objects, freed_bytes, "what runs left that came to no archive was given up");
        }
        Ok(Some(given_up.freed_bytes))
    }

    /// A run is due and has no room: it is made, if that can be done at no cost. Who asked for the run is told if not.
    pub(super) async fn without_room(self: &Arc<Self>, setup: &Arc<Setup>) {
        let now = self.now();
        let looked_ms = setup.books().gave_up_ms;
        if looked_ms.is_none_or(|at_ms| now.steady_ms.saturating_sub(at_ms) >= LOOK_EVERY_MS) {
            let _work = setup.work.lock().await;
            let (owner, work) = (Arc::clone(self), Arc::clone(setup));
            let given_up = blocking(move || {
                let given_up = owner.give_up(&work)?;
                if given_up.is_some_and(|bytes| bytes > 0) {
                    owner.bring_together(&work)?;
                }
                Ok(given_up)
            });
            match given_up.await {
                Ok(None) => {}
                Ok(Some(freed_bytes)) => {
                    setup.books().gave_up_ms = Some(now.steady_ms);
                    if freed_bytes > 0 {
                        // The run that wrote it could not be tidied up after at once.
                        let mut books = setup.books();
                        if books.is_full {
                            books.room.failed(freed_bytes, now.steady_ms);
                        }
                        self.wake_copies.notify_one();
                        self.wake_schedule.notify_one();
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "no room could be made on the disk of the backup");
                    setup.books().gave_up_ms = Some(now.steady_ms);
                }
            }
        }
        let mut books = setup.books();
        if let (Some(mode), Some(lack)) = (books.asked_run, self.lack_of_room(&books, now, true)) {
            books.asked_run = None;
            books.scheduler.refuse();
            let archive = shoal_backup::ArchiveId(books.state.next_archive);
            let error = Some(self.is_full_there(&lack));
            let last = LastRun { mode, archive, began_ms: now.wall_ms, error, ..LastRun::default() };
            let requests = books.requests.take();
            books.requests.end(requests, &last);
            books.state.last_run = Some(last);
            books.save_or_warn();
        }
    }

    /// Why a run has no room now, if so.
    pub(super) fn lack_of_room(&self, books: &Books, now: Now, asked: bool) -> Option<NoRoom> {
        let (free_bytes, needed_bytes) = (self.free_bytes(), books.room.needs_bytes(asked, now.steady_ms));
        (free_bytes < needed_bytes).then_some(NoRoom { free_bytes, needed_bytes })
    }

    /// Why a run ended that the disk was too full for.
    pub(super) fn ran_full(&self) -> String {
        format!("the disk of {} is full: there was no room for all of it", self.parts.data.display())
    }

    fn is_full_there(&self, lack: &NoRoom) -> String {
        let (free, needed) = (in_words(lack.free_bytes), in_words(lack.needed_bytes));
        format!("the disk of {} is full: {free} free, {needed} are needed", self.parts.data.display())
    }

    /// In words, if the disk is full or was when a run ended: what to do, and when it goes on.
    pub(super) fn tell_full(&self, books: &Books, now: Now) -> Option<String> {
        if !books.is_full && books.waits_for != Some(Pause::NoRoom) {
            return None;
        }
        let retry_ms = books.scheduler.retry_ms(now).filter(|at_ms| *at_ms > now.wall_ms);
        let again = match retry_ms {
            Some(at_ms) => format!("it is tried again at {}", self.parts.machine.zone().clock(at_ms)),
            None => "the backup then goes on by itself".to_owned(),
        };
        Some(match self.lack_of_room(books, now, false) {
            Some(lack) => {
                let said = self.is_full_there(&lack);
                format!("T{}. Make room: {again}", said.strip_prefix('t').unwrap_or(&said))
            }
            None => format!("The disk of {} was full; {again}", self.parts.data.display()),
        })
    }
}

impl Books {
    /// Something did not work: told as a full disk, if it was that.
    pub(super) fn note_trouble(&mut self, error: &OwnerError) {
        if error.is_full() {
            self.is_full = true;
        } else {
            self.trouble = Some(error.to_string());
        }
    }
}
