//! Attributes of elements: read strictly (each known, none twice), written safely.

use dci_proto::xml::{self, Element};

use super::{FormatError, NAMESPACE, shape};

/// The attributes of an element that is ours, with no other than these.
pub(super) struct Attributes<'a>(&'a Element);

impl<'a> Attributes<'a> {
    pub(super) fn of(element: &'a Element, known: &[&str]) -> Result<Self, FormatError> {
        if element.namespace != NAMESPACE {
            return Err(shape("an element is of another namespace"));
        }
        if element.attributes.iter().any(|(name, _)| !known.contains(&name.as_str())) {
            return Err(FormatError::Shape(format!("<{}> has an attribute that is not known", element.name)));
        }
        Ok(Self(element))
    }

    pub(super) fn optional(&self, wanted: &str) -> Option<&'a str> {
        self.0.attributes.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }

    pub(super) fn text(&self, wanted: &str) -> Result<&'a str, FormatError> {
        self.optional(wanted).ok_or_else(|| FormatError::Shape(format!("<{}> lacks {wanted}", self.0.name)))
    }

    /// A whole number, in digits only.
    pub(super) fn number(&self, wanted: &str) -> Result<u64, FormatError> {
        let text = self.text(wanted)?;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        number.ok_or_else(|| FormatError::Shape(format!("{wanted} of <{}> is no number", self.0.name)))
    }

    pub(super) fn hash(&self, wanted: &str) -> Result<[u8; 32], FormatError> {
        let hash = blake3::Hash::from_hex(self.text(wanted)?);
        hash.map(Into::into).map_err(|_| FormatError::Shape(format!("{wanted} of <{}> is no hash", self.0.name)))
    }
}

/// Appends ` name="value"`.
pub(super) fn write(out: &mut String, name: &str, value: &str) {
    out.push(' ');
    out.push_str(name);
    out.push_str("=\"");
    // A reader would make spaces of these in an attribute.
    for (index, part) in value.split(['\t', '\n']).enumerate() {
        if index > 0 {
            out.push_str("&#10;");
        }
        xml::escape(out, part);
    }
    out.push('"');
}
