//! Brings what is lacking, object by object, as the core's [`shoal_backup::peersync::Fetcher`] says.

use std::sync::Arc;

use bytes::Bytes;
use shoal_backup::ObjectName;
use shoal_backup::peersync::{Fetch, FetchFailure, Fetched};
use tokio::task::JoinSet;

use super::answers::Claim;
use super::held::Held;
use super::peersync::PIECE_PATIENCE;
use super::{HolderError, Shared, blocking};
use crate::call::{Answer, Ask, CallError, No, PIECE_LIMIT_BYTES};
use crate::files::FilesError;

/// How bringing an object ended.
enum Brought {
    /// It is kept, or the core knows what went wrong and goes on.
    Went,
    /// Nothing more fits.
    Full,
}

impl Shared {
    /// Brings all that is lacking and can be had. The core bounds how much at once.
    pub(super) async fn fetch_all(self: &Arc<Self>, held: &Arc<Held>) -> Result<(), HolderError> {
        let mut fetches: JoinSet<Result<Brought, HolderError>> = JoinSet::new();
        let mut full = false;
        loop {
            let due = if full { Vec::new() } else { self.due(held)? };
            for fetch in due {
                let (this, held) = (Arc::clone(self), Arc::clone(held));
                fetches.spawn(async move { this.bring(&held, fetch).await });
            }
            match fetches.join_next().await {
                None if full => return Err(HolderError::Full),
                None => return Ok(()),
                Some(Ok(Ok(Brought::Went))) => {}
                Some(Ok(Ok(Brought::Full))) => full = true,
                Some(Ok(Err(error))) => return Err(error),
                Some(Err(_)) => return Err(HolderError::Busy),
            }
        }
    }

    fn due(&self, held: &Held) -> Result<Vec<Fetch>, HolderError> {
        let now = self.now();
        let mut access = held.access(now)?;
        let loaded = &mut *access;
        let mut due = loaded.fetcher.due(loaded.copy.lacking(), now.steady_ms);
        // What somebody writes right now comes anyway.
        due.retain(|fetch| {
            let is_free = !access.is_claimed(&fetch.object.name);
            if !is_free {
                access.fetcher.given_up(&fetch.object.name);
            }
            is_free
        });
        Ok(due)
    }

    /// Brings one object, or as much of it as comes.
    async fn bring(self: &Arc<Self>, held: &Arc<Held>, fetch: Fetch) -> Result<Brought, HolderError> {
        let Fetch { from, object, offset } = fetch;
        let name = object.name;
        let Some(_claim) = Claim::new(self, held, &name)? else { return self.give_up(held, &name) };
        match self.begin(held.owner, name, object.size_bytes) {
            Err(HolderError::Full) => {
                self.give_up(held, &name)?;
                return Ok(Brought::Full);
            }
            begun => begun?,
        }
        // What an earlier start, or the owner, left of it is gone on with, though nobody knows who sent it.
        let found_bytes = held.objects.have_bytes(&name)?;
        let of_others = offset == 0 && found_bytes > 0 && found_bytes <= object.size_bytes;
        let mut have_bytes = if of_others { found_bytes } else { offset };
        if have_bytes > found_bytes {
            return self.give_up(held, &name);
        }
        if have_bytes == 0 {
            self.write(held, name, 0, Bytes::new()).await?;
        }
        while have_bytes < object.size_bytes {
            let length = (object.size_bytes - have_bytes).min(PIECE_LIMIT_BYTES.into());
            let length = u32::try_from(length).unwrap_or(PIECE_LIMIT_BYTES);
            let ask = Ask::Get { owner: held.owner, name, offset: have_bytes, length };
            let reply = self.network.call(from, ask, Bytes::new(), PIECE_PATIENCE).await;
            let failure = match reply {
                Ok((Answer::Done, bytes)) if !bytes.is_empty() && bytes.len() <= length as usize => {
                    match self.write(held, name, have_bytes, bytes).await {
                        Err(HolderError::Files(FilesError::Full { .. })) => {
                            self.room.ended(held.owner, name);
                            self.give_up(held, &name)?;
                            return Ok(Brought::Full);
                        }
                        written => have_bytes = written?,
                    }
                    None
                }
                Ok(_) | Err(CallError::No { no: No::NotFound | No::Damaged | No::Refused, .. }) => {
                    Some(FetchFailure::Missing)
                }
                Err(_) => Some(FetchFailure::Unreachable),
            };
            let steady_ms = self.now().steady_ms;
            let mut access = held.access(self.now())?;
            // It took too long, and was asked of somebody else, or is not wanted any more.
            if access.fetcher.from_whom(&name) != Some(from) {
                return Ok(Brought::Went);
            }
            if let Some(failure) = failure {
                access.fetcher.failed(&name, failure, steady_ms);
                return Ok(Brought::Went);
            }
            access.fetcher.came(&name, have_bytes, steady_ms);
        }
        let (this, kept) = (Arc::clone(self), Arc::clone(held));
        let result = blocking(move || this.keep(&kept, &object)).await.unwrap_or(Err(HolderError::Busy));
        let mut access = held.access(self.now())?;
        match result {
            Ok(()) => _ = access.fetcher.ended(&name, true),
            Err(HolderError::Files(FilesError::WrongHash(_))) if of_others => access.fetcher.given_up(&name),
            Err(HolderError::Files(FilesError::WrongHash(_))) => {
                let ended = access.fetcher.ended(&name, false);
                drop(access);
                if let Some(Fetched::Lied(liar)) = ended {
                    self.gave_wrong(liar, held.owner, name);
                }
            }
            Err(HolderError::Refused(_)) => access.fetcher.given_up(&name),
            Err(error) => {
                access.fetcher.given_up(&name);
                return Err(error);
            }
        }
        Ok(Brought::Went)
    }

    fn give_up(&self, held: &Held, name: &ObjectName) -> Result<Brought, HolderError> {
        held.access(self.now())?.fetcher.given_up(name);
        Ok(Brought::Went)
    }

    async fn write(&self, held: &Arc<Held>, name: ObjectName, offset: u64, bytes: Bytes) -> Result<u64, HolderError> {
        let kept = Arc::clone(held);
        let written = blocking(move || kept.objects.write_piece(&name, offset, &bytes)).await;
        let have_bytes = written.ok_or(HolderError::Busy)??;
        self.room.came(held.owner, name, have_bytes, self.now().steady_ms);
        Ok(have_bytes)
    }
}
