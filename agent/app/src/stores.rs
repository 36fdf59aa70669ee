//! The store directories of an agent: opened, and made only the first time they are configured.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shoal_store::{DiskStoreConfig, MultiStore, StoreError};

use crate::AgentError;
use crate::config::{AgentConfig, StoreDirectory};
use crate::secret_file;

/// Which directories were made stores; one of them that is empty later is an unplugged disk, not a new store.
const KNOWN_FILE: &str = "stores.json";

/// Opens all of them. Blocks. One that cannot be opened takes no other down.
pub(crate) fn open(config: &AgentConfig) -> Result<Arc<MultiStore>, AgentError> {
    let mut known = read_known(&config.data)?;
    let configs = config.stores.iter().map(|store| disk_config(store, !known.contains(&store.directory))).collect();
    for store in &config.stores {
        if !known.contains(&store.directory) {
            let made = std::fs::create_dir_all(&store.directory);
            made.map_err(|error| AgentError::directory("make", &store.directory, &error))?;
        }
    }
    let opened = MultiStore::open(configs).map_err(|error| cannot_open(config, &error))?;
    let states = opened.states();
    let open = states.iter().filter(|state| state.problem.is_none()).map(|state| PathBuf::from(&state.name));
    let before = known.len();
    known.extend(open);
    if known.len() > before {
        keep_known(&config.data, &known)?;
    }
    Ok(Arc::new(opened))
}

fn disk_config(store: &StoreDirectory, new: bool) -> DiskStoreConfig {
    DiskStoreConfig {
        cap_bytes: store.cap_bytes.unwrap_or(0),
        reserve_bytes: store.reserve_bytes,
        create_if_new: new,
        ..DiskStoreConfig::new(&store.directory)
    }
}

fn cannot_open(config: &AgentConfig, error: &StoreError) -> AgentError {
    let path = config.stores.first().map_or_else(|| config.data.clone(), |store| store.directory.clone());
    AgentError::Store { path, reason: error.to_string() }
}

fn read_known(data: &Path) -> Result<BTreeSet<PathBuf>, AgentError> {
    let path = data.join(KNOWN_FILE);
    let Some(bytes) = secret_file::read(&path)? else { return Ok(BTreeSet::new()) };
    serde_json::from_slice(&bytes).map_err(|error| AgentError::Damaged { path, reason: error.to_string() })
}

fn keep_known(data: &Path, known: &BTreeSet<PathBuf>) -> Result<(), AgentError> {
    let text = serde_json::to_vec_pretty(known).map_err(|error| AgentError::Internal(error.to_string()))?;
    secret_file::replace(&data.join(KNOWN_FILE), &text)
}

#[cfg(test)]
mod tests {
    use shoal_store::ShardStore as _;

    use super::*;

    #[test]
    fn a_store_that_is_gone_is_unplugged_and_never_made_anew() {
        let folder = tempfile::tempdir().expect("folder");
        let mut config = AgentConfig::new(folder.path());
        config.stores[0].reserve_bytes = 0;
        drop(open(&config).expect("made"));
        drop(open(&config).expect("opened again"));
        std::fs::rename(folder.path().join("store-0"), folder.path().join("elsewhere")).expect("moved");
        let error = open(&config).map(|store| store.space()).expect_err("unplugged");
        assert!(error.to_string().contains("unplugged"), "{error}");
        assert!(!folder.path().join("store-0").join("store.json").exists());
    }
}
