//! Catches up: asks the owner, or other holders if the owner is away, for the tail of its catalogue, then brings what is
//! lacking from the nearest that have it, in the order in which a copy grows.
//!
//! It happens at the start, when an agent comes into sight, when something was found damaged, and every few minutes. A short
//! tail brings its objects along. A copy that its owner released takes nothing more.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dci_proto::AgentId;
use futures::StreamExt;
use shoal_backup::catalogue::{BASE_LIMIT_BYTES, Base, CatalogueError, Tail};
use shoal_backup::peersync::{SOURCES_LIMIT, STALL_MS};
use shoal_backup::{Object, ObjectName};

use super::answers::Claim;
use super::held::Held;
use super::{HolderError, Shared, Untold, blocking};
use crate::call::{
    Answer, Ask, CallError, HeldFor, NAMES_LIMIT, OWNERS_LIMIT, PIECE_LIMIT_BYTES, entries_from_bytes,
    names_from_bytes, names_to_bytes,
};
use crate::files::FilesError;
use crate::network::Member;

/// A look at who is there: cheap, the network knows it anyway.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Catching up without a reason.
const CATCH_UP_EVERY: Duration = Duration::from_secs(3 * 60);
/// Catching up again while something is lacking and somebody may have it.
const CATCH_UP_AGAIN: Duration = Duration::from_secs(20);
/// Asking everybody whose copies they hold: this seldom, and whoever comes into sight at once.
const ASK_OWNERS_EVERY: Duration = Duration::from_secs(60 * 60);
/// Agents asked for that at once.
const ASKED_AT_ONCE: usize = 8;
/// For small answers.
const PATIENCE: Duration = Duration::from_secs(20);
/// For pieces: no longer than the core waits for a byte.
pub(super) const PIECE_PATIENCE: Duration = Duration::from_millis(STALL_MS);
/// Tails taken from one agent at a time, each of thousands of entries: the longest catalogue there can be, and then some.
const TAILS_LIMIT: usize = 1_024;
/// Other holders whose tail is asked for when the owner does not answer.
const TAIL_SOURCES: usize = 3;

/// What a tail from somebody brought.
enum Pulled {
    /// It answered; sequences before and after.
    Heard(u64, u64),
    /// It did not.
    Silent,
}

impl Shared {
    /// Catches up until it is to end.
    pub(super) async fn keep_up(self: &Arc<Self>) {
        let mut seen: BTreeSet<AgentId> = BTreeSet::new();
        let start = tokio::time::Instant::now();
        let (mut next, mut next_owners) = (start, start);
        loop {
            let now = tokio::time::Instant::now();
            let present: BTreeSet<AgentId> = self.present().iter().map(|member| member.agent).collect();
            let came: BTreeSet<AgentId> = present.difference(&seen).copied().collect();
            seen = present;
            let ask_all = now >= next_owners;
            if ask_all || !came.is_empty() {
                self.look_for_holders((!ask_all).then_some(&came)).await;
                if ask_all {
                    next_owners = now + ASK_OWNERS_EVERY;
                }
                next = now;
            }
            if now >= next {
                self.tell_owners().await;
                let whole = self.catch_up_all().await;
                next = tokio::time::Instant::now() + if whole { CATCH_UP_EVERY } else { CATCH_UP_AGAIN };
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.wake.notified() => next = tokio::time::Instant::now(),
            }
        }
    }

    fn present(&self) -> Vec<Member> {
        let mut members = self.network.members();
        members.retain(|member| member.away_ms.is_none());
        members
    }

    /// Asks others whose copies they hold: all, or only these.
    pub(super) async fn look_for_holders(&self, only: Option<&BTreeSet<AgentId>>) {
        let agents = self.present().into_iter().map(|member| member.agent);
        let agents: Vec<AgentId> = agents.filter(|agent| only.is_none_or(|only| only.contains(agent))).collect();
        let asked = agents.into_iter().map(|agent| async move {
            let reply = self.network.call(agent, Ask::Owners, Bytes::new(), PATIENCE).await;
            (agent, reply)
        });
        let mut replies = futures::stream::iter(asked).buffer_unordered(ASKED_AT_ONCE);
        while let Some((agent, reply)) = replies.next().await {
            let Ok((Answer::Done, body)) = reply else { continue };
            let Ok(list) = postcard::from_bytes::<Vec<HeldFor>>(&body) else {
                tracing::debug!(%agent, "its list of copies is not understood");
                continue;
            };
            let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
            holders.values_mut().for_each(|of| _ = of.remove(&agent));
            for held in list.into_iter().take(OWNERS_LIMIT) {
                // Only what concerns us is remembered.
                if self.copies().contains_key(&held.owner) {
                    holders.entry(held.owner).or_default().insert(agent);
                }
            }
        }
    }

    /// Tells owners, and who gave wrong bytes, what they are yet to be told.
    pub(super) async fn tell_owners(&self) {
        let untold: Vec<Untold> = self.untold.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        let present: BTreeSet<AgentId> = self.present().iter().map(|member| member.agent).collect();
        for told in untold.into_iter().filter(|untold| present.contains(&untold.to)) {
            let Untold { to, owner, name, by } = told;
            let ask = match by {
                None => Ask::Damaged { name },
                Some(agent) if agent == to => Ask::Doubt { owner, name },
                Some(agent) => Ask::Suspect { agent, name },
            };
            match self.network.call(to, ask, Bytes::new(), PATIENCE).await {
                Err(CallError::Unreachable(_)) => {}
                // Told, or not understood: saying it again would not help.
                _ => _ = self.untold.lock().unwrap_or_else(PoisonError::into_inner).remove(&told),
            }
        }
    }

    /// Catches up with all owners. True if nothing is lacking that could be there.
    pub(super) async fn catch_up_all(self: &Arc<Self>) -> bool {
        let mut whole = true;
        for held in self.all() {
            match self.catch_up(&held).await {
                Ok(is_whole) => whole &= is_whole,
                Err(HolderError::NotHeld) => {}
                Err(error) => {
                    tracing::warn!(owner = %held.owner, %error, "a copy could not catch up");
                    whole = false;
                }
            }
        }
        whole
    }

    /// Catches up with one owner. True if nothing is lacking then.
    async fn catch_up(self: &Arc<Self>, held: &Arc<Held>) -> Result<bool, HolderError> {
        let Ok(_alone) = held.syncing.try_lock() else { return Ok(true) };
        if held.access(self.now())?.released_ms().is_some() {
            return Ok(true);
        }
        let sources = self.sources(held.owner);
        let mut others = TAIL_SOURCES;
        for source in &sources {
            let is_owner = source.agent == held.owner;
            if !is_owner && others == 0 {
                break;
            }
            let lacked = held.access(self.now())?.copy.lacking().len();
            if let Pulled::Heard(before, after) = self.pull_tail(held, source.agent).await? {
                if lacked == 0 && after > before {
                    self.pull_shipped(held, source.agent, before).await?;
                }
                if is_owner {
                    break;
                }
                others -= 1;
            }
        }
        let lacking = self.names_lacking(held)?;
        if lacking.is_empty() {
            return Ok(true);
        }
        for source in &sources {
            self.ask_which(held, source, &lacking).await?;
        }
        self.fetch_all(held).await?;
        Ok(held.access(self.now())?.copy.lacking().is_empty())
    }

    fn names_lacking(&self, held: &Held) -> Result<Vec<ObjectName>, HolderError> {
        let access = held.access(self.now())?;
        Ok(access.copy.lacking().iter().map(|object| object.name).take(NAMES_LIMIT).collect())
    }

    /// Whom to ask about an owner's backup: the owner, then who holds copies, the nearest first.
    fn sources(&self, owner: AgentId) -> Vec<Member> {
        let holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner).get(&owner).cloned();
        let holders = holders.unwrap_or_default();
        let mut sources = self.present();
        sources.retain(|member| member.agent == owner || holders.contains(&member.agent));
        sources.sort_by_key(|member| (member.agent != owner, member.distance_ms, member.agent));
        sources.truncate(SOURCES_LIMIT);
        sources
    }

    /// Takes the tail from somebody.
    async fn pull_tail(self: &Arc<Self>, held: &Arc<Held>, from: AgentId) -> Result<Pulled, HolderError> {
        let owner = held.owner;
        let sequence = |shared: &Self| -> Result<u64, HolderError> {
            Ok(held.access(shared.now())?.copy.catalogue().state().sequence())
        };
        let began = sequence(self)?;
        for _ in 0..TAILS_LIMIT {
            let after = sequence(self)?;
            let (base, more, body) =
                match self.network.call(from, Ask::Tail { owner, after }, Bytes::new(), PATIENCE).await {
                    Ok((Answer::Tail { base, more }, body)) => (base, more, body),
                    Ok(_) | Err(CallError::Malformed(_)) => {
                        self.lied(from, owner, "a tail that is none".to_owned());
                        return Ok(Pulled::Silent);
                    }
                    Err(_) => return Ok(Pulled::Silent),
                };
            let base = match base.filter(|(sequence, _)| *sequence > after) {
                Some((sequence, size_bytes)) => match self.pull_base(owner, from, sequence, size_bytes).await {
                    Some(bytes) => Some(bytes),
                    None => return Ok(Pulled::Silent),
                },
                None => None,
            };
            if let Err(error) = self.take_pulled(held, base, body).await {
                let HolderError::Files(FilesError::Catalogue(wrong)) = &error else { return Err(error) };
                if !matches!(wrong, CatalogueError::Forked(_) | CatalogueError::Full) {
                    self.lied(from, owner, wrong.to_string());
                }
                return Ok(Pulled::Silent);
            }
            let now = sequence(self)?;
            if !more || now == after {
                return Ok(Pulled::Heard(began, now));
            }
        }
        Ok(Pulled::Heard(began, sequence(self)?))
    }

    /// Takes in what came of a tail.
    async fn take_pulled(
        self: &Arc<Self>,
        held: &Arc<Held>,
        base: Option<Vec<u8>>,
        body: Bytes,
    ) -> Result<(), HolderError> {
        let this = Arc::clone(self);
        let held = Arc::clone(held);
        let taken = blocking(move || {
            let bytes = base.as_ref().map_or(0, Vec::len) + body.len();
            let entries = entries_from_bytes(&body).map_err(FilesError::from)?;
            let base = base.map(|bytes| Base::from_bytes(&bytes)).transpose().map_err(FilesError::from)?;
            if base.is_none() && entries.is_empty() {
                return Ok(());
            }
            this.take_tail(&held, &Tail { base, entries, more: false }, bytes)
        });
        taken.await.unwrap_or(Err(HolderError::Busy))
    }

    async fn pull_base(&self, owner: AgentId, from: AgentId, sequence: u64, size_bytes: u64) -> Option<Vec<u8>> {
        if size_bytes > BASE_LIMIT_BYTES as u64 {
            self.lied(from, owner, "a base of a catalogue that is longer than there can be".to_owned());
            return None;
        }
        let mut bytes: Vec<u8> = Vec::new();
        while (bytes.len() as u64) < size_bytes {
            let ask = Ask::BasePiece { owner, sequence, offset: bytes.len() as u64 };
            let Ok((Answer::Done, piece)) = self.network.call(from, ask, Bytes::new(), PIECE_PATIENCE).await else {
                return None;
            };
            if piece.is_empty() || (bytes.len() + piece.len()) as u64 > size_bytes {
                return None;
            }
            bytes.extend_from_slice(&piece);
        }
        Some(bytes)
    }

    /// Objects that follow a sequence, if they are few: one exchange instead of one for each.
    async fn pull_shipped(self: &Arc<Self>, held: &Arc<Held>, from: AgentId, after: u64) -> Result<(), HolderError> {
        let lacking_bytes: u64 = {
            let access = held.access(self.now())?;
            access.copy.lacking().iter().map(|object| object.size_bytes).sum()
        };
        if lacking_bytes == 0 || lacking_bytes > u64::from(PIECE_LIMIT_BYTES) {
            return Ok(());
        }
        let ask = Ask::Ship { after, owner: held.owner };
        let Ok((Answer::Shipped(list), body)) = self.network.call(from, ask, Bytes::new(), PIECE_PATIENCE).await else {
            return Ok(());
        };
        let (this, kept) = (Arc::clone(self), Arc::clone(held));
        let taken = blocking(move || this.take_shipped(&kept, from, &list, &body)).await;
        taken.unwrap_or(Err(HolderError::Busy))
    }

    fn take_shipped(
        &self,
        held: &Held,
        from: AgentId,
        list: &[(ObjectName, u64)],
        mut body: &[u8],
    ) -> Result<(), HolderError> {
        for (name, size_bytes) in list {
            let size = usize::try_from(*size_bytes).unwrap_or(usize::MAX);
            let Some((bytes, rest)) = body.split_at_checked(size) else {
                self.lied(from, held.owner, "fewer bytes than it said".to_owned());
                return Ok(());
            };
            body = rest;
            let object: Option<Object> = held.access(self.now())?.takeable(name);
            let Some(object) = object.filter(|object| object.size_bytes == *size_bytes) else { continue };
            let Some(_claim) = Claim::new(self, held, name)? else { continue };
            self.begin(held.owner, *name, *size_bytes)?;
            let have_bytes = held.objects.write_piece(name, 0, bytes)?;
            self.room.came(held.owner, *name, have_bytes, self.now().steady_ms);
            match self.keep(held, &object) {
                Err(HolderError::Files(FilesError::WrongHash(_))) => {
                    self.gave_wrong(from, held.owner, *name);
                    return Ok(());
                }
                Ok(()) | Err(HolderError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// An agent gave wrong bytes for an object. It is told, since its disk may be to blame, and so is the owner, who may look
    /// into it.
    pub(super) fn gave_wrong(&self, agent: AgentId, owner: AgentId, name: ObjectName) {
        self.lied(agent, owner, format!("wrong bytes for object {name}"));
        for to in BTreeSet::from([agent, owner]) {
            self.to_tell(Untold { to, owner, name, by: Some(agent) });
        }
    }

    /// Asks somebody which of these it has.
    async fn ask_which(&self, held: &Held, source: &Member, lacking: &[ObjectName]) -> Result<(), HolderError> {
        let ask = Ask::Which { owner: held.owner };
        let reply = self.network.call(source.agent, ask, names_to_bytes(lacking), PATIENCE).await;
        let names = match reply {
            Ok((Answer::Done, body)) => names_from_bytes(&body),
            _ => None,
        };
        let mut access = held.access(self.now())?;
        match names {
            Some(names) => access.fetcher.source(source.agent, source.distance_ms, names),
            None => access.fetcher.source_gone(source.agent),
        }
        Ok(())
    }
}
