//! Handing in and offering. Pieces go on where the agent says that they ended, also after the agent was restarted meanwhile.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use ureq::http::Method;

use super::collect::Collected;
use super::follow::{Line, wait};
use super::{SendOptions, size};
use crate::api::files::types::{BegunTransfer, EntriesView, NewTransfer, OfferTransfer, TransferView, Uploaded};
use crate::api::messages::types::SentAnswer;
use crate::cli::client::Client;
use crate::cli::duration;
use crate::cli::message::on_behalf_of;
use crate::cli::print::{answer, bytes, harmless, say};
use crate::cli::{AgentChoice, CliError};

/// Bytes of a piece.
const PIECE_BYTES: u64 = 8 * 1024 * 1024;
/// How long an agent that does not answer is waited for, and how often it is tried.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(250);

pub(super) fn send(agent: &AgentChoice, options: &SendOptions, json: bool) -> Result<(), CliError> {
    let to = options.recipients.to();
    let to = to.ok_or_else(|| CliError::Usage("whom they are for: --on NODE, --group GROUP or --all".into()))?;
    let expires_s = Some(duration::seconds("--expires", &options.expires)?);
    let collected = Collected::of(&options.paths)?;
    for left_out in &collected.left_out {
        eprintln!("left out: {}", harmless(left_out));
    }
    let user = on_behalf_of(agent);
    let entries = collected.entries.clone();
    let wanted = NewTransfer { entries, note: options.note.clone(), user: user.clone() };
    let mut client = Client::open(agent)?;
    let begun: BegunTransfer = client.call(Method::POST, "files", &wanted)?;
    let transfer = begun.transfer;
    let handed_in = hand_in_all(agent, &mut client, &transfer, &collected);
    let sent = handed_in.and_then(|()| {
        let offer = OfferTransfer { to, expires_s, user };
        client.call::<SentAnswer>(Method::POST, &format!("files/{transfer}/offer"), &offer)
    });
    if let Err(error) = sent {
        // Nobody has heard of it.
        let _ = client.call::<()>(Method::DELETE, &format!("files/{transfer}"), &());
        return Err(error);
    }
    if options.wait {
        return wait(agent, &transfer, json);
    }
    let view: TransferView = client.get(&format!("files/{transfer}"))?;
    let TransferView::Outgoing(one) = view else { return say_begun(&transfer) };
    if json {
        return answer(&serde_json::json!({ "transfer": transfer, "left_out": collected.left_out, "outgoing": one }));
    }
    let names: Vec<&str> = one.recipients.iter().map(|recipient| recipient.name.as_str()).collect();
    say!("{transfer}  {} to {}", size(one.files, one.bytes), names.join(", "));
    say_begun(&transfer)
}

fn say_begun(_transfer: &str) -> Result<(), CliError> {
    say!("`shoal files list` tells how far it is.");
    Ok(())
}

fn hand_in_all(
    agent: &AgentChoice,
    client: &mut Client,
    transfer: &str,
    collected: &Collected,
) -> Result<(), CliError> {
    let total: u64 = collected.entries.iter().map(|entry| entry.size_bytes).sum();
    let mut line = Line::new();
    let mut before = 0;
    for (number, (entry, place)) in collected.entries.iter().zip(&collected.places).enumerate() {
        if entry.folder || entry.size_bytes == 0 {
            continue;
        }
        let mut upload = Upload { agent, client, transfer, number, size_bytes: entry.size_bytes, place };
        upload.run(|there| {
            line.show(&format!("handing in {}: {} of {}", entry.path, bytes(before + there), bytes(total)));
        })?;
        before += entry.size_bytes;
    }
    line.clear();
    Ok(())
}

/// One file on its way to the agent.
struct Upload<'a> {
    agent: &'a AgentChoice,
    client: &'a mut Client,
    transfer: &'a str,
    number: usize,
    size_bytes: u64,
    place: &'a Path,
}

impl Upload<'_> {
    fn run(&mut self, mut progress: impl FnMut(u64)) -> Result<(), CliError> {
        let cannot = |error: std::io::Error| CliError::Failed(format!("cannot read {}: {error}", self.place.display()));
        let mut file = File::open(self.place).map_err(cannot)?;
        let mut offset = 0;
        let mut deadline = Instant::now() + PATIENCE;
        while offset < self.size_bytes {
            let length = PIECE_BYTES.min(self.size_bytes - offset);
            let mut piece = Vec::new();
            file.seek(SeekFrom::Start(offset)).map_err(cannot)?;
            (&mut file).take(length).read_to_end(&mut piece).map_err(cannot)?;
            if piece.len() as u64 != length {
                return Err(CliError::Failed(format!("{} has become shorter while it was sent", self.place.display())));
            }
            let path = format!("files/{}/content/{}?offset={offset}", self.transfer, self.number);
            match self.client.put::<Uploaded>(&path, piece) {
                Ok(uploaded) => {
                    offset = uploaded.there_bytes;
                    deadline = Instant::now() + PATIENCE;
                    progress(offset);
                }
                Err(error) if may_pass(&error) && Instant::now() < deadline => {
                    std::thread::sleep(PAUSE);
                    // An agent that was restarted has another token.
                    if let Ok(client) = Client::open(self.agent) {
                        *self.client = client;
                    }
                    if let Ok(there) = self.there() {
                        offset = there;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn there(&self) -> Result<u64, CliError> {
        let view: EntriesView = self.client.get(&format!("files/{}/entries", self.transfer))?;
        Ok(view.entries.get(self.number).map_or(0, |entry| entry.there_bytes))
    }
}

/// Whether trying again may help.
fn may_pass(error: &CliError) -> bool {
    match error {
        CliError::NoAgent { .. } | CliError::NoCredentials(_) => true,
        CliError::Api { status, error } => {
            matches!(status, 401 | 408 | 500..)
                || *status == 409 && error.error.contains("go on from there")
                || *status == 400 && error.error.contains("broke off")
        }
        _ => false,
    }
}
