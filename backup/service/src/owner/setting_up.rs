//! A backup is set up, taken up again after the PC was lost, or opened.
//!
//! It is set up when its repository has its name: everything else is written before, the repository is made beside its place, and
//! a rename makes it so. Before, holders are asked: who holds copies of an earlier one of this PC would take a second one for
//! a fork.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use dci_proto::AgentId;
use rand::TryRngCore as _;
use shoal_archive::Engine;
use shoal_backup::ObjectKind;
use shoal_backup::plan::{PathBytes, Plan};
use shoal_backup::room::RunRoom;

use super::books::{Books, plan_path, state_path};
use super::error::OwnerError;
use super::kit::{Kit, KitPeer};
use super::passphrase::Passphrase;
use super::stored::{self, State};
use super::{Owner, Setup, blocking};
use crate::files::Objects;

impl Owner {
    /// A plan for these folders, as most people want it: to be shown, changed, and handed to [`Self::init`].
    #[must_use]
    pub fn propose(&self, roots: Vec<PathBytes>) -> Plan {
        self.without_own_data(Plan { roots, ..Plan::default() })
    }

    /// The agent's own data is not kept, if it lies in what is.
    fn without_own_data(&self, mut plan: Plan) -> Plan {
        use std::os::unix::ffi::OsStrExt;
        let data = PathBytes::new(self.parts.data.as_os_str().as_bytes());
        let lies_within = plan.roots.iter().any(|root| data.is_within(root) && data != *root);
        if lies_within && !plan.excluded.directories.iter().any(|folder| data.is_within(folder)) {
            plan.excluded.directories.push(data);
        }
        plan
    }

    /// Sets the backup up: makes a repository with a passphrase of its own. The kit that comes back is for paper.
    ///
    /// # Errors
    /// The plan cannot be meant, there is a backup already, other PCs hold copies of an earlier one, or the disk is full.
    pub async fn init(self: &Arc<Self>, plan: Plan) -> Result<Kit, OwnerError> {
        let plan = self.without_own_data(plan);
        plan.validate()?;
        let _one = self.setting_up.lock().await;
        if self.is_set_up() {
            return Err(OwnerError::AlreadySetUp);
        }
        let holders = self.who_holds_copies().await;
        if !holders.is_empty() {
            return Err(OwnerError::CopiesExist(holders.into_iter().map(|(member, _)| member.name).collect()));
        }
        let owner = Arc::clone(self);
        let setup = blocking(move || owner.make(plan)).await?;
        self.begin(setup);
        self.kit()
    }

    /// Takes up an earlier backup of this PC from its holders, with the passphrase of its kit: what was kept can be restored at
    /// once from the peers, and comes back into the repository of this PC by and by.
    ///
    /// # Errors
    /// The plan cannot be meant, there is a backup already, nobody that answers holds a copy, the passphrase is wrong.
    pub async fn take_up(self: &Arc<Self>, plan: Plan, passphrase: Passphrase) -> Result<Kit, OwnerError> {
        let plan = self.without_own_data(plan);
        plan.validate()?;
        let _one = self.setting_up.lock().await;
        if self.is_set_up() {
            return Err(OwnerError::AlreadySetUp);
        }
        let mut holders = self.who_holds_copies().await;
        holders.sort_by_key(|(member, standing)| (std::cmp::Reverse(standing.sequence), member.distance_ms));
        let agents: Vec<AgentId> = holders.iter().map(|(member, _)| member.agent).collect();
        if agents.is_empty() {
            return Err(OwnerError::NoCopies);
        }
        let owner = Arc::clone(self);
        let (books, objects) = blocking(move || owner.prepare(plan)).await?;
        let objects = Arc::new(objects);
        let books = Mutex::new(books);
        for agent in &agents {
            self.take_tail_from(&books, *agent).await?;
        }
        let first: Vec<_> = {
            let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
            for (member, standing) in &holders {
                if standing.holds {
                    let holder = stored::Holder { name: member.name.clone(), ..stored::Holder::default() };
                    books.state.holders.insert(member.agent, holder);
                }
            }
            let state = books.catalogue.state();
            state.iter().map(|(_, it)| *it).filter(|it| it.kind <= ObjectKind::Key).collect()
        };
        for object in first {
            self.fetch(&objects, &object, &agents).await?;
        }
        let owner = Arc::clone(self);
        let setup = blocking(move || {
            let folder = &owner.parts.folder;
            let engine = Engine::open(&folder.join("repo"), passphrase.as_str())?;
            passphrase.write(&folder.join("passphrase"))?;
            let mut books = books.into_inner().unwrap_or_else(PoisonError::into_inner);
            books.begin_replication()?;
            books.save()?;
            owner.opened(engine, passphrase, books)
        });
        self.begin(setup.await?);
        self.kit()
    }

    fn begin(&self, setup: Setup) {
        *self.setup.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(setup));
        self.dirty.plan_changed();
        self.wake_schedule.notify_one();
        self.wake_copies.notify_one();
    }

    /// What is needed to restore. Its peers change: it is to be printed again when they have.
    ///
    /// # Errors
    /// It is not set up.
    pub fn kit(&self) -> Result<Kit, OwnerError> {
        let setup = self.setup()?;
        let members = self.parts.network.members();
        let books = setup.books();
        let peers = books.state.holders.iter().map(|(agent, holder)| {
            let member = members.iter().find(|member| member.agent == *agent);
            let known =
                |said: Option<&[String]>| said.filter(|said| !said.is_empty()).unwrap_or(&holder.addresses).to_vec();
            KitPeer {
                agent: *agent,
                name: member.map_or_else(|| holder.name.clone(), |member| member.name.clone()),
                addresses: known(member.map(|member| member.addresses.as_slice())),
                whole_archive: holder.whole_archive,
            }
        });
        let peers: Vec<KitPeer> = peers.collect();
        Ok(Kit::new(setup.passphrase.clone(), self.own(), &self.parts.host, peers))
    }

    /// What is in the folder, if it was set up to the end.
    pub(super) fn open_setup(&self) -> Result<Option<Setup>, OwnerError> {
        let folder = &self.parts.folder;
        make_folder(folder)?;
        if !folder.join("repo").join("config").exists() {
            return Ok(None);
        }
        let Some(passphrase) = Passphrase::read(&folder.join("passphrase"))? else { return Ok(None) };
        let Some(plan) = stored::read_json::<Plan>(&plan_path(folder))? else { return Ok(None) };
        plan.validate()?;
        let state = State::read(&state_path(folder))?.map_or_else(new_state, Ok)?;
        let engine = Engine::open(&folder.join("repo"), passphrase.as_str())?;
        let books = Books::open(folder, plan, state, &self.hand, self.now())?;
        self.opened(engine, passphrase, books).map(Some)
    }

    fn opened(&self, engine: Engine, passphrase: Passphrase, mut books: Books) -> Result<Setup, OwnerError> {
        books.room = RunRoom::new(self.parts.reserve_bytes);
        let objects = Objects::create(engine.folder())?;
        let work = Arc::default();
        let setup =
            Setup { engine: Arc::new(engine), passphrase, objects: Arc::new(objects), books: Mutex::new(books), work };
        self.bring_together(&setup)?;
        Ok(setup)
    }

    fn make(&self, plan: Plan) -> Result<Setup, OwnerError> {
        let folder = &self.parts.folder;
        let passphrase = Passphrase::generate()?;
        passphrase.write(&folder.join("passphrase"))?;
        let unfinished = folder.join("repo.new");
        match fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(OwnerError::io("remove", &unfinished, error));
            }
            _ => {}
        }
        drop(Engine::init(&unfinished, passphrase.as_str(), &self.parts.host)?);
        stored::sync_folder(&unfinished).map_err(|error| OwnerError::io("make durable", &unfinished, error))?;
        let (mut books, _) = self.prepare(plan)?;
        if books.catalogue.state().sequence() > 0 {
            let why =
                "it is of an earlier backup of this PC, whose repository is gone: take it up with its recovery kit";
            return Err(OwnerError::Malformed { path: folder.join("catalogue"), why: why.to_owned() });
        }
        let repository = folder.join("repo");
        // What an earlier attempt left.
        let _ = fs::remove_dir_all(&repository);
        fs::rename(&unfinished, &repository).map_err(|error| OwnerError::io("rename", &unfinished, error))?;
        stored::sync_folder(folder).map_err(|error| OwnerError::io("make durable", folder, error))?;
        // Who answers holds nothing of this PC, and nothing was ever said here.
        books.clearance.is_clear = true;
        self.opened(Engine::open(&repository, passphrase.as_str())?, passphrase, books)
    }

    /// Everything but the repository.
    fn prepare(&self, plan: Plan) -> Result<(Books, Objects), OwnerError> {
        let folder = &self.parts.folder;
        stored::write_json(&plan_path(folder), &plan)?;
        let state = new_state()?;
        state.write(&state_path(folder))?;
        let books = Books::open(folder, plan, state, &self.hand, self.now())?;
        Ok((books, Objects::create(&folder.join("repo"))?))
    }
}

fn new_state() -> Result<State, OwnerError> {
    let seed = rand::rngs::OsRng.try_next_u64().map_err(|error| {
        OwnerError::io("read", Path::new("the system's randomness"), std::io::Error::other(error.to_string()))
    })?;
    Ok(State::new(seed))
}

fn make_folder(folder: &Path) -> Result<(), OwnerError> {
    use std::os::unix::fs::PermissionsExt;
    let made = fs::create_dir_all(folder).and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(0o700)));
    made.map_err(|error| OwnerError::io("make", folder, error))
}
