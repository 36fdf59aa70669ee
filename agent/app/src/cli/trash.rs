//! `shoal trash`: what was deleted or overwritten, and getting it back.

use clap::Subcommand;
use shoal_ledger::TrashReason;
use ureq::http::Method;

use super::client::Client;
use super::commands::segment;
use super::duration;
use super::print::{answer, bytes, say, table, time};
use super::{AgentChoice, CliError};
use crate::api::types::{EmptyAnswer, EmptyRequest, PolicyView, RestoreAnswer, RestoreRequest, TrashList};

#[derive(Subcommand)]
pub(super) enum TrashCommand {
    /// What is in the trash: every version with its number, when it went, by whom, and until when it is kept.
    ///
    /// Example: shoal trash list pool /docs
    List {
        /// The volume; all unless named.
        volume: Option<String>,
        /// Only what was at this path or below it; begins with a slash.
        path: Option<String>,
    },
    /// Put a version back: the newest of a path, all that was deleted from a folder, or the one of a number.
    ///
    /// Example: shoal trash restore pool /docs/report.txt --to /docs/report-old.txt
    Restore {
        /// The volume, if there are several and no number is given; then the path, or the number `trash list` shows.
        #[arg(required = true, num_args = 1..=2, value_names = ["VOLUME", "PATH-or-ID"])]
        what: Vec<String>,
        /// Where to put it instead of where it was; folders that are missing are made.
        #[arg(long, value_name = "PATH")]
        to: Option<String>,
        /// Replace the file that stands there now; that one goes to the trash in turn.
        #[arg(long)]
        overwrite: bool,
    },
    /// Let go of the trash for good; what was in it cannot be had back.
    ///
    /// Example: shoal trash empty pool --older-than 3d --yes
    Empty {
        /// The volume; all unless named.
        volume: Option<String>,
        /// Only what went longer ago than this: a number with s, m, h or d.
        #[arg(long, value_name = "TIME")]
        older_than: Option<String>,
        /// Yes, for good.
        #[arg(long)]
        yes: bool,
    },
}

pub(super) fn trash(agent: &AgentChoice, command: &TrashCommand, json: bool) -> Result<(), CliError> {
    match command {
        TrashCommand::List { volume, path } => list(agent, volume.as_deref(), path.as_deref(), json),
        TrashCommand::Restore { what, to, overwrite } => restore(agent, what, to.as_deref(), *overwrite, json),
        TrashCommand::Empty { volume, older_than, yes } => {
            empty(agent, volume.as_deref(), older_than.as_deref(), *yes, json)
        }
    }
}

fn list(agent: &AgentChoice, volume: Option<&str>, path: Option<&str>, json: bool) -> Result<(), CliError> {
    // Volumes have no slash in their names: one word that has one is a path.
    let (volume, path) = match (volume, path) {
        (Some(word), None) if word.starts_with('/') => (None, Some(word)),
        both => both,
    };
    let volume = volume.map(|volume| format!("volume={}", segment(volume)));
    let path = path.map(|path| format!("path={}", segment(path)));
    let query: Vec<String> = volume.into_iter().chain(path).collect();
    let client = Client::open(agent)?;
    let list: TrashList = client.get(&format!("trash?{}", query.join("&")))?;
    if json {
        return answer(&list);
    }
    if list.entries.is_empty() {
        let policy: PolicyView = client.get("policy")?;
        match policy.trash_keep_s {
            0 => say!(
                "Nothing is kept: deleted and overwritten files are gone at once (`shoal policy set --trash-keep 14d`)."
            ),
            _ => say!("Nothing of that is in the trash."),
        }
        return Ok(());
    }
    let rows = list.entries.iter().map(|entry| {
        let reason = match entry.reason {
            TrashReason::Deleted => "deleted",
            TrashReason::Overwritten => "overwritten",
        };
        let went = format!("{reason} {} by {}", time(entry.since_ms), entry.user);
        let kept = format!("until {}", time(entry.expires_ms));
        vec![entry.id.to_string(), entry.volume.clone(), entry.path.clone(), bytes(entry.bytes), went, kept]
    });
    table(&["ID", "VOLUME", "PATH", "BYTES", "WENT", "KEPT (SPACE PERMITTING)"], rows);
    if list.more {
        say!("… and more: name a folder, as in `shoal trash list VOLUME /folder`.");
    }
    Ok(())
}

fn restore(
    agent: &AgentChoice,
    what: &[String],
    to: Option<&str>,
    overwrite: bool,
    json: bool,
) -> Result<(), CliError> {
    let (volume, word) = match what {
        [volume, word] => (Some(volume.clone()), word),
        [word] => (None, word),
        _ => return Err(CliError::Usage("a path, or the number of a version".into())),
    };
    let id = word.parse().ok();
    let path = id.is_none().then(|| word.clone());
    let wish = RestoreRequest { volume, path, id, to: to.map(str::to_owned), overwrite };
    let client = Client::open(agent)?;
    let mut all = RestoreAnswer { restored: Vec::new(), skipped: 0, more: true };
    while all.more {
        let step: RestoreAnswer = client.call(Method::POST, "trash/restore", &wish)?;
        all.restored.extend(step.restored);
        (all.skipped, all.more) = (step.skipped, step.more);
    }
    if json {
        return answer(&all);
    }
    match all.restored.as_slice() {
        [] => say!("Nothing was restored."),
        [only] => say!("{only} is back."),
        many => say!("{} files are back.", many.len()),
    }
    if all.skipped > 0 {
        say!("{} were left alone, as something stands there; --overwrite replaces that.", all.skipped);
    }
    Ok(())
}

fn empty(
    agent: &AgentChoice,
    volume: Option<&str>,
    older_than: Option<&str>,
    yes: bool,
    json: bool,
) -> Result<(), CliError> {
    let older_than_s = older_than.map(|text| duration::seconds("--older-than", text)).transpose()?.unwrap_or(0);
    if !yes {
        let usage = "what is in the trash cannot be had back once it is emptied; add --yes if that is what you want";
        return Err(CliError::Usage(usage.into()));
    }
    let client = Client::open(agent)?;
    let wish = EmptyRequest { volume: volume.map(str::to_owned), older_than_s };
    let mut all = EmptyAnswer { files: 0, bytes: 0, more: true };
    while all.more {
        let step: EmptyAnswer = client.call(Method::POST, "trash/empty", &wish)?;
        all = EmptyAnswer { files: all.files + step.files, bytes: all.bytes + step.bytes, more: step.more };
    }
    if json {
        return answer(&all);
    }
    match all.files {
        0 => say!("Nothing of that was in the trash."),
        1 => say!("1 version of {} is gone for good; its space comes back within minutes.", bytes(all.bytes)),
        files => {
            say!("{files} versions of {} are gone for good; their space comes back within minutes.", bytes(all.bytes))
        }
    }
    Ok(())
}
