//! SOAP 1.1 (document/literal, wrapped): `POST /soap`, described by `GET /soap?wsdl`.
//!
//! `envelope` takes the call out of what came and puts the answer, or a fault, into what goes back; `operations` are the calls;
//! `fields` reads their parameters. What SOAP asks of intermediaries is not there: this is an end.

mod answers;
mod envelope;
mod fields;
mod operations;

use std::sync::Arc;

use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use dci_proto::message::MESSAGE_LIMIT_BYTES;
use dci_proto::xml::escape;

use super::super::super::Api;
use super::super::super::caller::Caller;
use super::super::super::failure::Failure;
use super::super::super::serve::Remote;
use super::{plain, whole};
use envelope::{Fault, FaultCode};

/// The namespace of the operations and their parameters, and their version.
const NAMESPACE: &str = "urn:shoal:soap:1";
/// What SOAP 1.1 is sent as.
const CONTENT_TYPE: &str = "text/xml; charset=utf-8";
/// Bytes of a call, at most: a message and what is around it.
const CALL_LIMIT_BYTES: usize = MESSAGE_LIMIT_BYTES + 64 * 1024;
/// The description, but for where it is.
const WSDL: &str = include_str!("shoal.wsdl");

pub(in super::super) async fn call(
    State(api): State<Arc<Api>>,
    caller: Result<Caller, Failure>,
    request: Request,
) -> Response {
    match answer(&api, caller, request).await {
        Ok(document) => plain::xml(StatusCode::OK, CONTENT_TYPE, document),
        Err(fault) => fault.into_response(),
    }
}

async fn answer(api: &Arc<Api>, caller: Result<Caller, Failure>, request: Request) -> Result<String, Fault> {
    // What HTTP has words for is told in its words: no operation was called.
    let of_http = |failure: Failure| Fault { http: failure.status(), ..Fault::from(failure) };
    let caller = caller.map_err(of_http)?;
    let document = whole::xml(request, CALL_LIMIT_BYTES).await.map_err(of_http)?;
    let document = dci_proto::xml::with_line_feeds(&document);
    let root = envelope::read(&document)?;
    operations::call(api, &caller, envelope::operation(&root)?, &document).await
}

/// The WSDL is no secret: it says what the documentation says.
pub(in super::super) async fn describe(
    State(api): State<Arc<Api>>,
    remote: Option<axum::Extension<Remote>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    if !query.is_some_and(|query| query.eq_ignore_ascii_case("wsdl")) {
        let hint = "SOAP 1.1 is taken here by POST; the WSDL is at /soap?wsdl\n";
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")], hint).into_response();
    }
    let scheme = if remote.is_some_and(|remote| remote.encrypted) { "https" } else { "http" };
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let host = host.map_or_else(|| api.agent.config.api.to_string(), str::to_owned);
    let mut location = String::new();
    escape(&mut location, &format!("{scheme}://{host}/soap"));
    plain::xml(StatusCode::OK, CONTENT_TYPE, WSDL.replace("{location}", &location))
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        let code = if failure.status().is_client_error() { FaultCode::Client } else { FaultCode::Server };
        Self { code, http: StatusCode::INTERNAL_SERVER_ERROR, failure }
    }
}
