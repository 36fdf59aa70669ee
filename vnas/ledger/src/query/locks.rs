//! Locks by path.

use super::meta;
use crate::tables;
use crate::{KvError, KvRead, Lock, NodePath};

/// Locks that cover a path: taken on it, or deep ones taken above it. Expired ones are left out.
pub fn locks_covering(kv: &dyn KvRead, path: &NodePath) -> Result<Vec<Lock>, KvError> {
    let meta = meta(kv)?;
    if meta.locks == 0 {
        return Ok(Vec::new());
    }
    covering(kv, path, meta.time_ms)
}

/// Locks taken on a path or anywhere below it. Expired ones are left out.
pub fn locks_below(kv: &dyn KvRead, path: &NodePath) -> Result<Vec<Lock>, KvError> {
    let meta = meta(kv)?;
    if meta.locks == 0 {
        return Ok(Vec::new());
    }
    below(kv, path, meta.time_ms)
}

/// [`locks_covering`] at a time that may not be stored yet.
pub(crate) fn covering(kv: &dyn KvRead, path: &NodePath, now_ms: u64) -> Result<Vec<Lock>, KvError> {
    let mut found = Vec::new();
    for depth in 0..=path.names.len() {
        let names = path.names.get(..depth).unwrap_or_default().to_vec();
        let on_path = depth == path.names.len();
        let place = NodePath { volume: path.volume, names };
        alive(kv, &tables::locks_on_key(&place), now_ms, &mut |lock| {
            if on_path || lock.deep {
                found.push(lock);
            }
        })?;
    }
    Ok(found)
}

/// [`locks_below`] at a time that may not be stored yet.
pub(crate) fn below(kv: &dyn KvRead, path: &NodePath, now_ms: u64) -> Result<Vec<Lock>, KvError> {
    let mut found = Vec::new();
    alive(kv, &tables::locks_below_key(path), now_ms, &mut |lock| found.push(lock))?;
    Ok(found)
}

fn alive(kv: &dyn KvRead, prefix: &[u8], now_ms: u64, found: &mut dyn FnMut(Lock)) -> Result<(), KvError> {
    tables::visit(kv, tables::LOCKS, prefix, prefix, &mut |_, lock: Lock| {
        if lock.expires_ms > now_ms {
            found(lock);
        }
        Ok(true)
    })
}
