//! An offer: what the sender has for the recipients of the message.

use dci_proto::xml;

use super::attributes::{Attributes, write};
use super::{
    ELEMENTS_LIMIT, FormatError, HERE_LIMIT_BYTES, MANIFEST_LIMIT_BYTES, Manifest, NAMESPACE, NOTE_LIMIT_CHARS,
    TransferId, shape,
};

/// Where the list of files and folders is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    /// In the offer.
    Here(Manifest),
    /// A file of its own, too long for a message, which is fetched first.
    Apart {
        /// Its length in bytes.
        size_bytes: u64,
        /// BLAKE3 of its bytes.
        hash: [u8; 32],
    },
}

/// An offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Which transfer.
    pub transfer: TransferId,
    /// What the sender says of it; empty for nothing.
    pub note: String,
    /// Number of files.
    pub files: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Which files.
    pub listing: Listing,
}

impl Offer {
    /// An offer of all that is in a manifest, and the file that has to be kept for it where it is too long for a message.
    ///
    /// # Errors
    /// If it is too long even for a file, or the note is too long.
    pub fn new(transfer: TransferId, note: &str, manifest: Manifest) -> Result<(Self, Option<String>), FormatError> {
        check_note(note)?;
        let (files, bytes) = (manifest.files(), manifest.bytes());
        let offer = |listing| Self { transfer, note: note.to_owned(), files, bytes, listing };
        let lines = manifest.to_lines();
        if lines.len() <= HERE_LIMIT_BYTES {
            return Ok((offer(Listing::Here(manifest)), None));
        }
        let size_bytes = lines.len() as u64;
        check_manifest_size(size_bytes)?;
        let hash = blake3::hash(lines.as_bytes()).into();
        Ok((offer(Listing::Apart { size_bytes, hash }), Some(lines)))
    }

    /// Reads the body of a message.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_xml(text: &str) -> Result<Self, FormatError> {
        let element = xml::parse(text.as_bytes(), ELEMENTS_LIMIT)?;
        if element.name != "offer" || element.namespace != NAMESPACE {
            return Err(shape("it is no offer of files"));
        }
        let known = ["transfer", "note", "files", "size", "manifest-size", "manifest-hash"];
        let attributes = Attributes::of(&element, &known)?;
        let (files, bytes) = (attributes.number("files")?, attributes.number("size")?);
        let listing = match attributes.optional("manifest-hash") {
            None => Listing::Here(Manifest::of_elements(&element.children)?),
            Some(_) if element.children.is_empty() => {
                let size_bytes = attributes.number("manifest-size")?;
                check_manifest_size(size_bytes)?;
                Listing::Apart { size_bytes, hash: attributes.hash("manifest-hash")? }
            }
            Some(_) => return Err(shape("the files are in the offer and apart")),
        };
        let note = attributes.optional("note").unwrap_or_default().to_owned();
        check_note(&note)?;
        let offer = Self { transfer: attributes.text("transfer")?.parse()?, note, files, bytes, listing };
        if let Listing::Here(manifest) = &offer.listing {
            offer.check(manifest)?;
        }
        Ok(offer)
    }

    /// Whether a manifest is the one that is offered, as far as numbers tell.
    ///
    /// # Errors
    /// If it is not.
    pub fn check(&self, manifest: &Manifest) -> Result<(), FormatError> {
        if (manifest.files(), manifest.bytes()) == (self.files, self.bytes) {
            return Ok(());
        }
        Err(shape("the files are not as many, or not as long, as the offer says"))
    }

    /// The body of the message.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut out = String::from("<offer");
        write(&mut out, "xmlns", NAMESPACE);
        write(&mut out, "transfer", &self.transfer.to_string());
        if !self.note.is_empty() {
            write(&mut out, "note", &self.note);
        }
        write(&mut out, "files", &self.files.to_string());
        write(&mut out, "size", &self.bytes.to_string());
        match &self.listing {
            Listing::Here(manifest) => {
                out.push('>');
                manifest.write_elements(&mut out);
                out.push_str("</offer>");
            }
            Listing::Apart { size_bytes, hash } => {
                write(&mut out, "manifest-size", &size_bytes.to_string());
                write(&mut out, "manifest-hash", &blake3::Hash::from_bytes(*hash).to_hex());
                out.push_str("/>");
            }
        }
        out
    }
}

fn check_note(note: &str) -> Result<(), FormatError> {
    if note.chars().count() > NOTE_LIMIT_CHARS {
        return Err(FormatError::TooMuch { what: "characters in the note", limit: NOTE_LIMIT_CHARS as u64 });
    }
    if note.chars().any(|found| found.is_control() && found != '\n') {
        return Err(shape("the note has control characters"));
    }
    Ok(())
}

fn check_manifest_size(size_bytes: u64) -> Result<(), FormatError> {
    if size_bytes > MANIFEST_LIMIT_BYTES {
        return Err(FormatError::TooMuch { what: "bytes in the list of files", limit: MANIFEST_LIMIT_BYTES });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::{Entry, FileEntry};
    use super::*;

    fn file(path: &str, size_bytes: u64) -> Entry {
        Entry::File(FileEntry {
            path: path.parse().expect("a path"),
            size_bytes,
            hash: blake3::hash(path.as_bytes()).into(),
            modified_ms: Some(1_769_860_800_123),
            executable: path.ends_with(".sh"),
        })
    }

    fn transfer() -> TransferId {
        TransferId(Uuid::from_u128(7))
    }

    #[test]
    fn an_offer_is_read_as_it_was_written() {
        let entries = vec![
            file("photos/a & \"b\" <c>.jpg", 3),
            file("photos/run.sh", 0),
            Entry::Folder("photos/empty".parse().expect("a path")),
        ];
        let manifest = Manifest::new(entries).expect("a manifest");
        assert_eq!(Manifest::of_lines(&manifest.to_lines()).as_ref(), Ok(&manifest));
        let (offer, apart) = Offer::new(transfer(), "two\nlines & more", manifest).expect("an offer");
        assert_eq!((offer.files, offer.bytes, apart), (2, 3, None));
        assert_eq!(Offer::of_xml(&offer.to_xml()), Ok(offer));
    }

    #[test]
    fn a_long_list_travels_as_a_file() {
        let manifest = Manifest::new((0..5_000).map(|number| file(&format!("d/{number}"), 1)).collect());
        let manifest = manifest.expect("a manifest");
        let (offer, apart) = Offer::new(transfer(), "", manifest.clone()).expect("an offer");
        let lines = apart.expect("a file");
        let expected = Listing::Apart { size_bytes: lines.len() as u64, hash: blake3::hash(lines.as_bytes()).into() };
        assert_eq!(offer.listing, expected);
        assert!(offer.to_xml().len() < 500);
        assert_eq!(Offer::of_xml(&offer.to_xml()), Ok(offer.clone()));
        assert_eq!(Manifest::of_lines(&lines), Ok(manifest));
        assert_eq!(offer.check(&Manifest::of_lines(&lines).expect("a manifest")), Ok(()));
    }

    #[test]
    fn hostile_offers_are_refused() {
        let hash = "0".repeat(64);
        let id = transfer();
        let offer = |attributes: &str, inner: &str| {
            format!("<offer xmlns=\"{NAMESPACE}\" transfer=\"{id}\" {attributes}>{inner}</offer>")
        };
        let one = |path: &str, size: &str| format!("<file path=\"{path}\" size=\"{size}\" hash=\"{hash}\"/>");
        let fine = offer("files=\"1\" size=\"5\"", &one("a", "5"));
        assert!(Offer::of_xml(&fine).is_ok(), "{:?}", Offer::of_xml(&fine));
        let max = u64::MAX.to_string();
        for bad in [
            String::new(),
            "text".into(),
            "<offer/>".into(),
            offer("files=\"0\" size=\"0\"", ""),
            offer("files=\"2\" size=\"5\"", &one("a", "5")),
            offer("files=\"1\" size=\"6\"", &one("a", "5")),
            offer("files=\"1\" size=\"5\" more=\"1\"", &one("a", "5")),
            offer("files=\"1\" size=\"5\"", &one("../a", "5")),
            offer("files=\"1\" size=\"5\"", &one("/a", "5")),
            offer("files=\"1\" size=\"5\"", &one("a&#10;b", "5")),
            offer("files=\"1\" size=\"5\"", &one("NUL", "5")),
            offer("files=\"1\" size=\"-5\"", &one("a", "-5")),
            offer("files=\"1\" size=\"+5\"", &one("a", "+5")),
            offer("files=\"2\" size=\"5\"", &(one("a", "5") + &one("A", "0"))),
            offer(&format!("files=\"2\" size=\"{max}\""), &(one("a", &max) + &one("b", "1"))),
            offer("files=\"1\" size=\"5\"", "<folder path=\"a\"><file/></folder>"),
            offer("files=\"1\" size=\"5\"", "<link path=\"a\" to=\"b\"/>"),
            offer(&format!("files=\"1\" size=\"5\" manifest-size=\"{max}\" manifest-hash=\"{hash}\""), ""),
            offer(&format!("files=\"1\" size=\"5\" manifest-size=\"9\" manifest-hash=\"{hash}\""), &one("a", "5")),
            offer(&format!("files=\"1\" size=\"5\" note=\"{}\"", "n".repeat(1_001)), &one("a", "5")),
            fine.replace(&id.to_string(), "../../../../etc"),
            fine.replace("files:1", "files:2"),
        ] {
            assert!(Offer::of_xml(&bad).is_err(), "{bad}");
        }
    }
}
