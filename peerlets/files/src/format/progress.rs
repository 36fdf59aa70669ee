//! How far a recipient is: its replies to an offer.

use dci_proto::xml;

use super::attributes::{Attributes, write};
use super::{FormatError, NAMESPACE, REASON_LIMIT_CHARS, TransferId, shape};

/// Where a recipient stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressState {
    /// The offer is as it should be; the files will be fetched.
    Accepted,
    /// They are being fetched.
    Receiving,
    /// All are there.
    Done,
    /// They will not be fetched, or not to the end.
    Failed,
}

impl ProgressState {
    const ALL: [(Self, &'static str); 4] =
        [(Self::Accepted, "accepted"), (Self::Receiving, "receiving"), (Self::Done, "done"), (Self::Failed, "failed")];

    /// In a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("", |(_, word)| word)
    }
}

/// How far a recipient is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// With which transfer.
    pub transfer: TransferId,
    /// Where it stands.
    pub state: ProgressState,
    /// Bytes that are there.
    pub bytes: u64,
    /// Why not, for people; else empty.
    pub why: String,
}

impl Progress {
    /// The body of the message.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut out = String::from("<progress");
        write(&mut out, "xmlns", NAMESPACE);
        write(&mut out, "transfer", &self.transfer.to_string());
        write(&mut out, "state", self.state.word());
        write(&mut out, "bytes", &self.bytes.to_string());
        out.push('>');
        let cut: String = self.why.chars().take(REASON_LIMIT_CHARS).collect();
        xml::escape(&mut out, &cut);
        out.push_str("</progress>");
        out
    }

    /// Reads the body of a message.
    ///
    /// # Errors
    /// If it is none.
    pub fn of_xml(text: &str) -> Result<Self, FormatError> {
        let element = xml::parse(text.as_bytes(), 1)?;
        if element.name != "progress" {
            return Err(shape("it does not say how far files are"));
        }
        let attributes = Attributes::of(&element, &["transfer", "state", "bytes"])?;
        let word = attributes.text("state")?;
        let state = ProgressState::ALL.iter().find(|(_, known)| *known == word);
        Ok(Self {
            transfer: attributes.text("transfer")?.parse()?,
            state: state.ok_or_else(|| shape("the state is not known"))?.0,
            bytes: attributes.number("bytes")?,
            why: element.text.chars().take(REASON_LIMIT_CHARS).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn progress_is_read_as_it_was_written() {
        for (state, _) in ProgressState::ALL {
            let why = "no <room> & no \"luck\"".to_owned();
            let progress = Progress { transfer: TransferId(Uuid::from_u128(9)), state, bytes: 42, why };
            assert_eq!(Progress::of_xml(&progress.to_xml()), Ok(progress));
        }
        for bad in ["", "<progress/>", "<progress xmlns='urn:shoal:files:1' transfer='x' state='done' bytes='1'/>"] {
            assert!(Progress::of_xml(bad).is_err(), "{bad}");
        }
    }
}
