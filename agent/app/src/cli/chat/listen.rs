//! Listening to the agent besides what is typed, and again when it was away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use ureq::http::Method;

use super::super::client::Client;
use super::super::commands::segment;
use super::super::message::on_behalf_of;
use super::super::{AgentChoice, CliError};
use super::Input;
use crate::api::chat::types::{ChatEvent, Where};

/// How long it waits until it tries an agent again that does not answer.
const AGAIN: Duration = Duration::from_secs(2);

/// A thread that listens; dropped, it says nothing more and ends with what it hears next.
pub(super) struct Listener(Arc<AtomicBool>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Listener {
    pub(super) fn start(agent: &AgentChoice, place: &Where, inputs: SyncSender<Input>) -> Self {
        let over = Arc::<AtomicBool>::default();
        let (agent, path, ended) = (agent.clone(), path(agent, place), over.clone());
        thread::spawn(move || {
            let mut told = false;
            while !ended.load(Ordering::Acquire) {
                match listen(&agent, &path, &inputs, &ended, &mut told) {
                    Ok(()) => {}
                    // Neither waiting nor asking again helps.
                    Err(error @ CliError::Api { status: 400 | 401 | 403 | 404, .. }) if agent.api.is_some() => {
                        let _ = inputs.send(Input::Refused(error));
                        return;
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut told, true) {
                            let _ = inputs.send(Input::Lost(error.to_string()));
                        }
                    }
                }
                thread::sleep(AGAIN);
            }
        });
        Self(over)
    }
}

fn path(agent: &AgentChoice, place: &Where) -> String {
    let room = match place {
        Where::Room(room) => Some(format!("room={}", segment(room))),
        Where::With(_) => None,
    };
    let user = on_behalf_of(agent).map(|user| format!("as={}", segment(&user)));
    let query: Vec<String> = room.into_iter().chain(user).collect();
    format!("chat/events?{}", query.join("&"))
}

fn listen(
    agent: &AgentChoice,
    path: &str,
    inputs: &SyncSender<Input>,
    ended: &AtomicBool,
    told: &mut bool,
) -> Result<(), CliError> {
    // Its token is another one after each of its starts.
    let client = Client::open(agent)?;
    for event in client.events(Method::GET, path, &(), None)? {
        let event: ChatEvent = event?.read()?;
        *told = false;
        if ended.load(Ordering::Acquire) || inputs.send(Input::Event(event)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
