//! Runs that somebody asked for: each request has a number, under which is told what came of it.

use std::collections::VecDeque;

use shoal_backup::ArchiveId;
use shoal_backup::schedule::Mode;

use super::status::LastRun;
use super::{Owner, OwnerError};

/// Requests that wait, and requests whose end is kept, at most: of older ones nothing is known any more.
const REQUESTS_LIMIT: usize = 256;

/// What became of the wish for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Its number.
    pub request: u64,
    /// A run that is on: what it makes, and the number of its archive.
    pub on: Option<(Mode, ArchiveId)>,
    /// That run does as much, and is the one. Else one begins as soon as it has ended, and what else it waits for lets it.
    pub is_that: bool,
}

/// How far a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requested {
    /// Its run has not begun.
    Waits,
    /// Its run is on.
    Runs,
    /// This came of it.
    Ended(Box<LastRun>),
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Requests {
    last: u64,
    waiting: VecDeque<u64>,
    ended: VecDeque<(u64, LastRun)>,
}

impl Requests {
    /// A new one. Numbers go by the clock, so that after a restart none is meant that was given out before.
    pub(super) fn begin(&mut self, wall_ms: u64) -> u64 {
        self.last = self.last.saturating_add(1).max(wall_ms);
        self.last
    }

    /// It waits for a run that is to begin.
    pub(super) fn wait(&mut self, request: u64) {
        self.waiting.push_back(request);
        while self.waiting.len() > REQUESTS_LIMIT {
            self.waiting.pop_front();
        }
    }

    /// A run begins that does what all that wait asked for.
    pub(super) fn take(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.waiting).into()
    }

    /// A run ended that these asked for.
    pub(super) fn end(&mut self, requests: impl IntoIterator<Item = u64>, last: &LastRun) {
        self.ended.extend(requests.into_iter().map(|request| (request, last.clone())));
        let over = self.ended.len().saturating_sub(REQUESTS_LIMIT);
        self.ended.drain(..over);
    }
}

impl Owner {
    /// What became of a request; `None`: it is not known, or not any more since this agent was started anew.
    ///
    /// # Errors
    /// It is not set up.
    pub fn requested(&self, request: u64) -> Result<Option<Requested>, OwnerError> {
        let setup = self.setup()?;
        let books = setup.books();
        if books.requests.waiting.contains(&request) {
            return Ok(Some(Requested::Waits));
        }
        if books.run.as_ref().is_some_and(|run| run.requests.contains(&request)) {
            return Ok(Some(Requested::Runs));
        }
        let ended = books.requests.ended.iter().find(|(ended, _)| *ended == request);
        Ok(ended.map(|(_, last)| Requested::Ended(Box::new(last.clone()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_numbers_are_given_out_once() {
        let mut requests = Requests::default();
        let numbers: Vec<u64> = [100, 100, 7, 200].map(|wall_ms| requests.begin(wall_ms)).into();
        assert_eq!(numbers, [100, 101, 102, 200]);
        (0..1_000).for_each(|request| requests.wait(request));
        let waited = requests.take();
        assert_eq!((waited.len(), requests.take().len()), (REQUESTS_LIMIT, 0));
        (0..3).for_each(|_| requests.end(waited.clone(), &LastRun::default()));
        assert_eq!(requests.ended.len(), REQUESTS_LIMIT);
    }
}
