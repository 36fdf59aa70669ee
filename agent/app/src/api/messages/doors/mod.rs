//! Doors for callers that speak no JSON over HTTP: plain XML, SOAP 1.1, and a socket for the programs of this computer (D10).
//!
//! Each turns what it is given into the same requests as `POST messages`, `requests` and `log` take, with the same rights, and
//! answers in its own words. Nothing is read of a caller that is not signed in; what is read is bounded in bytes and in time.

mod gathered;
mod plain;
mod soap;
pub(in super::super::super) mod socket;
mod whole;
mod writer;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use super::super::Api;

/// The namespace of what the plain door answers.
const REPLIES_NAMESPACE: &str = "urn:shoal:replies:1";

/// Calls of the API.
pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new().route("/xml", post(plain::send)).route("/xml/{id}", get(plain::states))
}

/// What has a path of its own, as clients of it expect.
pub(in super::super) fn soap_routes() -> Router<Arc<Api>> {
    Router::new().route("/soap", post(soap::call).get(soap::describe))
}
