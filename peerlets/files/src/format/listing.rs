//! The files and folders of a transfer: elements in an offer, or lines of a file of their own.

use dci_proto::message::{format_time, parse_time};
use dci_proto::xml::{self, Element};

use super::attributes::{Attributes, write};
use super::path::PathSet;
use super::{ENTRIES_LIMIT, FormatError, NAMESPACE, RelativePath, shape};

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Where it lies.
    pub path: RelativePath,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// BLAKE3 of its bytes.
    pub hash: [u8; 32],
    /// When it was changed last, in ms since 1970; `None`: not known.
    pub modified_ms: Option<u64>,
    /// Whether it may be run.
    pub executable: bool,
}

/// A file or a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A folder; named only where nothing else is in it, though it may be named anyway.
    Folder(RelativePath),
    /// A file.
    File(FileEntry),
}

impl Entry {
    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &RelativePath {
        match self {
            Self::Folder(path) => path,
            Self::File(file) => &file.path,
        }
    }

    fn of(element: &Element) -> Result<Self, FormatError> {
        if !element.children.is_empty() || !element.text.trim().is_empty() {
            return Err(shape("a file or folder has something in it"));
        }
        match element.name.as_str() {
            "folder" => Ok(Self::Folder(Attributes::of(element, &["path"])?.text("path")?.parse()?)),
            "file" => {
                let attributes = Attributes::of(element, &["path", "size", "hash", "modified", "executable"])?;
                let modified = attributes.optional("modified").map(parse_time).transpose();
                let executable = match attributes.optional("executable") {
                    None | Some("false") => false,
                    Some("true") => true,
                    Some(_) => return Err(shape("executable is true or false")),
                };
                Ok(Self::File(FileEntry {
                    path: attributes.text("path")?.parse()?,
                    size_bytes: attributes.number("size")?,
                    hash: attributes.hash("hash")?,
                    modified_ms: modified.map_err(|error| FormatError::Shape(error.to_string()))?,
                    executable,
                }))
            }
            _ => Err(shape("there are only files and folders in an offer")),
        }
    }

    fn write(&self, out: &mut String, namespace: bool) {
        out.push_str(if matches!(self, Self::File(_)) { "<file" } else { "<folder" });
        if namespace {
            write(out, "xmlns", NAMESPACE);
        }
        write(out, "path", self.path().as_str());
        if let Self::File(file) = self {
            write(out, "size", &file.size_bytes.to_string());
            write(out, "hash", &blake3::Hash::from_bytes(file.hash).to_hex());
            if let Some(modified_ms) = file.modified_ms {
                write(out, "modified", &format_time(modified_ms));
            }
            if file.executable {
                write(out, "executable", "true");
            }
        }
        out.push_str("/>");
    }
}

/// All files and folders of a transfer: at least one, no two that some system takes for the same, no more than the limit,
/// and bytes that can be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    entries: Vec<Entry>,
    files: u64,
    bytes: u64,
}

impl Manifest {
    /// Checks all entries together.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(entries: Vec<Entry>) -> Result<Self, FormatError> {
        if entries.is_empty() {
            return Err(shape("there is no file and no folder in it"));
        }
        too_many(entries.len())?;
        let (mut set, mut files, mut bytes) = (PathSet::default(), 0, 0u64);
        for entry in &entries {
            set.add(entry.path(), matches!(entry, Entry::Folder(_)))?;
            if let Entry::File(file) = entry {
                files += 1;
                let sum = bytes.checked_add(file.size_bytes);
                bytes = sum.ok_or_else(|| shape("the files together are longer than can be counted"))?;
            }
        }
        Ok(Self { entries, files, bytes })
    }

    /// Of the elements in an offer.
    pub(super) fn of_elements(elements: &[Element]) -> Result<Self, FormatError> {
        too_many(elements.len())?;
        Self::new(elements.iter().map(Entry::of).collect::<Result<_, _>>()?)
    }

    /// Of a file: each line is an element that declares its namespace.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_lines(text: &str) -> Result<Self, FormatError> {
        let mut entries = Vec::new();
        for line in text.lines() {
            too_many(entries.len() + 1)?;
            entries.push(Entry::of(&xml::parse(line.as_bytes(), 1)?)?);
        }
        Self::new(entries)
    }

    /// As a file; [`Self::of_lines`] reads it.
    #[must_use]
    pub fn to_lines(&self) -> String {
        let mut out = String::new();
        for entry in &self.entries {
            entry.write(&mut out, true);
            out.push('\n');
        }
        out
    }

    pub(super) fn write_elements(&self, out: &mut String) {
        self.entries.iter().for_each(|entry| entry.write(out, false));
    }

    /// The entries; files are asked for by their place among them.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Number of files.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.files
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn too_many(count: usize) -> Result<(), FormatError> {
    if count > ENTRIES_LIMIT {
        return Err(FormatError::TooMuch { what: "files and folders", limit: ENTRIES_LIMIT as u64 });
    }
    Ok(())
}
