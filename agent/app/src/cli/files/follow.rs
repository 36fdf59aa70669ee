//! Watching how far each recipient is.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use super::{is_over, state_of};
use crate::api::files::types::{OutgoingView, TransferView};
use crate::cli::client::Client;
use crate::cli::print::{answer, harmless, harmless_lines, say};
use crate::cli::{AgentChoice, CliError};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looks without an answer before it is given up.
const SILENT_LIMIT: u32 = 120;

/// A line of standard error that is written over; none where nobody looks.
pub(in crate::cli) struct Line {
    shown: bool,
    lines: usize,
}

impl Line {
    pub(in crate::cli) fn new() -> Self {
        Self { shown: std::io::stderr().is_terminal(), lines: 0 }
    }

    /// Whether somebody looks.
    pub(in crate::cli) fn is_shown(&self) -> bool {
        self.shown
    }

    pub(in crate::cli) fn show(&mut self, text: &str) {
        if !self.shown {
            return;
        }
        self.clear();
        let text = harmless_lines(text);
        eprintln!("{text}");
        self.lines = text.lines().count();
    }

    /// Wipes what was shown.
    pub(in crate::cli) fn clear(&mut self) {
        if self.lines > 0 {
            // Up, and everything below away.
            eprint!("\x1b[{}F\x1b[J", self.lines);
            let _ = std::io::stderr().flush();
            self.lines = 0;
        }
    }
}

/// Shows how far each recipient is until nothing more happens.
pub(super) fn wait(agent: &AgentChoice, transfer: &str, json: bool) -> Result<(), CliError> {
    let mut line = Line::new();
    let mut told: Vec<String> = Vec::new();
    let mut silent = 0;
    let one = loop {
        let asked = Client::open(agent).and_then(|client| client.get(&format!("files/{transfer}")));
        match asked {
            Ok(TransferView::Outgoing(one)) => {
                silent = 0;
                let states = states(&one);
                line.show(&states.join("\n"));
                if is_over(&one) {
                    break one;
                }
                // Where nobody looks, what changes is told once; how far it is would fill a log.
                if !line.shown && !json {
                    let words: Vec<String> =
                        one.recipients.iter().map(|to| format!("{}  {}", to.name, to.state)).collect();
                    words.iter().filter(|word| !told.contains(word)).for_each(|word| eprintln!("{}", harmless(word)));
                    told.extend(words);
                    told.dedup();
                }
            }
            // To this agent itself: as something that came it is found first.
            Ok(TransferView::Incoming(_)) => return wait_for_list(agent, transfer, json),
            Err(CliError::NoAgent { .. } | CliError::NoCredentials(_)) if silent < SILENT_LIMIT => silent += 1,
            Err(error) => return Err(error),
        }
        std::thread::sleep(LOOK_EVERY);
    };
    line.clear();
    finish(&one, json)
}

/// The same by way of the list.
fn wait_for_list(agent: &AgentChoice, transfer: &str, json: bool) -> Result<(), CliError> {
    let mut line = Line::new();
    loop {
        let list: crate::api::files::types::FilesList = Client::open(agent)?.get("files")?;
        let one = list.outgoing.into_iter().find(|one| one.transfer == transfer);
        let one = one.ok_or_else(|| CliError::Refused(format!("{transfer} was removed")))?;
        line.show(&states(&one).join("\n"));
        if is_over(&one) {
            line.clear();
            return finish(&one, json);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn states(one: &OutgoingView) -> Vec<String> {
    let width = one.recipients.iter().map(|to| to.name.chars().count()).max().unwrap_or(0);
    one.recipients.iter().map(|to| format!("{:<width$}  {}", to.name, state_of(to, one.bytes))).collect()
}

fn finish(one: &OutgoingView, json: bool) -> Result<(), CliError> {
    if json {
        answer(one)?;
    } else {
        states(one).iter().for_each(|state| say!("{state}"));
    }
    let without = one.recipients.iter().filter(|to| to.state != "done").count();
    match without {
        0 => Ok(()),
        1 => Err(CliError::Failed("one recipient did not get it".into())),
        count => Err(CliError::Failed(format!("{count} recipients did not get it"))),
    }
}
