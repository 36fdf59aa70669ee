//! Passphrases: from the environment or typed unseen, never an argument, which every user of the PC can read.

use std::io::{BufRead as _, IsTerminal as _};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::interrupt;
use crate::cli::CliError;

/// Where a passphrase may be given.
pub(super) const PASSPHRASE_VARIABLE: &str = "SHOAL_BACKUP_PASSPHRASE";

/// The passphrase of somebody's recovery kit.
pub(super) fn passphrase(owner: &str) -> Result<String, CliError> {
    if let Ok(passphrase) = std::env::var(PASSPHRASE_VARIABLE) {
        return checked(&passphrase);
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return checked(&line()?);
    }
    eprint!("Passphrase of {owner}'s recovery kit (it is not shown): ");
    let before = tcgetattr(&stdin).map_err(|error| CliError::Failed(format!("cannot hide what is typed: {error}")))?;
    let mut unseen = before.clone();
    unseen.local_modes.remove(LocalModes::ECHO);
    interrupt::hides(before);
    let read = tcsetattr(&stdin, OptionalActions::Now, &unseen)
        .map_err(|error| CliError::Failed(format!("cannot hide what is typed: {error}")))
        .and_then(|()| line());
    interrupt::show_again();
    checked(&read?)
}

fn line() -> Result<String, CliError> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| CliError::Failed(format!("cannot read standard input: {error}")))?;
    Ok(line)
}

/// Without blanks around it, which come along when it is copied from a page.
fn checked(text: &str) -> Result<String, CliError> {
    match text.trim() {
        "" => Err(CliError::Usage(format!(
            "the passphrase of the recovery kit is expected on standard input, or in {PASSPHRASE_VARIABLE}"
        ))),
        passphrase => Ok(passphrase.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::checked;

    #[test]
    fn a_passphrase_is_taken_without_blanks_and_not_empty() {
        assert_eq!(checked(" abc-def \r\n").ok().as_deref(), Some("abc-def"));
        assert!(checked("\n").is_err());
    }
}
