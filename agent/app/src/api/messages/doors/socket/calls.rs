//! What a line asks for, done.

use std::sync::Arc;

use axum::extract::{Path, Query as UrlQuery, State};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shoal_ledger::UserRole;
use tokio::sync::OwnedSemaphorePermit;

use super::super::super::super::caller::Caller;
use super::super::super::super::failure::Failure;
use super::super::super::super::handlers::{Body as JsonBody, fault};
use super::super::super::types::{AskRequest, LogFilter, ReplayRequest, SendRequest};
use super::super::super::{ask, follow, log, peerlets, send};
use super::Shared;
use super::lines::Line;
use super::waiting::Waiting;

/// Bytes of a caller's own name for a call, at most.
const SEQ_LIMIT_BYTES: usize = 64;

/// How a caller tells its calls apart: as it likes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Seq {
    Number(u64),
    Text(String),
}

/// A line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallLine {
    pub(super) seq: Seq,
    pub(super) call: Call,
    /// What the call takes.
    #[serde(default)]
    body: Option<Value>,
    /// The line's place among the long ones, kept while what it brought is in memory.
    #[serde(skip)]
    place: Option<OwnedSemaphorePermit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Call {
    Send,
    Request,
    States,
    Log,
    Follow,
    Replay,
    Peerlets,
    Stop,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stop {
    seq: Seq,
}

/// What is read of a line that is wrong otherwise.
#[derive(Deserialize)]
struct Named {
    seq: Seq,
}

impl Seq {
    fn is_short(&self) -> bool {
        !matches!(self, Self::Text(text) if text.len() > SEQ_LIMIT_BYTES)
    }
}

impl CallLine {
    /// Reads a line; of one that is wrong, what it is called if that can be told, and why.
    pub(super) fn read(line: Line) -> Result<Self, (Option<Seq>, Failure)> {
        let mut call: Self = serde_json::from_slice(&line.bytes).map_err(|error| {
            let named: Option<Named> = serde_json::from_slice(&line.bytes).ok();
            let why = format!("a line is {{\"seq\":…,\"call\":\"…\",\"body\":{{…}}}} in JSON: {error}");
            (named.map(|named| named.seq).filter(Seq::is_short), Failure::bad(why))
        })?;
        call.place = line.place;
        if call.seq.is_short() {
            return Ok(call);
        }
        Err((None, Failure::bad(format!("`seq` has at most {SEQ_LIMIT_BYTES} bytes"))))
    }

    /// Which call is to be stopped.
    pub(super) fn stopped(&mut self) -> Result<Seq, Failure> {
        self.body::<Stop>().map(|stop| stop.seq)
    }

    fn body<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let body = self.body.take().unwrap_or_else(|| json!({}));
        serde_json::from_value(body).map_err(|error| Failure::bad(format!("`body`: {}", fault(&error.to_string()))))
    }
}

/// Where the lines about one call go.
#[derive(Clone)]
pub(super) struct Answers {
    pub(super) seq: Option<Seq>,
    pub(super) lines: Waiting,
}

/// A line about a call, made only when it is its turn to wait.
#[derive(Serialize)]
struct About<'a, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<&'a T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a T>,
    seq: &'a Option<Seq>,
}

impl Answers {
    /// The last line about a call that did what it should.
    pub(super) async fn answer(&self, answer: &impl Serialize) {
        self.page(answer, None).await;
    }

    async fn page(&self, page: &impl Serialize, place: Option<OwnedSemaphorePermit>) {
        let about = About { answer: Some(page), error: None, event: None, seq: &self.seq };
        self.lines.tell(&about, place).await;
    }

    /// Answers whether there is still somebody to tell.
    async fn event(&self, event: &impl Serialize) -> bool {
        self.lines.tell(&About { answer: None, error: None, event: Some(event), seq: &self.seq }, None).await
    }

    /// The last line about a call that did not.
    pub(super) async fn failed(&self, failure: &Failure) {
        let (status, error) = (failure.status().as_u16(), failure.error());
        let mut error = json!({ "status": status, "error": error.error, "hint": error.hint });
        if let (Some(fields), Some(wait_s)) = (error.as_object_mut(), failure.retry_after_s()) {
            fields.insert("retry_after_s".to_owned(), wait_s.into());
        }
        let about = About::<Value> { answer: None, error: Some(error), event: None, seq: &self.seq };
        self.lines.tell(&about, None).await;
    }
}

/// Does what a line asks for.
pub(super) async fn run(shared: Arc<Shared>, call: CallLine, answers: Answers) {
    if let Err(failure) = done(&shared, call, &answers).await {
        answers.failed(&failure).await;
    }
}

async fn done(shared: &Shared, mut call: CallLine, answers: &Answers) -> Result<(), Failure> {
    // As with the token that lies beside the socket.
    let caller = Caller { user: "local".to_owned(), role: UserRole::Admin, local: true };
    let api = &shared.api;
    let state = || State(api.clone());
    match call.call {
        Call::Send => {
            let request: SendRequest = call.body()?;
            answers.answer(&send::send(state(), caller, JsonBody(request)).await?.0).await;
        }
        Call::States => {
            let which: Which = call.body()?;
            answers.answer(&send::states(state(), caller, Path(which.id)).await?.0).await;
        }
        Call::Log => {
            let filter: LogFilter = call.body()?;
            let place = shared.pages.clone().acquire_owned().await.ok();
            answers.page(&log::query(state(), caller, UrlQuery(filter)).await?.0, place).await;
        }
        Call::Replay => {
            let request: ReplayRequest = call.body()?;
            let _place = shared.pages.acquire().await.ok();
            answers.answer(&log::replay(state(), caller, JsonBody(request)).await?.0).await;
        }
        Call::Peerlets => answers.answer(&peerlets::own(state(), caller).await?.0).await,
        Call::Request => {
            let request: AskRequest = call.body()?;
            let (mut watch, first) = ask::open(api, &caller, &request).await?;
            drop((request, call));
            let mut next = Some(first);
            while let Some(event) = next {
                if !answers.event(&event).await {
                    break;
                }
                let Some((event, again)) = ask::next(watch, api).await else { break };
                (next, watch) = (Some(event), again);
            }
        }
        Call::Follow => {
            let query = log::to_query(api, &call.body()?)?;
            let mut follower = api.messages()?.follow();
            while let Some(happening) = follower.next().await {
                let Some((name, mut data)) = follow::news(api, &caller, &query, &happening) else { continue };
                if let Some(fields) = data.as_object_mut() {
                    fields.insert("event".to_owned(), name.into());
                }
                if !answers.event(&data).await {
                    break;
                }
            }
        }
        // The connection does it.
        Call::Stop => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<CallLine, (Option<Seq>, Failure)> {
        CallLine::read(Line { bytes: line.as_bytes().to_vec(), place: None })
    }

    #[test]
    fn a_line_is_a_call_with_a_name_of_its_own() {
        for (line, expected) in [
            (r#"{"seq":1,"call":"send","body":{}}"#, Some((Seq::Number(1), Call::Send))),
            (r#"{"seq":"a","call":"follow"}"#, Some((Seq::Text("a".into()), Call::Follow))),
            (r#"{"seq":-1,"call":"send"}"#, None),
            (r#"{"seq":1,"call":"sing"}"#, None),
            (r#"{"seq":1,"call":"send","more":1}"#, None),
            (r#"{"call":"send"}"#, None),
            ("GET / HTTP/1.1", None),
            ("", None),
            ("[[[[", None),
        ] {
            let read = read(line).ok().map(|call| (call.seq, call.call));
            assert_eq!(read, expected, "{line}");
        }
        for (line, expected) in [
            (r#"{"seq":1,"call":"sing"}"#, Some(Seq::Number(1))),
            (r#"{"seq":"a","call":"send","more":1}"#, Some(Seq::Text("a".into()))),
            (r#"{"seq":-1,"call":"send"}"#, None),
            (r#"{"call":"send"}"#, None),
            ("GET / HTTP/1.1", None),
        ] {
            assert_eq!(read(line).err().and_then(|(seq, _)| seq), expected, "{line}");
        }
        let long = format!(r#"{{"seq":"{}","call":"sing"}}"#, "x".repeat(65));
        assert_eq!(read(&long).err().and_then(|(seq, _)| seq), None);
        let long = format!(r#"{{"seq":"{}","call":"send"}}"#, "x".repeat(65));
        assert!(read(&long).is_err());
        let deep = format!(r#"{{"seq":1,"call":"send","body":{}"#, "[".repeat(100_000));
        assert!(read(&deep).is_err());
    }
}
