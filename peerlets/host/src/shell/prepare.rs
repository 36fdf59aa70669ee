//! What a program finds when it starts: its folders, its environment, the launcher's orders. All of it waits for the disk.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dci_proto::message::{Message, format_time};
use dci_proto::{MessageId, SessionId};
use rustix::fs::{CWD, Mode, mkfifoat};

use super::HostError;
use super::users::{Lease, Users};
use crate::core::ProcessId;
use crate::launcher::{CONTROL_FILE, SPEC_FILE, Spec};
use crate::manifest::{FOLDER_WORD, SEARCH_PATH};
use crate::registry::Installed;

/// Only their owner.
const PRIVATE_MODE: u32 = 0o700;
/// Others may pass, and see nothing.
const PASS_MODE: u32 = 0o711;
const MIB: u64 = 1024 * 1024;

/// What a program is told about a message in its environment, if it is started for one.
#[derive(Debug, Clone)]
pub(super) struct Card {
    id: MessageId,
    agent: String,
    user: Option<String>,
    from_session: Option<SessionId>,
    in_reply_to: Option<MessageId>,
    sent_ms: u64,
}

impl Card {
    pub(super) fn of(message: &Message) -> Self {
        Self {
            id: message.id,
            agent: message.from.agent.to_string(),
            user: message.from.user.as_ref().map(|user| user.as_str().to_owned()),
            from_session: message.from.session,
            in_reply_to: message.in_reply_to,
            sent_ms: message.sent_ms,
        }
    }

    fn variables(&self) -> Vec<(String, String)> {
        let text = |name: &str, value: String| Some((name.to_owned(), value));
        [
            text("SHOAL_MESSAGE", self.id.to_string()),
            text("SHOAL_SENT", format_time(self.sent_ms)),
            text("SHOAL_FROM_AGENT", self.agent.clone()),
            self.user.clone().and_then(|user| text("SHOAL_FROM_USER", user)),
            self.from_session.and_then(|session| text("SHOAL_FROM_SESSION", session.to_string())),
            self.in_reply_to.and_then(|id| text("SHOAL_IN_REPLY_TO", id.to_string())),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// What a program is started for.
#[derive(Debug, Clone)]
pub(super) struct Occasion {
    pub(super) process: ProcessId,
    pub(super) session: Option<SessionId>,
    pub(super) message: Option<Card>,
}

/// What is ready for a program.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The launcher's folder.
    pub(super) control_folder: PathBuf,
    /// The program's working directory.
    pub(super) scratch: PathBuf,
    /// The launcher's orders. While it is open the launcher knows that this agent is there.
    pub(super) control: File,
    /// Its user.
    _lease: Option<Lease>,
}

/// Makes the folder for running programs, empty.
pub(super) fn clear(runtime: &Path) -> Result<(), HostError> {
    let fault = |error| HostError::Runtime { path: runtime.to_owned(), error };
    match fs::remove_dir_all(runtime) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fault(error)),
        _ => {}
    }
    let folder = |path: PathBuf, mode| DirBuilder::new().recursive(true).mode(mode).create(path).map_err(fault);
    folder(runtime.to_owned(), PASS_MODE)?;
    // Whatever the umask is.
    fs::set_permissions(runtime, fs::Permissions::from_mode(PASS_MODE)).map_err(fault)?;
    folder(control_root(runtime), PRIVATE_MODE)?;
    folder(scratch_root(runtime), PASS_MODE)?;
    fs::set_permissions(scratch_root(runtime), fs::Permissions::from_mode(PASS_MODE)).map_err(fault)
}

fn control_root(runtime: &Path) -> PathBuf {
    runtime.join("control")
}

fn scratch_root(runtime: &Path) -> PathBuf {
    runtime.join("scratch")
}

/// Prepares a start. Answers why there can be none.
pub(super) fn prepare(
    runtime: &Path,
    users: &Arc<Users>,
    installed: &Installed,
    occasion: &Occasion,
) -> Result<Prepared, String> {
    let program = installed.manifest.program(&installed.folder).map_err(|error| error.to_string())?;
    let number = occasion.process.0;
    let control_folder = control_root(runtime).join(number.to_string());
    let scratch = scratch_root(runtime).join(number.to_string());
    let lease = if installed.manifest.rights.as_agent { None } else { users.lease()? };
    let id = lease.as_ref().map(|lease| lease.id);
    let spec = spec(program, users, installed, occasion, (id, &scratch));
    match folders(&control_folder, &scratch, &spec) {
        Ok(control) => Ok(Prepared { control_folder, scratch, control, _lease: lease }),
        Err(error) => {
            // What was made of them, if anything was.
            let _ = fs::remove_dir_all(&control_folder);
            let _ = fs::remove_dir_all(&scratch);
            Err(format!("the folders for the program cannot be made: {error}"))
        }
    }
}

fn folders(control_folder: &Path, scratch: &Path, spec: &Spec) -> io::Result<File> {
    for folder in [control_folder, scratch] {
        DirBuilder::new().mode(PRIVATE_MODE).create(folder)?;
    }
    if let Some(id) = spec.id {
        chown(scratch, Some(id), Some(id))?;
    }
    fs::write(control_folder.join(SPEC_FILE), serde_json::to_vec(spec)?)?;
    let fifo = control_folder.join(CONTROL_FILE);
    mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR)?;
    // For both, so that opening it waits for nobody.
    OpenOptions::new().read(true).write(true).open(fifo)
}

fn spec(
    program: PathBuf,
    users: &Users,
    installed: &Installed,
    occasion: &Occasion,
    (id, scratch): (Option<u32>, &Path),
) -> Spec {
    let manifest = &installed.manifest;
    let folder = installed.folder.to_string_lossy().into_owned();
    let filled = |text: &str| text.replace(FOLDER_WORD, &folder);
    let paths = |paths: &[PathBuf]| paths.iter().map(|path| filled(&path.to_string_lossy()).into()).collect();
    let mut environment = vec![
        ("PATH".to_owned(), SEARCH_PATH.to_owned()),
        ("HOME".to_owned(), scratch.to_string_lossy().into_owned()),
        ("TMPDIR".to_owned(), scratch.to_string_lossy().into_owned()),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ("SHOAL_TYPE".to_owned(), manifest.kind.to_string()),
        ("SHOAL_FOLDER".to_owned(), folder.clone()),
    ];
    environment.extend(occasion.session.map(|session| ("SHOAL_SESSION".to_owned(), session.to_string())));
    environment.extend(occasion.message.iter().flat_map(Card::variables));
    environment.retain(|(name, _)| !manifest.environment.contains_key(name));
    environment.extend(manifest.environment.iter().map(|(name, value)| (name.clone(), filled(value))));
    Spec {
        program,
        arguments: manifest.command.iter().skip(1).map(|word| filled(word)).collect(),
        environment,
        folder: installed.folder.clone(),
        scratch: scratch.to_owned(),
        id,
        group: users.group(id, !manifest.rights.write.is_empty()),
        memory_bytes: manifest.limits.memory_mib * MIB,
        file_bytes: manifest.limits.file_mib * MIB,
        processes: manifest.limits.processes,
        user_processes: users.processes(id, manifest.limits.processes),
        network: manifest.rights.network,
        read: paths(&manifest.rights.read),
        write: paths(&manifest.rights.write),
        agent: std::process::id(),
    }
}

/// Takes away what was made for a program that is gone.
pub(super) fn clear_away(prepared: &Prepared) {
    for folder in [&prepared.control_folder, &prepared.scratch] {
        if let Err(error) = fs::remove_dir_all(folder) {
            tracing::warn!(folder = %folder.display(), %error, "what a program left cannot be deleted now");
        }
    }
}
