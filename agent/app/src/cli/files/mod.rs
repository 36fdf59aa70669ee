//! `shoal files`: files and folders from this computer's agent to others, and what came from them.

mod collect;
mod fetch;
mod follow;
mod send;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ureq::http::Method;

pub(super) use follow::Line;

use super::client::Client;
use super::commands::segment;
use super::message::Recipients;
use super::print::{about, answer, bytes, say, table, time};
use super::{AgentChoice, CliError};
use crate::api::files::types::{FilesList, IncomingView, OutgoingView, RecipientProgress};

#[derive(Subcommand)]
pub(super) enum FilesCommand {
    /// Send files and folders. Who is away gets them when it is back, until they expire.
    ///
    /// Example: shoal files send report.pdf photos --on office-pc,lab-2 --note "as promised" --wait
    Send(SendOptions),
    /// What came, what is sent, and how far each is.
    ///
    /// Example: shoal files list
    List,
    /// Copy out what came. Goes on where it stopped; replaces nothing unless told to.
    ///
    /// Example: shoal files get 3f0c --to ~/Downloads
    Get(GetOptions),
    /// Remove a transfer: what came, or what is sent. Who has not got all of it then does not get it.
    ///
    /// Example: shoal files remove 3f0c
    Remove {
        /// Which: its id, or as many of its first characters as it takes.
        transfer: String,
    },
}

/// What `shoal files send` takes.
#[derive(Args, Clone, Debug)]
pub(super) struct SendOptions {
    /// Files and folders.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    recipients: Recipients,
    /// What is said of them.
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    /// How long they can be fetched, at most 30d: a number with s, m, h or d.
    #[arg(long, value_name = "TIME", default_value = "7d")]
    expires: String,
    /// Wait until every recipient has all of it or will not get it, and show how far each is. Ends with code 1 unless all have it.
    #[arg(long)]
    wait: bool,
}

/// What `shoal files get` takes.
#[derive(Args, Clone, Debug)]
pub(super) struct GetOptions {
    /// Which: its id, or as many of its first characters as it takes.
    transfer: String,
    /// Where to.
    #[arg(long, value_name = "DIR", default_value = ".")]
    to: PathBuf,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
}

pub(super) fn files(agent: &AgentChoice, command: &FilesCommand, json: bool) -> Result<(), CliError> {
    match command {
        FilesCommand::Send(options) => send::send(agent, options, json),
        FilesCommand::List => list(agent, json),
        FilesCommand::Get(options) => fetch::get(agent, options, json),
        FilesCommand::Remove { transfer } => {
            let client = Client::open(agent)?;
            let transfer = find(&client, transfer)?;
            client.call::<()>(Method::DELETE, &format!("files/{}", segment(&transfer)), &())?;
            if json {
                return answer(&serde_json::json!({ "removed": transfer }));
            }
            say!("{transfer} is removed.");
            Ok(())
        }
    }
}

/// The one transfer that begins like this.
fn find(client: &Client, begin: &str) -> Result<String, CliError> {
    let list: FilesList = client.get("files")?;
    let incoming = list.incoming.into_iter().map(|one| one.transfer);
    let mut all: Vec<String> = incoming.chain(list.outgoing.into_iter().map(|one| one.transfer)).collect();
    all.sort_unstable();
    // To oneself: it came and is sent.
    all.dedup();
    let mut found = all.into_iter().filter(|id| !begin.is_empty() && id.starts_with(begin));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => {
            Err(CliError::Refused(format!("several transfers begin with {begin}; give more of its id")))
        }
        _ => Err(CliError::Refused(format!("no transfer begins with {begin}; `shoal files list` shows them"))),
    }
}

fn list(agent: &AgentChoice, json: bool) -> Result<(), CliError> {
    let list: FilesList = Client::open(agent)?.get("files")?;
    if json {
        return answer(&list);
    }
    if list.incoming.is_empty() && list.outgoing.is_empty() {
        say!("Nothing came, and nothing is sent.");
        return Ok(());
    }
    let short = |id: &str| id.get(..8).unwrap_or(id).to_owned();
    if !list.incoming.is_empty() {
        let row = |one: &IncomingView| {
            let from = format!("{}@{}", one.user, one.from.name);
            let size = size(one.files, one.bytes);
            vec![
                short(&one.transfer),
                time(one.received_ms),
                from,
                size,
                incoming_state(one),
                one.note.replace('\n', " "),
            ]
        };
        table(&["RECEIVED", "WHEN", "FROM", "WHAT", "STATE", "NOTE"], list.incoming.iter().map(row));
    }
    if !list.outgoing.is_empty() {
        if !list.incoming.is_empty() {
            say!("");
        }
        let rows = list.outgoing.iter().flat_map(|one| {
            let lead = |state: String, to: String| {
                let note = one.note.replace('\n', " ");
                vec![short(&one.transfer), time(one.created_ms), to, size(one.files, one.bytes), state, note]
            };
            if one.recipients.is_empty() {
                return vec![lead(going(&one.state, one.bytes, 0, None, None, one.why.as_deref()), one.to.clone())];
            }
            one.recipients.iter().map(|to| lead(state_of(to, one.bytes), to.name.clone())).collect()
        });
        table(&["SENT", "WHEN", "TO", "WHAT", "STATE", "NOTE"], rows);
    }
    Ok(())
}

fn size(files: u64, size: u64) -> String {
    format!("{files} file{}, {}", if files == 1 { "" } else { "s" }, bytes(size))
}

fn incoming_state(one: &IncomingView) -> String {
    going(&one.state, one.bytes, one.have_bytes, one.rate_bytes_s, one.eta_s, one.why.as_deref())
}

/// Where a recipient stands, in a line.
fn state_of(one: &RecipientProgress, total: u64) -> String {
    going(&one.state, total, one.have_bytes, one.rate_bytes_s, one.eta_s, one.why.as_deref())
}

fn going(state: &str, total: u64, have: u64, rate: Option<u64>, eta_s: Option<u64>, why: Option<&str>) -> String {
    let mut text = state.to_owned();
    if have > 0 && matches!(state, "receiving" | "waiting") {
        let percent = u128::from(have) * 100 / u128::from(total.max(1));
        text.push_str(&format!(", {percent} %"));
    }
    if let (Some(rate), "receiving") = (rate, state) {
        text.push_str(&format!(", {}/s", bytes(rate)));
    }
    if let (Some(eta_s), "receiving") = (eta_s, state) {
        text.push_str(&format!(", {} left", about(eta_s)));
    }
    if let Some(why) = why {
        text.push_str(": ");
        text.push_str(why);
    }
    text
}

/// Whether nothing more will happen with something that is sent.
fn is_over(one: &OutgoingView) -> bool {
    let ended = |to: &RecipientProgress| to.state == "done" || to.state == "failed";
    one.state == "ended" || !one.recipients.is_empty() && one.recipients.iter().all(ended)
}

#[cfg(test)]
mod tests {
    use super::going;

    #[test]
    fn a_state_is_told_in_a_line() {
        assert_eq!(going("done", 10, 10, None, None, None), "done");
        let line = going("receiving", 1_000_000, 420_000, Some(10_000), Some(58), None);
        assert_eq!(line, "receiving, 42 %, 10.0 kB/s, about 60 seconds left");
        assert_eq!(going("failed", 10, 0, None, None, Some("no room")), "failed: no room");
    }
}
