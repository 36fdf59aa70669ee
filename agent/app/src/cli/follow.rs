//! `shoal log --follow`: the newest entries, then what happens from now on.

use std::collections::BTreeSet;

use serde::Serialize;
use ureq::http::Method;

use super::CliError;
use super::client::Client;
use super::message::{COLUMNS, as_query, is_presence, newest, row, state_of};
use super::print::{Columns, open_table, say};
use super::stream::ServerEvent;
use crate::api::messages::types::{EntryView, LogFilter, StateChange};

/// Entries shown of which is told what becomes of them, at most: the newest.
const SHOWN_LIMIT: usize = 4_096;

/// Prints until the agent ends the stream; with or without entries that only say who is at the chat.
pub(super) fn follow(client: &Client, filter: &LogFilter, presence: bool, json: bool) -> Result<(), CliError> {
    // Listened first, so that nothing falls between what is there and what comes.
    let events = client.events(Method::GET, &format!("log/follow?{}", as_query(filter)?), &(), None)?;
    let before = newest(client, filter.clone(), presence)?.entries;
    let columns = (!json).then(|| open_table(&COLUMNS, before.iter().rev().map(row)));
    let mut shown = Shown { places: BTreeSet::new(), presence, columns };
    for entry in before.iter().rev() {
        shown.note(entry);
        if json {
            print("entry", entry)?;
        }
    }
    for event in events {
        shown.event(&event?)?;
    }
    Err(CliError::Failed("the agent ended the stream of events".into()))
}

/// What was printed.
struct Shown {
    places: BTreeSet<u64>,
    presence: bool,
    /// The table it goes on with; `None`: lines of JSON.
    columns: Option<Columns>,
}

impl Shown {
    fn event(&mut self, event: &ServerEvent) -> Result<(), CliError> {
        match event.name.as_str() {
            "entry" => {
                let entry: EntryView = event.read()?;
                let left_out = self.places.contains(&entry.place) || !self.presence && is_presence(&entry);
                if left_out { Ok(()) } else { self.entry(&entry) }
            }
            "state" => {
                let change: StateChange = event.read()?;
                if self.places.contains(&change.place) { self.state(&change) } else { Ok(()) }
            }
            "missed" if self.columns.is_none() => print("missed", &event.read::<serde_json::Value>()?),
            "missed" => {
                eprintln!("Too much happened at once: some of it is left out here, not in the log.");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What becomes of it is told from now on.
    fn note(&mut self, entry: &EntryView) {
        self.places.insert(entry.place);
        if self.places.len() > SHOWN_LIMIT {
            self.places.pop_first();
        }
    }

    fn entry(&mut self, entry: &EntryView) -> Result<(), CliError> {
        self.note(entry);
        match &self.columns {
            Some(columns) => say!("{}", columns.line(&row(entry))),
            None => return print("entry", entry),
        }
        Ok(())
    }

    fn state(&self, change: &StateChange) -> Result<(), CliError> {
        if self.columns.is_none() {
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
