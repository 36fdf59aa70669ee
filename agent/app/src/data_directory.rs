//! `DATA`: who this agent is and which pool it belongs to.
//!
//! | file | holds |
//! |---|---|
//! | `agent.toml` | settings |
//! | `agent.lock` | locked while an agent runs here |
//! | `key` | the seed of its ed25519 key, made once |
//! | `membership.json` | its pool, and where it last found the other members |
//! | `pool.key` | the pool's data key; only on agents that serve the drive |
//! | `ledger/` | the ledger, on agents that mount or vote |
//! | `store-0/` | shards |
//! | `ledger-copies/` | encrypted copies of the ledger |
//! | `messages/` | the mailbox |
//! | `messages.sock` | the socket for programs of this computer, while an agent runs |
//! | `files/` | files sent and received |
//! | `tls/` | the certificate it made for its doors |

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use dci_proto::{AgentId, PoolId};
use serde::{Deserialize, Serialize};
use shoal_ledger::{AgentRecord, AgentRoles};
use shoal_net::Peer;
use zeroize::Zeroizing;

use crate::AgentError;
use crate::config::CONFIG_FILE;
use crate::directory_lock::{self, DirectoryLock, LOCK_FILE};
use crate::secret_file;

/// Format of `membership.json`. A newer one is refused, an older one migrated.
const MEMBERSHIP_VERSION: u32 = 1;
const KEY_FILE: &str = "key";
const POOL_KEY_FILE: &str = "pool.key";
const MEMBERSHIP_FILE: &str = "membership.json";
/// What may lie in a directory that Shoal has not used yet: leftovers of a start that got no further, a log, what
/// systems put at the root of a disk.
const HARMLESS: &[&str] = &[LOCK_FILE, "agent.log", "lost+found", ".DS_Store"];

/// 32 secret bytes, wiped when dropped.
pub type Secret = Zeroizing<[u8; 32]>;

/// Which pool an agent belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    version: u32,
    /// The pool.
    pub pool: PoolId,
    /// Its name when last heard.
    pub pool_name: String,
    /// Whether this agent made it; a founder that was stopped halfway finishes at its next start.
    pub founder: bool,
    /// What the pool lets it do.
    pub roles: AgentRoles,
    /// Where the others were last found.
    pub members: Vec<KnownMember>,
}

/// A member and where it was last found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownMember {
    /// Who.
    pub id: AgentId,
    /// Its control network.
    pub control: Vec<std::net::SocketAddr>,
    /// Its data channel.
    pub data: Vec<std::net::SocketAddr>,
    /// What it does.
    pub roles: AgentRoles,
}

impl Membership {
    /// Of an agent in a pool.
    #[must_use]
    pub fn new(pool: PoolId, pool_name: String, founder: bool, roles: AgentRoles, members: Vec<KnownMember>) -> Self {
        Self { version: MEMBERSHIP_VERSION, pool, pool_name, founder, roles, members }
    }
}

impl From<&AgentRecord> for KnownMember {
    fn from(record: &AgentRecord) -> Self {
        Self {
            id: record.id,
            control: record.control_addresses.clone(),
            data: record.data_addresses.clone(),
            roles: record.roles,
        }
    }
}

impl From<&KnownMember> for Peer {
    fn from(member: &KnownMember) -> Self {
        Self { agent: member.id, control_addresses: member.control.clone(), data_addresses: member.data.clone() }
    }
}

/// A data directory that is this process's alone.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    _lock: DirectoryLock,
}

impl DataDirectory {
    /// Takes a directory, making it if need be.
    ///
    /// # Errors
    /// If it cannot be used, belongs to something else, or another agent has it.
    pub fn open(path: &Path) -> Result<Self, AgentError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| AgentError::directory("make", path, &error))?;
        refuse_foreign(path)?;
        let lock = directory_lock::acquire(path)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The seed of the agent's key; made at the first call.
    ///
    /// # Errors
    /// If the file cannot be read or made, or is damaged.
    pub fn key_seed(&self) -> Result<Secret, AgentError> {
        let path = self.path.join(KEY_FILE);
        if let Some(seed) = read_secret(&path)? {
            return Ok(seed);
        }
        let seed = random_secret()?;
        secret_file::create(&path, &*seed)?;
        Ok(seed)
    }

    /// The pool's data key, where this agent has it.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn pool_key(&self) -> Result<Option<Secret>, AgentError> {
        read_secret(&self.path.join(POOL_KEY_FILE))
    }

    /// Keeps the pool's data key. The same key again is fine, another is refused.
    ///
    /// # Errors
    /// If another key is there already, or the file cannot be written.
    pub fn keep_pool_key(&self, key: &[u8; 32]) -> Result<(), AgentError> {
        match self.pool_key()? {
            Some(kept) if *kept == *key => Ok(()),
            Some(_) => Err(AgentError::Damaged {
                path: self.path.join(POOL_KEY_FILE),
                reason: "it is the key of another pool".into(),
            }),
            None => secret_file::create(&self.path.join(POOL_KEY_FILE), key),
        }
    }

    /// The pool it belongs to; `None` before it has one.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or of a newer version.
    pub fn membership(&self) -> Result<Option<Membership>, AgentError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let path = self.path.join(MEMBERSHIP_FILE);
        let Some(bytes) = secret_file::read(&path)? else { return Ok(None) };
        let damaged = |error: serde_json::Error| AgentError::Damaged { path: path.clone(), reason: error.to_string() };
        let found = serde_json::from_slice::<Versioned>(&bytes).map_err(damaged)?.version;
        if found > MEMBERSHIP_VERSION {
            let what = path.display().to_string();
            return Err(AgentError::NewerVersion { what, found, known: MEMBERSHIP_VERSION });
        }
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
    }

    /// Keeps which pool it belongs to.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn keep_membership(&self, membership: &Membership) -> Result<(), AgentError> {
        let text = serde_json::to_vec_pretty(membership).map_err(|error| AgentError::Internal(error.to_string()))?;
        secret_file::replace(&self.path.join(MEMBERSHIP_FILE), &text)
    }
}

/// 32 bytes of the system's randomness.
pub(crate) fn random_secret() -> Result<Secret, AgentError> {
    let mut secret = Secret::default();
    aws_lc_rs::rand::fill(&mut *secret).map_err(|_| AgentError::Internal("the system gives no randomness".into()))?;
    Ok(secret)
}

fn read_secret(path: &Path) -> Result<Option<Secret>, AgentError> {
    let Some(bytes) = secret_file::read(path)?.map(Zeroizing::new) else { return Ok(None) };
    let damaged = || AgentError::Damaged { path: path.to_owned(), reason: "it does not have 32 bytes".into() };
    let secret: [u8; 32] = bytes.as_slice().try_into().map_err(|_| damaged())?;
    Ok(Some(Secret::new(secret)))
}

/// A directory with other people's things in it is never written to.
fn refuse_foreign(path: &Path) -> Result<(), AgentError> {
    if [CONFIG_FILE, KEY_FILE].iter().any(|ours| path.join(ours).is_file()) {
        return Ok(());
    }
    let entries = fs::read_dir(path).map_err(|error| AgentError::directory("read", path, &error))?;
    for entry in entries {
        let name = entry.map_err(|error| AgentError::directory("read", path, &error))?.file_name();
        if !HARMLESS.iter().any(|harmless| name == *harmless) {
            return Err(AgentError::ForeignDirectory(path.to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_keeps_its_key_and_its_pool() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("data");
        let directory = DataDirectory::open(&path).expect("opens");
        let seed = directory.key_seed().expect("made");
        let membership = Membership::new(PoolId([1; 16]), "lab".into(), true, AgentRoles::default(), Vec::new());
        directory.keep_membership(&membership).expect("kept");
        directory.keep_pool_key(&[7; 32]).expect("kept");
        drop(directory);
        let again = DataDirectory::open(&path).expect("opens again");
        assert_eq!(*again.key_seed().expect("read"), *seed);
        assert_eq!(again.membership().expect("read"), Some(membership));
        again.keep_pool_key(&[7; 32]).expect("the same key again");
        assert_eq!(again.keep_pool_key(&[8; 32]).expect_err("another key").exit_code(), 6);
    }

    #[test]
    fn directories_that_cannot_be_used_are_refused_untouched() {
        let folder = tempfile::tempdir().expect("folder");
        fs::write(folder.path().join("thesis.odt"), b"precious").expect("written");
        let error = DataDirectory::open(folder.path()).expect_err("foreign");
        assert!(matches!(error, AgentError::ForeignDirectory(_)), "{error}");
        assert_eq!(fs::read_dir(folder.path()).expect("lists").count(), 1);

        let short = tempfile::tempdir().expect("folder");
        fs::write(short.path().join(KEY_FILE), b"short").expect("written");
        let error = DataDirectory::open(short.path()).expect("opens").key_seed().expect_err("damaged");
        assert_eq!(error.exit_code(), 6, "{error}");
    }

    #[test]
    fn a_membership_of_a_newer_version_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let directory = DataDirectory::open(folder.path()).expect("opens");
        fs::write(folder.path().join(MEMBERSHIP_FILE), b"{\"version\": 9}").expect("written");
        assert_eq!(directory.membership().expect_err("newer").exit_code(), 8);
    }
}
