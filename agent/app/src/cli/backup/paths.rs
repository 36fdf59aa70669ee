//! Paths as people type them: as the shell gives them, or as Shoal shows them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use shoal_backup::plan::PathBytes;

use crate::cli::CliError;

/// The bytes that are meant. Where a name is shown with `%` and two digits and is typed just like that, it is that name;
/// anything else is taken as it is.
pub(super) fn typed(text: &OsStr) -> PathBytes {
    let shown = text.to_str().filter(|text| text.contains('%'));
    let decoded = shown.and_then(|text| serde_json::from_value::<PathBytes>(text.into()).ok());
    match decoded {
        Some(path) if Some(path.to_string().as_str()) == shown => path,
        _ => PathBytes::new(text.as_bytes()),
    }
}

/// A whole path: from the folder where the command runs if it does not begin with `/`, and without `/` at its end.
pub(super) fn absolute(text: &OsStr) -> Result<PathBytes, CliError> {
    let typed = typed(text);
    let whole = std::path::absolute(Path::new(OsStr::from_bytes(typed.as_bytes())))
        .map_err(|error| CliError::Usage(format!("{typed}: {error}")))?;
    let mut bytes = whole.as_os_str().as_bytes();
    while let [before @ .., b'/'] = bytes
        && !before.is_empty()
    {
        bytes = before;
    }
    if bytes.split(|byte| *byte == b'/').any(|part| part == b"..") {
        return Err(CliError::Usage(format!("{typed}: write the path without `..`")));
    }
    Ok(PathBytes::new(bytes))
}

pub(super) fn all_absolute(texts: &[OsString]) -> Result<Vec<PathBytes>, CliError> {
    texts.iter().map(|text| absolute(text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_typed_and_as_shown() {
        let bytes = |text: &[u8]| typed(OsStr::from_bytes(text)).as_bytes().to_vec();
        assert_eq!(bytes(b"/a/b c"), b"/a/b c");
        assert_eq!(bytes(b"/a/\xff"), b"/a/\xff", "from the shell's completion");
        assert_eq!(bytes(b"/a/%FF"), b"/a/\xff", "as it is shown");
        assert_eq!(bytes(b"/a/50%25"), b"/a/50%", "as it is shown");
        for kept in [&b"/a/50%"[..], b"/a/50%41", b"/a/%ff", b"/a/%zz"] {
            assert_eq!(bytes(kept), kept, "nothing is shown like that");
        }
    }

    #[test]
    fn paths_become_whole_ones() {
        let whole = |text: &str| absolute(OsStr::new(text)).map(|path| path.to_string()).ok();
        assert_eq!(whole("/home/ana/"), Some("/home/ana".into()));
        assert_eq!(whole("/home/./ana//x"), Some("/home/ana/x".into()));
        assert_eq!(whole("/"), Some("/".into()));
        assert_eq!(whole("/a/../b"), None);
        assert_eq!(whole(""), None);
        let here = std::env::current_dir().expect("a folder").join("x");
        assert_eq!(absolute(OsStr::new("x")).expect("a path").as_bytes(), here.as_os_str().as_bytes());
    }
}
