//! `shoal backup init` and `kit`.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use ureq::http::Method;

use super::{paths, read, secret, settings};
use crate::api::backup::types::{InitRequest, KitView, PlanView};
use crate::cli::CliError;
use crate::cli::client::Client;
use crate::cli::print::{answer, say};

#[derive(Args)]
pub(super) struct InitOptions {
    /// Keep this folder [default: those of the users of this PC].
    #[arg(long, value_name = "DIR")]
    root: Vec<OsString>,
    /// Keep folders also that are not there now, such as those of a disk that is not always there.
    #[arg(long)]
    allow_missing: bool,
    /// How many other PCs hold a copy [default: 2].
    #[arg(long, value_name = "N")]
    copies: Option<u8>,
    /// Only show what would be kept.
    #[arg(long)]
    dry_run: bool,
    /// Do it without asking.
    #[arg(long)]
    yes: bool,
    /// Take up an earlier backup of this PC from the PCs that hold copies, when its data directory was lost in part. The passphrase of
    /// its recovery kit is read from SHOAL_BACKUP_PASSPHRASE, else from standard input.
    #[arg(long)]
    take_up: bool,
    /// Write the recovery kit to this new file, which only you can read, instead of printing it.
    #[arg(long, value_name = "FILE")]
    kit: Option<PathBuf>,
}

pub(super) fn init(client: &Client, options: &InitOptions, json: bool) -> Result<(), CliError> {
    let mut view: PlanView = client.get("backup/plan")?;
    if !view.is_proposal {
        let what =
            "this PC is backed up already: `shoal backup set` shows and changes it, `shoal backup kit` prints the kit";
        return Err(CliError::Refused(what.into()));
    }
    if !options.root.is_empty() {
        view.plan.roots = paths::all_absolute(&options.root)?;
    }
    view.plan.copies = options.copies.unwrap_or(view.plan.copies);
    view.plan.validate().map_err(|error| CliError::Usage(error.to_string()))?;
    // What is there the agent knows.
    view = client.call(Method::POST, "backup/plan", &view.plan)?;
    if let Some(missing) = view.missing.first().filter(|_| !options.allow_missing) {
        let what = format!(
            "{missing} is not there, so nothing of it would be kept; if it is on a disk that is not always there, add --allow-missing"
        );
        return Err(CliError::Refused(what));
    }
    if options.dry_run && json {
        return answer(&view);
    }
    if !json {
        say!("This PC would be backed up like this; all of it can be changed later (`shoal backup set`):\n");
        settings::tell(&view);
    }
    if options.dry_run {
        say!("\nNothing was changed.");
        return Ok(());
    }
    if !may("Set it up so?", options.yes, json)? {
        return Ok(());
    }
    let passphrase = options.take_up.then(|| secret::passphrase("this PC")).transpose()?;
    // Before anything is set up: a place that cannot be written is not found out when the passphrase is there.
    let file = options.kit.as_deref().map(KitFile::create).transpose()?;
    let request = InitRequest { plan: Some(view.plan), passphrase, allow_missing: options.allow_missing };
    let value: Value = match client.call(Method::POST, "backup", &request) {
        Ok(value) => value,
        Err(error) => {
            if let Some(file) = file {
                file.remove();
            }
            return Err(error);
        }
    };
    tell_kit(value, file, json)?;
    if !json {
        say!(
            "\nThe first archive is made soon; `shoal backup` tells how far it is, `shoal backup run --wait` makes it now."
        );
        say!(
            "Keep the kit away from this PC, on paper or on another one: without it the backup cannot be read elsewhere."
        );
    }
    Ok(())
}

pub(super) fn kit(client: &Client, to: Option<&Path>, json: bool) -> Result<(), CliError> {
    let value: Value = client.get("backup/kit")?;
    tell_kit(value, to.map(KitFile::create).transpose()?, json)
}

fn tell_kit(value: Value, file: Option<KitFile>, json: bool) -> Result<(), CliError> {
    let kit: KitView = read(value.clone())?;
    let Some(file) = file else {
        if json {
            return answer(&value);
        }
        say!("{}", kit.text);
        return Ok(());
    };
    let path = file.path.clone();
    file.write(&kit.text)?;
    if json {
        return answer(&json!({ "owner": kit.owner, "kit": path }));
    }
    say!("The recovery kit is in {}.", path.display());
    Ok(())
}

/// Whether to go on: `--yes`, or a person agrees. Says so if not.
pub(super) fn may(question: &str, yes: bool, json: bool) -> Result<bool, CliError> {
    if yes {
        return Ok(true);
    }
    if json {
        return Err(CliError::Usage("with --json nothing is asked: add --yes to do it, or --dry-run to see it".into()));
    }
    if std::io::stdin().is_terminal() {
        eprint!("\n{question} Type yes: ");
        let mut line = String::new();
        if std::io::stdin().lock().read_line(&mut line).is_ok() && line.trim() == "yes" {
            return Ok(true);
        }
        say!("\nNothing was changed.");
        return Ok(false);
    }
    // Nobody was asked, and who waits for it must not take it for done.
    Err(CliError::Usage("nothing was changed: nobody can be asked here; add --yes to do it".into()))
}

/// A new file that only its owner can read.
struct KitFile {
    path: PathBuf,
    file: File,
}

impl KitFile {
    fn create(path: &Path) -> Result<Self, CliError> {
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = opened.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                CliError::Refused(format!("{} is there already; name another file for the kit", path.display()))
            }
            _ => CliError::Failed(format!("cannot write {}: {error}", path.display())),
        })?;
        Ok(Self { path: path.to_owned(), file })
    }

    fn write(mut self, text: &str) -> Result<(), CliError> {
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.write_all(b"\n"));
        written.and_then(|()| self.file.sync_all()).map_err(|error| {
            let path = self.path.display();
            CliError::Failed(format!("cannot write {path}: {error}; `shoal backup kit` prints the kit again"))
        })
    }

    fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_kit_is_written_for_its_owner_only_and_over_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kit.txt");
        KitFile::create(&path).and_then(|file| file.write("secret")).expect("written");
        assert_eq!(std::fs::read_to_string(&path).ok().as_deref(), Some("secret\n"));
        let mode = std::fs::metadata(&path).map(|found| found.permissions().mode() & 0o777);
        assert_eq!(mode.ok(), Some(0o600));
        assert!(matches!(KitFile::create(&path), Err(CliError::Refused(_))));
    }

    #[test]
    fn nothing_is_asked_of_a_script() {
        assert!(may("?", true, true).is_ok_and(|may| may));
        assert!(matches!(may("?", false, true), Err(CliError::Usage(_))));
    }
}
