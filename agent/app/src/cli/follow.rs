//! `shoal log --follow`: the newest entries, then what happens from now on.

use std::collections::BTreeSet;

use serde::Serialize;
use ureq::http::Method;

use super::CliError;
use super::client::Client;
use super::message::{as_query, newest, row, state_of};
use super::print::say;
use super::stream::ServerEvent;
use crate::api::messages::types::{EntryView, LogFilter, StateChange};

/// Entries shown of which is told what becomes of them, at most: the newest.
const SHOWN_LIMIT: usize = 4_096;

/// Prints until the agent ends the stream.
pub(super) fn follow(client: &Client, filter: &LogFilter, json: bool) -> Result<(), CliError> {
    // Listened first, so that nothing falls between what is there and what comes.
    let events = client.events(Method::GET, &format!("log/follow?{}", as_query(filter)?), &(), None)?;
    let mut shown = Shown { places: BTreeSet::new(), json };
    for entry in newest(client, filter.clone())?.entries.iter().rev() {
        shown.entry(entry)?;
    }
    for event in events {
        shown.event(&event?)?;
    }
    Err(CliError::Failed("the agent ended the stream of events".into()))
}

/// What was printed.
struct Shown {
    places: BTreeSet<u64>,
    json: bool,
}

impl Shown {
    fn event(&mut self, event: &ServerEvent) -> Result<(), CliError> {
        match event.name.as_str() {
            "entry" => {
                let entry: EntryView = event.read()?;
                if self.places.contains(&entry.place) { Ok(()) } else { self.entry(&entry) }
            }
            "state" => {
                let change: StateChange = event.read()?;
                if self.places.contains(&change.place) { self.state(&change) } else { Ok(()) }
            }
            "missed" if self.json => print("missed", &event.read::<serde_json::Value>()?),
            "missed" => {
                eprintln!("Too much happened at once: some of it is left out here, not in the log.");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn entry(&mut self, entry: &EntryView) -> Result<(), CliError> {
        self.places.insert(entry.place);
        if self.places.len() > SHOWN_LIMIT {
            self.places.pop_first();
        }
        if self.json {
            return print("entry", entry);
        }
        say!("{}", row(entry).join("  ").trim_end());
        Ok(())
    }

    fn state(&self, change: &StateChange) -> Result<(), CliError> {
        if self.json {
            return print("state", change);
        }
        let why = change.state.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        say!("{}  {}: {}{why}", change.place, change.state.name, state_of(&change.state));
        Ok(())
    }
}

/// An event as a line of JSON.
fn print(name: &str, data: &impl Serialize) -> Result<(), CliError> {
    let failed = |error: serde_json::Error| CliError::Failed(error.to_string());
    let mut value = serde_json::to_value(data).map_err(failed)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("event".to_owned(), name.into());
    }
    say!("{value}");
    Ok(())
}
