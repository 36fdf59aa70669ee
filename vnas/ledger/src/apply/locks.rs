//! WebDAV write locks (RFC 4918 §6, §7).

use super::namespace::{Place, check_expect, check_path, put_empty_file};
use super::state::State;
use super::{Fail, Step};
use crate::tables::{self, normalized};
use crate::{Guard, KvError, Lock, LockRequest, LockScope, NodePath, Outcome, Rejection, query};

/// Locks of a pool, at most.
pub const LOCKS_LIMIT: u64 = 10_000;
/// Locks on one path, at most.
pub const LOCKS_PER_PATH_LIMIT: usize = 64;
/// Seconds a lock is granted for, at most: seven days.
pub const LOCK_TIMEOUT_LIMIT_S: u32 = 7 * 24 * 60 * 60;

/// Bytes of a token, at most.
const TOKEN_LIMIT_BYTES: usize = 256;
/// Bytes of an `owner` element, at most.
const OWNER_LIMIT_BYTES: usize = 8 * 1024;

pub(super) fn take(state: &mut State, request: &LockRequest, guard: &Guard) -> Step<Outcome> {
    check_request(request)?;
    let path = &request.path;
    let place = Place::find(state, path)?;
    check_expect(guard, place.node.as_ref(), path)?;
    let created = place.node.is_none();
    if created {
        check_member(state, path, guard)?;
    }
    check_compatible(state, request)?;
    let full = state.meta.locks >= LOCKS_LIMIT;
    if full && alive(state)? >= LOCKS_LIMIT {
        return Err(Rejection::TooMany("locks".to_owned()).into());
    }
    if full {
        expire(state)?;
    }
    if created {
        put_empty_file(state, path, &place)?;
    }
    let lock = Lock {
        token: request.token.clone(),
        path: path.clone(),
        deep: request.deep,
        scope: request.scope,
        user: guard.user.clone(),
        owner_xml: request.owner_xml.clone(),
        timeout_s: request.timeout_s.min(LOCK_TIMEOUT_LIMIT_S),
        expires_ms: 0,
    };
    let lock = put(state, lock)?;
    state.meta.locks += 1;
    Ok(Outcome::Lock { lock, created })
}

pub(super) fn refresh(state: &mut State, token: &str, path: &NodePath, user: &str, timeout_s: u32) -> Step<Outcome> {
    let lock = held(state, token, path, user)?;
    let lock = put(state, Lock { timeout_s: timeout_s.min(LOCK_TIMEOUT_LIMIT_S), ..lock })?;
    Ok(Outcome::Lock { lock, created: false })
}

pub(super) fn release(state: &mut State, token: &str, path: &NodePath, user: &str) -> Step<Outcome> {
    let lock = held(state, token, path, user)?;
    state.delete(&tables::lock_key(&lock.path, &lock.token))?;
    state.meta.locks = state.meta.locks.saturating_sub(1);
    Ok(Outcome::Done)
}

/// Drops locks whose time is over.
pub(super) fn expire(state: &mut State) -> Result<(), KvError> {
    let now_ms = state.now_ms();
    drop_where(state, &tables::LOCKS.key(&[]), &|_, lock| lock.expires_ms <= now_ms)
}

/// Drops the locks on a path, unless `keep_on_path`, and all below it.
pub(super) fn drop_below(state: &mut State, path: &NodePath, keep_on_path: bool) -> Result<(), KvError> {
    let on_path = tables::locks_on_key(path);
    let goes = |key: &[u8], _: &Lock| !(keep_on_path && key.starts_with(&on_path));
    drop_where(state, &tables::locks_below_key(path), &goes)
}

/// Nobody else's lock stands against changing what is at a path itself: its content, times, properties.
pub(super) fn check_node(state: &State, path: &NodePath, guard: &Guard) -> Step<()> {
    refuse(unheld(&covering(state, path)?, guard))
}

/// Nobody else's lock stands against adding or removing this member of its folder.
pub(super) fn check_member(state: &State, path: &NodePath, guard: &Guard) -> Step<()> {
    match path.parent() {
        Some(folder) => check_node(state, &folder, guard),
        None => Ok(()),
    }
}

/// Nobody else's lock on a path or below it stands against removing all of that.
pub(super) fn check_tree(state: &State, path: &NodePath, guard: &Guard) -> Step<()> {
    if state.meta.locks == 0 {
        return Ok(());
    }
    let below = query::locks_below_at(&*state.kv, path, state.now_ms())?;
    if below.is_empty() {
        return Ok(());
    }
    let mut held: Vec<Lock> = covering(state, path)?;
    held.extend(below.iter().cloned());
    held.retain(|lock| is_held(lock, guard));
    // Of several (shared) locks over one place, the token of one is enough.
    let unprotected = |lock: &&Lock| !held.iter().any(|held| covers(held, &lock.path));
    refuse(below.iter().find(unprotected))
}

/// The first lock if none of these, which all cover one place, is held.
fn unheld<'a>(locks: &'a [Lock], guard: &Guard) -> Option<&'a Lock> {
    if locks.iter().any(|lock| is_held(lock, guard)) { None } else { locks.first() }
}

fn is_held(lock: &Lock, guard: &Guard) -> bool {
    lock.user == guard.user && guard.tokens.contains(&lock.token)
}

fn covers(lock: &Lock, path: &NodePath) -> bool {
    let (lock_names, names) = (&lock.path.names, &path.names);
    let alike = |(left, right): (&String, &String)| normalized(left) == normalized(right);
    lock.path.volume == path.volume
        && (lock_names.len() == names.len() || (lock.deep && lock_names.len() < names.len()))
        && lock_names.iter().zip(names).all(alike)
}

/// Another lock may stand over the same node only if both are shared.
fn check_compatible(state: &State, request: &LockRequest) -> Step<()> {
    let mut others = covering(state, &request.path)?;
    if request.deep && state.meta.locks > 0 {
        others.extend(query::locks_below_at(&*state.kv, &request.path, state.now_ms())?);
    }
    let exclusive = request.scope == LockScope::Exclusive;
    refuse(others.iter().find(|other| exclusive || other.scope == LockScope::Exclusive))?;
    let on_path = state.count(&tables::locks_on_key(&request.path), LOCKS_PER_PATH_LIMIT)?;
    if on_path >= LOCKS_PER_PATH_LIMIT {
        return Err(Rejection::TooMany("locks on one file or folder".to_owned()).into());
    }
    if state.kv.get(&tables::lock_key(&request.path, &request.token))?.is_some() {
        return Err(Rejection::Invalid("the lock token is taken".to_owned()).into());
    }
    Ok(())
}

fn check_request(request: &LockRequest) -> Step<()> {
    if request.token.is_empty() || request.token.len() > TOKEN_LIMIT_BYTES {
        return Err(Rejection::Invalid(format!("a lock token has 1 to {TOKEN_LIMIT_BYTES} bytes")).into());
    }
    if request.owner_xml.len() > OWNER_LIMIT_BYTES {
        return Err(Rejection::Invalid(format!("a lock's owner has at most {OWNER_LIMIT_BYTES} bytes")).into());
    }
    Ok(())
}

/// The user's lock of this token that covers a path (RFC 4918 §9.10.2, §9.11).
fn held(state: &State, token: &str, path: &NodePath, user: &str) -> Step<Lock> {
    check_path(path)?;
    let mut locks = covering(state, path)?.into_iter();
    let lock = locks.find(|lock| lock.token == token && lock.user == user);
    Ok(lock.ok_or(Rejection::NoSuchLock)?)
}

fn covering(state: &State, path: &NodePath) -> Result<Vec<Lock>, KvError> {
    if state.meta.locks == 0 {
        return Ok(Vec::new());
    }
    query::locks_covering_at(&*state.kv, path, state.now_ms())
}

/// Stores a lock, its time running from now.
fn put(state: &mut State, mut lock: Lock) -> Result<Lock, KvError> {
    lock.expires_ms = state.now_ms().saturating_add(u64::from(lock.timeout_s) * 1_000);
    state.put(tables::LOCKS, &tables::lock_key(&lock.path, &lock.token), &lock)?;
    Ok(lock)
}

fn alive(state: &State) -> Result<u64, KvError> {
    let (prefix, now_ms) = (tables::LOCKS.key(&[]), state.now_ms());
    let mut count = 0;
    tables::visit(&*state.kv, tables::LOCKS, &prefix, &prefix, &mut |_, lock: Lock| {
        count += u64::from(lock.expires_ms > now_ms);
        Ok(true)
    })?;
    Ok(count)
}

/// Drops the locks that `goes` picks; there are never more than a page of thousands ([`LOCKS_LIMIT`]).
fn drop_where(state: &mut State, prefix: &[u8], goes: &dyn Fn(&[u8], &Lock) -> bool) -> Result<(), KvError> {
    if state.meta.locks == 0 {
        return Ok(());
    }
    let mut keys = Vec::new();
    tables::visit(&*state.kv, tables::LOCKS, prefix, prefix, &mut |key, lock: Lock| {
        if goes(key, &lock) {
            keys.push(key.to_vec());
        }
        Ok(true)
    })?;
    for key in &keys {
        state.delete(key)?;
    }
    state.meta.locks = state.meta.locks.saturating_sub(keys.len() as u64);
    Ok(())
}

fn refuse(lock: Option<&Lock>) -> Step<()> {
    match lock {
        Some(lock) => Err(Fail::Rejected(Rejection::Locked(Box::new(lock.clone())))),
        None => Ok(()),
    }
}
