//! What a message says: text, or XML that means the same wherever it is put.

use serde::{Deserialize, Serialize};

use super::{ELEMENTS_LIMIT, MESSAGE_LIMIT_BYTES, MessageError, NAMESPACE};
use crate::xml;

/// The content of the `body` element, as it stands in the XML, byte for byte: signatures are over these bytes.
///
/// Well-formed; every prefix is declared within it; no carriage return stands in it (an XML reader would make it a line feed,
/// and the signature would be wrong): where one is meant it is written `&#13;`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Body(String);

impl Body {
    /// A body of plain text.
    ///
    /// # Errors
    /// If it is too large, written in XML.
    pub fn of_text(text: &str) -> Result<Self, MessageError> {
        let mut xml = String::with_capacity(text.len());
        xml::escape(&mut xml, text);
        Self::of_written(xml)
    }

    /// A body that was written here out of what cannot be anything else: well-formed, whole, without a carriage return.
    pub(super) fn of_written(xml: String) -> Result<Self, MessageError> {
        debug_assert!(read(&xml).is_ok(), "{xml}");
        if xml.len() > MESSAGE_LIMIT_BYTES { Err(MessageError::TooLarge(xml.len())) } else { Ok(Self(xml)) }
    }

    /// A body of XML: elements and text as they stand between `<body>` and `</body>`.
    ///
    /// # Errors
    /// If it is too large, not well-formed, not whole by itself, or has a carriage return.
    pub fn of_xml(xml: String) -> Result<Self, MessageError> {
        if xml.len() > MESSAGE_LIMIT_BYTES {
            return Err(MessageError::TooLarge(xml.len()));
        }
        read(&xml)?;
        Ok(Self(xml))
    }

    /// A body found by [`super::decode`], which has checked it with all that is around it.
    pub(super) fn of_checked(xml: &str) -> Result<Self, MessageError> {
        if xml.contains('\r') {
            return Err(MessageError::Schema("the body has a carriage return: write &#13;".into()));
        }
        Ok(Self(xml.to_owned()))
    }

    /// The body as it stands in the XML.
    #[must_use]
    pub fn as_xml(&self) -> &str {
        &self.0
    }

    /// All text directly in the body, entities resolved; what is in elements is left out.
    #[must_use]
    pub fn text(&self) -> String {
        self.root().text
    }

    /// The elements directly in the body.
    #[must_use]
    pub fn elements(&self) -> Vec<xml::Element> {
        self.root().children
    }

    /// As a program reads it: plain text where there are no elements, else the XML.
    #[must_use]
    pub fn for_programs(&self) -> String {
        let root = self.root();
        if root.children.is_empty() { root.text } else { self.0.clone() }
    }

    fn root(&self) -> xml::Element {
        read(&self.0).unwrap_or_default()
    }
}

/// The body within a root element. Its depth counts as in an envelope.
fn read(xml: &str) -> Result<xml::Element, MessageError> {
    if xml.contains('\r') {
        return Err(MessageError::Schema("the body has a carriage return: write &#13;".into()));
    }
    let document = format!("<message xmlns=\"{NAMESPACE}\"><body>{xml}</body></message>");
    let mut root = xml::parse(document.as_bytes(), ELEMENTS_LIMIT)?;
    // One that closes the element round it and opens another is two.
    let body = root.children.pop().filter(|body| root.children.is_empty() && body.inner.len() == xml.len());
    body.filter(|_| root.text.is_empty()).ok_or_else(|| MessageError::Schema("the body closes itself".into()))
}

impl TryFrom<String> for Body {
    type Error = MessageError;

    fn try_from(xml: String) -> Result<Self, MessageError> {
        Self::of_xml(xml)
    }
}

impl From<Body> for String {
    fn from(body: Body) -> Self {
        body.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_as_it_was() {
        let text = "a<b>&\"'\r\n\té李]]>";
        let body = Body::of_text(text).expect("a body");
        assert_eq!((body.text().as_str(), body.for_programs().as_str()), (text, text));
        assert!(!body.as_xml().contains('\r'));
    }

    #[test]
    fn xml_is_kept_byte_for_byte() {
        let xml = "<x:run xmlns:x='urn:x'  a = \"1\" >ls<!-- why --><![CDATA[<]]></x:run>\n tail";
        let body = Body::of_xml(xml.into()).expect("a body");
        assert_eq!((body.as_xml(), body.for_programs().as_str()), (xml, xml));
        assert_eq!(body.elements()[0].name, "run");
        assert_eq!(body.text(), "\n tail");
    }

    #[test]
    fn what_would_change_what_is_around_it_is_refused() {
        for bad in [
            "<a>",
            "</body>",
            "</body><body>",
            "</body></message>",
            "<x:a/>",
            "a\r\nb",
            "&bomb;",
            "<!DOCTYPE a>",
            "<a b='<'/>",
        ] {
            assert!(Body::of_xml(bad.into()).is_err(), "{bad}");
        }
        assert!(Body::of_xml("a".repeat(MESSAGE_LIMIT_BYTES + 1)).is_err());
        assert!(Body::of_xml(format!("{}{}", "<a>".repeat(63), "</a>".repeat(63))).is_err());
    }
}
