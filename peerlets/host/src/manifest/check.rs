//! The rules of a manifest that its types do not keep.

use std::path::{Component, Path};

use super::raw::{RawManifest, RawReady, RawRights};
use super::{FOLDER_WORD, Input, Manifest, ManifestError, Mode, Output, Ready, Rights, limits, program};

/// Characters of a description, and of the line that says that a program is ready.
const LINE_LIMIT_CHARS: usize = 200;
/// Words of a command, variables of an environment, paths of a right.
const LIST_LIMIT: usize = 256;
/// Bytes of one word, value or path.
const WORD_LIMIT_BYTES: usize = 16 * 1024;
/// Variables that the host sets itself.
const OWN_VARIABLES: [&str; 4] = ["PATH", "HOME", "PWD", "TMPDIR"];

pub(super) fn manifest(raw: RawManifest) -> Result<Manifest, ManifestError> {
    if raw.kind.is_reserved() {
        return Err(ManifestError::field("type", format!("{} is an agent's own; no peerlet may have it", raw.kind)));
    }
    line("description", &raw.description)?;
    command(&raw.command)?;
    environment(&raw)?;
    let output = raw.output.unwrap_or(if raw.mode == Mode::Oneshot { Output::Text } else { Output::Lines });
    if output == Output::Text && raw.mode != Mode::Oneshot {
        let why = "\"text\" is all that a program prints until it ends, so only a oneshot can have it; use \"lines\" or \"json\"";
        return Err(ManifestError::field("output", why));
    }
    let ready = ready(raw.ready)?;
    if output == Output::Text && ready != Ready::AtOnce {
        return Err(ManifestError::field("ready", "a line would be part of the reply; use output = \"lines\""));
    }
    if raw.past && (raw.mode != Mode::Service || raw.input != Input::Json || ready != Ready::AtOnce) {
        let why = "only a service with input = \"json\" that is ready at once can be given what was sent before";
        return Err(ManifestError::field("past", why));
    }
    Ok(Manifest {
        limits: limits::check(&raw.limits, raw.mode, output)?,
        rights: rights(raw.rights)?,
        kind: raw.kind,
        version: raw.version,
        description: raw.description,
        command: raw.command,
        mode: raw.mode,
        input: raw.input,
        output,
        ready,
        past: raw.past,
        environment: raw.environment,
    })
}

fn line(field: &str, text: &str) -> Result<(), ManifestError> {
    let fits = !text.trim().is_empty() && text.chars().count() <= LINE_LIMIT_CHARS;
    if fits && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(ManifestError::field(field, format!("must be one line of 1 to {LINE_LIMIT_CHARS} characters")))
}

fn ready(raw: RawReady) -> Result<Ready, ManifestError> {
    match raw {
        RawReady::AtOnce => Ok(Ready::AtOnce),
        RawReady::Line(text) => {
            line("ready.line", &text)?;
            Ok(Ready::Line(text))
        }
    }
}

fn command(words: &[String]) -> Result<(), ManifestError> {
    let first = words.first().filter(|word| !word.is_empty());
    let first =
        first.ok_or_else(|| ManifestError::field("command", "must name a program, such as [\"wc\", \"-l\"]"))?;
    if words.len() > LIST_LIMIT {
        return Err(ManifestError::field("command", format!("may have {LIST_LIMIT} words at most")));
    }
    words.iter().try_for_each(|word| plain("command", word))?;
    program::check_word(first).map_err(|why| ManifestError::field("command", why))
}

fn plain(field: &str, word: &str) -> Result<(), ManifestError> {
    if word.len() > WORD_LIMIT_BYTES || word.contains('\0') {
        return Err(ManifestError::field(field, format!("a word has at most {WORD_LIMIT_BYTES} bytes and no NUL")));
    }
    Ok(())
}

fn environment(raw: &RawManifest) -> Result<(), ManifestError> {
    if raw.environment.len() > LIST_LIMIT {
        return Err(ManifestError::field("environment", format!("may have {LIST_LIMIT} variables at most")));
    }
    for (name, value) in &raw.environment {
        let field = format!("environment.{name}");
        let named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !named {
            return Err(ManifestError::field(field, "a variable's name has letters, digits and underscores"));
        }
        if OWN_VARIABLES.contains(&name.as_str()) || name.starts_with("SHOAL_") {
            return Err(ManifestError::field(field, "is set by the host"));
        }
        plain(&field, value)?;
    }
    Ok(())
}

fn rights(raw: RawRights) -> Result<Rights, ManifestError> {
    for (field, paths) in [("rights.read", &raw.read), ("rights.write", &raw.write)] {
        if paths.len() > LIST_LIMIT {
            return Err(ManifestError::field(field, format!("may have {LIST_LIMIT} paths at most")));
        }
        paths.iter().try_for_each(|path| right_path(field, path))?;
    }
    if raw.as_agent && !raw.executes {
        let why = "a peerlet with the agent's own user could do all the agent can; it must say executes = true as well";
        return Err(ManifestError::field("rights.as_agent", why));
    }
    let RawRights { role, executes, network, as_agent, read, write } = raw;
    Ok(Rights { role, executes, network, as_agent, read, write })
}

fn right_path(field: &str, path: &Path) -> Result<(), ManifestError> {
    plain(field, &path.to_string_lossy())?;
    let climbs = path.components().any(|part| part == Component::ParentDir);
    if climbs || !(path.is_absolute() || path.starts_with(FOLDER_WORD)) {
        let why = format!("{} must be absolute or begin with {FOLDER_WORD}, without ..", path.display());
        return Err(ManifestError::field(field, why));
    }
    Ok(())
}
