//! Before anything is said in a catalogue after a start, holders are asked how far they know it.
//!
//! A PC may have been set back to an older state (an image, a snapshot of a virtual machine), or its disk may have lost the
//! end of its catalogue. If it then went on from there it would say other things with sequence numbers that it used before: a
//! fork, and its holders would take nothing from it any more. So it takes its own words from a holder first. A run needs no
//! clearance: what it packs is said later.
//!
//! It is clear when all members that answer were asked and, if there are holders, one of them said how far it is.

use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use dci_proto::AgentId;
use futures::StreamExt as _;
use shoal_backup::catalogue::{BASE_LIMIT_BYTES, Base, CatalogueError, Tail};

use super::books::Books;
use super::error::OwnerError;
use super::{Owner, Setup};
use crate::call::{self, Answer, Ask, CallError, Standing};
use crate::network::Member;

/// Members that are asked at the same time.
const ASKED_AT_ONCE: usize = 16;
/// Members that are asked, at most.
const MEMBERS_LIMIT: usize = 1_024;
/// Tails that one holder is asked for in a row, at most: four thousand entries each.
const TAILS_LIMIT: usize = 10_000;

impl Owner {
    /// Members that answer and have something of this owner's catalogue.
    pub(super) async fn who_holds_copies(&self) -> Vec<(Member, Standing)> {
        let members = self.parts.network.members().into_iter().filter(|member| member.away_ms.is_none());
        let asked = futures::stream::iter(members.take(MEMBERS_LIMIT)).map(async |member| {
            let standing = self.standing_of(member.agent).await;
            (member, standing)
        });
        let answers: Vec<_> = asked.buffer_unordered(ASKED_AT_ONCE).collect().await;
        let holds = |(member, standing): (Member, Result<Standing, CallError>)| {
            standing.ok().filter(|standing| standing.holds || standing.sequence > 0).map(|standing| (member, standing))
        };
        answers.into_iter().filter_map(holds).collect()
    }

    /// How far an agent knows this owner's catalogue. One that holds nothing may say no: it knows nothing.
    pub(super) async fn standing_of(&self, agent: AgentId) -> Result<Standing, CallError> {
        match self.call(agent, Ask::Standing { owner: self.own() }, Bytes::new()).await {
            Ok((Answer::Standing(standing), _)) => Ok(standing),
            Ok(_) => Err(CallError::Malformed("another answer than how far it is".to_owned())),
            Err(CallError::No { no: call::No::NotFound | call::No::Refused, .. }) => Ok(Standing::default()),
            Err(error) => Err(error),
        }
    }

    /// Asks whom it must. True once it is clear.
    pub(super) async fn clear(&self, setup: &Setup) -> Result<bool, OwnerError> {
        let members = self.parts.network.members().into_iter().filter(|member| member.away_ms.is_none());
        let members: Vec<Member> = {
            let books = setup.books();
            if books.clearance.is_clear {
                return Ok(true);
            }
            members.filter(|member| !books.clearance.asked.contains(&member.agent)).take(MEMBERS_LIMIT).collect()
        };
        let asked = futures::stream::iter(members).map(async |member| {
            let standing = self.standing_of(member.agent).await;
            (member.agent, standing)
        });
        let answers: Vec<_> = asked.buffer_unordered(ASKED_AT_ONCE).collect().await;
        let mut unanswered = 0;
        for (agent, standing) in answers {
            let Ok(standing) = standing else {
                unanswered += 1;
                continue;
            };
            let (own_sequence, is_holder) = {
                let books = setup.books();
                (books.catalogue.state().sequence(), books.state.holders.contains_key(&agent))
            };
            let knows_more = standing.sequence > own_sequence;
            if knows_more {
                tracing::warn!(
                    own_sequence, holder = %agent.fingerprint(), its_sequence = standing.sequence,
                    "this PC knows less of its own backup than a holder: taking it from there"
                );
                self.take_tail_from(&setup.books, agent).await?;
            }
            let mut books = setup.books();
            books.clearance.asked.insert(agent);
            books.clearance.holder_answered |= knows_more || is_holder;
        }
        let mut books = setup.books();
        let has_heard = books.clearance.holder_answered || books.state.holders.is_empty();
        books.is_untold = true;
        books.clearance.is_clear = has_heard && unanswered == 0 && books.trouble.is_none();
        Ok(books.clearance.is_clear)
    }

    /// Takes the owner's own words from a holder, as far as it knows them.
    pub(super) async fn take_tail_from(&self, books: &Mutex<Books>, agent: AgentId) -> Result<(), OwnerError> {
        let lock = || books.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..TAILS_LIMIT {
            let after = lock().catalogue.state().sequence();
            let Some((tail, more)) = self.tail_of(agent, after).await else { return Ok(()) };
            let mut books = lock();
            match books.take_in(&tail, &self.hand) {
                Err(OwnerError::Catalogue(CatalogueError::Forked(sequence))) => {
                    let error = CatalogueError::Forked(sequence);
                    tracing::error!(%error, holder = %agent.fingerprint(), "the catalogue of this PC's backup forked");
                    books.trouble = Some(error.to_string());
                    return Err(error.into());
                }
                // It lies, or is broken; others are asked.
                Err(OwnerError::Catalogue(error)) => {
                    tracing::warn!(%error, holder = %agent.fingerprint(), "a holder's catalogue was refused");
                    return Ok(());
                }
                taken => taken?,
            }
            if !more || books.catalogue.state().sequence() == after {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What follows a sequence, in the words of a holder; and whether there is more.
    async fn tail_of(&self, agent: AgentId, after: u64) -> Option<(Tail, bool)> {
        let owner = self.own();
        let (answer, body) = self.call(agent, Ask::Tail { owner, after }, Bytes::new()).await.ok()?;
        let Answer::Tail { base, more } = answer else { return None };
        let entries = call::entries_from_bytes(&body).ok()?;
        let base = match base {
            None => None,
            Some((sequence, size_bytes)) => Some(self.base_of(agent, sequence, size_bytes).await?),
        };
        Some((Tail { base, entries, more }, more))
    }

    async fn base_of(&self, agent: AgentId, sequence: u64, size_bytes: u64) -> Option<Base> {
        let size_bytes = usize::try_from(size_bytes).ok().filter(|size| *size <= BASE_LIMIT_BYTES)?;
        let mut bytes = BytesMut::new();
        while bytes.len() < size_bytes {
            let offset = bytes.len() as u64;
            let ask = Ask::BasePiece { owner: self.own(), sequence, offset };
            let (_, piece) = self.call(agent, ask, Bytes::new()).await.ok()?;
            if piece.is_empty() || bytes.len() + piece.len() > size_bytes {
                return None;
            }
            bytes.extend_from_slice(&piece);
        }
        Base::from_bytes(&bytes).ok()
    }
}
