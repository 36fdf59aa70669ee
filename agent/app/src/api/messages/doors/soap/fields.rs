//! The parameters of an operation: elements in the order the WSDL has them.

use std::fmt::Display;
use std::iter::Peekable;
use std::slice::Iter;
use std::str::FromStr;

use dci_proto::message::NAMESPACE as ENVELOPE;
use dci_proto::xml::Element;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::super::super::failure::Failure;
use super::NAMESPACE;

/// What is left of an operation's parameters.
pub(super) struct Fields<'a> {
    of: &'a Element,
    left: Peekable<Iter<'a, Element>>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(element: &'a Element) -> Result<Self, Failure> {
        // Declarations of types and the like have a prefix.
        if let Some((name, _)) = element.attributes.iter().find(|(name, _)| !name.contains(':')) {
            return Err(Failure::bad(format!("`{}` has an attribute `{name}`", element.name)));
        }
        Ok(Self { of: element, left: element.children.iter().peekable() })
    }

    /// The next element, if it has that name. One that is said to be nil is not there.
    pub(super) fn element(&mut self, name: &str) -> Option<&'a Element> {
        let found = self.left.next_if(|element| element.namespace == NAMESPACE && element.name == name)?;
        let is_nil = |(name, value): &(String, String)| name.ends_with(":nil") && (value == "true" || value == "1");
        if found.attributes.iter().any(is_nil) { self.element(name) } else { Some(found) }
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        let Some(element) = self.element(name) else { return Ok(None) };
        Fields::of(element)?;
        if element.children.is_empty() {
            return Ok(Some(element.text.clone()));
        }
        Err(Failure::bad(format!("`{name}` has elements in it")))
    }

    /// A value that is not text as people write it.
    pub(super) fn value<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, Failure>
    where
        T::Err: Display,
    {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let parsed = text.trim().parse().map(Some);
        parsed.map_err(|error| Failure::bad(format!("`{name}`: {error}")))
    }

    /// A time in any zone, in ms since 1970.
    pub(super) fn time(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let time = OffsetDateTime::parse(text.trim(), &Rfc3339).ok();
        let ms = time.and_then(|time| u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok());
        let wrong = || Failure::bad(format!("`{name}`: a time has its zone, such as 2026-01-31T12:00:00Z"));
        ms.map(Some).ok_or_else(wrong)
    }

    /// Any XML, as it is put into a message.
    pub(super) fn xml(&mut self, name: &str, document: &[u8]) -> Result<Option<String>, Failure> {
        let Some(element) = self.element(name) else { return Ok(None) };
        Fields::of(element)?;
        let inner = String::from_utf8(element.inner_for(document, ENVELOPE));
        inner.map(Some).map_err(|error| Failure::bad(format!("`{name}`: {error}")))
    }

    /// Fails if anything is left.
    pub(super) fn end(mut self) -> Result<(), Failure> {
        match self.left.next() {
            None => Ok(()),
            Some(element) => {
                let reason = format!("`{}` is not expected in `{}` there: see /soap?wsdl", element.name, self.of.name);
                Err(Failure::bad(reason))
            }
        }
    }
}

pub(super) fn missing(name: &str) -> Failure {
    Failure::bad(format!("`{name}` is missing"))
}
