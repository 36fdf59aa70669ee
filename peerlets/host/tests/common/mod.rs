//! A host with peerlets in folders of its own, for tests.

#![allow(dead_code, reason = "each test needs some of it")]

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dci_proto::message::{Body, Envelope, Message, Recipient, SIGNATURE_BYTES, Sender};
use dci_proto::{AgentId, MessageId, SessionId};
use shoal_peerlets::core::Verdict;
use shoal_peerlets::{Host, HostConfig, LauncherProgram, Outcomes};

/// For what takes long on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

static MESSAGES: AtomicU64 = AtomicU64::new(1);

/// A peerlet: its type, its manifest but for the head, its files.
pub(crate) type Described<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// A host, and the folders that go when it does.
pub(crate) struct Rig {
    pub(crate) host: Host,
    pub(crate) folder: tempfile::TempDir,
}

/// Says where the launcher is, for tests that run as a user who cannot get to where it was built.
const LAUNCHER: &str = "PEERLETS_TEST_LAUNCHER";
/// A user that is nobody's.
const ANOTHER_USER: u32 = 0x6fff_0000;

pub(crate) fn launcher() -> LauncherProgram {
    let built = env!("CARGO_BIN_EXE_shoal-peerlet-launcher");
    let program = std::env::var_os(LAUNCHER).unwrap_or_else(|| built.into()).into();
    LauncherProgram { program, words: Vec::new() }
}

/// Runs the tests of this file, but for one, as a user who is not root, where this one is.
pub(crate) fn again_as_another_user(but_for: &str) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = open_folder();
    let (tests, copied) = (folder.path().join("tests"), folder.path().join("launcher"));
    std::fs::copy(std::env::current_exe().expect("this test"), &tests).expect("a copy");
    std::fs::copy(launcher().program, &copied).expect("a copy");
    [&tests, &copied].into_iter().for_each(|path| open(path));
    let mut again = std::process::Command::new(&tests);
    again.args(["--skip", but_for]).env(LAUNCHER, &copied).uid(ANOTHER_USER).gid(ANOTHER_USER);
    let output = again.current_dir("/").output().expect("the copy runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// A folder that the users of programs can get to.
pub(crate) fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("peerlets-").tempdir().expect("a folder");
    open(folder.path());
    folder
}

pub(crate) fn open(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
}

/// Writes a peerlet of a manifest and files; those that begin with `#!` can be executed.
pub(crate) fn write_peerlet(folder: &Path, kind: &str, manifest: &str, files: &[(&str, &str)]) -> PathBuf {
    let place = folder.join(kind);
    std::fs::create_dir_all(&place).expect("a folder");
    open(&place);
    let head = format!("type = \"{kind}\"\nversion = \"1.0.0\"\ndescription = \"a test\"\n");
    std::fs::write(place.join("peerlet.toml"), head + manifest).expect("a manifest");
    for (name, text) in files {
        let path = place.join(name);
        std::fs::write(&path, text).expect("a file");
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    }
    place
}

impl Rig {
    /// A host of several peerlets.
    pub(crate) async fn new(peerlets: &[Described<'_>]) -> Self {
        Self::with(peerlets, |_| ()).await
    }

    /// The same, with another configuration.
    pub(crate) async fn with(peerlets: &[Described<'_>], change: impl FnOnce(&mut HostConfig)) -> Self {
        let folder = open_folder();
        let installed = folder.path().join("installed");
        std::fs::create_dir(&installed).expect("a folder");
        open(&installed);
        for (kind, manifest, files) in peerlets {
            write_peerlet(&installed, kind, manifest, files);
        }
        let mut config = HostConfig::new(&installed, &folder.path().join("runtime"), launcher());
        change(&mut config);
        let host = Host::start(config).await.expect("a host");
        assert!(host.faults().is_empty(), "{:?}", host.faults());
        Self { host, folder }
    }

    /// One with a single peerlet of type `it`.
    pub(crate) async fn of(manifest: &str, files: &[(&str, &str)]) -> Self {
        Self::new(&[("it", manifest, files)]).await
    }

    pub(crate) async fn send(&self, kind: &str, text: &str) -> Outcomes {
        self.deliver(envelope(kind, text, None)).await
    }

    pub(crate) async fn send_to(&self, kind: &str, session: u8, text: &str) -> Outcomes {
        self.deliver(envelope(kind, text, Some(SessionId([session; 16])))).await
    }

    pub(crate) async fn deliver(&self, envelope: Envelope) -> Outcomes {
        self.host.deliver(Arc::new(envelope)).await.expect("the host is there")
    }

    /// The replies' texts and what became of a message to `it`.
    pub(crate) async fn ask(&self, text: &str) -> (Vec<String>, Verdict) {
        all(self.send("it", text).await).await
    }

    /// The reason for which a message to `it` is refused.
    pub(crate) async fn refusal(&self, text: &str) -> String {
        match self.ask(text).await.1 {
            Verdict::Refused { why } => why,
            other => panic!("it was not refused: {other:?}"),
        }
    }
}

/// Waits for all that comes of a message.
pub(crate) async fn all(outcomes: Outcomes) -> (Vec<String>, Verdict) {
    let (replies, verdict) = tokio::time::timeout(PATIENCE, outcomes.all()).await.expect("it is settled in time");
    (replies.iter().map(Body::text).collect(), verdict)
}

pub(crate) fn is_handled(verdict: &Verdict, wanted: i32) -> bool {
    matches!(verdict, Verdict::Handled { status, .. } if *status == wanted)
}

/// A message from `ana`, valid for a minute.
pub(crate) fn envelope(kind: &str, text: &str, session: Option<SessionId>) -> Envelope {
    envelope_from("ana", kind, Body::of_text(text).expect("a body"), session)
}

pub(crate) fn envelope_from(user: &str, kind: &str, body: Body, session: Option<SessionId>) -> Envelope {
    let number = MESSAGES.fetch_add(1, Ordering::Relaxed);
    let sent_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    let message = Message {
        id: MessageId(u128::from(number).to_be_bytes()),
        kind: kind.parse().expect("a type"),
        session,
        sent_ms,
        expires_ms: sent_ms + 600_000,
        from: Sender { agent: AgentId([1; 32]), user: Some(user.parse().expect("a user")), session: None },
        to: Recipient::Agent(AgentId([2; 32])),
        in_reply_to: None,
        replay_of: None,
        body,
    };
    Envelope { message, ttl: 9, signature: [0; SIGNATURE_BYTES] }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Processes whose command line holds a word.
pub(crate) fn processes_with(word: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let holds = |process: &u32| {
        let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").contains(word)
    };
    numbers.filter(holds).collect()
}
