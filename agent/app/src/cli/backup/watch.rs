//! Looking again and again how far something is, and telling it in a line.

use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::interrupt::Watching;
use crate::cli::client::Client;
use crate::cli::files::Line;
use crate::cli::{AgentChoice, CliError};

/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Looks without an answer before it is given up: the agent may just be restarting.
const SILENT_LIMIT: u32 = 120;
/// Time between two lines where they are not written over, and before the first: more would fill a log.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Looks on behalf of a person who waits.
pub(super) struct Watch<'a> {
    agent: &'a AgentChoice,
    client: Client,
    interrupt: Watching,
    line: Line,
    told: String,
    told_at: Instant,
    looks: u32,
    silent: u32,
}

impl<'a> Watch<'a> {
    pub(super) fn begin(agent: &'a AgentChoice, client: Client) -> Self {
        let interrupt = Watching::begin();
        let (told, told_at) = (String::new(), Instant::now());
        Self { agent, client, interrupt, line: Line::new(), told, told_at, looks: 0, silent: 0 }
    }

    /// Asks, and asks again while the agent is away for a short time. Ends with `goes_on` at Ctrl-C.
    pub(super) fn look<T: DeserializeOwned>(&mut self, path: &str, goes_on: &str) -> Result<T, CliError> {
        loop {
            if self.looks > 0 {
                std::thread::sleep(LOOK_INTERVAL);
            }
            self.looks = self.looks.saturating_add(1);
            if self.interrupt.is_asked() {
                self.line.clear();
                return Err(CliError::Interrupted(goes_on.to_owned()));
            }
            match self.client.get(path) {
                Ok(found) => {
                    self.silent = 0;
                    return Ok(found);
                }
                Err(error) if self.silent < SILENT_LIMIT && may_pass(&error) => {
                    self.silent += 1;
                    // The agent of this PC has another token after a restart; another's would ask for the password again.
                    if self.agent.api.is_none()
                        && let Ok(client) = Client::open(self.agent)
                    {
                        self.client = client;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Tells how far it is: to a person at once, to a log now and then.
    pub(super) fn show(&mut self, text: &str) {
        if self.line.is_shown() {
            self.line.show(text);
        } else if text != self.told && self.told_at.elapsed() >= LINE_INTERVAL {
            eprintln!("{}", crate::cli::print::harmless(text));
            text.clone_into(&mut self.told);
            self.told_at = Instant::now();
        }
    }

    /// Wipes what was shown: what is said now stays.
    pub(super) fn end(mut self) -> Client {
        self.line.clear();
        self.client
    }
}

fn may_pass(error: &CliError) -> bool {
    matches!(error, CliError::NoAgent { .. } | CliError::NoCredentials(_) | CliError::Api { status: 401 | 503, .. })
}
