//! What the owner knows, in memory and on disk: plan, catalogue, copies, archives. One lock round all of it; nothing is
//! awaited while it is held.
//!
//! Nothing is ever appended to the catalogue before it is *cleared* ([`super::clearing`]): a PC that was set back to an older state
//! would otherwise say again, and otherwise, what it said before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dci_proto::AgentId;
use shoal_archive::Archive;
use shoal_backup::catalogue::{Catalogue, CatalogueError, Entry, Op, Signer, Tail, Verifier};
use shoal_backup::challenge::Rounds;
use shoal_backup::plan::{Pause, Plan};
use shoal_backup::replication::Replication;
use shoal_backup::room::RunRoom;
use shoal_backup::schedule::{Mode, Scheduler};
use shoal_backup::{ArchiveId, Now, Object, ObjectKind, ObjectName};

use super::error::OwnerError;
use super::requests::Requests;
use super::runs::Running;
use super::stored::{self, State};
use crate::files::CatalogueFile;

/// Entries that are appended with one sync, at most.
const BATCH: usize = 1_024;

/// Signs and checks entries.
#[derive(Clone)]
pub(super) struct Hand {
    pub(super) signer: Arc<dyn Signer + Send + Sync>,
    pub(super) verifier: Arc<dyn Verifier + Send + Sync>,
}

/// Objects of one peer that others suspect, at most.
pub(super) const SUSPECTS_LIMIT: usize = 64;

/// Damage at a peer is told for this time after the last of it.
const DAMAGE_TOLD_MS: u64 = 24 * 60 * 60_000;

/// What was heard of another agent since the start.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// A job with it is under way that must be alone: nothing is sent to it meanwhile.
    pub(super) is_busy: bool,
    /// Objects being sent, with the bytes of each that it has.
    pub(super) sending: BTreeSet<ObjectName>,
    /// Bytes it has of objects that were not sent to the end.
    pub(super) partial: BTreeMap<ObjectName, u64>,
    /// The last sequence of the catalogue that it has; `None`: not asked since it came into sight.
    pub(super) sequence: Option<u64>,
    /// When its list was taken last, on the steady clock.
    pub(super) reported_ms: Option<u64>,
    /// It is not talked to before, on the steady clock.
    pub(super) not_before_ms: u64,
    pub(super) failures: u32,
    /// Its clock, against ours, ms: what it said less what ours said then.
    pub(super) wall_ahead_ms: Option<i64>,
    /// It had no room for an object of so many bytes. That it takes smaller ones says nothing.
    pub(super) full_for_bytes: Option<u64>,
    /// Why it takes nothing.
    pub(super) refuses: Option<String>,
    pub(super) is_reachable: bool,
    pub(super) rounds: Rounds,
    pub(super) challenged_ms: Option<u64>,
    /// Objects that another holder said it gave wrong bytes for.
    pub(super) suspects: BTreeSet<ObjectName>,
    /// Objects that it said were damaged or gone, and when last, on the steady clock.
    pub(super) damaged: (u64, u64),
    /// Challenges in a row that it gave no answer to though it could be reached.
    pub(super) unanswered: u32,
    /// Bytes sent to it, and since when, on the steady clock; of the last minutes.
    pub(super) sent: (u64, u64),
}

/// Why nothing may be appended yet.
#[derive(Debug, Default)]
pub(super) struct Clearance {
    pub(super) is_clear: bool,
    /// Who was asked since the start.
    pub(super) asked: BTreeSet<AgentId>,
    /// One that holds a copy said how far it is.
    pub(super) holder_answered: bool,
}

/// All of it.
pub(super) struct Books {
    folder: PathBuf,
    pub(super) plan: Arc<Plan>,
    pub(super) state: State,
    file: CatalogueFile,
    pub(super) catalogue: Catalogue,
    pub(super) replication: Replication,
    pub(super) scheduler: Scheduler,
    /// The repository's archives, the oldest first.
    pub(super) archives: Vec<Archive>,
    /// Packs that each needs; does not change while it is there.
    pub(super) packs: BTreeMap<ObjectName, Arc<BTreeSet<ObjectName>>>,
    /// Objects of the catalogue that are not on this PC's disk.
    pub(super) missing: BTreeMap<ObjectName, Object>,
    /// Those of them, now or before, for which a run was asked.
    pub(super) packed_again: BTreeSet<ObjectName>,
    pub(super) clearance: Clearance,
    pub(super) peers: BTreeMap<AgentId, Peer>,
    pub(super) run: Option<Running>,
    /// Why a run that is due waits.
    pub(super) waits_for: Option<Pause>,
    /// What is on the disk is to be said: it was not clear before.
    pub(super) is_untold: bool,
    pub(super) copies_missing: usize,
    pub(super) unusable: Vec<(AgentId, String)>,
    pub(super) trouble: Option<String>,
    /// What is known of the room that runs need.
    pub(super) room: RunRoom,
    /// The disk was full when a run, or what follows it, was tried last.
    pub(super) is_full: bool,
    /// When it was last looked for what could be given up, on the steady clock.
    pub(super) gave_up_ms: Option<u64>,
    /// The owner asked for peace until then, on the steady clock.
    pub(super) paused_until_ms: Option<u64>,
    /// A run that its owner asked for and that has not begun.
    pub(super) asked_run: Option<Mode>,
    pub(super) requests: Requests,
    /// An archive that its owner asked for: it goes to the peers on battery, too.
    pub(super) asked_archive: Option<ArchiveId>,
}

pub(super) fn state_path(folder: &Path) -> PathBuf {
    folder.join("state.json")
}

pub(super) fn plan_path(folder: &Path) -> PathBuf {
    folder.join("plan.json")
}

impl Books {
    /// What is in a folder.
    pub(super) fn open(folder: &Path, plan: Plan, state: State, hand: &Hand, now: Now) -> Result<Self, OwnerError> {
        let owner = hand.signer.owner();
        let opened = CatalogueFile::open(folder, owner, hand.verifier.as_ref())?;
        if opened.cut_bytes > 0 {
            tracing::warn!(cut_bytes = opened.cut_bytes, "the end of the catalogue was damaged: asking holders for it");
        }
        let copies = usize::from(plan.copies);
        let scheduler = Scheduler::new(plan.rules.clone(), owner, state.history, now);
        let mut books = Self {
            folder: folder.to_owned(),
            plan: Arc::new(plan),
            state,
            file: opened.file,
            catalogue: opened.catalogue,
            replication: Replication::new(copies),
            scheduler,
            archives: Vec::new(),
            packs: BTreeMap::new(),
            missing: BTreeMap::new(),
            packed_again: BTreeSet::new(),
            clearance: Clearance::default(),
            peers: BTreeMap::new(),
            run: None,
            waits_for: None,
            is_untold: true,
            copies_missing: copies,
            unusable: Vec::new(),
            trouble: None,
            room: RunRoom::new(0),
            is_full: false,
            gave_up_ms: None,
            paused_until_ms: None,
            asked_run: None,
            requests: Requests::default(),
            asked_archive: None,
        };
        books.begin_replication()?;
        Ok(books)
    }

    /// Builds what is known of copies anew, from the catalogue and who holds copies.
    pub(super) fn begin_replication(&mut self) -> Result<(), OwnerError> {
        self.replication = Replication::new(usize::from(self.plan.copies));
        for (sequence, object) in self.catalogue.state().iter() {
            self.replication.added(*object, sequence)?;
        }
        for holder in self.state.holders.keys() {
            self.replication.assign(*holder)?;
            if self.state.distrusted().contains(holder) {
                self.replication.distrust(*holder);
            }
        }
        // What they have is asked anew.
        self.peers.values_mut().for_each(|peer| peer.sequence = None);
        self.say_needs();
        let newest = self.catalogue.state().iter().map(|(_, object)| object.archive.0).max().unwrap_or(0);
        let known = self
            .catalogue
            .state()
            .iter()
            .any(|(_, object)| object.kind == ObjectKind::Snapshot && object.archive.0 >= self.state.next_archive);
        if known {
            self.state.next_archive = self.state.next_archive.max(newest.saturating_add(1));
        }
        Ok(())
    }

    pub(super) fn save(&mut self) -> Result<(), OwnerError> {
        self.state.write(&state_path(&self.folder))
    }

    /// Saves what is not worth stopping for: what cannot be written now is written with the next change.
    pub(super) fn save_or_warn(&mut self) {
        if let Err(error) = self.save() {
            tracing::warn!(%error, "the state of the backup was not saved");
        }
    }

    pub(super) fn set_plan(&mut self, plan: Plan) -> Result<(), OwnerError> {
        stored::write_json(&plan_path(&self.folder), &plan)?;
        self.replication.set_copies(usize::from(plan.copies));
        self.scheduler.set_rules(plan.rules.clone());
        self.plan = Arc::new(plan);
        Ok(())
    }

    /// Appends what the owner says, durably; what is so already is passed over.
    pub(super) fn append(&mut self, hand: &Hand, wall_ms: u64, ops: &[Op]) -> Result<(), OwnerError> {
        if !self.clearance.is_clear {
            return Err(OwnerError::NotCleared);
        }
        ops.chunks(BATCH).try_for_each(|ops| {
            let appended = self.append_batch(hand, wall_ms, ops);
            if appended.is_err() {
                // Memory may be ahead of the disk.
                self.reopen(hand)?;
            }
            appended
        })
    }

    fn append_batch(&mut self, hand: &Hand, wall_ms: u64, ops: &[Op]) -> Result<(), OwnerError> {
        let mut entries = Vec::with_capacity(ops.len());
        for op in ops {
            match self.catalogue.append(hand.signer.as_ref(), wall_ms, *op) {
                Ok(entry) => {
                    // A key that does not sign would make a catalogue that nobody takes.
                    entry.verify(hand.verifier.as_ref())?;
                    entries.push(entry);
                }
                Err(CatalogueError::NoChange(..)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.file.append(&entries)?;
        self.told(&entries)
    }

    /// Entries are durable: copies are to have them.
    fn told(&mut self, entries: &[Entry]) -> Result<(), OwnerError> {
        for entry in entries {
            match entry.op {
                Op::Add(object) => self.replication.added(object, entry.sequence)?,
                Op::Delete(name) => {
                    self.missing.remove(&name);
                    self.replication.deleted(&name);
                }
            }
        }
        Ok(())
    }

    fn reopen(&mut self, hand: &Hand) -> Result<(), OwnerError> {
        let opened = CatalogueFile::open(&self.folder, hand.signer.owner(), hand.verifier.as_ref())?;
        (self.file, self.catalogue) = (opened.file, opened.catalogue);
        self.begin_replication()
    }

    /// Takes in the owner's own words of before, from a holder.
    pub(super) fn take_in(&mut self, tail: &Tail, hand: &Hand) -> Result<(), OwnerError> {
        let before = self.catalogue.state().sequence();
        let old_base = self.catalogue.base().map(|base| base.state().sequence());
        self.catalogue.take_in(tail, hand.verifier.as_ref())?;
        let written = if self.catalogue.base().map(|base| base.state().sequence()) == old_base {
            let new: Vec<Entry> = self.catalogue.entries().filter(|entry| entry.sequence > before).cloned().collect();
            self.file.append(&new)
        } else {
            self.file.replace_base(&self.catalogue)
        };
        if let Err(error) = written {
            self.reopen(hand)?;
            return Err(error.into());
        }
        self.begin_replication()
    }

    /// Lets old entries of the catalogue go.
    pub(super) fn compact(&mut self, hand: &Hand, wall_ms: u64) -> Result<(), OwnerError> {
        if !self.clearance.is_clear || !self.catalogue.compact(hand.signer.as_ref(), wall_ms) {
            return Ok(());
        }
        let written = self.file.replace_base(&self.catalogue);
        if written.is_err() {
            self.reopen(hand)?;
        }
        Ok(written?)
    }

    pub(super) fn base_piece(&self, offset: u64, length: usize) -> Result<bytes::Bytes, OwnerError> {
        Ok(self.file.base_piece(offset, length)?)
    }

    /// Tells what each archive needs. An index belongs to the archives from its own on; one of archive 0, to all.
    pub(super) fn say_needs(&mut self) {
        let gone: Vec<ArchiveId> = self
            .replication
            .archives()
            .filter(|id| !self.archives.iter().any(|archive| archive.number == Some(*id)))
            .collect();
        gone.into_iter().for_each(|id| self.replication.forgotten(id));
        let objects = self.catalogue.state().iter().map(|(_, object)| object);
        let indexes: Vec<(ArchiveId, ObjectName)> = objects
            .filter(|object| object.kind == ObjectKind::Index)
            .map(|object| (object.archive, object.name))
            .collect();
        for archive in &self.archives {
            let (Some(number), Some(packs)) = (archive.number, self.packs.get(&archive.name)) else { continue };
            let of_archive = indexes.iter().filter(|(from, _)| *from <= number).map(|(_, name)| *name);
            let needs = packs.iter().copied().chain(of_archive).chain([archive.name]);
            if let Err(error) = self.replication.needs(number, needs) {
                tracing::debug!(archive = number.0, %error, "what an archive needs is not in the catalogue yet");
            }
        }
    }

    pub(super) fn peer(&mut self, agent: AgentId) -> &mut Peer {
        self.peers.entry(agent).or_default()
    }

    /// A peer says that an object is damaged or gone: it is made anew, and the owner is told for a while.
    pub(super) fn note_damaged(&mut self, agent: AgentId, name: &ObjectName, now: Now) {
        if self.replication.is_counted(agent, name) {
            let (objects, at_ms) = &mut self.peer(agent).damaged;
            let was_of_late = now.steady_ms.saturating_sub(*at_ms) < DAMAGE_TOLD_MS;
            (*objects, *at_ms) = (if was_of_late { *objects + 1 } else { 1 }, now.steady_ms);
        }
        self.replication.damaged(agent, name);
    }

    /// Peers that had damaged objects of late, and how many.
    pub(super) fn bad_disks(&self, now: Now) -> impl Iterator<Item = (AgentId, u64)> {
        let objects = move |agent: AgentId| self.peers.get(&agent).map_or((0, 0), |peer| peer.damaged);
        let of_late = move |(_, at_ms): &(u64, u64)| now.steady_ms.saturating_sub(*at_ms) < DAMAGE_TOLD_MS;
        let told = self.replication.peers().map(move |agent| (agent, objects(agent)));
        told.filter(move |(_, damaged)| damaged.0 > 0 && of_late(damaged)).map(|(agent, damaged)| (agent, damaged.0))
    }

    /// Notes who is distrusted now; kept over restarts.
    pub(super) fn note_distrust(&mut self) {
        let agents: Vec<AgentId> = self.replication.peers().collect();
        let mut changed = false;
        for agent in agents {
            let distrusted = self.replication.progress(agent).is_some_and(|progress| progress.is_distrusted);
            changed |= self.state.set_distrusted(agent, distrusted);
        }
        if changed {
            self.save_or_warn();
        }
    }

    /// The last archive by its number, and so the newest.
    pub(super) fn newest(&self) -> Option<&Archive> {
        self.archives.iter().rev().find(|archive| archive.number.is_some())
    }

    pub(super) fn began(&mut self, mode: Mode, now: Now) -> Result<(), OwnerError> {
        self.scheduler.began(mode, now);
        self.state.history = self.scheduler.history();
        self.save()
    }
}
