//! The flow's file as it is written (TOML), before it is checked.

use serde::Deserialize;

use crate::limits::FILE_LIMIT_BYTES;

/// Why a file is no flow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Over the limit.
    #[error("it has {0} bytes, the limit is {FILE_LIMIT_BYTES}")]
    TooLarge(usize),
    /// Not TOML, or a key that means nothing.
    #[error("{}", .0.trim_end())]
    Malformed(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) description: String,
    pub(crate) parallel: Option<usize>,
    pub(crate) per_agent: Option<usize>,
    #[serde(default)]
    pub(crate) step: Vec<FileStep>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileStep {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) type_name: Option<String>,
    pub(crate) run: Option<Vec<String>>,
    pub(crate) on: Option<FileOn>,
    pub(crate) input: Option<String>,
    pub(crate) xml: Option<String>,
    #[serde(default)]
    pub(crate) needs: Vec<String>,
    pub(crate) for_each: Option<FileEach>,
    pub(crate) retries: Option<u32>,
    pub(crate) timeout_s: Option<u64>,
    pub(crate) parallel: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "\"on\" is \"idle\", \"all\", a name, a list of names, { group = \"…\" } or { any = […] }"
)]
pub(crate) enum FileOn {
    Word(String),
    Names(Vec<String>),
    Group(FileGroup),
    Any(FileAny),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileGroup {
    pub(crate) group: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileAny {
    pub(crate) any: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "\"for_each\" is a list, { from = 1, to = 100 } or \"{{ STEP.lines }}\"")]
pub(crate) enum FileEach {
    Lines(String),
    Items(Vec<FileItem>),
    Numbers(FileNumbers),
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "an item is a text or a number")]
pub(crate) enum FileItem {
    Text(String),
    Whole(i64),
    Number(f64),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileNumbers {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl File {
    pub(crate) fn parse(text: &str) -> Result<Self, FileError> {
        if text.len() > FILE_LIMIT_BYTES {
            return Err(FileError::TooLarge(text.len()));
        }
        toml::from_str(text).map_err(|error| FileError::Malformed(error.to_string()))
    }
}
