//! Archives go: those that are older than wanted, and those of the continuous mode that a scheduled one followed.
//!
//! Which ones is written down before the first object goes, so that a crash in between is no loss: what is not on the disk and
//! was not to go is missing and comes back from a holder ([`super::together`]).

use std::sync::Arc;

use shoal_archive::{Archive, ArchiveError, Repository};
use shoal_backup::aging::{ArchiveFacts, FORGET_LIMIT, agreed_now_ms, choose};
use shoal_backup::{ArchiveId, ObjectName};

use super::books::Books;
use super::error::OwnerError;
use super::{Owner, Setup, blocking};

impl Owner {
    /// Lets go what is to go. No run begins meanwhile.
    pub(super) async fn age(self: &Arc<Self>, setup: &Arc<Setup>) -> Result<(), OwnerError> {
        let _work = setup.work.lock().await;
        let now = self.now();
        let zone = self.parts.machine.zone();
        let going = {
            let mut books = setup.books();
            // What is missing here may be what an archive needs: first it comes back.
            if !books.clearance.is_clear || !books.missing.is_empty() {
                return Ok(());
            }
            let clocks = books.peers.values().filter_map(|peer| now.wall_ms.checked_add_signed(peer.wall_ahead_ms?));
            let agreed_ms = agreed_now_ms(now.wall_ms, clocks.collect());
            let facts: Vec<ArchiveFacts> = books.archives.iter().filter_map(facts).collect();
            let ages = books.plan.ages;
            let folded = books.folded();
            // Those of the continuous mode stand for no hour and no day, and go by another rule.
            let scheduled: Vec<ArchiveFacts> =
                facts.iter().filter(|archive| !books.state.continuous.contains(&archive.id)).copied().collect();
            let mut choice = choose(&scheduled, &ages, &zone, agreed_ms);
            let newest_complete = facts.iter().rev().find(|archive| archive.complete).map(|archive| archive.id);
            choice.forget.extend(folded.into_iter().filter(|id| Some(*id) != newest_complete));
            choice.forget.sort_unstable();
            choice.forget.dedup();
            choice.forget.truncate(FORGET_LIMIT);
            let goes = |archive: &&Archive| archive.number.is_some_and(|number| choice.forget.contains(&number));
            let going: Vec<ObjectName> = books.archives.iter().filter(goes).map(|archive| archive.name).collect();
            if going.is_empty() {
                return Ok(());
            }
            books.state.forgetting.extend(&going);
            books.save()?;
            going
        };
        let (owner, setup) = (Arc::clone(self), Arc::clone(setup));
        blocking(move || {
            let forgotten = setup.engine.forget(&going);
            if let Ok(forgotten) = &forgotten {
                let freed_bytes = forgotten.freed_bytes;
                tracing::info!(archives = going.len(), freed_bytes, "old archives were let go");
            }
            owner.bring_together(&setup)?;
            let mut books = setup.books();
            let there: Vec<ArchiveId> = books.archives.iter().filter_map(|archive| archive.number).collect();
            books.state.continuous.retain(|id| there.contains(id));
            books.save()?;
            match forgotten {
                // Somebody reads: the next time.
                Ok(_) | Err(ArchiveError::Busy(_)) => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }
}

fn facts(archive: &Archive) -> Option<ArchiveFacts> {
    let taken_ms = u64::try_from(archive.made_ms).unwrap_or(0);
    Some(ArchiveFacts { id: archive.number?, taken_ms, complete: archive.is_complete })
}

impl Books {
    /// Archives of the continuous mode that a scheduled one followed: all that is in them is in that one, or newer.
    fn folded(&self) -> Vec<ArchiveId> {
        let numbers = self.archives.iter().filter_map(|archive| archive.number);
        let scheduled = numbers.filter(|number| !self.state.continuous.contains(number)).max();
        self.state.continuous.iter().copied().filter(|id| scheduled.is_some_and(|number| *id < number)).collect()
    }
}
