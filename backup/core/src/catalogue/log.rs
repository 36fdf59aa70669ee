//! A catalogue as it is kept: a base and the entries since, and what they amount to.
//!
//! The owner appends ([`Catalogue::append`]) and compacts ([`Catalogue::compact`]); everybody gives out tails
//! ([`Catalogue::tail`]) and takes them in ([`Catalogue::take_in`]). The owner makes an entry durable before anybody else
//! gets it: an owner that forgot what it said would fork. One that lost its disk takes its own tail from a holder first.

use std::collections::VecDeque;

use dci_proto::AgentId;

use super::news::{News, TakenIn};
use super::{Base, CatalogueError, Entry, Op, Signer, State, Verifier};

/// Entries in one tail, at most: 800 KB. What is longer is asked for again from where it ended.
pub const TAIL_LIMIT: usize = 4_096;
/// Entries that a compacted catalogue keeps beside its base, so that who was away for a while need not take the base.
pub const KEEP_ENTRIES: usize = 8_192;
/// A catalogue is compacted from so many entries on, and only when they are more than its objects.
pub const COMPACT_FROM: usize = 2 * KEEP_ENTRIES;

/// The catalogue of one owner.
#[derive(Debug, Clone)]
pub struct Catalogue {
    owner: AgentId,
    base: Option<Base>,
    entries: VecDeque<Entry>,
    state: State,
}

/// What somebody lacks who has all up to a sequence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tail {
    /// If the entries that follow what it has are gone: the state to begin from.
    pub base: Option<Base>,
    /// The entries that follow, [`TAIL_LIMIT`] at most.
    pub entries: Vec<Entry>,
    /// There are more.
    pub more: bool,
}

impl Catalogue {
    /// An empty one.
    #[must_use]
    pub fn new(owner: AgentId) -> Self {
        Self { owner, base: None, entries: VecDeque::new(), state: State::default() }
    }

    /// Whose it is.
    #[must_use]
    pub fn owner(&self) -> AgentId {
        self.owner
    }

    /// What it amounts to.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The base it begins with, if any.
    #[must_use]
    pub fn base(&self) -> Option<&Base> {
        self.base.as_ref()
    }

    /// Its entries since the base.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Appends what the owner says. The entry must be durable before anybody else gets it.
    ///
    /// # Errors
    /// If it says what is so already or cannot be, or the signer is another.
    pub fn append(&mut self, signer: &dyn Signer, time_ms: u64, op: Op) -> Result<Entry, CatalogueError> {
        if signer.owner() != self.owner {
            return Err(CatalogueError::OtherOwner { expected: self.owner, found: signer.owner() });
        }
        match (op, self.state.get(&op.name())) {
            (Op::Add(object), Some(known)) if known.kind == object.kind && known.size_bytes == object.size_bytes => {
                return Err(CatalogueError::NoChange(object.name, "there already"));
            }
            (Op::Delete(name), None) => return Err(CatalogueError::NoChange(name, "not there")),
            _ => {}
        }
        let sequence = self.state.sequence.checked_add(1).ok_or(CatalogueError::NoSequence)?;
        let entry = Entry::sign(signer, sequence, self.state.head, time_ms, op);
        self.state.apply(&entry)?;
        self.entries.push_back(entry.clone());
        Ok(entry)
    }

    /// What somebody lacks who has all up to and with sequence `after`.
    #[must_use]
    pub fn tail(&self, after: u64) -> Tail {
        let begins = self.base.as_ref().map_or(0, |base| base.state().sequence);
        let base = self.base.clone().filter(|_| after < begins);
        let skip = usize::try_from(after.saturating_sub(begins)).unwrap_or(usize::MAX).min(self.entries.len());
        let entries: Vec<Entry> = self.entries.range(skip..).take(TAIL_LIMIT).cloned().collect();
        let more = skip + entries.len() < self.entries.len();
        Tail { base, entries, more }
    }

    /// Takes in a tail, whoever sent it: all of it or, with an error, nothing. Entries that are known are compared.
    ///
    /// # Errors
    /// If anything in it is not the owner's word, does not follow what is known, or contradicts it. [`CatalogueError::Gap`]:
    /// ask again with the last sequence. [`CatalogueError::BadSignature`] and [`CatalogueError::Malformed`]: the sender
    /// lies or is broken. [`CatalogueError::Forked`]: the owner signed two histories.
    pub fn take_in(&mut self, tail: &Tail, verifier: &dyn Verifier) -> Result<TakenIn, CatalogueError> {
        let base = match &tail.base {
            Some(base) => self.check_base(base, verifier)?.then_some(base),
            None => None,
        };
        let mut news = News::default();
        let old = base.map(|base| {
            news.replaced(&self.state, base.state());
            std::mem::replace(&mut self.state, base.state().clone())
        });
        let mut new = Vec::new();
        for entry in &tail.entries {
            match self.take_in_entry(entry, verifier, &mut news) {
                Ok(true) => new.push(entry.clone()),
                Ok(false) => {}
                Err(error) => {
                    match old {
                        Some(old) => self.state = old,
                        None => news.undo(&mut self.state),
                    }
                    return Err(error);
                }
            }
        }
        if let Some(base) = base {
            self.base = Some(base.clone());
            self.entries.clear();
        }
        let entries = new.len();
        self.entries.extend(new);
        Ok(news.told(&self.state, entries))
    }

    /// True if it is new.
    fn take_in_entry(
        &mut self,
        entry: &Entry,
        verifier: &dyn Verifier,
        news: &mut News,
    ) -> Result<bool, CatalogueError> {
        self.check_owner(entry.owner)?;
        if entry.sequence <= self.state.sequence {
            self.compare(entry, verifier)?;
            return Ok(false);
        }
        entry.verify(verifier)?;
        let (head, added_at) = (self.state.head, self.state.added_at(&entry.op.name()));
        let change = self.state.apply(entry)?;
        news.changed(change, head, added_at);
        Ok(true)
    }

    /// Whether a base is the owner's and newer than what is here.
    fn check_base(&self, base: &Base, verifier: &dyn Verifier) -> Result<bool, CatalogueError> {
        self.check_owner(base.owner())?;
        let sequence = base.state().sequence;
        let is_head = sequence == self.state.sequence && base.state().head == self.state.head;
        if sequence < self.state.sequence || is_head {
            return Ok(false);
        }
        base.verify(verifier)?;
        if sequence == self.state.sequence {
            return Err(CatalogueError::Forked(sequence));
        }
        // What was added before our last entry and is there still we must know.
        let older = base.state().iter().take_while(|(added, _)| *added <= self.state.sequence);
        for (added, object) in older {
            if self.state.added_at(&object.name) != Some(added) {
                return Err(CatalogueError::Forked(added));
            }
        }
        Ok(true)
    }

    fn check_owner(&self, found: AgentId) -> Result<(), CatalogueError> {
        if found == self.owner { Ok(()) } else { Err(CatalogueError::OtherOwner { expected: self.owner, found }) }
    }

    /// An entry with a known sequence must be the known entry, if that is still here. If it is, nobody need check its
    /// signature again.
    fn compare(&self, entry: &Entry, verifier: &dyn Verifier) -> Result<(), CatalogueError> {
        let begins = self.entries.front().map_or(u64::MAX, |first| first.sequence);
        let at = entry.sequence.checked_sub(begins).and_then(|at| usize::try_from(at).ok());
        match at.and_then(|at| self.entries.get(at)) {
            Some(known) if known != entry => {
                entry.verify(verifier)?;
                if known.hash() == entry.hash() { Ok(()) } else { Err(CatalogueError::Forked(entry.sequence)) }
            }
            _ => Ok(()),
        }
    }

    /// Lets old entries go if they have become many: the owner signs a base in their place. True if it did; the new base
    /// is to be made durable as a whole.
    pub fn compact(&mut self, signer: &dyn Signer, time_ms: u64) -> bool {
        let due = self.entries.len() >= COMPACT_FROM && self.entries.len() - KEEP_ENTRIES > self.state.len();
        due && self.compact_to(signer, time_ms, KEEP_ENTRIES)
    }

    pub(crate) fn compact_to(&mut self, signer: &dyn Signer, time_ms: u64, keep: usize) -> bool {
        let mut state = self.base.as_ref().map_or_else(State::default, |base| base.state().clone());
        let go = self.entries.len().saturating_sub(keep);
        // They were applied before, so they apply again.
        if go == 0 || signer.owner() != self.owner || !self.entries.range(..go).all(|entry| state.apply(entry).is_ok())
        {
            return false;
        }
        self.entries.drain(..go);
        self.base = Some(Base::sign(signer, state, time_ms));
        true
    }
}
