//! The body of a call as JSON: its faults are told in our own words, and, of a [`Wish`], only to who may make the call.

use std::convert::Infallible;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use shoal_ledger::UserRole;

use super::super::caller::Caller;
use super::super::failure::Failure;

/// A body that was read, and may be wrong: what is wrong with it is not for who may not make the call.
pub(in super::super) struct Wish<T>(Result<T, Failure>);

impl<T> Wish<T> {
    /// What it says, of a caller who has a role.
    pub(in super::super) fn from(self, caller: &Caller, role: UserRole) -> Result<T, Failure> {
        caller.needs(role)?;
        self.0
    }

    /// What it says, where the caller was asked before.
    pub(in super::super) fn read(self) -> Result<T, Failure> {
        self.0
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Wish<T> {
    type Rejection = Infallible;

    async fn from_request(request: Request, state: &S) -> Result<Self, Infallible> {
        Ok(Self(Body::from_request(request, state).await.map(|Body(value)| value)))
    }
}

/// A body of a call that everybody who is signed in may make, as far as can be told before it is read.
#[derive(FromRequest)]
#[from_request(via(Json), rejection(Failure))]
pub(in super::super) struct Body<T>(pub(in super::super) T);

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        failure(&rejection)
    }
}

fn failure(rejection: &JsonRejection) -> Failure {
    let cause = |error: &dyn std::error::Error| error.source().map(ToString::to_string).unwrap_or_default();
    match rejection {
        JsonRejection::JsonDataError(error) => Failure::bad(fault(&cause(error))),
        JsonRejection::JsonSyntaxError(error) => Failure::bad(format!("the body is no JSON: {}", cause(error))),
        JsonRejection::MissingJsonContentType(_) => {
            let reason = "the body is JSON, and says so: Content-Type: application/json";
            Failure::with(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason)
        }
        rejection if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let reason = "the body has more bytes than this call takes; larger things travel as files";
            Failure::with(StatusCode::PAYLOAD_TOO_LARGE, reason)
        }
        _ => Failure::bad("the body ended before it was whole"),
    }
}

/// What is wrong with a body that is JSON, and where: made of what serde says of it.
pub(in super::super) fn fault(told: &str) -> String {
    let told = told.rsplit_once(" at line ").map_or(told, |(told, _)| told);
    let (place, what) = match told.split_once(": ") {
        Some((place, what)) if !place.contains([' ', '`']) => (Some(place), what),
        _ => (None, told),
    };
    let within = place.map(|place| format!(" in `{place}`")).unwrap_or_default();
    let named = |start: &str| {
        let (name, rest) = what.strip_prefix(start)?.split_once('`')?;
        Some((name, rest.trim_start_matches([',', ' '])))
    };
    if let Some((name, _)) = named("missing field `") {
        return format!("the field `{name}` is missing{within}");
    }
    if let Some((name, expected)) = named("unknown field `") {
        // serde says of an unknown field that it stands at itself.
        let within = if place == Some(name) { String::new() } else { within };
        return format!("there is no field `{name}`{within}: {expected}");
    }
    match place {
        Some(place) => format!("the field `{place}` is wrong: {what}"),
        None => format!("the body is not what this call takes: {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::messages::types::{AskRequest, SendRequest};

    fn told<T: DeserializeOwned>(body: &str) -> String {
        match Json::<T>::from_bytes(body.as_bytes()) {
            Ok(_) => "nothing".to_owned(),
            Err(rejection) => failure(&rejection).sentence().to_owned(),
        }
    }

    #[test]
    fn what_is_wrong_with_a_body_names_its_field() {
        for (body, expected) in [
            ("{", "the body is no JSON: "),
            ("[]", "the body is not what this call takes: "),
            (r#"{"to":{"all":true}}"#, "the field `type` is missing"),
            (r#"{"type":"chat","to":{"all":true},"txt":"x"}"#, "there is no field `txt`: expected one of "),
            (
                r#"{"type":7,"to":{"all":true}}"#,
                "the field `type` is wrong: invalid type: integer `7`, expected a string",
            ),
            (r#"{"type":"chat","to":{"agents":"pc-1"}}"#, "the field `to.agents` is wrong: "),
            (r#"{"type":"chat","to":{"all":true},"ttl":900}"#, "the field `ttl` is wrong: "),
        ] {
            let told = told::<SendRequest>(body);
            assert!(told.starts_with(expected), "{body}: {told}");
            assert!(!told.contains("deserialize") && !told.contains("target type"), "{told}");
        }
        assert_eq!(told::<AskRequest>(r#"{"timeout_s":1}"#), "the field `type` is missing");
    }
}
