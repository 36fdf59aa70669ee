//! What the owner of a PC says of commands that others run on it, as the manifest that is installed. Pure.

use std::path::PathBuf;

use crate::{ALLOW_VARIABLE, Allow};

/// The manifest as it is shipped: nothing is allowed.
const SHIPPED: &str = include_str!("../peerlet.toml");

/// What the owner says. The default allows nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnersWord {
    /// Which programs.
    pub allow: Allow,
    /// Whether they have the agent's user where that is root, rather than one of nobody's.
    pub as_agent: bool,
    /// Whether they may open network connections.
    pub network: bool,
    /// Files and folders they may read besides the system's; absolute.
    pub read: Vec<PathBuf>,
    /// Files and folders they may write as well; absolute.
    pub write: Vec<PathBuf>,
}

/// The manifest of `run` with the owner's word in it. `{shoal}` in it still stands for the binary's path.
///
/// # Errors
/// What could not be written; no word of an owner causes that.
pub fn manifest(word: &OwnersWord) -> Result<String, String> {
    let mut manifest: toml::Table = SHIPPED.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let mut set = |table: &str, name: &str, value: toml::Value| {
        let entry = manifest.entry(table).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        if let Some(table) = entry.as_table_mut() {
            table.insert(name.to_owned(), value);
        }
    };
    let paths = |paths: &[PathBuf]| paths.iter().map(|path| path.to_string_lossy().into_owned()).collect::<Vec<_>>();
    set("environment", ALLOW_VARIABLE, word.allow.to_variable().into());
    set("rights", "as_agent", word.as_agent.into());
    set("rights", "network", word.network.into());
    set("rights", "read", paths(&word.read).into());
    set("rights", "write", paths(&word.write).into());
    toml::to_string_pretty(&manifest).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use shoal_peerlets::manifest::{Input, Manifest, Mode, Output, Role};

    use super::*;

    fn parsed(word: &OwnersWord) -> Manifest {
        let text = manifest(word).expect("a manifest");
        Manifest::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn what_is_shipped_allows_nothing_and_says_that_it_executes() {
        let shipped = Manifest::parse(SHIPPED).expect("a manifest");
        assert_eq!(shipped, parsed(&OwnersWord::default()));
        assert_eq!((shipped.mode, shipped.input, shipped.output), (Mode::Oneshot, Input::Json, Output::Json));
        assert!(shipped.rights.executes && shipped.rights.role == Role::Operator && !shipped.rights.network);
        assert_eq!(shipped.environment.get(ALLOW_VARIABLE).map(String::as_str), Some(""));
        assert!(
            shipped.limits.time_s > crate::TIMEOUT_LIMIT_S + 60,
            "the program ends a command before the host ends it"
        );
    }

    #[test]
    fn the_owners_word_is_in_it() {
        let word = OwnersWord {
            allow: Allow::only(vec!["df".into(), "/opt/a \"b\"".into()]).expect("a list"),
            as_agent: true,
            network: true,
            read: vec!["/var/log".into()],
            write: vec!["/srv".into()],
        };
        let manifest = parsed(&word);
        assert_eq!(Allow::of_variable(&manifest.environment[ALLOW_VARIABLE]), word.allow);
        let rights = manifest.rights;
        assert_eq!(
            (rights.as_agent, rights.network, rights.read, rights.write),
            (true, true, word.read.clone(), word.write.clone())
        );
        let largest = OwnersWord { allow: Allow::only(vec!["a".repeat(50); 256]).expect("a list"), ..word };
        assert_eq!(Allow::of_variable(&parsed(&largest).environment[ALLOW_VARIABLE]), largest.allow);
    }
}
