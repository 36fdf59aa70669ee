//! What an agent is started with: `DATA/agent.toml`, and what the command line says over it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shoal_ledger::AgentRoles;
use shoal_run::{Allow, OwnersWord};

use crate::AgentError;
use crate::machine::SmartConfig;
use crate::secret_file;

/// Format of `agent.toml`. A newer one is refused, an older one migrated.
pub const CONFIG_VERSION: u32 = 1;
/// Its name in the data directory.
pub const CONFIG_FILE: &str = "agent.toml";
/// Where the drive is served unless said otherwise.
pub const DAV_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4918);
/// Where console and API are served unless said otherwise.
pub const API_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4919);
/// Where other agents reach this one unless said otherwise; the data channel takes the next port.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 4920);
/// The port of the data channel, and of joining, unless said otherwise.
pub const DATA_PORT_DEFAULT: u16 = 4921;
/// Bytes of file content kept in memory unless said otherwise.
pub const CACHE_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;
/// Bytes of memory the ledger's state may use as cache unless said otherwise.
pub const LEDGER_CACHE_BYTES_DEFAULT: u64 = 16 * 1024 * 1024;
/// Bytes of a disk's free space left to its owner unless said otherwise.
pub const RESERVE_BYTES_DEFAULT: u64 = 1024 * 1024 * 1024;
/// Bytes of files that are sent or received, kept at most unless said otherwise.
pub const FILES_CAP_BYTES_DEFAULT: u64 = 20 * 1000 * 1000 * 1000;
/// Bytes of others' backups, kept at most unless said otherwise.
pub const BACKUP_SHARE_BYTES_DEFAULT: u64 = 100 * 1000 * 1000 * 1000;
/// How long what an owner deleted is kept unless said otherwise.
pub const BACKUP_GRACE_DEFAULT: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// Names this computer, over what `agent.toml` says. For several agents on one computer that play different ones.
pub const MACHINE_VARIABLE: &str = "SHOAL_MACHINE";
/// Names the program that asks disks how they do, over what `agent.toml` says; empty: none is asked.
pub const SMARTCTL_VARIABLE: &str = "SHOAL_SMARTCTL";
/// Seconds between two looks for garbage, at most.
const JANITOR_INTERVAL_S: u64 = 60;
/// How long shards that are on another agent now are left alone, at most.
const SURPLUS_GRACE: Duration = Duration::from_secs(60);
/// How long something that is handed in waits for its next byte: who closed the page by mistake comes back within it.
const UPLOAD_PATIENCE_DEFAULT: Duration = Duration::from_secs(60 * 60);
/// Characters of an agent's name, at most.
const NAME_LIMIT: usize = 64;

/// A directory for shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreDirectory {
    /// Where.
    pub directory: PathBuf,
    /// Bytes its shards may use, at most; `None`: what the disk has.
    pub cap_bytes: Option<u64>,
    /// Bytes of the disk's free space never touched.
    pub reserve_bytes: u64,
}

/// How much may be kept of files that are sent to and from this computer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesConfig {
    /// Bytes of all of them, at most; 0: none are taken and none are sent.
    pub cap_bytes: u64,
    /// Bytes of the disk's free space never touched.
    pub reserve_bytes: u64,
    /// After how long without a byte something that is handed in is given up.
    pub upload_patience: Duration,
}

impl Default for FilesConfig {
    fn default() -> Self {
        Self {
            cap_bytes: FILES_CAP_BYTES_DEFAULT,
            reserve_bytes: RESERVE_BYTES_DEFAULT,
            upload_patience: UPLOAD_PATIENCE_DEFAULT,
        }
    }
}

/// What this computer gives to others' backups, and what is to be known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupConfig {
    /// Bytes of others' backups, at most; 0: none are taken.
    pub share_bytes: u64,
    /// Bytes of the disk's free space never touched.
    pub reserve_bytes: u64,
    /// How long what its owner deleted is kept.
    pub grace: Duration,
    /// What stands for this computer: agents of which it is the same never hold each other's copies. `None`: what the system says.
    pub machine: Option<String>,
    /// Whether the link is paid by volume.
    pub metered: bool,
}

impl Default for BackupConfig {
    fn default() -> Self {
        Self {
            share_bytes: BACKUP_SHARE_BYTES_DEFAULT,
            reserve_bytes: RESERVE_BYTES_DEFAULT,
            grace: BACKUP_GRACE_DEFAULT,
            machine: None,
            metered: false,
        }
    }
}

/// A certificate and its key given by the admin, PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The chain.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// How long things take. The defaults are what agents run with; tests shorten them.
#[derive(Debug, Clone)]
pub struct Timing {
    /// Time between two pings of a member, at least.
    pub ping_interval: Duration,
    /// A ping unanswered for this long is missed.
    pub ping_timeout: Duration,
    /// A request unanswered for this long makes its agent be asked whether it lives.
    pub probe_after: Duration,
    /// It is suspect when it does not say so within this time.
    pub probe_timeout: Duration,
    /// A suspect is absent after this time: laptops sleep.
    pub absent_after: Duration,
    /// Garbage is left alone for this long: readers may be at it.
    pub garbage_grace: Duration,
    /// Shards that are on another agent now are left alone for this long: readers may be on the way.
    pub surplus_grace: Duration,
    /// Time between two looks for garbage.
    pub janitor_interval: Duration,
    /// Time between two looks at who is a member and who should vote.
    pub membership_interval: Duration,
    /// An agent must have been up for this long to be made a voter.
    pub voter_trial: Duration,
    /// A voter must have been away for this long to lose its vote to another.
    pub voter_patience: Duration,
    /// Time between two looks for what has expired, at least; how late what expires may be.
    pub tick_interval: Duration,
    /// Time between two encrypted copies of the ledger.
    pub copy_interval: Duration,
    /// Time between heartbeats of the ledger's leader.
    pub heartbeat: Duration,
    /// An election is called after a silence between these two.
    pub election_timeout: (Duration, Duration),
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(2),
            ping_timeout: Duration::from_millis(900),
            probe_after: Duration::from_millis(250),
            probe_timeout: Duration::from_millis(400),
            absent_after: Duration::from_secs(30 * 60),
            garbage_grace: Duration::from_secs(10 * 60),
            surplus_grace: SURPLUS_GRACE,
            janitor_interval: Duration::from_secs(JANITOR_INTERVAL_S),
            membership_interval: Duration::from_secs(5),
            voter_trial: Duration::from_secs(1),
            voter_patience: Duration::from_secs(120),
            tick_interval: Duration::from_secs(1),
            copy_interval: Duration::from_secs(60 * 60),
            heartbeat: Duration::from_millis(300),
            election_timeout: (Duration::from_millis(1500), Duration::from_millis(2500)),
        }
    }
}

/// What an agent is started with.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Where it keeps everything.
    pub data: PathBuf,
    /// Its nickname; the pool makes it unique.
    pub name: String,
    /// The site it is at; empty when nobody said.
    pub site: String,
    /// Where the drive is served.
    pub dav: SocketAddr,
    /// Where console and API are served.
    pub api: SocketAddr,
    /// Where the control network listens.
    pub listen: SocketAddr,
    /// Where the data channel listens; `None`: at the port after `listen`.
    pub data_listen: Option<SocketAddr>,
    /// Addresses told to others instead of those of the network cards, where a router stands between.
    pub advertise: Vec<IpAddr>,
    /// Whether it announces itself on the local network.
    pub announce: bool,
    /// Where shards are kept.
    pub stores: Vec<StoreDirectory>,
    /// Bytes of file content kept in memory.
    pub cache_bytes: u64,
    /// Bytes of memory the ledger's state may use as cache.
    pub ledger_cache_bytes: u64,
    /// The admin's certificate for doors beyond loopback; `None`: the agent makes one.
    pub tls: Option<TlsFiles>,
    /// What it offers to do; a ticket may allow less.
    pub roles: AgentRoles,
    /// How the disks under the stores are asked how they do.
    pub smart: SmartConfig,
    /// What its owner lets others run on this machine; nothing unless the file says so.
    pub run: OwnersWord,
    /// Files that are sent and received.
    pub files: FilesConfig,
    /// Others' backups.
    pub backup: BackupConfig,
    /// How long things take; of these only the garbage's grace is in the file.
    pub timing: Timing,
    /// How long and how much the log of messages keeps.
    pub message_log: MessageLog,
    /// The `shoal` program, which starts peerlets and is some of them; `None`: the one that runs.
    pub program: Option<PathBuf>,
}

/// What the command line says over the file.
#[derive(Debug, Clone, Default)]
pub struct ConfigOverrides {
    /// Its nickname.
    pub name: Option<String>,
    /// Where the drive is served.
    pub dav: Option<SocketAddr>,
    /// Where console and API are served.
    pub api: Option<SocketAddr>,
    /// Where the control network listens.
    pub listen: Option<SocketAddr>,
    /// Bytes the first store directory may use.
    pub cap_bytes: Option<u64>,
    /// Bytes of the disk's free space never touched by the first store directory.
    pub reserve_bytes: Option<u64>,
    /// Whether it announces itself on the local network.
    pub announce: Option<bool>,
    /// What it offers to do.
    pub roles: Option<AgentRoles>,
}

/// How long and how much the log of messages keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MessageLog {
    /// Days after which entries go.
    pub keep_days: u64,
    /// MiB of all entries; over that the oldest go.
    pub keep_mib: u64,
}

impl Default for MessageLog {
    fn default() -> Self {
        Self { keep_days: 30, keep_mib: 1024 }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    version: u32,
    name: Option<String>,
    site: Option<String>,
    dav: Option<SocketAddr>,
    api: Option<SocketAddr>,
    listen: Option<SocketAddr>,
    data_listen: Option<SocketAddr>,
    advertise: Option<Vec<IpAddr>>,
    announce: Option<bool>,
    cache_bytes: Option<u64>,
    ledger_cache_bytes: Option<u64>,
    garbage_grace_s: Option<u64>,
    tls: Option<TlsFiles>,
    roles: Option<AgentRoles>,
    smart: Option<SmartFile>,
    message_log: Option<MessageLog>,
    run: Option<RunFile>,
    files: Option<FilesFile>,
    backup: Option<BackupFile>,
    #[serde(default)]
    store: Vec<StoreFile>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreFile {
    directory: PathBuf,
    cap_bytes: Option<u64>,
    reserve_bytes: Option<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilesFile {
    cap_bytes: Option<u64>,
    reserve_bytes: Option<u64>,
    upload_patience_s: Option<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BackupFile {
    share_bytes: Option<u64>,
    reserve_bytes: Option<u64>,
    grace_s: Option<u64>,
    machine: Option<String>,
    metered: Option<bool>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SmartFile {
    program: Option<PathBuf>,
    #[serde(default)]
    devices: Vec<PathBuf>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RunFile {
    any: bool,
    allow: Vec<String>,
    as_agent: bool,
    network: bool,
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
}

impl RunFile {
    fn word(self) -> Result<OwnersWord, String> {
        let Self { any, allow, as_agent, network, read, write } = self;
        let allow = match (any, allow.is_empty()) {
            (true, true) => Allow::Any,
            (true, false) => return Err("say either `any = true` or what `allow` names, not both".into()),
            (false, _) => Allow::only(allow).map_err(|error| format!("allow: {error}"))?,
        };
        let straight = |path: &&PathBuf| {
            let climbs = path.components().any(|part| matches!(part, std::path::Component::ParentDir));
            path.is_absolute() && !climbs && path.to_str().is_some_and(|text| !text.chars().any(char::is_control))
        };
        match read.iter().chain(&write).find(|path| !straight(path)) {
            Some(path) => Err(format!("{} must be a whole path, such as /var/log, without ..", path.display())),
            None => Ok(OwnersWord { allow, as_agent, network, read, write }),
        }
    }
}

impl AgentConfig {
    /// The defaults for a data directory: one store directory in it, named after the computer.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        let data = data.into();
        let store =
            StoreDirectory { directory: data.join("store-0"), cap_bytes: None, reserve_bytes: RESERVE_BYTES_DEFAULT };
        Self {
            data,
            name: computer_name(),
            site: String::new(),
            dav: DAV_DEFAULT,
            api: API_DEFAULT,
            listen: LISTEN_DEFAULT,
            data_listen: None,
            advertise: Vec::new(),
            announce: true,
            stores: vec![store],
            cache_bytes: CACHE_BYTES_DEFAULT,
            ledger_cache_bytes: LEDGER_CACHE_BYTES_DEFAULT,
            tls: None,
            roles: AgentRoles::default(),
            smart: SmartConfig::default(),
            run: OwnersWord::default(),
            files: FilesConfig::default(),
            backup: BackupConfig::default(),
            timing: Timing::default(),
            message_log: MessageLog::default(),
            program: None,
        }
    }

    /// The configuration of a data directory: its file where it has one, and `overrides` over it. Writes nothing.
    ///
    /// # Errors
    /// If the file cannot be read, makes no sense, or is of a newer version.
    pub fn load(data: &Path, overrides: &ConfigOverrides) -> Result<Self, AgentError> {
        // The same directory, however it was named and from wherever: a store is known by its path.
        let absolute = std::path::absolute(data).map_err(|error| AgentError::directory("find", data, &error))?;
        let data = std::fs::canonicalize(&absolute).unwrap_or(absolute);
        let mut config = Self::new(&data);
        let path = data.join(CONFIG_FILE);
        if let Some(bytes) = secret_file::read(&path)? {
            let file = parse(&path, &bytes)?;
            config.apply_file(file).map_err(|reason| AgentError::Config { path: path.clone(), reason })?;
        }
        config.apply_overrides(overrides);
        set(&mut config.smart.program, std::env::var_os(SMARTCTL_VARIABLE).map(PathBuf::from));
        let machine = std::env::var(MACHINE_VARIABLE).ok().filter(|machine| !machine.is_empty());
        config.backup.machine = machine.or(config.backup.machine);
        config.check(&path)?;
        Ok(config)
    }

    /// Writes the file unless there is one: what a first start was told holds for later starts too.
    pub(crate) fn save_if_new(&self) -> Result<(), AgentError> {
        let path = self.data.join(CONFIG_FILE);
        if path.exists() {
            return Ok(());
        }
        let text = toml::to_string_pretty(&self.to_file())
            .map_err(|error| AgentError::Config { path: path.clone(), reason: error.to_string() })?;
        let head =
            "# Written at the first start; edit and restart the agent. Every setting is described in the guide.\n";
        secret_file::create(&path, format!("{head}{text}").as_bytes())
    }

    /// Where the data channel listens.
    #[must_use]
    pub fn data_listen(&self) -> SocketAddr {
        let next_port = match self.listen.port() {
            0 => 0,
            port => port.saturating_add(1),
        };
        self.data_listen.unwrap_or(SocketAddr::new(self.listen.ip(), next_port))
    }

    fn apply_file(&mut self, file: ConfigFile) -> Result<(), String> {
        set(&mut self.name, file.name);
        set(&mut self.site, file.site);
        set(&mut self.dav, file.dav);
        set(&mut self.api, file.api);
        set(&mut self.listen, file.listen);
        set(&mut self.advertise, file.advertise);
        set(&mut self.announce, file.announce);
        set(&mut self.cache_bytes, file.cache_bytes);
        set(&mut self.ledger_cache_bytes, file.ledger_cache_bytes);
        set(&mut self.roles, file.roles);
        set(&mut self.message_log, file.message_log);
        self.data_listen = file.data_listen;
        self.tls = file.tls;
        if let Some(smart) = file.smart {
            set(&mut self.smart.program, smart.program);
            self.smart.devices = smart.devices;
        }
        if let Some(run) = file.run {
            self.run = run.word().map_err(|reason| format!("[run] {reason}"))?;
        }
        if let Some(seconds) = file.garbage_grace_s {
            self.timing.garbage_grace = Duration::from_secs(seconds);
            self.timing.surplus_grace = SURPLUS_GRACE.min(self.timing.garbage_grace);
            // Looked for as often as it takes to notice in time, but not all the time.
            self.timing.janitor_interval = Duration::from_secs(seconds.clamp(1, JANITOR_INTERVAL_S));
        }
        if !file.store.is_empty() {
            let data = &self.data;
            let store = |store: StoreFile| StoreDirectory {
                directory: data.join(store.directory),
                cap_bytes: store.cap_bytes,
                reserve_bytes: store.reserve_bytes.unwrap_or(RESERVE_BYTES_DEFAULT),
            };
            self.stores = file.store.into_iter().map(store).collect();
        }
        // What its owner keeps for themselves holds for files too, unless they say otherwise.
        let reserve_bytes = self.stores.first().map(|store| store.reserve_bytes);
        let files = file.files.unwrap_or_default();
        set(&mut self.files.cap_bytes, files.cap_bytes);
        set(&mut self.files.reserve_bytes, files.reserve_bytes.or(reserve_bytes));
        let backup = file.backup.unwrap_or_default();
        set(&mut self.backup.share_bytes, backup.share_bytes);
        set(&mut self.backup.reserve_bytes, backup.reserve_bytes.or(reserve_bytes));
        set(&mut self.backup.grace, backup.grace_s.map(Duration::from_secs));
        set(&mut self.backup.metered, backup.metered);
        self.backup.machine = backup.machine;
        set(&mut self.files.upload_patience, files.upload_patience_s.map(Duration::from_secs));
        Ok(())
    }

    fn apply_overrides(&mut self, overrides: &ConfigOverrides) {
        set(&mut self.name, overrides.name.clone());
        set(&mut self.dav, overrides.dav);
        set(&mut self.api, overrides.api);
        set(&mut self.announce, overrides.announce);
        set(&mut self.roles, overrides.roles);
        if let Some(listen) = overrides.listen {
            self.listen = listen;
            self.data_listen = None;
        }
        if let Some(store) = self.stores.first_mut() {
            store.cap_bytes = overrides.cap_bytes.or(store.cap_bytes);
            set(&mut store.reserve_bytes, overrides.reserve_bytes);
        }
        set(&mut self.files.reserve_bytes, overrides.reserve_bytes);
        set(&mut self.backup.reserve_bytes, overrides.reserve_bytes);
    }

    fn check(&self, path: &Path) -> Result<(), AgentError> {
        let fault = |reason: &str| Err(AgentError::Config { path: path.to_owned(), reason: reason.to_owned() });
        if self.name.is_empty() || self.name.chars().count() > NAME_LIMIT || self.name.chars().any(char::is_control) {
            return fault("the name must have 1 to 64 characters, none of them control characters");
        }
        if self.smart.devices.iter().any(|device| !device.is_absolute()) {
            return fault("the devices under [smart] must be whole paths, such as /dev/sda");
        }
        if self.message_log.keep_days == 0 || self.message_log.keep_mib == 0 {
            return fault("keep_days and keep_mib under [message_log] must be 1 or more");
        }
        if self.roles.store && self.stores.is_empty() {
            return fault("an agent that stores needs a store directory");
        }
        if !self.roles.store && !self.roles.mount && !self.roles.vote {
            return fault("an agent without any role does nothing");
        }
        Ok(())
    }

    fn to_file(&self) -> ConfigFile {
        let relative = |path: &Path| path.strip_prefix(&self.data).unwrap_or(path).to_owned();
        let store = |store: &StoreDirectory| StoreFile {
            directory: relative(&store.directory),
            cap_bytes: store.cap_bytes,
            reserve_bytes: Some(store.reserve_bytes),
        };
        ConfigFile {
            version: CONFIG_VERSION,
            name: Some(self.name.clone()),
            site: (!self.site.is_empty()).then(|| self.site.clone()),
            dav: Some(self.dav),
            api: Some(self.api),
            listen: Some(self.listen),
            data_listen: self.data_listen,
            advertise: (!self.advertise.is_empty()).then(|| self.advertise.clone()),
            announce: Some(self.announce),
            cache_bytes: Some(self.cache_bytes),
            ledger_cache_bytes: None,
            garbage_grace_s: None,
            tls: self.tls.clone(),
            roles: (self.roles != AgentRoles::default()).then_some(self.roles),
            smart: None,
            message_log: None,
            run: None,
            files: None,
            backup: None,
            store: self.stores.iter().map(store).collect(),
        }
    }
}

fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

/// The version is read first, so that a newer file is told from a mistaken one.
fn parse(path: &Path, bytes: &[u8]) -> Result<ConfigFile, AgentError> {
    let fault = |reason: String| AgentError::Config { path: path.to_owned(), reason };
    let text = std::str::from_utf8(bytes).map_err(|_| fault("it is not UTF-8".into()))?;
    let mistake = |error: toml::de::Error| fault(one_line(text, &error));
    let table: toml::Table = text.parse().map_err(mistake)?;
    let version = match table.get("version") {
        None => return Err(fault("it has no `version`".into())),
        Some(value) => value.as_integer().and_then(|version| u32::try_from(version).ok()),
    };
    match version {
        Some(CONFIG_VERSION) => toml::from_str(text).map_err(mistake),
        Some(found) if found > CONFIG_VERSION => {
            Err(AgentError::NewerVersion { what: path.display().to_string(), found, known: CONFIG_VERSION })
        }
        _ => Err(fault("its `version` is no version of Shoal's".into())),
    }
}

/// A mistake in a file and the line it is in, in one line.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().replace('\n', " ");
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return message };
    let index = before.matches('\n').count();
    let line = text.lines().nth(index).unwrap_or_default().trim();
    format!("line {} ({line}): {message}", index + 1)
}

/// Where an agent keeps everything unless told otherwise.
#[must_use]
pub fn default_data_directory() -> PathBuf {
    directories::ProjectDirs::from("", "", "shoal")
        .map_or_else(|| PathBuf::from("shoal-data"), |folders| folders.data_dir().to_owned())
}

/// Bytes free for this user on the disk a directory lies on. One that is not there yet counts as its parent.
///
/// # Errors
/// If the system does not tell.
pub fn free_bytes(directory: &Path) -> Result<u64, AgentError> {
    let existing = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let space = rustix::fs::statvfs(existing)
        .map_err(|error| AgentError::directory("ask for the free space of", existing, &error.into()))?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

fn computer_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let short: String = name.split('.').next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    if short.is_empty() { "agent".to_owned() } else { short.chars().take(NAME_LIMIT).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<AgentConfig, AgentError> {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join(CONFIG_FILE), text).expect("written");
        AgentConfig::load(folder.path(), &ConfigOverrides::default())
    }

    #[test]
    fn what_a_first_start_was_told_holds_for_later_starts() {
        let folder = tempfile::tempdir().expect("folder");
        let listen: SocketAddr = "127.0.0.1:7000".parse().expect("address");
        let told = ConfigOverrides {
            name: Some("lab-1".into()),
            listen: Some(listen),
            cap_bytes: Some(123),
            ..ConfigOverrides::default()
        };
        let first = AgentConfig::load(folder.path(), &told).expect("loads");
        first.save_if_new().expect("saves");
        let second = AgentConfig::load(folder.path(), &ConfigOverrides::default()).expect("loads");
        assert_eq!((second.name.as_str(), second.listen), ("lab-1", listen));
        assert_eq!(second.stores, first.stores);
        assert_eq!(second.data_listen().port(), 7001);
    }

    #[test]
    fn a_file_of_a_newer_version_is_refused_with_its_own_exit_code() {
        let error = load("version = 2\nunknown = true\n").expect_err("refused");
        assert_eq!(error.exit_code(), 8, "{error}");
        assert!(error.to_string().contains("newer version of Shoal"), "{error}");
    }

    #[test]
    fn nothing_may_be_run_here_unless_the_owner_says_so() {
        for text in ["version = 1", "version = 1\n[run]", "version = 1\n[run]\nas_agent = true\nallow = []"] {
            assert_eq!(load(text).expect("loads").run.allow, Allow::default(), "{text}");
        }
        let some = load("version = 1\n[run]\nallow = [\"uptime\", \"/usr/bin/df\"]\nread = [\"/var/log\"]")
            .expect("loads")
            .run;
        assert_eq!(some.allow, Allow::Only(vec!["uptime".into(), "/usr/bin/df".into()]));
        assert_eq!((some.as_agent, some.network, some.read), (false, false, vec![PathBuf::from("/var/log")]));
        let any = load("version = 1\n[run]\nany = true\nas_agent = true\nnetwork = true").expect("loads").run;
        assert_eq!((any.allow, any.as_agent, any.network), (Allow::Any, true, true));
    }

    #[test]
    fn mistakes_are_told_and_nothing_is_guessed() {
        for (text, expected) in [
            ("", "no `version`"),
            ("version = \"x\"", "no version of Shoal's"),
            ("version = 1\ncolour = \"red\"", "colour"),
            ("version = 1\nname = \"\"", "1 to 64 characters"),
            ("version = 1\ndav = \"nowhere\"", "dav"),
            ("version = 1\n[smart]\ndevices = [\"-x\"]", "whole paths"),
            ("version = 1\n[run]\nallow = \"df\"", "expected a sequence"),
            ("version = 1\n[run]\nallow = [\"../df\"]", "a program's name"),
            ("version = 1\n[run]\nallow = [\"any\"]", "any = true"),
            ("version = 1\n[run]\nany = true\nallow = [\"df\"]", "not both"),
            ("version = 1\n[run]\nshell = true", "shell"),
            ("version = 1\n[run]\nread = [\"log\"]", "whole path"),
            ("version = 1\n[run]\nwrite = [\"/a/../b\"]", "whole path"),
            ("version = 1\n[roles]\nstore = false\nmount = false\nvote = false", "does nothing"),
        ] {
            let error = load(text).expect_err(text);
            assert!(error.to_string().contains(expected), "{text:?}: {error}");
        }
    }
}
