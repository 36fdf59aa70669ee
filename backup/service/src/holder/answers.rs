//! What others ask of a holder. All of it blocks a little; [`super::Holder::answer`] calls it where that is allowed.
//!
//! Anybody in the pool may read: it is all encrypted. Only an owner may begin a copy, end it, or send objects. Entries may
//! come from anybody, since their owner signed them.

use bytes::Bytes;
use dci_proto::AgentId;
use shoal_backup::ObjectName;
use shoal_backup::catalogue::{BASE_LIMIT_BYTES, Base, CatalogueError, Tail};
use shoal_backup::challenge::Challenge;
use shoal_backup::peersync::ship;

use super::held::Held;
use super::room::NoRoom;
use super::{HolderError, Shared, Untold};
use crate::call::{
    Answer, Ask, HeldFor, NAMES_LIMIT, OWNERS_LIMIT, PIECE_LIMIT_BYTES, Reply, Room, entries_from_bytes,
    entries_to_bytes, names_from_bytes, names_to_bytes,
};
use crate::files::FilesError;

type Answered = Result<(Answer, Bytes), HolderError>;

/// An answer without bulk bytes.
fn plain(answer: Answer) -> Answered {
    Ok((answer, Bytes::new()))
}

impl Shared {
    pub(super) fn answer(&self, from: AgentId, ask: Ask, body: &Bytes) -> Reply {
        let answered = match ask {
            Ask::Room => self.tell_room(),
            Ask::Hold => self.hold(from).and_then(|held| self.standing(&held)),
            Ask::Release => self.release(from),
            Ask::Standing { owner } => self.held(owner).and_then(|held| self.standing(&held)),
            Ask::Entries { owner } => self.take_entries(owner, body),
            Ask::Base { owner, offset, size_bytes } => self.take_base(from, owner, offset, size_bytes, body),
            Ask::Tail { owner, after } => self.tell_tail(owner, after),
            Ask::BasePiece { owner, sequence, offset } => self.tell_base(owner, sequence, offset),
            Ask::Held { owner, after } => self.tell_held(owner, after),
            Ask::Which { owner } => self.tell_which(owner, body),
            Ask::Put { name, offset } => self.take_piece(from, name, offset, body),
            Ask::Get { owner, name, offset, length } => self.give_piece(owner, &name, offset, length),
            Ask::Prove { owner, challenge } => self.prove(owner, &challenge),
            Ask::Owners => self.tell_owners_held(),
            Ask::Ship { after, owner } => self.ship(owner, after),
            Ask::Trashed { owner, after } => self.tell_trashed(owner, after),
            Ask::Doubt { owner, name } => self.doubted(owner, &name),
            _ => Err(HolderError::Refused("a holder does not do that")),
        };
        answered.map_err(Into::into)
    }

    fn tell_room(&self) -> Answered {
        plain(Answer::Room(Room {
            share: self.room.share(),
            machine: self.share.machine,
            uptime_permille: self.uptime.permille(self.now().wall_ms),
            owners: u32::try_from(self.copies().len()).unwrap_or(u32::MAX),
        }))
    }

    fn standing(&self, held: &Held) -> Answered {
        let now = self.now();
        plain(Answer::Standing(held.access(now)?.standing(now)))
    }

    fn release(&self, from: AgentId) -> Answered {
        let now = self.now();
        self.held(from)?.access(now)?.set_released(true, now)?;
        plain(Answer::Done)
    }

    fn take_entries(&self, owner: AgentId, body: &Bytes) -> Answered {
        let held = self.held(owner)?;
        let entries = entries_from_bytes(body).map_err(FilesError::from)?;
        self.take_tail(&held, &Tail { base: None, entries, more: false }, body.len())?;
        self.standing(&held)
    }

    /// Takes in a tail that travelled as so many bytes. A gap is no error: how far the copy is says what is missing.
    pub(super) fn take_tail(&self, held: &Held, tail: &Tail, bytes: usize) -> Result<(), HolderError> {
        let now = self.now();
        held.look();
        let access = held.access(now)?;
        if access.released_ms().is_some() {
            return Err(HolderError::Refused("this copy was released"));
        }
        if !self.room.fits(bytes as u64) {
            return Err(HolderError::Full);
        }
        match access.take_in(tail, now) {
            Ok(_) | Err(HolderError::Files(FilesError::Catalogue(CatalogueError::Gap { .. }))) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A piece of a base, from its owner. It is kept in a file until it is whole.
    fn take_base(&self, from: AgentId, owner: AgentId, offset: u64, size_bytes: u64, body: &Bytes) -> Answered {
        if from != owner {
            return Err(HolderError::Refused("only its owner brings the base of a catalogue"));
        }
        let held = self.held(owner)?;
        let name = base_name(owner);
        let end = offset.checked_add(body.len() as u64);
        if size_bytes > BASE_LIMIT_BYTES as u64
            || body.len() > PIECE_LIMIT_BYTES as usize
            || end.is_none_or(|end| end > size_bytes)
        {
            return Err(HolderError::Refused("that is longer than a base can be"));
        }
        let Some(_claim) = Claim::new(self, &held, &name)? else { return Err(HolderError::Busy) };
        self.begin(owner, name, size_bytes)?;
        let have_bytes = held.objects.write_piece(&name, offset, body)?;
        self.room.came(owner, name, have_bytes, self.now().steady_ms);
        if have_bytes == size_bytes {
            let bytes = held.objects.read_on_its_way(&name, BASE_LIMIT_BYTES)?;
            held.objects.discard(&name)?;
            self.room.ended(owner, name);
            let base = Some(Base::from_bytes(&bytes).map_err(FilesError::from)?);
            self.take_tail(&held, &Tail { base, entries: Vec::new(), more: false }, bytes.len())?;
        }
        self.standing(&held)
    }

    fn tell_tail(&self, owner: AgentId, after: u64) -> Answered {
        let held = self.held(owner)?;
        let access = held.access(self.now())?;
        let tail = access.copy.catalogue().tail(after);
        let base = tail.base.map(|base| (base.state().sequence(), base.to_bytes().len() as u64));
        Ok((Answer::Tail { base, more: tail.more }, entries_to_bytes(&tail.entries)))
    }

    fn tell_base(&self, owner: AgentId, sequence: u64, offset: u64) -> Answered {
        let held = self.held(owner)?;
        let access = held.access(self.now())?;
        if access.copy.catalogue().base().is_none_or(|base| base.state().sequence() != sequence) {
            return Err(HolderError::Refused("the catalogue has another base by now: ask for the tail again"));
        }
        Ok((Answer::Done, access.base_piece(offset, PIECE_LIMIT_BYTES as usize)?))
    }

    fn tell_held(&self, owner: AgentId, after: Option<ObjectName>) -> Answered {
        let held = self.held(owner)?;
        let access = held.access(self.now())?;
        let names = access.copy.held().filter(|name| after.is_none_or(|after| **name > after));
        Ok((Answer::Done, names_to_bytes(names.take(NAMES_LIMIT))))
    }

    fn tell_trashed(&self, owner: AgentId, after: Option<ObjectName>) -> Answered {
        let held = self.held(owner)?;
        let access = held.access(self.now())?;
        let mut names: Vec<ObjectName> = access.copy.state().trash.iter().map(|trashed| trashed.object.name).collect();
        names.retain(|name| after.is_none_or(|after| *name > after));
        names.sort_unstable();
        names.truncate(NAMES_LIMIT);
        Ok((Answer::Done, names_to_bytes(&names)))
    }

    fn tell_which(&self, owner: AgentId, body: &Bytes) -> Answered {
        let held = self.held(owner)?;
        let wanted = names_from_bytes(body).ok_or(HolderError::Refused("these are no names"))?;
        let access = held.access(self.now())?;
        Ok((Answer::Done, names_to_bytes(wanted.iter().filter(|name| access.copy.has(name)))))
    }

    /// A piece of an object, from its owner.
    fn take_piece(&self, from: AgentId, name: ObjectName, offset: u64, body: &Bytes) -> Answered {
        if body.len() > PIECE_LIMIT_BYTES as usize {
            return Err(HolderError::Refused("that piece is too long"));
        }
        let held = self.held(from)?;
        if held.access(self.now())?.released_ms().is_some() {
            return Err(HolderError::Refused("this copy was released"));
        }
        let Some(_claim) = Claim::new(self, &held, &name)? else { return Err(HolderError::Busy) };
        // An owner does not send what it takes for kept: it may know better, so the bytes are looked at before they are confirmed.
        let is_held = held.access(self.now())?.copy.holds(&name);
        if is_held && self.examine(&held, &name)? {
            let have_bytes = held.access(self.now())?.size_of(&name).unwrap_or(0);
            return plain(Answer::Kept { have_bytes, stored: true });
        }
        let now = self.now();
        let object = {
            let mut access = held.access(now)?;
            let Some(object) = access.takeable(&name) else {
                return Err(HolderError::Refused("it is not in the catalogue here, or others must come before it"));
            };
            match access.fetcher.from_whom(&name) {
                Some(other) if other != from => return Err(HolderError::Busy),
                Some(_) => {}
                None => access.fetcher.shipped(from, [object], now.steady_ms),
            }
            object
        };
        let taken = self.take_piece_of(&held, &object, offset, body);
        if !matches!(taken, Ok((Answer::Kept { .. }, _))) {
            held.access(now)?.fetcher.given_up(&name);
        }
        taken
    }

    fn take_piece_of(&self, held: &Held, object: &shoal_backup::Object, offset: u64, body: &Bytes) -> Answered {
        let (owner, name, steady_ms) = (held.owner, object.name, self.now().steady_ms);
        if offset.checked_add(body.len() as u64).is_none_or(|end| end > object.size_bytes) {
            return Err(HolderError::Refused("it is longer than the catalogue says"));
        }
        let mut have_bytes = held.objects.have_bytes(&name)?;
        if offset > have_bytes {
            return plain(Answer::Kept { have_bytes, stored: false });
        }
        self.begin(owner, name, object.size_bytes)?;
        // What came twice is not written twice.
        if offset + body.len() as u64 > have_bytes || have_bytes == 0 {
            let written = held.objects.write_piece(&name, offset, body);
            if written.as_ref().is_err_and(FilesError::is_full) {
                self.room.ended(owner, name);
            }
            have_bytes = written?;
        }
        self.room.came(owner, name, have_bytes, steady_ms);
        held.access(self.now())?.fetcher.came(&name, have_bytes, steady_ms);
        if have_bytes < object.size_bytes {
            return plain(Answer::Kept { have_bytes, stored: false });
        }
        self.keep(held, object)?;
        held.access(self.now())?.fetcher.ended(&name, true);
        plain(Answer::Kept { have_bytes, stored: true })
    }

    /// All bytes of an object that was claimed are there: keeps it if they are its own.
    pub(super) fn keep(&self, held: &Held, object: &shoal_backup::Object) -> Result<(), HolderError> {
        let checked = held.objects.check(&object.name);
        if checked.is_err() {
            self.room.ended(held.owner, object.name);
        }
        checked?;
        if held.access(self.now())?.place(object)? {
            return Ok(());
        }
        Err(HolderError::Refused("it is not wanted any more"))
    }

    /// Reserves room for an object.
    pub(super) fn begin(&self, owner: AgentId, name: ObjectName, size_bytes: u64) -> Result<(), HolderError> {
        self.room.begin(owner, name, size_bytes, self.now().steady_ms).map_err(|no| match no {
            NoRoom::Full => HolderError::Full,
            NoRoom::Busy => HolderError::Busy,
        })
    }

    fn give_piece(&self, owner: AgentId, name: &ObjectName, offset: u64, length: u32) -> Answered {
        let held = self.held(owner)?;
        let Some(size_bytes) = held.access(self.now())?.size_of(name) else {
            return Err(FilesError::NotFound(*name).into());
        };
        let length = u64::from(length.min(PIECE_LIMIT_BYTES)).min(size_bytes.saturating_sub(offset));
        match held.objects.read(name, offset, usize::try_from(length).unwrap_or(usize::MAX)) {
            Ok(bytes) if bytes.len() as u64 == length => Ok((Answer::Done, bytes)),
            // It was cut, or cannot be read.
            Ok(_) => Err(self.given_wrong(&held, name, FilesError::WrongHash(*name))),
            Err(error) => Err(self.given_wrong(&held, name, error)),
        }
    }

    fn prove(&self, owner: AgentId, challenge: &Challenge) -> Answered {
        const NO_SUCH_BYTES: HolderError = HolderError::Refused("it has no such bytes");
        let held = self.held(owner)?;
        let name = challenge.object;
        let Some(size_bytes) = held.access(self.now())?.size_of(&name) else {
            return Err(FilesError::NotFound(name).into());
        };
        let end = challenge.offset.checked_add(challenge.length).filter(|end| *end <= size_bytes);
        let range = challenge.offset..end.ok_or(NO_SUCH_BYTES)?;
        // Who wants to see all of it has a doubt: damage is better said than found out.
        if range == (0..size_bytes) && self.look_at(&held, &name)? == Some(false) {
            return Err(FilesError::WrongHash(name).into());
        }
        match held.objects.hasher(&name, Some(range), &challenge.nonce) {
            Ok(Some(hasher)) => match hasher.finish() {
                Ok(proof) => plain(Answer::Proof(proof)),
                Err(error) => {
                    let path = held.objects.folder().to_owned();
                    Err(self.given_wrong(&held, &name, FilesError::Io { what: "read", path, error }))
                }
            },
            Ok(None) => Err(self.given_wrong(&held, &name, FilesError::WrongHash(name))),
            Err(error) => Err(self.given_wrong(&held, &name, error)),
        }
    }

    /// An object could not be given as it should be: it is looked at. The error is for whoever asked.
    fn given_wrong(&self, held: &Held, name: &ObjectName, error: FilesError) -> HolderError {
        match self.look_at(held, name) {
            Ok(Some(false)) => FilesError::WrongHash(*name).into(),
            _ => error.into(),
        }
    }

    /// Somebody was given bytes that are not the object's.
    fn doubted(&self, owner: AgentId, name: &ObjectName) -> Answered {
        let held = self.held(owner)?;
        let has = held.access(self.now())?.copy.has(name);
        if has {
            self.look_at(&held, name)?;
        }
        plain(Answer::Done)
    }

    /// As [`Self::examine`]; `None`: somebody writes it or looks at it right now, and finds out.
    fn look_at(&self, held: &Held, name: &ObjectName) -> Result<Option<bool>, HolderError> {
        let Some(claim) = Claim::new(self, held, name)? else { return Ok(None) };
        let is_sound = self.examine(held, name);
        drop(claim);
        // What was claimed nobody fetched.
        if matches!(is_sound, Ok(false)) {
            self.wake.notify_one();
        }
        is_sound.map(Some)
    }

    /// Reads an object that is held, and was claimed, through at once. True if it is what its name says; else it goes, its owner is
    /// told, and it is made anew.
    fn examine(&self, held: &Held, name: &ObjectName) -> Result<bool, HolderError> {
        let is_sound = match held.objects.hasher(name, None, &[]) {
            Ok(Some(hasher)) => hasher.finish().is_ok_and(|hash| hash == name.0),
            Ok(None) => false,
            Err(error) if error.is_not_found() => false,
            Err(error) => return Err(error.into()),
        };
        if !is_sound {
            self.damaged(held, name)?;
        }
        Ok(is_sound)
    }

    fn tell_owners_held(&self) -> Answered {
        let now = self.now();
        let mut list = Vec::new();
        for held in self.all().into_iter().take(OWNERS_LIMIT) {
            let access = held.access(now)?;
            list.push(HeldFor { owner: held.owner, standing: access.standing(now), archives: access.archives() });
        }
        let bytes = postcard::to_allocvec(&list).map_err(|_| HolderError::Refused("the list cannot be told"))?;
        Ok((Answer::Done, bytes.into()))
    }

    fn ship(&self, owner: AgentId, after: u64) -> Answered {
        let held = self.held(owner)?;
        let objects = {
            let access = held.access(self.now())?;
            let state = access.copy.catalogue().state();
            ship(state, after, PIECE_LIMIT_BYTES.into(), |object| access.copy.holds(&object.name))
        };
        let (mut shipped, mut body) = (Vec::with_capacity(objects.len()), Vec::new());
        for object in objects {
            let bytes = held.objects.read(&object.name, 0, PIECE_LIMIT_BYTES as usize)?;
            shipped.push((object.name, bytes.len() as u64));
            body.extend_from_slice(&bytes);
        }
        Ok((Answer::Shipped(shipped), body.into()))
    }

    /// Something that is held is not what it should be: it goes, its owner is told, and it is fetched again.
    pub(super) fn damaged(&self, held: &Held, name: &ObjectName) -> Result<(), HolderError> {
        held.look();
        let mut access = held.access(self.now())?;
        if !access.copy.has(name) {
            return Ok(());
        }
        tracing::warn!(owner = %held.owner, %name, "an object of a backup is damaged here; it is fetched again");
        if access.lose(name)? {
            self.to_tell(Untold { to: held.owner, owner: held.owner, name: *name, by: None });
        }
        Ok(())
    }
}

/// An object that is being written or looked at, by one at a time.
pub(super) struct Claim<'a> {
    held: &'a Held,
    name: ObjectName,
}

impl<'a> Claim<'a> {
    /// `None` if somebody else writes it.
    pub(super) fn new(shared: &Shared, held: &'a Held, name: &ObjectName) -> Result<Option<Self>, HolderError> {
        let mut access = held.access(shared.now())?;
        // Not before it is known: one that is dropped lets the object go, under the lock that is held here.
        Ok(if access.claim(name) { Some(Self { held, name: *name }) } else { None })
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.held.unclaim(&self.name);
    }
}

/// What a base that is on its way is called among the objects that are.
fn base_name(owner: AgentId) -> ObjectName {
    ObjectName::of(&[b"base of ".as_slice(), &owner.0].concat())
}
