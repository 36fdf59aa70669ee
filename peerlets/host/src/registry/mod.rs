//! The folder of installed peerlets: one folder for each, named by its type, with its manifest and whatever files it brings.
//!
//! A peerlet is there whole or not at all, whenever the machine stops: it is copied aside, checked, synced and then put
//! into its place by one rename. One that cannot be used is reported and keeps no other from being used.

mod copy;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use dci_proto::message::MessageType;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::manifest::{MANIFEST_FILE, MANIFEST_LIMIT_BYTES, Manifest, ManifestError, ProgramError};

pub use copy::{CopyError, FILES_LIMIT, FOLDER_LIMIT_BYTES};

/// Peerlets of one agent, at most.
pub const PEERLETS_LIMIT: usize = 1_000;
/// What names in the folder begin with that are on their way in or out.
const ASIDE: &str = ".aside-";

/// Why a folder of peerlets, or a peerlet, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A file or folder cannot be read or written.
    #[error("{what} {path}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Its manifest is too large.
    #[error("{path}: a manifest has at most {MANIFEST_LIMIT_BYTES} bytes")]
    ManifestTooLarge {
        /// The manifest.
        path: PathBuf,
    },
    /// Its manifest is wrong.
    #[error("{path}: {error}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        error: ManifestError,
    },
    /// Its program is not there.
    #[error("{path}: command: {error}")]
    Program {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        error: ProgramError,
    },
    /// It is in another peerlet's place.
    #[error("{path} is for messages of type {kind}: the folder must have that name; `shoal peerlet add` sees to that")]
    Misplaced {
        /// The folder.
        path: PathBuf,
        /// What its manifest says.
        kind: MessageType,
    },
    /// Its files are not taken.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A newer one is there.
    #[error("{kind} is installed in version {installed}; to go back to {offered}, remove it first")]
    Older {
        /// The type.
        kind: MessageType,
        /// What is there.
        installed: semver::Version,
        /// What was to be added.
        offered: semver::Version,
    },
    /// None is there.
    #[error("no peerlet {0} is installed")]
    Unknown(MessageType),
    /// Too many are there.
    #[error("{PEERLETS_LIMIT} peerlets are installed already, and no more are taken")]
    Full,
}

/// A peerlet that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its folder.
    pub folder: PathBuf,
}

/// What a folder holds.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The peerlets that can be used.
    pub peerlets: BTreeMap<MessageType, Installed>,
    /// Why others cannot.
    pub faults: Vec<RegistryError>,
}

/// What adding a peerlet did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Which.
    pub kind: MessageType,
    /// The version that is there now.
    pub version: semver::Version,
    /// The one that was.
    pub replaced: Option<semver::Version>,
}

/// A folder of peerlets. All that it does waits for the disk.
#[derive(Debug, Clone)]
pub struct Registry {
    folder: PathBuf,
}

impl Registry {
    /// Opens a folder, makes it if it is not there, and clears away what was half added or removed.
    ///
    /// # Errors
    /// If the folder cannot be made or read.
    pub fn open(folder: &Path) -> Result<Self, RegistryError> {
        fs::create_dir_all(folder).map_err(io("cannot make", folder))?;
        let registry = Self { folder: folder.to_owned() };
        for entry in registry.entries()? {
            if entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with(ASIDE)) {
                fs::remove_dir_all(&entry).map_err(io("cannot clear away", &entry))?;
            }
        }
        Ok(registry)
    }

    /// Reads all peerlets.
    ///
    /// # Errors
    /// If the folder cannot be read. What is wrong with a single peerlet is in the answer.
    pub fn load(&self) -> Result<Loaded, RegistryError> {
        let mut loaded = Loaded::default();
        for folder in self.entries()? {
            let hidden = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if hidden || !folder.is_dir() {
                continue;
            }
            if loaded.peerlets.len() >= PEERLETS_LIMIT {
                loaded.faults.push(RegistryError::Full);
                break;
            }
            match read(&folder).and_then(|manifest| in_place(&folder, manifest)) {
                Ok(manifest) => {
                    loaded.peerlets.insert(manifest.kind.clone(), Installed { manifest, folder });
                }
                Err(fault) => loaded.faults.push(fault),
            }
        }
        Ok(loaded)
    }

    /// Copies a peerlet's folder in. One of the same type is replaced, unless it is newer.
    ///
    /// # Errors
    /// If its manifest or its files are not as they must be, or cannot be copied. Then nothing has changed.
    pub fn add(&self, source: &Path) -> Result<Added, RegistryError> {
        let offered = read(source)?;
        // What cannot be run is told to who adds it, not to whoever sends to it first. One that is installed stays when its program
        // goes: it may come back with the next update of the system.
        if let Err(error) = offered.program(source) {
            return Err(RegistryError::Program { path: source.join(MANIFEST_FILE), error });
        }
        let place = self.folder.join(offered.kind.as_str());
        let installed = if place.exists() { read(&place).ok() } else { None };
        if let Some(installed) = installed.as_ref().filter(|installed| installed.version > offered.version) {
            let (installed, offered, kind) = (installed.version.clone(), offered.version, offered.kind);
            return Err(RegistryError::Older { kind, installed, offered });
        }
        if installed.is_none() && self.entries()?.len() >= PEERLETS_LIMIT {
            return Err(RegistryError::Full);
        }
        let aside = self.aside(&offered.kind);
        let done = copy::folder(source, &aside).map_err(RegistryError::from).and_then(|()| {
            // The copy is judged, not what may have changed since.
            let manifest = read(&aside)?;
            if manifest.kind != offered.kind || manifest.version != offered.version {
                return Err(RegistryError::Copy(CopyError::Changed(source.to_owned())));
            }
            self.put(&aside, &place)
        });
        // On success this is what was there before.
        if aside.exists() {
            fs::remove_dir_all(&aside).map_err(io("cannot clear away", &aside))?;
        }
        done?;
        Ok(Added { kind: offered.kind, version: offered.version, replaced: installed.map(|one| one.version) })
    }

    /// Takes a peerlet away.
    ///
    /// # Errors
    /// If there is none, or its folder cannot be changed.
    pub fn remove(&self, kind: &MessageType) -> Result<(), RegistryError> {
        let place = self.folder.join(kind.as_str());
        if !place.is_dir() {
            return Err(RegistryError::Unknown(kind.clone()));
        }
        let aside = self.aside(kind);
        fs::rename(&place, &aside).map_err(io("cannot take away", &place))?;
        self.sync()?;
        fs::remove_dir_all(&aside).map_err(io("cannot clear away", &aside))
    }

    fn put(&self, aside: &Path, place: &Path) -> Result<(), RegistryError> {
        let moved = if place.exists() {
            renameat_with(CWD, aside, CWD, place, RenameFlags::EXCHANGE).map_err(std::io::Error::from)
        } else {
            fs::rename(aside, place)
        };
        moved.map_err(io("cannot put into place", place))?;
        self.sync()
    }

    fn sync(&self) -> Result<(), RegistryError> {
        let folder = fs::File::open(&self.folder).and_then(|folder| folder.sync_all());
        folder.map_err(io("cannot sync", &self.folder))
    }

    /// A name nothing has: one is added or removed at a time by a process, and leftovers of others are cleared away.
    fn aside(&self, kind: &MessageType) -> PathBuf {
        self.folder.join(format!("{ASIDE}{kind}-{}", std::process::id()))
    }

    fn entries(&self) -> Result<Vec<PathBuf>, RegistryError> {
        let entries = fs::read_dir(&self.folder).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<PathBuf>>>()
        });
        let mut entries = entries.map_err(io("cannot list", &self.folder))?;
        entries.sort();
        Ok(entries)
    }
}

/// Reads the manifest of a folder, and checks that the program it brings is there.
fn read(folder: &Path) -> Result<Manifest, RegistryError> {
    let path = folder.join(MANIFEST_FILE);
    let mut text = String::new();
    // A pipe in its place is not waited for.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(&path).map_err(io("cannot open", &path))?;
    file.take(MANIFEST_LIMIT_BYTES + 1).read_to_string(&mut text).map_err(io("cannot read", &path))?;
    if text.len() as u64 > MANIFEST_LIMIT_BYTES {
        return Err(RegistryError::ManifestTooLarge { path });
    }
    let manifest = match Manifest::parse(&text) {
        Ok(manifest) => manifest,
        Err(error) => return Err(RegistryError::Manifest { path, error }),
    };
    if manifest.brings_its_program()
        && let Err(error) = manifest.program(folder)
    {
        return Err(RegistryError::Program { path, error });
    }
    Ok(manifest)
}

fn in_place(folder: &Path, manifest: Manifest) -> Result<Manifest, RegistryError> {
    if folder.file_name().is_some_and(|name| name == manifest.kind.as_str()) {
        Ok(manifest)
    } else {
        Err(RegistryError::Misplaced { path: folder.to_owned(), kind: manifest.kind })
    }
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> RegistryError {
    let path = path.to_owned();
    move |error| RegistryError::Io { what, path, error }
}
