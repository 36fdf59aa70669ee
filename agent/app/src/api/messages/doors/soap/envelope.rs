//! SOAP 1.1's envelope: what is in it, and faults (§4).

use axum::http::StatusCode;
use axum::response::Response;
use dci_proto::message::ELEMENTS_LIMIT;
use dci_proto::xml::{self, Element};

use super::super::super::super::failure::Failure;
use super::super::plain;
use super::super::writer::Writer;
use super::{CONTENT_TYPE, NAMESPACE};

/// SOAP 1.1.
const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";
/// Whoever gets it next: us.
const NEXT: &str = "http://schemas.xmlsoap.org/soap/actor/next";

/// Whose fault it is (§4.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultCode {
    VersionMismatch,
    MustUnderstand,
    Client,
    Server,
}

/// A call that failed.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) code: FaultCode,
    pub(super) http: StatusCode,
    pub(super) failure: Failure,
}

impl Fault {
    pub(super) fn new(code: FaultCode, reason: impl Into<String>) -> Self {
        Self { code, http: StatusCode::INTERNAL_SERVER_ERROR, failure: Failure::bad(reason) }
    }

    pub(super) fn into_response(self) -> Response {
        let code = match self.code {
            FaultCode::VersionMismatch => "soap:VersionMismatch",
            FaultCode::MustUnderstand => "soap:MustUnderstand",
            FaultCode::Client => "soap:Client",
            FaultCode::Server => "soap:Server",
        };
        let mut writer = open_body();
        writer.open("soap:Fault").leaf("faultcode", code).leaf("faultstring", &self.failure.advice());
        // Details are of the body's processing only: not of what is wrong around it.
        if matches!(self.code, FaultCode::Client | FaultCode::Server) {
            writer.open("detail").open("s:problem").with("xmlns:s", NAMESPACE);
            writer.leaf("s:status", self.failure.status().as_str()).leaf("s:reason", self.failure.sentence());
        }
        plain::challenged(self.failure, self.http, CONTENT_TYPE, writer.end())
    }
}

/// An answer up to where the body's content begins.
pub(super) fn open_body() -> Writer {
    let mut writer = Writer::new();
    writer.open("soap:Envelope").with("xmlns:soap", SOAP).open("soap:Body");
    writer
}

/// Reads what came.
pub(super) fn read(document: &[u8]) -> Result<Element, Fault> {
    let root = xml::parse(document, ELEMENTS_LIMIT)
        .map_err(|error| Fault::new(FaultCode::Client, format!("that is no XML that is taken: {error}")))?;
    match (root.name.as_str(), root.namespace.as_str()) {
        ("Envelope", SOAP) => Ok(root),
        ("Envelope", _) => Err(Fault::new(FaultCode::VersionMismatch, "only SOAP 1.1 is spoken here")),
        _ => Err(Fault::new(FaultCode::Client, "that is no SOAP envelope")),
    }
}

/// The element that says what is to be done.
pub(super) fn operation(root: &Element) -> Result<&Element, Fault> {
    let mut parts = root.children.iter().peekable();
    if let Some(head) = parts.next_if(|part| part.namespace == SOAP && part.name == "Header") {
        head.children.iter().try_for_each(heed)?;
    }
    let body = parts.next().filter(|part| part.namespace == SOAP && part.name == "Body");
    let body = body.ok_or_else(|| Fault::new(FaultCode::Client, "the envelope has no body"))?;
    match (parts.next(), body.children.as_slice()) {
        (None, [one]) if one.namespace == NAMESPACE => Ok(one),
        (None, [_]) => Err(Fault::new(FaultCode::Client, format!("the operations are in the namespace {NAMESPACE}"))),
        _ => Err(Fault::new(FaultCode::Client, "the body has one operation, and nothing follows it")),
    }
}

/// Nothing in a header means anything here. What must be understood by us is therefore refused.
fn heed(entry: &Element) -> Result<(), Fault> {
    let attribute = |wanted: &str| {
        let is_meant = |name: &str| name.split_once(':').is_some_and(|(_, local)| local == wanted);
        entry.attributes.iter().find(|(name, _)| is_meant(name)).map(|(_, value)| value.as_str())
    };
    let for_us = attribute("actor").is_none_or(|actor| actor.is_empty() || actor == NEXT);
    if for_us && matches!(attribute("mustUnderstand"), Some("1" | "true")) {
        return Err(Fault::new(FaultCode::MustUnderstand, format!("the header {} is not understood", entry.name)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(document: &str) -> Result<String, FaultCode> {
        let root = read(document.as_bytes()).map_err(|fault| fault.code)?;
        operation(&root).map(|element| element.name.clone()).map_err(|fault| fault.code)
    }

    #[test]
    fn an_envelope_holds_one_operation_and_headers_that_need_not_be_understood() {
        let with = |header: &str, body: &str| {
            judged(&format!(
                "<e:Envelope xmlns:e='{SOAP}' xmlns:s='{NAMESPACE}'>{header}<e:Body>{body}</e:Body></e:Envelope>"
            ))
        };
        let header = |attributes: &str| format!("<e:Header><x xmlns='urn:x' {attributes}/></e:Header>");
        assert_eq!(with("", "<s:Send/>"), Ok("Send".into()));
        assert_eq!(with(&header(""), "<s:Send/>"), Ok("Send".into()));
        assert_eq!(with(&header("e:mustUnderstand='0'"), "<s:Send/>"), Ok("Send".into()));
        assert_eq!(with(&header("e:mustUnderstand='1' e:actor='urn:another'"), "<s:Send/>"), Ok("Send".into()));
        assert_eq!(with(&header("e:mustUnderstand='1'"), "<s:Send/>"), Err(FaultCode::MustUnderstand));
        for body in ["", "<s:Send/><s:Send/>", "<Send/>"] {
            assert_eq!(with("", body), Err(FaultCode::Client), "{body}");
        }
        assert_eq!(
            judged("<Envelope xmlns='http://www.w3.org/2003/05/soap-envelope'/>"),
            Err(FaultCode::VersionMismatch)
        );
        for document in ["", "<a/>", "<!DOCTYPE a><a/>", "{}"] {
            assert_eq!(judged(document), Err(FaultCode::Client), "{document}");
        }
    }
}
