//! Plain XML: `POST /api/v1/xml` takes a message as a caller writes it (`docs/draft.xsd`) and answers with what was sent, or,
//! with `?wait=SECONDS`, with what came of it (`docs/replies.xsd`). `GET /api/v1/xml/ID` tells later what became of a message. What
//! fails is a problem document (RFC 9457, appendix B).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query as UrlQuery, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use dci_proto::MessageId;
use dci_proto::message::{
    DraftRecipient, MESSAGE_LIMIT_BYTES, MessageError, NAMESPACE, XmlDraft, decode_draft, encode, format_time,
};
use serde::Deserialize;

use super::super::super::Api;
use super::super::super::caller::Caller;
use super::super::super::failure::Failure;
use super::super::send::{self, send_all};
use super::super::types::{MessageStates, SendRequest, StateView, To};
use super::super::views::name_of;
use super::gathered::{self, Gathered};
use super::writer::Writer;
use super::{REPLIES_NAMESPACE, whole};
use crate::messages::{SendError, Sent};

/// The namespace of a problem document.
const PROBLEM_NAMESPACE: &str = "urn:ietf:rfc:7807";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Seconds to wait for answers.
    wait: Option<u64>,
}

pub(super) async fn send(
    State(api): State<Arc<Api>>,
    caller: Result<Caller, Failure>,
    options: Result<UrlQuery<Options>, QueryRejection>,
    request: Request,
) -> Response {
    match answer(&api, caller, options, request).await {
        Ok((status, document)) => xml(status, "application/xml; charset=utf-8", document),
        Err(failure) => problem(failure),
    }
}

/// What became of a message that was sent from this agent: a later call than the one that sent it.
pub(super) async fn states(
    State(api): State<Arc<Api>>,
    caller: Result<Caller, Failure>,
    Path(id): Path<String>,
) -> Response {
    let known = match caller {
        Ok(caller) => send::states(State(api), caller, Path(id)).await,
        Err(failure) => Err(failure),
    };
    match known {
        Ok(states) => xml(StatusCode::OK, "application/xml; charset=utf-8", states_document(&states)),
        Err(failure) => problem(failure),
    }
}

async fn answer(
    api: &Api,
    caller: Result<Caller, Failure>,
    options: Result<UrlQuery<Options>, QueryRejection>,
    request: Request,
) -> Result<(StatusCode, String), Failure> {
    let caller = caller?;
    let UrlQuery(options) = options.map_err(|_| Failure::bad("the only option is ?wait=SECONDS"))?;
    let document = whole::xml(request, MESSAGE_LIMIT_BYTES).await?;
    let draft = decode_draft(&document)?;
    drop(document);
    let wanted = to_request(draft, api.messages()?.now_ms())?;
    match options.wait {
        None => Ok((StatusCode::ACCEPTED, messages(api, &send_all(api, &caller, &wanted).await?).await?)),
        Some(wait_s) => {
            let gathered = gathered::ask(api, &caller, &wanted, Duration::from_secs(wait_s)).await?;
            Ok((StatusCode::OK, replies(&gathered)))
        }
    }
}

impl From<MessageError> for Failure {
    fn from(error: MessageError) -> Self {
        let status = match error {
            MessageError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::with(status, error.to_string())
    }
}

/// A draft as the other doors take it.
fn to_request(draft: XmlDraft, now_ms: u64) -> Result<SendRequest, Failure> {
    let life_ms = |expires_ms: u64| {
        let life_ms = expires_ms.checked_sub(now_ms).filter(|life_ms| *life_ms > 0);
        life_ms.ok_or_else(|| Failure::bad("the message has expired already")).map(|life_ms| life_ms.div_ceil(1_000))
    };
    Ok(SendRequest {
        kind: draft.kind.to_string(),
        to: match draft.to {
            DraftRecipient::Agents(names) => To::Agents(names),
            DraftRecipient::Group(name) => To::Group(name.to_string()),
            DraftRecipient::All => To::All(true),
        },
        text: None,
        xml: Some(draft.body.into()),
        session: draft.session,
        from_session: None,
        ttl: draft.ttl.map(|ttl| u8::try_from(ttl).unwrap_or(u8::MAX)),
        expires_s: draft.expires_ms.map(life_ms).transpose()?,
        in_reply_to: draft.in_reply_to,
        user: None,
    })
}

/// The messages as they go out, signed.
async fn messages(api: &Api, sent: &[Sent]) -> Result<String, Failure> {
    let mut writer = Writer::new();
    writer.open("messages").with("xmlns", REPLIES_NAMESPACE);
    for one in sent {
        let entry = api.messages()?.mailbox().entry(one.place).await.map_err(SendError::from)?;
        let entry = entry.ok_or_else(|| Failure::broken("a message that was just sent is not in the log"))?;
        writer.raw(&encode(&entry.envelope)?);
    }
    Ok(writer.end())
}

fn replies(gathered: &Gathered) -> String {
    let mut writer = Writer::new();
    writer.open("replies").with("xmlns", REPLIES_NAMESPACE);
    writer.with("finished", if gathered.finished { "true" } else { "false" });
    if gathered.left_out > 0 {
        writer.with("left-out", &gathered.left_out.to_string());
    }
    for (message, state) in &gathered.states {
        state_element(&mut writer, *message, state);
    }
    for reply in &gathered.replies {
        let (message, agent) = Gathered::of(reply);
        writer.open("reply").with("message", &message.to_string()).with("id", &reply.message.id.to_string());
        writer.with("agent", &agent.to_string()).with("name", &name_of(&gathered.names, agent));
        writer.with("sent", &format_time(reply.message.sent_ms));
        // What has no namespace of its own in it is in the envelope's.
        writer.open("body").with("xmlns", NAMESPACE).raw(reply.message.body.as_xml()).close().close();
    }
    writer.end()
}

fn states_document(states: &MessageStates) -> String {
    let mut writer = Writer::new();
    writer.open("states").with("xmlns", REPLIES_NAMESPACE).with("message", &states.id.to_string());
    states.recipients.iter().for_each(|state| state_element(&mut writer, states.id, state));
    writer.end()
}

/// What became of a message at one recipient.
fn state_element(writer: &mut Writer, message: MessageId, state: &StateView) {
    writer.open("state").with("message", &message.to_string()).with("agent", &state.agent.to_string());
    writer.with("name", &state.name).with("state", &state.state).with("since", &format_time(state.since_ms));
    writer.with("attempts", &state.attempts.to_string());
    writer.with_some("exit-status", state.exit_status.map(|status| status.to_string()).as_deref());
    writer.with_some("why", state.why.as_deref()).close();
}

/// A failure as a problem document.
fn problem(failure: Failure) -> Response {
    let status = failure.status();
    let mut writer = Writer::new();
    writer.open("problem").with("xmlns", PROBLEM_NAMESPACE);
    writer.leaf("title", status.canonical_reason().unwrap_or("Failed")).leaf("status", status.as_str());
    writer.leaf("detail", &failure.advice());
    challenged(failure, status, "application/problem+xml; charset=utf-8", writer.end())
}

/// A failure's answer with another document, and a challenge that programs understand.
pub(super) fn challenged(failure: Failure, status: StatusCode, kind: &'static str, document: String) -> Response {
    let mut response = failure.into_response();
    *response.status_mut() = status;
    *response.body_mut() = Body::from(document);
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Shoal\", charset=\"UTF-8\""));
    }
    response
}

pub(super) fn xml(status: StatusCode, kind: &'static str, document: String) -> Response {
    (status, [(header::CONTENT_TYPE, kind)], document).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_that_is_over_is_refused_and_its_life_is_rounded_up() {
        let draft = |expires: &str| {
            let text = format!(
                "<message xmlns='urn:shoal:dci:1' type='x' expires='{expires}'><to all='true'/><body>1</body></message>"
            );
            decode_draft(text.as_bytes()).expect("a draft")
        };
        let life = |expires| to_request(draft(expires), 1_000).map(|request| request.expires_s);
        assert_eq!(life("1970-01-01T00:00:11.001Z").expect("a request"), Some(11));
        assert_eq!(life("1970-01-01T00:00:01.000Z").expect_err("over").status(), StatusCode::BAD_REQUEST);
    }
}
