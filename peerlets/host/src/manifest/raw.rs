//! A manifest as it is written, before anything in it is checked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dci_proto::message::MessageType;
use serde::Deserialize;

use super::{Input, Mode, Output, Role};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawManifest {
    #[serde(rename = "type")]
    pub(super) kind: MessageType,
    pub(super) version: semver::Version,
    pub(super) description: String,
    pub(super) command: Vec<String>,
    pub(super) mode: Mode,
    #[serde(default = "text_input")]
    pub(super) input: Input,
    pub(super) output: Option<Output>,
    #[serde(default)]
    pub(super) ready: RawReady,
    #[serde(default)]
    pub(super) past: bool,
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) limits: RawLimits,
    #[serde(default)]
    pub(super) rights: RawRights,
}

fn text_input() -> Input {
    Input::Text
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum RawReady {
    #[default]
    AtOnce,
    Line(String),
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLimits {
    pub(super) time_s: Option<u64>,
    pub(super) memory_mib: Option<u64>,
    pub(super) output_kib: Option<u64>,
    pub(super) file_mib: Option<u64>,
    pub(super) processes: Option<u64>,
    pub(super) queue: Option<u64>,
    pub(super) idle_s: Option<u64>,
    pub(super) grace_s: Option<u64>,
    pub(super) instances: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRights {
    pub(super) role: Role,
    pub(super) executes: bool,
    pub(super) network: bool,
    pub(super) as_agent: bool,
    pub(super) read: Vec<PathBuf>,
    pub(super) write: Vec<PathBuf>,
}
