//! Where a peerlet's program is. Its first word is an absolute path, a name looked for in the system's folders
//! ([`SEARCH_PATH`]), or a path within the peerlet's folder, which nothing leads out of.

use std::path::{Component, Path, PathBuf};

use super::Manifest;

/// Stands for the peerlet's folder in arguments, values of the environment and paths of rights.
pub const FOLDER_WORD: &str = "{folder}";
/// Where programs are looked for: never where a user's own profile says.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why there is no program to start.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// None of that name.
    #[error(
        "there is no program {0} in {SEARCH_PATH}; install it, or write ./{0} if it is a file of the peerlet's folder"
    )]
    NotInstalled(String),
    /// It cannot be reached.
    #[error("the program {path} cannot be used: {error}")]
    Unreachable {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// It is elsewhere by way of a link.
    #[error("the program {0} leads out of the peerlet's folder")]
    Outside(PathBuf),
    /// Nothing that can be run.
    #[error("{0} is no program: it must be a file that may be executed (chmod +x)")]
    NotExecutable(PathBuf),
}

/// What is wrong with the first word of a command, by itself.
pub(super) fn check_word(word: &str) -> Result<(), String> {
    let path = Path::new(word);
    let climbs = path.components().any(|part| part == Component::ParentDir);
    if climbs || word.ends_with('/') || word.contains(FOLDER_WORD) {
        return Err(format!(
            "{word:?} must be an absolute path, a program's name, or ./FILE in the peerlet's folder, without .."
        ));
    }
    Ok(())
}

impl Manifest {
    /// The program's file, for a peerlet in a folder.
    ///
    /// # Errors
    /// If there is none, it may not be executed, or it lies outside the folder it should be in.
    pub fn program(&self, folder: &Path) -> Result<PathBuf, ProgramError> {
        let word = self.command.first().map_or("", String::as_str);
        if !word.contains('/') {
            return search(word).ok_or_else(|| ProgramError::NotInstalled(word.to_owned()));
        }
        let path = folder.join(word);
        let real = |path: &Path| {
            path.canonicalize().map_err(|error| ProgramError::Unreachable { path: path.to_owned(), error })
        };
        let found = real(&path)?;
        if !Path::new(word).is_absolute() && !found.starts_with(real(folder)?) {
            return Err(ProgramError::Outside(path));
        }
        // Links may matter to programs that look at their own name.
        if is_program(&found) { Ok(path) } else { Err(ProgramError::NotExecutable(path)) }
    }

    /// Whether the program is a file of the peerlet's own folder.
    #[must_use]
    pub fn brings_its_program(&self) -> bool {
        self.command.first().is_some_and(|word| word.contains('/') && !word.starts_with('/'))
    }
}

fn search(name: &str) -> Option<PathBuf> {
    SEARCH_PATH.split(':').map(|folder| Path::new(folder).join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
