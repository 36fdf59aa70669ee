//! The peerlets of this agent: the host with its folders, and the peerlets that come with Shoal.

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use dci_proto::message::{Envelope, MessageType};
use shoal_peerlets::manifest::{MANIFEST_FILE, Manifest, Rights};
use shoal_peerlets::registry::Added;
use shoal_peerlets::{Host, HostConfig, HostError, LauncherProgram, Listing, Outcomes, Past};

/// The hidden subcommand that is the launcher.
pub(crate) const LAUNCHER_WORD: &str = "peerlet-launcher";
/// Stands for this program in the manifests of peerlets that come with it.
const SHOAL_WORD: &str = "{shoal}";
/// Where an agent that is root keeps what other users must get to, where its data directory is closed to them.
const ROOT_FOLDER: &str = "/var/lib/shoal-peerlets";
/// Folders with what others may pass through, and not list.
const PASSABLE_MODE: u32 = 0o711;

/// A peerlet that comes with Shoal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shipped {
    /// Its type, by which `shoal peerlet-program` knows it.
    pub(crate) kind: &'static str,
    /// Its manifest, with [`SHOAL_WORD`] where this program is meant.
    pub(crate) manifest: String,
}

/// How the host is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostSettings {
    /// The agent's data directory.
    pub(crate) data: PathBuf,
    /// This program, which is the launcher and the peerlets that come with it; `None`: found by the system.
    pub(crate) program: Option<PathBuf>,
    /// What comes with it.
    pub(crate) shipped: Vec<Shipped>,
}

/// The host, or why there is none.
pub(crate) struct Peerlets {
    host: Result<Host, String>,
    manifests: RwLock<BTreeMap<MessageType, Manifest>>,
    /// Types of those that come with Shoal.
    shipped: Vec<&'static str>,
}

/// Why something cannot be done with peerlets.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerletError {
    /// Programs cannot be run here.
    #[error("this agent runs no peerlets: {0}")]
    NoHost(String),
    /// The host says so.
    #[error(transparent)]
    Host(#[from] HostError),
    /// It comes with Shoal, which would put it back.
    #[error("{0} comes with Shoal and cannot be removed; `shoal type set {0} --role admin` keeps others from using it")]
    Shipped(MessageType),
    /// Its type is that of one that comes with Shoal.
    #[error("{0} comes with Shoal and is not replaced: give yours another type")]
    TakenByShipped(MessageType),
}

impl Peerlets {
    /// Starts the host. An agent that cannot run programs goes on without.
    pub(crate) async fn start(settings: HostSettings, past: Arc<dyn Past>) -> Self {
        let host = start_host(&settings, past).await.map_err(|why| {
            tracing::warn!(why, "this agent runs no peerlets");
            why
        });
        let shipped = settings.shipped.iter().map(|shipped| shipped.kind).collect();
        let peerlets = Self { host, manifests: RwLock::default(), shipped };
        peerlets.learn().await;
        peerlets
    }

    /// What the installed peerlet of a type asks of who sends to it.
    pub(crate) fn rights_of(&self, kind: &MessageType) -> Option<Rights> {
        self.look_up(kind, |manifest| manifest.rights.clone())
    }

    /// Whether the installed peerlet of a type does what messages tell it to.
    pub(crate) fn executes(&self, kind: &MessageType) -> bool {
        self.look_up(kind, |manifest| manifest.rights.executes).unwrap_or_default()
    }

    /// How many messages may wait for the installed peerlet of a type.
    pub(crate) fn queue_of(&self, kind: &MessageType) -> Option<usize> {
        self.look_up(kind, |manifest| manifest.limits.queue)
    }

    /// One thing of a manifest: all of it is much to copy for each message.
    fn look_up<T>(&self, kind: &MessageType, what: impl FnOnce(&Manifest) -> T) -> Option<T> {
        self.manifests.read().ok()?.get(kind).map(what)
    }

    /// All manifests, by type.
    pub(crate) fn manifests(&self) -> Vec<Manifest> {
        self.manifests.read().map(|manifests| manifests.values().cloned().collect()).unwrap_or_default()
    }

    /// Hands a message to its peerlet.
    pub(crate) async fn deliver(&self, envelope: Arc<Envelope>) -> Result<Outcomes, PeerletError> {
        Ok(self.host()?.deliver(envelope).await?)
    }

    /// All that are installed, with what they do now.
    pub(crate) async fn list(&self) -> Result<Vec<Listing>, PeerletError> {
        Ok(self.host()?.list().await?)
    }

    /// Why folders of peerlets cannot be used.
    pub(crate) fn faults(&self) -> Vec<String> {
        match &self.host {
            Ok(host) => host.faults(),
            Err(why) => vec![why.clone()],
        }
    }

    /// Installs one.
    pub(crate) async fn add(&self, source: &Path) -> Result<Added, PeerletError> {
        // What else is wrong with it the host says.
        let text = tokio::fs::read_to_string(source.join(MANIFEST_FILE)).await.unwrap_or_default();
        if let Ok(manifest) = Manifest::parse(&text)
            && self.shipped.contains(&manifest.kind.as_str())
        {
            return Err(PeerletError::TakenByShipped(manifest.kind));
        }
        let added = self.host()?.add(source).await;
        self.learn().await;
        Ok(added?)
    }

    /// Takes one away.
    pub(crate) async fn remove(&self, kind: &MessageType) -> Result<(), PeerletError> {
        if self.shipped.contains(&kind.as_str()) {
            return Err(PeerletError::Shipped(kind.clone()));
        }
        let removed = self.host()?.remove(kind).await;
        self.learn().await;
        Ok(removed?)
    }

    /// Ends all programs.
    pub(crate) async fn end(&self) {
        if let Ok(host) = &self.host {
            host.shutdown().await;
        }
    }

    fn host(&self) -> Result<&Host, PeerletError> {
        self.host.as_ref().map_err(|why| PeerletError::NoHost(why.clone()))
    }

    async fn learn(&self) {
        let Ok(listed) = self.list().await else { return };
        let now = listed.into_iter().map(|listing| (listing.manifest.kind.clone(), listing.manifest)).collect();
        if let Ok(mut manifests) = self.manifests.write() {
            *manifests = now;
        }
    }
}

async fn start_host(settings: &HostSettings, past: Arc<dyn Past>) -> Result<Host, String> {
    let program = match &settings.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(|error| format!("this program is not found: {error}"))?,
    };
    let launcher = LauncherProgram { program: program.clone(), words: vec![LAUNCHER_WORD.to_owned()] };
    let data = settings.data.clone();
    let folders = tokio::task::spawn_blocking(move || folders(&data)).await;
    let (folder, runtime) = folders.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let config = HostConfig { past: Some(past), ..HostConfig::new(&folder, &runtime, launcher) };
    let host = Host::start(config).await.map_err(|error| error.to_string())?;
    for shipped in &settings.shipped {
        if let Err(why) = install(&host, shipped, &program).await {
            tracing::warn!(kind = shipped.kind, why, "a peerlet that comes with Shoal cannot be installed");
        }
    }
    Ok(host)
}

/// Where peerlets are installed, and where they run. Programs of an agent that is root have users of their own, who must get
/// there.
fn folders(data: &Path) -> std::io::Result<(PathBuf, PathBuf)> {
    let own = (data.join("peerlets"), data.join("peerlets-running"));
    if !rustix::process::geteuid().is_root() {
        make(&own.0)?;
        make(&own.1)?;
        return Ok(own);
    }
    // What is secret there is in files that only their owner reads; passing through is not reading.
    let mode = std::fs::metadata(data)?.permissions().mode();
    std::fs::set_permissions(data, std::fs::Permissions::from_mode(mode | 0o001))?;
    let real = data.canonicalize()?;
    let closed =
        real.ancestors().any(|part| part.metadata().is_ok_and(|found| found.permissions().mode() & 0o001 == 0));
    let folders = if closed {
        // One folder for each data directory.
        let name = blake3::hash(real.as_os_str().as_encoded_bytes()).to_hex();
        let place = Path::new(ROOT_FOLDER).join(name.get(..16).unwrap_or_default());
        (place.join("installed"), place.join("running"))
    } else {
        own
    };
    make(&folders.0)?;
    make(&folders.1)?;
    Ok(folders)
}

fn make(folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(PASSABLE_MODE).create(folder)?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(PASSABLE_MODE))
}

/// Installs a peerlet that comes with Shoal, unless it is there as it should be.
async fn install(host: &Host, shipped: &Shipped, program: &Path) -> Result<(), String> {
    let text = shipped.manifest.replace(SHOAL_WORD, &program.display().to_string());
    let wanted = Manifest::parse(&text).map_err(|error| error.to_string())?;
    let listed = host.list().await.map_err(|error| error.to_string())?;
    let there = listed.into_iter().map(|listing| listing.manifest).find(|manifest| manifest.kind == wanted.kind);
    if there.as_ref() == Some(&wanted) {
        return Ok(());
    }
    // What an older or newer version of Shoal left must not stand in the way.
    if there.is_some_and(|there| there.version > wanted.version) {
        host.remove(&wanted.kind).await.map_err(|error| error.to_string())?;
    }
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    std::fs::write(folder.path().join(MANIFEST_FILE), text).map_err(|error| error.to_string())?;
    host.add(folder.path()).await.map(drop).map_err(|error| error.to_string())
}
